"""`tokkit claims`: the fifteen claims, and where each stands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, json_option, print_json, say, verbosity_options

if TYPE_CHECKING:
    from tokkit.results import Result

_DEFAULT_FOLDER = Path("reports")
_ID_WIDTH, _STANDING_WIDTH = 26, 14


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder for result.json and a page of all claims.",
)
@json_option
@verbosity_options
def claims(
    runs: tuple[Path, ...], out: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Gather what results say of the fifteen claims: verdict, evidence, limits, command.

    RUN is a result.json, or a folder with results in it or below. [default: reports] A claim that
    no result judges says so.
    """
    result = gather_claims(runs)
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "claims")
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    for fault in result.values["results_unread"]:
        say(f"left out: {escape(fault)}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        print_claims(result, verbose=verbose)


def gather_claims(runs: tuple[Path, ...]) -> Result:
    """The record of all results in `runs`, files or folders; of reports/ where none is given."""
    from tokkit.experiments.claims import find_results, gather

    if not runs and not _DEFAULT_FOLDER.is_dir():
        return gather([])
    found: list[Path] = []
    for run in runs or (_DEFAULT_FOLDER,):
        found += [run] if run.is_file() else find_results(run)
    return gather(list(dict.fromkeys(found)))


def print_claims(result: Result, *, verbose: bool = False) -> None:
    """A line a claim; with `verbose` also where each result lies and the commands that judge it."""
    rows = result.tables["results"].records()
    for claim in result.tables["claims"].records():
        click.echo(
            f"{claim['id']:{_ID_WIDTH}}{claim['standing']:{_STANDING_WIDTH}}{claim['statement']}"
        )
        if verbose:
            for row in rows:
                if row["id"] == claim["id"]:
                    click.echo(
                        f"    {row['verdict']}: {escape(row['title'])}, {escape(row['source'])}"
                    )
        if verbose or claim["standing"] == "no run":
            for command in claim["commands"].split("; "):
                click.echo(f"    run: {command}")
