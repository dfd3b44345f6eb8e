"""How far a command is: a live bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from tokkit.cli.common import say

Update = Callable[[str, str, int, "int | None"], None]
"""Called with what is being done, its unit, how much is done, and how much there is, if known."""

_PLAIN_LINE_SECONDS = 10.0


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Update]:
    """Yield an `Update` that tells of progress on stderr; one that says nothing if `quiet`."""
    if quiet:
        yield lambda stage, unit, done, total: None
    elif sys.stderr.isatty():
        with _bar() as update:
            yield update
    else:
        yield _plain_lines()


@contextlib.contextmanager
def _bar() -> Iterator[Update]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        stage_now = [""]

        def update(stage: str, unit: str, done: int, total: int | None) -> None:
            if stage != stage_now[0]:
                stage_now[0] = stage
                bar.reset(task, description=f"{stage} ({unit})", total=total)
            bar.update(task, completed=done, total=total)

        yield update


def _plain_lines() -> Update:
    said: list[tuple[str, float]] = []

    def update(stage: str, unit: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if said and said[-1][0] == stage and now - said[-1][1] < _PLAIN_LINE_SECONDS:
            return
        said.append((stage, now))
        say(f"{stage} ({done:,} {f'of {total:,} {unit}' if total else f'{unit} so far'})")

    return update


def say_if_cold(*, quiet: bool) -> None:
    """Tell that kernels are about to be compiled, where this machine has none of them yet."""
    from tokkit.jit import is_cold
    from tokkit.tokenizer import counting_kernels, learning_kernels

    if is_cold(counting_kernels.count_pretokens, learning_kernels.learn_merges):
        say("compiling the kernels: half a minute, the first time only", quiet=quiet)
