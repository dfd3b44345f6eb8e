"""What a training shows while it runs: plain lines, or a bar with the loss curve on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.cli.common import say

if TYPE_CHECKING:
    from tokkit.training.loop import Line

_SECONDS_BETWEEN_FIGURES = 5.0
_SECONDS_BETWEEN_CURVES = 0.5


def draw_curve(out: Path) -> None:
    """Draw the lines of metrics so far to loss.svg and loss.png in the run's folder."""
    from tokkit.files import atomic_file
    from tokkit.report.training import loss_figure
    from tokkit.training.loop import read_metrics

    lines = read_metrics(out / "training")
    evaluated = [
        {"step": line["step"], "loss": line["evaluation"]["loss"]}
        for line in lines
        if line.get("evaluation")
    ]
    figure = loss_figure("loss", lines, evaluated)
    if figure is not None:
        for name, content in (("loss.svg", figure.svg_file), ("loss.png", figure.png)):
            with atomic_file(out / name) as temporary:
                temporary.write_bytes(content)


class Shown:
    """What a run says of itself: in plain lines, or on a live display."""

    def __init__(self, out: Path, steps: int) -> None:
        self.out, self.steps = out, steps
        self.drawn_at = 0.0

    def told(self, stage: str, unit: str, done: int, total: int | None) -> None:
        """A stage before training goes on."""

    def step(self, step: int, loss: float) -> None:
        """A step is done."""

    def line(self, line: Line) -> None:
        """A line of metrics is written; the figure is drawn anew, but not all the time."""
        if "evaluation" in line and time.monotonic() - self.drawn_at > _SECONDS_BETWEEN_FIGURES:
            draw_curve(self.out)
            self.drawn_at = time.monotonic()


class _Plain(Shown):
    """A line on stderr for each line of metrics."""

    def __init__(self, out: Path, steps: int, told: Callable[..., None]) -> None:
        super().__init__(out, steps)
        self.told = told  # type: ignore[method-assign]

    def line(self, line: Line) -> None:
        """Say what the line says."""
        say(_as_words(line, self.steps))
        super().line(line)


class _Live(Shown):
    """A bar, the curve so far and the last evaluation, redrawn in place."""

    def __init__(self, out: Path, steps: int, display: Any, bar: Any, *, dots: bool) -> None:
        from tokkit.training.loop import read_metrics

        super().__init__(out, steps)
        self.display, self.bar, self.dots = display, bar, dots
        self.task = bar.add_task("starting", total=None)
        self.stage = ""
        self.points = [(line["step"], line["loss"]) for line in read_metrics(out / "training")]
        self.last = ""
        self.redrawn_at = 0.0

    def told(self, stage: str, unit: str, done: int, total: int | None) -> None:
        """Show how far a stage is."""
        if stage != self.stage:
            self.stage = stage
            self.bar.reset(self.task, description=f"{stage} ({unit})", total=total)
        self.bar.update(self.task, completed=done, total=total)

    def step(self, step: int, loss: float) -> None:
        """Move the bar, and the curve."""
        if self.points and self.points[-1][0] >= step:  # to be done again, after a kill
            self.points = [point for point in self.points if point[0] < step]
        self.points.append((step, loss))
        self.told("training", "steps", step, self.steps)
        if time.monotonic() - self.redrawn_at > _SECONDS_BETWEEN_CURVES:
            self.redraw()

    def line(self, line: Line) -> None:
        """Keep the last evaluation in sight."""
        if line.get("evaluation"):
            self.last = _as_words(line, self.steps)
        self.redraw()
        super().line(line)

    def redraw(self) -> None:
        """Draw the curve under the bar."""
        from rich.console import Group
        from rich.text import Text

        from tokkit.cli.loss_curve import text_curve

        curve = text_curve(self.points, last_step=self.steps, dots=self.dots)
        self.display.update(Group(self.bar, Text(curve), Text(self.last)))
        self.redrawn_at = time.monotonic()


def _as_words(line: Line, steps: int) -> str:
    said = f"step {line['step']:,} of {steps:,}: loss {line['loss']:.4f}"
    if line.get("evaluation"):
        found = line["evaluation"]
        said += f", validation {found['loss']:.4f}, {found['bits_per_byte']:.4f} bits per byte"
    return said


@contextlib.contextmanager
def shown(out: Path, steps: int, *, quiet: bool) -> Iterator[Shown]:
    """What shows a run: nothing if `quiet`, lines on stderr, or a live display on a terminal."""
    from tokkit.cli.progress import progress

    if quiet:
        yield Shown(out, steps)
    elif not sys.stderr.isatty():
        with progress(quiet=False) as told:
            yield _Plain(out, steps, told)
    else:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
        bar = Progress(*columns)
        dots = "utf" in (sys.stderr.encoding or "").lower()  # asked before Live takes its place
        with Live(bar, console=Console(stderr=True), transient=True) as display:
            yield _Live(out, steps, display, bar, dots=dots)
