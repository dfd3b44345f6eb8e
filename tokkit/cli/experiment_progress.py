"""How far the trainings of an experiment are, told while they run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tokkit.cli.common import say

Progress = Callable[[int, int, str], None]
_PLAIN_LINE_SECONDS = 15.0


@contextlib.contextmanager
def training_progress(*, quiet: bool) -> Iterator[Progress | None]:
    """A callback for steps done: a bar with an ETA on a terminal, plain lines elsewhere."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _plain_lines()


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("training"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Steps are told in lumps, one for each line of metrics, so speed is taken over minutes.
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("preparing", total=None)

        def update(done: int, total: int, running: str) -> None:
            bar.update(task, completed=done, total=total, description=running)

        yield update


def _plain_lines() -> Progress:
    started, said_at, done_before = time.monotonic(), [0.0], [-1]

    def update(done: int, total: int, running: str) -> None:
        if done_before[0] < 0:
            done_before[0] = done
        now = time.monotonic()
        if now - said_at[0] < _PLAIN_LINE_SECONDS and done < total:
            return
        said_at[0] = now
        fresh = done - done_before[0]
        left = f", about {(now - started) / fresh * (total - done):.0f} s left" if fresh else ""
        say(f"trained {done:,} of {total:,} steps{left if done < total else ''}"
            f"{f' ({running})' if running else ''}")  # fmt: skip

    return update
