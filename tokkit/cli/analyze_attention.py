"""`tokkit analyze attention`: where attention looks, and what it decides."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokkit.cli.common import escape, json_option, print_json, say, seed_option, verbosity_options
from tokkit.cli.texts import documents_of, texts_option

if TYPE_CHECKING:
    from tokkit.results import Result

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="MODEL")
@texts_option
@click.option(
    "--sentence",
    default=None,
    help="The sentence whose patterns are shown. [default: one of subject and verb apart]",
)
@click.option("--layer", type=int, default=None, help="Layer of the head shown large, from 0.")
@click.option("--head", type=int, default=None, help="Head shown large, from 0.")
@click.option(
    "--tokens",
    type=click.IntRange(8, 1 << 24),
    default=None,
    help="Read at most about as many of the text. [default: 4,096 to 32,768, fewer of a larger "
    "model]",
)
@click.option("--out", type=_PATH, default=None, help="Folder for result.json, figures and a page.")
@seed_option
@json_option
@verbosity_options
def attention(
    source: str,
    texts: tuple[str, ...],
    sentence: str | None,
    layer: int | None,
    head: int | None,
    tokens: int | None,
    out: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure where attention looks, what it may not see, and what of it the answers need.

    The patterns of every head on a sentence, with the numbers behind one weight; entropy,
    distance, sink and previous token of each head over the text; the causal mask, exactly, with a
    control that must fail; heads that copy what was seen before, and what is lost without them;
    and whether the weights say what decides the number of a verb.

    MODEL is as in `tokkit analyze --help`.
    """
    from tokkit.analysis.attention.run import analyze_attention
    from tokkit.cli.progress import progress
    from tokkit.probes.models import open_model

    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    with progress(quiet=quiet) as update:
        update("opening", "models", 0, 1)
        opened = open_model(source)
        result = analyze_attention(
            opened.model,
            opened.tokenizer,
            documents_of(texts),
            seed=seed,
            about=opened.about,
            name=Path(source).name if opened.name == "model" else opened.name,
            start_ids=opened.start_ids,
            sentence=sentence,
            layer=layer,
            head=head,
            tokens=tokens or 0,
            inputs={"tokenizer": opened.tokenizer.digest},
            told=update,
        )
    if out is not None:
        from tokkit.report.outputs import save_outputs

        paths = save_outputs(result, out, "attention")
        if verbose:
            for path in paths:
                say(f"wrote {escape(str(path))}", quiet=quiet)
        say(f"page: {escape(str(paths[-1]))}", quiet=quiet)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _print(result: Result) -> None:
    """The main numbers, and the verdicts."""
    from tokkit.cli.tokenizer_audit import print_table
    from tokkit.report import attention as page

    headings, lines = page.main_numbers(result)
    print_table(headings, lines)
    for claim in result.claims:
        click.echo(f"{claim.id}: {claim.verdict}")
