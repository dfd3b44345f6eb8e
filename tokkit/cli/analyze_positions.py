"""`tokkit analyze positions`: how order comes into a model, and what is made of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.cli.texts import documents_of, texts_option

if TYPE_CHECKING:
    from tokkit.cli.progress import Update
    from tokkit.results import Result

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="MODEL|PRESET")
@texts_option
@click.option(
    "--tokens",
    type=click.IntRange(8, 1 << 24),
    default=None,
    help="Read at most about as many. [default: 4,096 to 49,152, fewer of a larger model]",
)
@click.option("--out", type=_PATH, default=None, help="Folder for result.json, figures and a page.")
@seed_option
@json_option
@verbosity_options
def positions(
    source: str,
    texts: tuple[str, ...],
    tokens: int | None,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure how order comes into a model, and what the model does with it.

    What is added or rotated (wavelengths, tables, slopes); what is exact about it, each check
    with a control that must fail; and behaviour on text: loss by position, loss on shuffled text,
    how far each head looks, which rotary frequencies the heads use.

    MODEL is as in `tokkit analyze --help`. The name of a PRESET of `tokkit model info` has no
    weights: it is shown what is added or rotated, and what is exact.
    """
    from tokkit.model.presets import PRESETS

    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    if source in PRESETS:
        from tokkit.analysis.positions.run import analyze_scheme

        result = analyze_scheme(PRESETS[source].config, seed=seed, name=source)
    else:
        from tokkit.cli.progress import progress

        with progress(quiet=quiet) as update:
            result = _of_model(source, texts, tokens, seed, update)
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "positions")
        if verbose:
            for path in paths:
                say(f"wrote {escape(str(path))}", quiet=quiet)
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _of_model(
    source: str, texts: tuple[str, ...], tokens: int | None, seed: int, update: Update
) -> Result:
    from tokkit.analysis.positions.run import analyze_positions
    from tokkit.probes.models import open_model

    update("opening", "models", 0, 1)
    opened = open_model(source)
    name = Path(source).name if opened.name == "model" else opened.name
    return analyze_positions(
        opened.model,
        opened.tokenizer,
        documents_of(texts),
        seed=seed,
        about=opened.about,
        name=name,
        start_ids=opened.start_ids,
        tokens=tokens or 0,
        inputs={"tokenizer": opened.tokenizer.digest},
        told=update,
    )


def _print(result: Result) -> None:
    """The main numbers, and the verdicts."""
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report import positions as page

    headings, lines = page.main_numbers(result)
    print_table(headings, lines)
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
