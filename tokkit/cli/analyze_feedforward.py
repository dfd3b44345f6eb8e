"""`tokkit analyze feedforward`: what the units answer to and write, and who is routed where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.cli.texts import documents_of, texts_option

if TYPE_CHECKING:
    from tokkit.analysis.feedforward.run import FeedforwardAnalysis
    from tokkit.cli.progress import Update
    from tokkit.probes.models import OpenModel
    from tokkit.results import Result

UNITS_FILE = "units.npz"
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="MODEL")
@texts_option
@click.option(
    "--tokens",
    type=click.IntRange(8, 1 << 24),
    default=None,
    help="Read at most about as many. [default: 4,096 to 65,536, fewer of a larger model]",
)
@click.option("--layer", type=int, default=None, help="Show units of this layer only, from 0.")
@click.option("--unit", type=int, default=None, help="Show this unit of the layer too, from 0.")
@click.option("--out", type=_PATH, default=None, help="Folder for result.json, figures and a page.")
@seed_option
@json_option
@verbosity_options
def feedforward(
    source: str,
    texts: tuple[str, ...],
    tokens: int | None,
    layer: int | None,
    unit: int | None,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure what the feed-forward layers hold.

    Their share of the parameters; the texts that excite each unit and the words that it writes;
    units that answer to categories of words, tested and then set by hand to see what that does;
    of a mixture of experts, where tokens are routed.

    MODEL is as in `tokkit analyze --help`. A model of the generated world reads that world's text
    and is asked for its categories. The page shows some units; every unit is in units.npz.
    """
    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    from tokkit.cli.progress import progress

    with progress(quiet=quiet) as update:
        analysis = _of_model(source, texts, tokens or 0, (layer, unit), seed, update)
    result = analysis.result
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "feedforward")
        if analysis.units:
            _write_units(out / UNITS_FILE, analysis.units)
            paths = [out / UNITS_FILE, *paths]
        if verbose:
            for path in paths:
                say(f"wrote {escape(str(path))}", quiet=quiet)
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _of_model(
    source: str, texts: tuple[str, ...], tokens: int, shown: tuple[int | None, int | None],
    seed: int, update: Update,
) -> FeedforwardAnalysis:  # fmt: skip
    from tokkit.analysis.feedforward.run import analyze_feedforward
    from tokkit.probes.models import open_model

    update("opening", "models", 0, 1)
    opened = open_model(source)
    name = Path(source).name if opened.name == "model" else opened.name
    documents, text_name = _documents(opened, texts)
    return analyze_feedforward(
        opened.model,
        opened.tokenizer,
        documents,
        seed=seed,
        about=opened.about,
        name=name,
        start_ids=opened.start_ids,
        tokens=tokens,
        layer=shown[0],
        unit=shown[1],
        inputs={"tokenizer": opened.tokenizer.digest},
        text_name=text_name,
        told=update,
    )


def _documents(opened: OpenModel, texts: tuple[str, ...]) -> tuple[Iterator[str], str]:
    """The texts that were given, else the world that the model learned, else English."""
    if texts:
        return documents_of(texts), "files"
    from tokkit.analysis.world import world_of

    world = world_of(opened.about)
    if world is None:
        return documents_of(()), "built-in English"
    from tokkit.corpus.world import world_documents

    return (document.text for document in world_documents(world)), "the generated world"


def _write_units(path: Path, units: Any) -> None:
    import numpy as np

    from tokkit.files import atomic_file

    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **units)


def _print(result: Result) -> None:
    """The main numbers, and the verdicts."""
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report import feedforward as page

    headings, lines = page.main_numbers(result)
    print_table(headings, lines)
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
