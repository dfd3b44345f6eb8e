"""`tokkit experiment ladder`: from the transformer of 2017 to that of today."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import jobs_option, json_option, print_json, say, verbosity_options
from tokkit.cli.experiment_progress import training_progress

if TYPE_CHECKING:
    from tokkit.results import Result

_NAME_WIDTH, _CELL_WIDTH = 26, 10
# Column of the tables by rung, heading, decimals.
_COLUMNS = (
    ("bits_per_byte", "bits/byte", 3),
    ("active_parameters", "active", 0),
    ("rate", "rate", 4),
    ("largest", "largest", 3),
    ("speed", "speed", 2),
)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the run; made if missing.",
)
@click.option(
    "--quick", "size", flag_value="quick", default=True, help="Every rung, 1 seed (the default)."
)
@click.option("--full", "size", flag_value="full", help="Every rung, 8 seeds.")
@click.option("--seeds", type=click.IntRange(1, 999), help="Another number of seeds.")
@jobs_option
@json_option
@verbosity_options
def ladder(
    out: Path,
    size: str,
    seeds: int | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Climb from the transformer of 2017 to that of today, one step at a time and each alone.

    Pre-norm, RMSNorm, rotary positions, SwiGLU, grouped queries, a mixture of experts: at equal
    parameters and tokens, each model at its own best learning rate. Writes result.json with bits
    per byte, speed, memory and the largest learning rate that trains. A run that was stopped goes
    on where it was when the same command is given again.
    """
    from tokkit.experiments.ladder import profile, run_ladder

    with training_progress(quiet=quiet) as progress:
        result = run_ladder(profile(size, seeds=seeds), out, jobs=jobs, progress=progress)
    if as_json:
        print_json(asdict(result))
    else:
        print_summary(result)
        say(f"for a page of it: tokkit report {out}", quiet=quiet)


def print_summary(result: Result) -> None:
    """Print a line a rung, a line a step, and the verdict, to stdout."""
    tables = {name: table.records() for name, table in result.tables.items()}
    stable = {row["rung"]: row for row in tables["stability"]}
    costs = {row["rung"]: row for row in tables["costs"]}
    click.echo(f"{'':{_NAME_WIDTH}}" + "".join(f"{h:>{_CELL_WIDTH}}" for _, h, _ in _COLUMNS))
    for row in tables["rungs"]:
        every = costs[row["rung"]] | stable[row["rung"]] | row
        cells = "".join(f"{_cell(every[name], n):>{_CELL_WIDTH}}" for name, _, n in _COLUMNS)
        click.echo(f"{row['label']:{_NAME_WIDTH}}{cells}")
    for name, how in (("chain_steps", "on the chain"), ("alone_steps", "alone")):
        for row in tables[name]:
            click.echo(f"{row['step']} {how}: {_difference(row)}, {row['outcome']}")
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
        for control in claim.controls:
            if not control.holds:
                click.echo(
                    f"  control failed: {control.name} is {_cell(control.value, 3)}, "
                    f"needs {control.minimum}"
                )


def _difference(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return "no seed to compare"
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] bits per byte"


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"
