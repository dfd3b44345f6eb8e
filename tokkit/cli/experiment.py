"""`tokkit experiment`: train models side by side and test a claim."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import jobs_option, json_option, print_json, say, verbosity_options

if TYPE_CHECKING:
    from tokkit.results import Result

Progress = Callable[[int, int, str], None]
_PLAIN_LINE_SECONDS = 15.0


@click.group()
def experiment() -> None:
    """Train models side by side and test a claim."""


@experiment.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the run; made if missing.",
)
@click.option(
    "--quick", "size", flag_value="quick", default=True, help="Every arm, 1 seed (the default)."
)
@click.option("--full", "size", flag_value="full", help="Every arm, 6 seeds.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Another number of seeds.")
@jobs_option
@json_option
@verbosity_options
def strawberry(
    out: Path,
    size: str,
    seeds: int | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Ask whether the failure to count letters is caused by tokenization.

    Trains five arms of one transformer that differ only in what they are shown of a word, asks
    all of them the same questions, and writes result.json. A run that was stopped goes on where
    it was when the same command is given again.
    """
    from tokkit.experiments.strawberry import profile, run_strawberry

    with training_progress(quiet=quiet) as progress:
        result = run_strawberry(profile(size, seeds=seeds), out, jobs=jobs, progress=progress)
    if as_json:
        print_json(asdict(result))
    else:
        print_summary(result)
        say(f"for a page of it: tokkit report {out}", quiet=quiet)


def print_summary(result: Result) -> None:
    """Print the accuracies of the arms as a small table, and the verdict, to stdout."""
    accuracy = {
        (row["arm"], row["measure"]): row["accuracy"] for row in result.tables["accuracy"].records()
    }
    measures = list(dict.fromkeys(measure for _, measure in accuracy))
    click.echo(f"{'accuracy':10}" + "".join(f"{measure:>11}" for measure in measures))
    for arm in dict.fromkeys(arm for arm, _ in accuracy):
        cells = "".join(f"{accuracy[arm, measure]:11.3f}" for measure in measures)
        click.echo(f"{arm:10}{cells}")
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
        for control in claim.controls:
            if not control.holds:
                click.echo(
                    f"  control failed: {control.name} is {control.value}, needs {control.minimum}"
                )


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
