"""`tokkit experiment heads`: what attention heads are, and how few will do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, jobs_option, json_option, print_json, say, verbosity_options
from tokkit.cli.experiment_progress import training_progress

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer
    from tokkit.results import Result

_NAME_WIDTH = 14


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the run; made if missing.",
)
@click.option(
    "--quick", "size", flag_value="quick", default=True, help="Every arm, 2 seeds (the default)."
)
@click.option("--full", "size", flag_value="full", help="Every arm, 6 seeds, longer training.")
@click.option("--seeds", type=click.IntRange(1, 1000), help="Another number of seeds.")
@click.option(
    "--model",
    "sources",
    metavar="MODEL",
    multiple=True,
    help="Read the heads of this trained model too; may be given again.",
)
@jobs_option
@json_option
@verbosity_options
def heads(
    out: Path,
    size: str,
    seeds: int | None,
    sources: tuple[str, ...],
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Ask what attention heads are, how many are needed, and how few keys and values will do.

    Trains models of 8 heads alike: free, forced to be slices of the vector, sparse at random
    places, and with 8, 4, 2 and 1 key-value heads. Reads what heads read, in two bases; takes
    heads out one by one; compares what they give; weighs bits per byte against bytes of a cache;
    and writes result.json. A run that was stopped goes on where it was when the same command is
    given again.

    Each MODEL is as in `tokkit analyze --help`: its weights are read beside those trained here.
    """
    from tokkit.experiments.heads import profile, run_heads

    models = _opened(sources)
    with training_progress(quiet=quiet) as progress:
        result = run_heads(
            profile(size, seeds=seeds), out, models=models, jobs=jobs, progress=progress
        )
    if as_json:
        print_json(asdict(result))
    else:
        print_summary(result)
        say(f"for a page of it: tokkit report {escape(str(out))}", quiet=quiet)


def _opened(sources: tuple[str, ...]) -> dict[str, Transformer]:
    """The models by name; of two of one name, the second goes by its source."""
    if not sources:
        return {}
    from tokkit.probes.models import open_model

    found: dict[str, Transformer] = {}
    for source in dict.fromkeys(sources):
        opened = open_model(source)
        name = Path(source).name if opened.name == "model" else opened.name
        found[source if name in found else name] = opened.model
    return found


def print_summary(result: Result) -> None:
    """Print bits per byte, costs and cache bytes, and the verdicts, to stdout."""
    click.echo(f"{'bits per byte':{_NAME_WIDTH}}")
    for row in result.tables["arms"].records():
        click.echo(f"{row['arm']:{_NAME_WIDTH}}{_estimate(row, 'bits_per_byte', 'low', 'high')}")
    click.echo("costs (bits per byte)")
    for row in result.tables["costs"].records():
        told = _estimate(row, "difference", "low", "high")
        click.echo(f"{row['first']} minus {row['second']}: {told}")
    click.echo("key-value heads, bytes held, cost (bits per byte)")
    for row in result.tables["cache"].records():
        told = _estimate(row, "cost", "cost_low", "cost_high")
        click.echo(
            f"{row['arm']:{_NAME_WIDTH}}{row['key_value_heads']}  {row['cache_bytes']}  {told}"
        )
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
        for control in claim.controls:
            if not control.holds:
                value = "-" if control.value is None else f"{control.value:.3f}"
                click.echo(f"  control failed: {control.name} is {value}, needs {control.minimum}")


def _estimate(row: dict[str, float | None], value: str, low: str, high: str) -> str:
    numbers = [row[name] for name in (value, low, high)]
    if None in numbers:
        return "-"
    middle, below, above = (f"{number:.3f}" for number in numbers)
    return f"{middle} ({below} to {above})"
