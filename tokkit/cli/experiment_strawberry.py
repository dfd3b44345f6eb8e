"""`tokkit experiment strawberry`: whether tokenization causes the failure to count letters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import jobs_option, json_option, print_json, say, verbosity_options
from tokkit.cli.experiment_progress import training_progress

if TYPE_CHECKING:
    from tokkit.results import Result


@click.command()
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
