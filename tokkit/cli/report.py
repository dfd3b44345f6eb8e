"""`tokkit report`: a page from the results of runs."""

from __future__ import annotations

from pathlib import Path

import click

from tokkit.cli.common import json_option, print_json, say, verbosity_options
from tokkit.results import RESULT_FILE

_SEVERAL_RUNS_FOLDER = Path("reports")


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the page. [default: RUN/report; reports/ for several runs]",
)
@json_option
@verbosity_options
def report(
    runs: tuple[Path, ...], out: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Make a page from the results of runs: index.html, report.md and figures/.

    RUN is the folder of a finished run, or its result.json. The page is one file that needs no
    network; its path is printed.
    """
    from tokkit.files import ensure_folder
    from tokkit.report.page import MARKDOWN, PAGE, render_report, save_report
    from tokkit.results import read_result

    results = [read_result(run) for run in runs]
    folder = out or _default_folder(runs)
    ensure_folder(folder)
    if verbose:
        say(f"read {len(results)} result(s); drawing to {folder}", quiet=quiet)
    paths = save_report(render_report(results), folder)
    figures = [str(path) for path in paths if path.suffix in (".svg", ".png")]
    if as_json:
        page, markdown = str(folder / PAGE), str(folder / MARKDOWN)
        print_json({"page": page, "markdown": markdown, "figures": figures})
        return
    if verbose:
        say(f"wrote {len(figures)} figure files and {folder / MARKDOWN}", quiet=quiet)
    click.echo(str(folder / PAGE))


def _default_folder(runs: tuple[Path, ...]) -> Path:
    if len(runs) > 1:
        return _SEVERAL_RUNS_FOLDER
    run = runs[0]
    return (run.parent if run.name == RESULT_FILE or run.is_file() else run) / "report"
