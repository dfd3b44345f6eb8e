"""`tokkit tokenizer`: train a tokenizer; encode, decode and show text."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from tokkit.cli.common import (
    Choice,
    escape,
    is_terminal,
    json_option,
    print_json,
    say,
    verbosity_options,
)
from tokkit.corpus.readers import read_documents
from tokkit.tokenizer.artifact import Piece, Tokenizer
from tokkit.tokenizer.from_files import tokenizer_path, train_from_files, training_path
from tokkit.tokenizer.letters import LETTERS
from tokkit.tokenizer.presets import PRETOKENIZERS
from tokkit.tokenizer.train import SPECIAL_TOKENS, Progress

# Of the sixteen that every terminal has, those that black text is readable on, in turn.
_CHIP_COLOURS = ("cyan", "yellow", "green", "magenta", "white")
_TOKENIZER = click.argument("tokenizer", type=click.Path(path_type=Path))


@click.group()
def tokenizer() -> None:
    """Train a tokenizer; encode, decode and show text.

    TOKENIZER is a tokenizer.json, or a folder that holds one.
    """


@tokenizer.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write; training.json comes to stand beside it.",
)
@click.option(
    "--vocab-size",
    type=int,
    required=True,
    help="Tokens to reach: 256 bytes, special, added, merges.",
)
@click.option(
    "--pretokenizer",
    type=Choice(list(PRETOKENIZERS)),
    default="gpt2",
    show_default=True,
    help="Where text is cut before merging.",
)
@click.option(
    "--special",
    multiple=True,
    default=SPECIAL_TOKENS,
    show_default=True,
    metavar="TEXT",
    help="A special token; may be given again.",
)
@click.option(
    "--added", multiple=True, metavar="TEXT", help="A token for this very text; may be given again."
)
@click.option(
    "--min-frequency",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How often a pair must stand in the text to be merged.",
)
@click.option(
    "--text-field",
    default="text",
    show_default=True,
    metavar="NAME",
    help="Field of JSONL with the text.",
)
@json_option
@verbosity_options
def train(
    files: tuple[Path, ...],
    out: Path,
    vocab_size: int,
    pretokenizer: str,
    special: tuple[str, ...],
    added: tuple[str, ...],
    min_frequency: int,
    text_field: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Learn a byte-pair encoding from text, JSONL or their .gz, and write it as tokenizer.json."""
    with _progress(quiet=quiet) as progress:
        record = train_from_files(
            files,
            out,
            vocab_size=vocab_size,
            pretokenizer=pretokenizer,
            special_tokens=special,
            added_tokens=added,
            min_frequency=min_frequency,
            text_field=text_field,
            progress=progress,
        )
    if record["ran_out_of_pairs"]:
        say(
            f"the vocabulary ends at {record['vocab_size']} of {vocab_size} tokens: no pair stands "
            f"{min_frequency} times or more in the text any longer; for more tokens give more text",
            quiet=quiet,
        )
    if verbose:
        say(f"training record: {escape(str(training_path(tokenizer_path(out))))}", quiet=quiet)
    if as_json:
        print_json(record)
    elif not quiet:
        click.echo(
            f"{escape(str(tokenizer_path(out)))}: {record['vocab_size']:,} tokens from "
            f"{record['documents']:,} documents, {record['bytes']:,} bytes, in "
            f"{record['wall_seconds']:.1f} s"
        )


