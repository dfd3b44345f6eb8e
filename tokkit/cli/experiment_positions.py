"""`tokkit experiment positions`: the ways of adding order, trained alike and asked beyond."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import jobs_option, json_option, print_json, say, verbosity_options
from tokkit.cli.experiment_progress import training_progress

if TYPE_CHECKING:
    from tokkit.results import Result

_NAME_WIDTH, _CELL_WIDTH = 18, 9


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the run; made if missing.",
)
@click.option(
    "--quick", "size", flag_value="quick", default=True, help="Every scheme, 1 seed (the default)."
)
@click.option("--full", "size", flag_value="full", help="Every scheme, 8 seeds.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Another number of seeds.")
@jobs_option
@json_option
@verbosity_options
def positions(
    out: Path,
    size: str,
    seeds: int | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Ask how a transformer knows order, and what it makes of more than it was trained on.

    Trains models without positions and with learned, sinusoidal, rotary and ALiBi ones alike, on
    text and on questions about lists; asks them at 1, 1.5, 2 and 4 times the trained length, the
    rotary ones with their angles scaled too; and writes result.json. A run that was stopped goes
    on where it was when the same command is given again.
    """
    from tokkit.experiments.positions import profile, run_positions

    with training_progress(quiet=quiet) as progress:
        result = run_positions(profile(size, seeds=seeds), out, jobs=jobs, progress=progress)
    if as_json:
        print_json(asdict(result))
    else:
        print_summary(result)
        say(f"for a page of it: tokkit report {out}", quiet=quiet)


def print_summary(result: Result) -> None:
    """Print bits per byte and accuracies by length, and the verdicts, to stdout."""
    text = result.tables["text_lengths"].records()
    order = [row for row in result.tables["order"].records() if row["task"] == "all order tasks"]
    _print_lengths("bits per byte", text, "bits_per_byte")
    _print_lengths("order tasks right", order, "accuracy")
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
        for control in claim.controls:
            if not control.holds:
                click.echo(
                    f"  control failed: {control.name} is {control.value:.3f}, "
                    f"needs {control.minimum}"
                )


def _print_lengths(title: str, rows: list[dict[str, Any]], column: str) -> None:
    lengths = sorted({row["length"] for row in rows})
    heads = "".join(f"{f'{length:g} x':>{_CELL_WIDTH}}" for length in lengths)
    click.echo(f"{title:{_NAME_WIDTH}}{heads}")
    for arm in dict.fromkeys(row["arm"] for row in rows):
        found = {row["length"]: row[column] for row in rows if row["arm"] == arm}
        known = {n: "-" if value is None else f"{value:.3f}" for n, value in found.items()}
        cells = "".join(f"{known[length]:>{_CELL_WIDTH}}" for length in lengths)
        click.echo(f"{arm:{_NAME_WIDTH}}{cells}")
