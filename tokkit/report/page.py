"""A page from result records: index.html in one file, report.md, and the figures of both.

The page computes nothing that the record does not hold, except shares and ranges for its
sentences. All text from a record is data: HTML and Markdown are escaped where they are printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.files import atomic_file, ensure_folder
from tokkit.report import (
    attention,
    claims,
    comparison,
    editing,
    editing_study,
    embeddings,
    feedforward,
    formatting,
    generic,
    heads,
    ladder,
    models,
    position_schemes,
    positions,
    spelling_arms,
    strawberry,
    sweep,
    tokenizers,
    training,
)
from tokkit.report.blocks import Run
from tokkit.results import Result, read_result

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "index.html"
MARKDOWN = "report.md"
FIGURES = "figures"
_BUILDERS: dict[str, Callable[[Result, str], Run]] = {
    page.KIND: page.build
    for page in (
        *(strawberry, tokenizers, comparison, sweep, training, models),
        *(embeddings, spelling_arms, positions, position_schemes),
        *(attention, heads, feedforward, editing, editing_study, ladder, claims),
    )
}


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write the page of `runs` (run folders or result.json files) to the folder `out`.

    Makes out/index.html (self-contained), out/report.md and out/figures/*.svg and *.png; each
    file appears whole, the page last, and only after all could be made. Other files in `out` are
    left alone. Returns the path of index.html. Raises ArtifactError for a run that cannot be
    read and OutputError for a place that cannot be written.
    """
    results = [read_result(run) for run in runs]
    ensure_folder(out)
    save_report(render_report(results), out)
    return out / PAGE


def save_report(files: Mapping[str, bytes], out: Path) -> list[Path]:
    """Write rendered files below `out`, in their order; return their paths."""
    paths = []
    for name, content in files.items():
        path = out / name
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        paths.append(path)
    return paths


def render_report(results: Sequence[Result]) -> dict[str, bytes]:
    """The content of every file of the page of `results`, by path, index.html last.

    The same results give the same bytes.
    """
    runs = [_build(result, place, len(results)) for place, result in enumerate(results, start=1)]
    files: dict[str, bytes] = {}
    for run in runs:
        for figure in run.figures():
            files[f"{FIGURES}/{figure.name}.svg"] = figure.svg_file
            files[f"{FIGURES}/{figure.name}.png"] = figure.png
    context: dict[str, Any] = {
        "runs": runs,
        "title": formatting.listing([run.title for run in runs]),
        "figures": FIGURES,
    }
    files[MARKDOWN] = _render(_markdown_environment(), "report.md.j2", context)
    files[PAGE] = _render(_html_environment(), "index.html.j2", context)
    return files


def _build(result: Result, place: int, total: int) -> Run:
    kind = result.kind.rpartition(".")[2] if result.kind in _BUILDERS else "run"
    run_id = kind if total == 1 else f"{kind}-{place}"
    return _BUILDERS.get(result.kind, generic.build)(result, run_id)


def _render(environment: Environment, template: str, context: Mapping[str, Any]) -> bytes:
    return environment.get_template(template).render(context).encode("utf-8")


def _html_environment() -> Environment:
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Markup):
            return formatting.visible(value, limit=formatting.MAX_TEXT_CHARACTERS)
        return value

    return _environment(finalize, autoescape=True)


def _markdown_environment() -> Environment:
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Markup):
            return Markup(formatting.markdown(value))
        return value

    # Autoescape keeps macro output marked as safe, so that nothing is escaped twice.
    return _environment(finalize, autoescape=True)


def _environment(finalize: Any, *, autoescape: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tokkit.report"),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
