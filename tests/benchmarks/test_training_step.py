"""A training step beside its peers: seconds, memory, ratios with spread, share of the floor.

make bench ARGS=tests/benchmarks/test_training_step.py. Nothing is asserted but that the same work
was done. Every model runs in a process of its own, so that each has its own memory; the models
take turns within a round, and ratios are taken within a round. tokkit's llama stands against
transformers' LlamaForCausalLM, its gpt2 against a plain model of torch's own layers. A step is
forward, loss at every position, backward, clipping and AdamW, in float32.
With TOKKIT_BENCHMARK_OUT=reports/benchmarks the table is written there, as training.{json,md}.
TOKKIT_BENCH_ROUNDS (default 7) and TOKKIT_BENCH_THREADS (default: the cores, at most 2) set the
rest. Where other work keeps the cores busy, threads that wait for each other measure the scheduler
alone: TOKKIT_BENCH_THREADS=1 TOKKIT_BENCH_CLOCK=cpu then counts what the step itself takes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from record import keep
from record import machine as machine_of

pytest.importorskip("transformers")

WORKER = Path(__file__).with_name("training_peers.py")
ROUNDS = int(os.environ.get("TOKKIT_BENCH_ROUNDS", "7"))
THREADS = int(os.environ.get("TOKKIT_BENCH_THREADS", str(min(2, os.cpu_count() or 1))))
CLOCK = os.environ.get("TOKKIT_BENCH_CLOCK", "wall")
now = time.process_time if CLOCK == "cpu" else time.perf_counter
PAIRS = {"tokkit llama": "transformers llama", "tokkit gpt2": "plain gpt2"}
NAMES = ("batch", "length", "width", "layers", "heads", "groups", "vocab")
GRID = [
    (128, 24, 64, 2, 4, 4, 4001),
    (8, 256, 64, 4, 4, 4, 8000),
    (32, 64, 128, 4, 4, 2, 4001),
    (8, 256, 128, 4, 4, 2, 8000),
    (32, 64, 256, 6, 8, 4, 4001),
    (4, 512, 256, 6, 8, 4, 8000),
]
rows: list[dict] = []


class Worker:
    """A model in its process; `turn` takes steps and returns their seconds."""

    def __init__(self, name: str, shape: dict) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), name, json.dumps(shape)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parameters = self._read()["parameters"]

    def _read(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def turn(self, steps: int = 1) -> float:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._read()[CLOCK] / steps

    def close(self) -> dict:
        self.process.stdin.close()
        last = self._read()
        self.process.wait()
        self.process.stdout.close()
        return last


def flops(shape: dict, kind: str) -> float:
    """Of one step: 2 a weight and token forward, twice that backward; scores of the past alone."""
    width, hidden = shape["width"], shape["hidden"]
    if kind == "llama":
        of_keys = 2 * width * width * shape["groups"] // shape["heads"]
        a_layer = 2 * width * width + of_keys + 3 * width * hidden
    else:
        a_layer = 12 * width * width
    weights = shape["layers"] * a_layer + shape["vocab"] * width
    tokens = shape["batch"] * shape["length"]
    scores = shape["layers"] * tokens * (shape["length"] + 1) * width  # two products, halved
    return 6.0 * tokens * weights + 3 * 2 * scores


def product_rate(rows_: int, inner: int, columns: int) -> float:
    """FLOP/s of a matrix product: the best of seven measurements, as a floor needs."""
    x, y = torch.randn(rows_, inner), torch.randn(inner, columns)
    out, best = torch.empty(rows_, columns), float("inf")
    work = 2 * rows_ * inner * columns
    repeats = max(1, int(4e8 / work))
    for _ in range(8):
        started = now()
        for _ in range(repeats):
            torch.mm(x, y, out=out)
        best = min(best, (now() - started) / repeats)
    return work / best


def memory_rate() -> float:
    """Bytes a second read and written by a copy of 256 MiB."""
    source, best = torch.ones(1 << 26), float("inf")
    target = torch.empty_like(source)
    for _ in range(5):
        started = now()
        target.copy_(source)
        best = min(best, now() - started)
    return 2 * source.numel() * source.element_size() / best


@pytest.fixture(scope="module", autouse=True)
def machine():
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    # The rate of a machine that others share differs from minute to minute: it is measured again
    # before every shape, and the best is the floor of all.
    found = {"gflops_1024_cubed": 0.0, "gigabytes_a_second": memory_rate() / 1e9}
    yield found
    torch.set_num_threads(before)
    report(found)


@pytest.mark.parametrize("values", GRID, ids=lambda v: f"width {v[2]}, {v[0]} x {v[1]}")
def test_training_step(values, machine):
    shape = dict(zip(NAMES, values, strict=True)) | {"threads": THREADS}
    shape["hidden"] = round(8 * shape["width"] / 3)
    tokens = shape["batch"] * shape["length"]
    rate = product_rate(1024, 1024, 1024) / 1e9
    machine["gflops_1024_cubed"] = max(machine["gflops_1024_cubed"], rate)
    at_size = product_rate(tokens, shape["width"], 4 * shape["width"])
    workers = {name: Worker(name, shape) for pair in PAIRS.items() for name in pair}
    for worker in workers.values():
        worker.turn()
    turns = [{name: worker.turn() for name, worker in workers.items()} for _ in range(ROUNDS)]
    ends = {name: worker.close() for name, worker in workers.items()}
    for ours, peer in PAIRS.items():
        ratios = sorted(turn[peer] / turn[ours] for turn in turns)
        kind = ours.split()[1]
        seconds = {name: statistics.median(turn[name] for turn in turns) for name in (ours, peer)}
        rows.append(
            {
                "width": shape["width"],
                "layers": shape["layers"],
                "batch": f"{shape['batch']} x {shape['length']}",
                "vocabulary": shape["vocab"],
                "peer": peer,
                "tokkit_ms": seconds[ours] * 1e3,
                "peer_ms": seconds[peer] * 1e3,
                "times_faster": statistics.median(ratios),
                "lowest": ratios[0],
                "highest": ratios[-1],
                "gflop": flops(shape, kind) / 1e9,
                "gflops_at_this_size": at_size / 1e9,
                "peak_mib": ends[ours]["peak_bytes"] / 2**20,
                "peer_peak_mib": ends[peer]["peak_bytes"] / 2**20,
            }
        )
        print(f"\n{json.dumps(rows[-1])}")
    parameters = (
        [workers[name].parameters for name in PAIRS],
        [workers[name].parameters for name in PAIRS.values()],
    )
    assert parameters[0] == parameters[1]


def report(found: dict) -> None:
    for row in rows:
        floor_ms = row["gflop"] / found["gflops_1024_cubed"] * 1e3
        row["share_of_floor"] = floor_ms / row["tokkit_ms"]
        row["peer_share"] = floor_ms / row["peer_ms"]
    keep(
        "training",
        "A training step, measured",
        f"Medians of {ROUNDS} rounds ({CLOCK} time); ratios are taken within each round, with the "
        "lowest and the highest. The floor is the step's FLOPs at the rate of a product of "
        f"1024 x 1024 matrices, {found['gflops_1024_cubed']:.0f} GFLOP/s here; memory is copied "
        f"at {found['gigabytes_a_second']:.0f} GB/s. Peaks are of one step, moments of the "
        "optimizer included. A ratio above the inverse of peer_share cannot be had by computing "
        "the same products.",
        machine_of(threads=THREADS, rounds=ROUNDS, clock=CLOCK, **found),
        rows,
    )
