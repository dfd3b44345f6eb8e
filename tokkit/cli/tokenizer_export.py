"""`tokkit tokenizer export`: write a tokenizer in the format of another library."""

from __future__ import annotations

from pathlib import Path

import click

from tokkit.cli.common import Choice, escape, json_option, print_json, verbosity_options
from tokkit.tokenizer.formats import EXPORT_FORMATS, export_tokenizer, load_tokenizer
from tokkit.tokenizer.presets import PRETOKENIZERS


@click.command()
@click.argument("tokenizer", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "target",
    type=Choice(list(EXPORT_FORMATS)),
    required=True,
    help="Format to write.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write; for vocab-merges a folder.",
)
@click.option(
    "--pretokenizer",
    type=Choice(list(PRETOKENIZERS)),
    help="How TOKENIZER cuts text, where its file does not say: tiktoken ranks, merges.txt.",
)
@json_option
@verbosity_options
def export(
    tokenizer: Path,
    target: str,
    out: Path,
    pretokenizer: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write TOKENIZER in another format, if it gives the same ids there.

    TOKENIZER is a tokenizer.json, a tiktoken rank file, vocab.json with merges.txt beside it, a
    SentencePiece model, or a folder with one of them. A tokenizer that would give other ids in the
    format asked for is refused, with the first reason.
    """
    loaded = load_tokenizer(tokenizer, pretokenizer=pretokenizer)
    paths = export_tokenizer(loaded, target, out)
    if as_json:
        print_json(
            {
                "format": target,
                "files": [str(path) for path in paths],
                "vocab_size": loaded.vocab_size,
                "tokenizer_sha256": loaded.digest,
            }
        )
    elif not quiet:
        for path in paths:
            click.echo(escape(str(path)))