@tokenizer.command()
@_TOKENIZER
@click.argument("text", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Encode this file instead.")
@click.option(
    "--allow-special", is_flag=True, help="Read text that spells a special token as that token."
)
@json_option
@verbosity_options
def encode(
    tokenizer: Path,
    text: str | None,
    file: Path | None,
    allow_special: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Print the ids of TEXT, or of a file, on one line for each document."""
    if (text is None) == (file is None):
        raise click.UsageError("give either TEXT or --file FILE, and not both")
    loaded = Tokenizer.load(tokenizer)
    texts = (
        [text] if text is not None else [document.text for document in read_documents([file or ""])]
    )
    batch = loaded.encode_batch(texts, allow_special=allow_special)
    if as_json:
        print_json({"documents": [{"ids": ids, "tokens": len(ids)} for ids in batch]})
        return
    for ids in batch:
        click.echo(" ".join(map(str, ids)))


@tokenizer.command()
@_TOKENIZER
@click.argument("ids", metavar="IDS...", nargs=-1, required=True, type=int)
@json_option
@verbosity_options
def decode(
    tokenizer: Path, ids: tuple[int, ...], as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Print the text of IDS: the exact bytes into a pipe or file, escaped on a terminal."""
    loaded = Tokenizer.load(tokenizer)
    data = loaded.decode_bytes(ids)
    if as_json:
        print_json({"text": loaded.decode(ids), "bytes": data.hex()})
    elif is_terminal():
        click.echo(escape(loaded.decode(ids)))
    else:
        sys.stdout.buffer.write(data)


@tokenizer.command()
@_TOKENIZER
@click.argument("text")
@click.option(
    "--allow-special", is_flag=True, help="Read text that spells a special token as that token."
)
@json_option
@verbosity_options
def show(
    tokenizer: Path, text: str, allow_special: bool, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Show the tokens of TEXT: id, text, bytes, and the letters that each one hides."""
    pieces = Tokenizer.load(tokenizer).pieces(text, allow_special=allow_special)
    if as_json:
        print_json({"text": text, "tokens": [_described(*entry) for entry in enumerate(pieces)]})
    elif is_terminal():
        _print_chips(pieces)
    else:
        click.echo("position\tid\ttext\tbytes\tletters")
        for position, piece in enumerate(pieces):
            click.echo("\t".join(_cells(position, piece)))


def _letters_inside(piece: Piece) -> dict[str, int]:
    """Letter to count, in order of the alphabet; empty where the piece is no ordinary token."""
    if piece.kind != "token":
        return {}
    found = piece.bytes.lower()
    return {letter: found.count(letter.encode()) for letter in LETTERS if letter.encode() in found}


def _described(position: int, piece: Piece) -> dict[str, Any]:
    return {
        "position": position,
        "id": piece.id,
        "text": piece.text,
        "bytes": piece.bytes.hex(),
        "kind": piece.kind,
        "letters": _letters_inside(piece),
    }


def _cells(position: int, piece: Piece) -> list[str]:
    letters = " ".join(f"{letter}:{count}" for letter, count in _letters_inside(piece).items())
    return [
        str(position),
        str(piece.id),
        _visible(piece),
        piece.bytes.hex(" "),
        letters if piece.kind == "token" else f"({piece.kind})",
    ]


def _visible(piece: Piece) -> str:
    """The text of a piece, escaped, with spaces that can be seen."""
    return escape(piece.text).replace(" ", "\N{OPEN BOX}")


def _print_chips(pieces: tuple[Piece, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def style(position: int) -> str:
        return f"black on {_CHIP_COLOURS[position % len(_CHIP_COLOURS)]}"

    console = Console()
    chips = [Text(_visible(piece), style(position)) for position, piece in enumerate(pieces)]
    console.print(Text.assemble(*chips))
    table = Table("position", "id", "text", "bytes", "letters")
    for position, piece in enumerate(pieces):
        number, token, visible, *rest = _cells(position, piece)
        cells = [Text(visible, style(position)), *map(Text, rest)]
        table.add_row(number, token, *cells)
    console.print(table)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A callback that tells how far training is: a live line on a terminal, else plain lines."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _live_line() as update:
            yield update
    else:
        yield _plain_lines()


@contextlib.contextmanager
def _live_line() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda progress: bar.update(task, description=_stage(progress))


def _plain_lines() -> Callable[[Progress], None]:
    said_reading: list[bool] = []

    def update(progress: Progress) -> None:
        if not said_reading or said_reading[-1] != progress.reading:
            said_reading.append(progress.reading)
            say(_stage(progress))

    return update


def _stage(progress: Progress) -> str:
    if progress.reading:
        return f"reading text ({progress.texts:,} texts so far)"
    return f"learning merges from {progress.texts:,} texts"
