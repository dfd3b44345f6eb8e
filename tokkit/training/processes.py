"""One process, or several started by torchrun that train one model together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from tokkit.errors import ConfigError, TokkitError, unknown_choice

DEVICES = ("auto", "cpu", "cuda", "mps")
_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
# A process that is gone is noticed at once over gloo; one that hangs, after this long.
_TIMEOUT = timedelta(seconds=120)
_PATIENT = timedelta(days=2)  # for the first process to read and encode the corpus


@dataclass(frozen=True, slots=True)
class Processes:
    """The present process among `count`, and its device. Only the first one writes."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    patient_group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes of a float64 vector, the same bits in each."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all processes are here, however long the first one prepares."""
        if self.count > 1:
            distributed.barrier(self.patient_group)


ALONE = Processes()


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """The processes that torchrun started, joined over nccl on GPUs and gloo else; or this one.

    Raises ConfigError for a device that this machine has not, TokkitError where they cannot meet.
    """
    if any(name not in os.environ for name in _LAUNCHED) or os.environ["WORLD_SIZE"] == "1":
        yield Processes(device=find_device(device))
        return
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = find_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if place.type == "mps":
        raise ConfigError("several processes train on cpu or cuda, got mps: give --device cpu")
    try:
        if place.type == "cuda":
            torch.cuda.set_device(place)
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_TIMEOUT)
        patient = distributed.new_group(backend="gloo", timeout=_PATIENT)
    except (RuntimeError, ValueError) as error:
        raise TokkitError(f"the {count} processes could not meet ({_line(error)})") from error
    try:
        yield Processes(rank, count, place, patient)
    finally:
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()


def find_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device of a name in DEVICES; auto takes a GPU where there is one."""
    if name not in DEVICES:
        raise ConfigError(unknown_choice("device", name, DEVICES))
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": _has_mps()}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        raise ConfigError(f"this machine has no {name} device that torch can use: give another")
    return torch.device(name, local_rank) if name == "cuda" else torch.device(name)


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


@contextlib.contextmanager
def failures_told(processes: Processes, last_good: str) -> Iterator[None]:
    """Say what to do where memory runs out or a process is lost; `last_good` says what stays."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TokkitError(
            f"out of memory on {processes.device}: use fewer sequences a step, or accumulate; "
            f"{last_good}"
        ) from error
    except RuntimeError as error:
        if processes.count == 1:
            raise
        raise TokkitError(
            f"process {processes.rank} of {processes.count} cannot go on: another was lost or "
            f"hangs ({_line(error)}); {last_good}: give the same command again to go on"
        ) from error


def _line(error: Exception) -> str:
    """The first line of an error, without the native stack that torch puts behind it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
