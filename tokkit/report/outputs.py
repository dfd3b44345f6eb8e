"""The files of one result in its folder: result.json, a CSV, Markdown, the page and its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokkit.files import write_text
from tokkit.report.page import MARKDOWN, render_report, save_report
from tokkit.results import RESULT_FILE, Result, write_result


def save_outputs(result: Result, out: Path, stem: str, csv: str | None = None) -> list[Path]:
    """Write a result and all that is made of it to the folder `out`; return the paths.

    Files are `stem`.md, `stem`.csv where `csv` is given, result.json, figures/ and index.html,
    the page last. Everything is made before anything is written, and each file appears whole.
    Raises OutputError for a place that cannot be written.
    """
    files = render_report([result])
    drawn = tuple(sorted(name for name in files if name.endswith(".svg")))
    files = {f"{stem}.md" if name == MARKDOWN else name: data for name, data in files.items()}
    paths = [write_result(replace(result, figures=drawn), out)]
    if csv is not None:
        paths.append(out / f"{stem}.csv")
        write_text(paths[-1], csv)
    assert paths[0].name == RESULT_FILE
    return paths + save_report(files, out)
