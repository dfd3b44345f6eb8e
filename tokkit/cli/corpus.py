"""`tokkit corpus`: make the built-in text sources."""

from __future__ import annotations

from pathlib import Path

import click

from tokkit.cli.common import Choice, escape, json_option, print_json, say, verbosity_options
from tokkit.corpus.sources import SOURCES, make_source


@click.group()
def corpus() -> None:
    """Make the built-in text sources."""


@corpus.command()
@click.argument("source", metavar="SOURCE", type=Choice(SOURCES))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .txt or .jsonl; for words .tsv or .txt.",
)
@json_option
@verbosity_options
def make(source: str, out: Path, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Write a built-in SOURCE (english, code or words) to a file, with its record beside it."""
    record = make_source(source, out)
    if as_json:
        print_json(record)
        return
    if verbose:
        say(f"skipped folders: {', '.join(record.get('skipped_folders', [])) or 'none'}")
    if not quiet:
        click.echo(
            f"{escape(str(out))}: {record['documents']:,} documents, {record['bytes']:,} bytes, "
            f"sha256 {record['file_sha256']}"
        )
