"""`tokkit tokenizer compare`: two tokenizers side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import (
    escape,
    is_terminal,
    jobs_option,
    json_option,
    print_json,
    say,
    seed_option,
    verbosity_options,
)
from tokkit.cli.progress import progress, say_if_cold
from tokkit.cli.tokenizer_audit import (
    corpus_options,
    counted_table,
    counts_from_text,
    load_named,
    print_table,
    reading_of,
    with_corpus,
)

if TYPE_CHECKING:
    from tokkit.results import Result

_PATH = click.Path(path_type=Path)
# Of the sixteen that every terminal has, those that black text is readable on, in turn.
_CHIP_COLOURS = ("cyan", "yellow", "green", "magenta", "white")
_WORDS_SHOWN = 20
_SPACE = "\N{OPEN BOX}"


@click.command()
@click.argument("first", metavar="A", type=_PATH)
@click.argument("second", metavar="B", type=_PATH)
@corpus_options
@click.option("--text", help="A text to show side by side.")
@click.option("--out", type=_PATH, default=None, help="Folder for result.json and a page.")
@seed_option
@jobs_option
@json_option
@verbosity_options
def compare(
    first: Path,
    second: Path,
    on: tuple[str, ...],
    table: Path | None,
    text: str | None,
    out: Path | None,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Compare tokenizer B with A: their vocabularies and, on a corpus, how they cut its words.

    A and B are as in `tokkit tokenizer audit`.
    """
    from tokkit.tokenizer.compare import compare as measure

    loaded = load_named((first, second))
    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    with progress(quiet=quiet) as update:
        counted = counts = None
        if on or table is not None:
            say_if_cold(quiet=quiet)
            counted = counted_table(on, table, options, jobs, update)
            counts = counts_from_text(loaded, counted, on, reading_of(options), update)
        update("comparing", "tokenizers", 0, 2)
        result = measure(
            loaded,
            counted,
            text=text,
            counted=counts,
            seed=options["seed"],
            resamples=options["resamples"],
        )
    if counted is not None:
        result = with_corpus(result, counted)
    if out is not None:
        _save(result, out, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(asdict(result))
    else:
        _print(result)


def _save(result: Result, out: Path, *, quiet: bool, verbose: bool) -> None:
    from tokkit.report.outputs import save_outputs

    paths = save_outputs(result, out, "compare")
    if verbose:
        for path in paths:
            say(f"wrote {escape(str(path))}", quiet=quiet)
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)


def _print(result: Result) -> None:
    from tokkit.report import comparison

    if is_terminal():
        for sentence in comparison.sentences(result):
            click.echo(escape(sentence))
        _print_chips(result.values["text"], "")
        for word in result.values["words"]:
            times = f"{word['occurrences']:,} times"
            _print_chips({"tokens": word["tokens"]}, f"{_visible(word['word'])}, {times}")
        return
    print_table(*comparison.main_numbers(result))
    for headings, lines in _plain_parts(result):
        click.echo()
        print_table(headings, lines)


def _plain_parts(result: Result) -> list[tuple[Sequence[str], list[list[str]]]]:
    """The words and the text as rows, each part with its headings."""
    parts: list[tuple[Sequence[str], list[list[str]]]] = []
    words = result.tables.get("words")
    if words is not None and words.rows:
        names = [column.name for column in words.columns]
        parts.append(
            (names, [[_visible(str(v)) for v in row] for row in words.rows[:_WORDS_SHOWN]])
        )
    text = result.values["text"]
    if text is not None:
        lines = [
            [name, str(place), str(token["id"]), _visible(token["text"]), token["bytes"]]
            for name, tokens in text["tokens"].items()
            for place, token in enumerate(tokens)
        ]
        parts.append((("tokenizer", "position", "id", "text", "bytes"), lines))
    return parts


def _visible(text: str) -> str:
    """Foreign text, escaped, with spaces that can be seen."""
    return escape(text).replace(" ", _SPACE)


def _print_chips(shown: Mapping[str, Any] | None, title: str) -> None:
    """The tokens of both, one line each, coloured in turn."""
    if not shown:
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(title))
    width = max(len(escape(name)) for name in shown["tokens"])
    for name, tokens in shown["tokens"].items():
        chips = [
            Text(_visible(token["text"]), f"black on {_CHIP_COLOURS[place % len(_CHIP_COLOURS)]}")
            for place, token in enumerate(tokens)
        ]
        number = "1 token" if len(tokens) == 1 else f"{len(tokens):,} tokens"
        console.print(Text.assemble(f"{escape(name):{width}}  ", *chips, f"  {number}"))
