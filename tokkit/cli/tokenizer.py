"""`tokkit tokenizer`: the group of its commands, and `show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tokkit.cli.common import (
    escape,
    is_terminal,
    json_option,
    print_json,
    verbosity_options,
)
from tokkit.cli.tokenizer_audit import audit
from tokkit.cli.tokenizer_compare import compare
from tokkit.cli.tokenizer_encode import decode, encode
from tokkit.cli.tokenizer_export import export
from tokkit.cli.tokenizer_train import count, train
from tokkit.tokenizer.artifact import Piece
from tokkit.tokenizer.formats import load_tokenizer
from tokkit.tokenizer.letters import LETTERS

# Of the sixteen that every terminal has, those that black text is readable on, in turn.
_CHIP_COLOURS = ("cyan", "yellow", "green", "magenta", "white")
_TOKENIZER = click.argument("tokenizer", type=click.Path(path_type=Path))


@click.group()
def tokenizer() -> None:
    """Train, measure and convert tokenizers; encode, decode and show text.

    TOKENIZER is a tokenizer.json, a folder that holds one, vocab.json beside merges.txt, a tiktoken
    rank file, or a SentencePiece model.
    """


for _command in (train, count, encode, decode, audit, compare, export):
    tokenizer.add_command(_command)


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
    pieces = load_tokenizer(tokenizer).pieces(text, allow_special=allow_special)
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
