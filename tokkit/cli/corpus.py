"""`tokkit corpus`: make the built-in text sources; look at a corpus before training on it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

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
from tokkit.corpus.sources import SOURCES, make_source
from tokkit.errors import ConfigError
from tokkit.tokenizer.presets import PRETOKENIZERS

if TYPE_CHECKING:
    from tokkit.corpus.findings import Finding
    from tokkit.tokenizer.preflight import CorpusCheck

WORLD = "world"
_GROUPS_SHOWN = 20


@click.group()
def corpus() -> None:
    """Make the built-in text sources; look at a corpus before training on it."""


@corpus.command()
@click.argument("source", metavar="SOURCE", type=Choice((*SOURCES, WORLD)))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .txt or .jsonl; for words .tsv or .txt; for world a folder.",
)
@click.option(
    "--seed", type=int, metavar="N", help="For world: seed of everything random. [default: 0]"
)
@click.option(
    "--megabytes",
    type=float,
    metavar="X",
    help="For world: size of the text, 1 to 20. [default: 4]",
)
@json_option
@verbosity_options
def make(
    source: str,
    out: Path,
    seed: int | None,
    megabytes: float | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write a built-in SOURCE (english, code, words or world), with its record beside it.

    world is generated: a small language whose truth (categories, facts, what is held out for
    tests) is written beside its text, as truth.json.
    """
    given = {"seed": seed, "megabytes": megabytes}
    settings = {name: value for name, value in given.items() if value is not None}
    if source == WORLD:
        from tokkit.corpus.world import WorldConfig, make_world

        record = make_world(out, WorldConfig(**settings))  # type: ignore[arg-type]
    elif settings:
        raise ConfigError(
            f"--{next(iter(settings))} goes with the source world alone, which is generated; "
            f"{source!r} is as it is: leave it out"
        )
    else:
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


@corpus.command()
# As strings: a pathlib.Path would make one slash of the two in a URL.
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--pretokenizer",
    type=Choice(list(PRETOKENIZERS)),
    default="gpt2",
    show_default=True,
    help="Where training will cut the text.",
)
@click.option(
    "--vocab-size",
    type=click.IntRange(256),
    default=32_000,
    show_default=True,
    help="What training will ask for.",
)
@click.option(
    "--special",
    multiple=True,
    metavar="TEXT",
    help="A special token to look for; may be given again. [default: the well-known ones]",
)
@click.option(
    "--text-field", default="text", show_default=True, help="Field of JSONL or Parquet to read."
)
@click.option("--group-field", help="Field of JSONL or Parquet that names a document's group.")
@click.option("--group-by-folder", is_flag=True, help="Group by the first folder below FILE.")
@click.option("--strict", is_flag=True, help="Exit 1 on findings that would end a training.")
@json_option
@verbosity_options
def check(
    files: tuple[str, ...],
    pretokenizer: str,
    vocab_size: int,
    special: tuple[str, ...],
    text_field: str,
    group_field: str | None,
    group_by_folder: bool,
    strict: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Say what is in a corpus, and the memory and time that training on it will take.

    FILE is a text, .jsonl or .parquet file, also packed as .gz, .bz2, .xz or .zst; a folder; a
    quoted glob; a URL; or - for standard input. Nothing is written.
    """
    from tokkit.tokenizer.preflight import check_corpus

    with _progress(quiet=quiet) as progress:
        found = check_corpus(
            files,
            pretokenizer=pretokenizer,
            vocab_size=vocab_size,
            special_tokens=special or None,
            text_field=text_field,
            group_field=group_field,
            group_by_folder=group_by_folder,
            progress=progress,
        )
    if as_json:
        print_json({**asdict(found), "stops_training": found.stops_training})
    else:
        _print_table(_summary(found, all_groups=verbose))
        _print_findings(found.findings)
    return int(strict and found.stops_training)


def _summary(found: CorpusCheck, *, all_groups: bool) -> list[tuple[str, str]]:
    line, pretoken, training = found.longest_line, found.longest_pretoken, found.training
    stored = "" if found.stored_bytes is None else f", {found.stored_bytes:,} bytes stored"
    left_out = f", {found.left_out_files:,} others in the folders" if found.left_out_files else ""
    about = "" if training.is_counted else "about "
    rows = [
        ("files", f"{found.files:,}{stored}{left_out}"),
        ("documents", f"{found.documents:,}"),
        ("text", f"{found.bytes:,} bytes, {found.characters:,} characters, {found.lines:,} lines"),
        ("longest line", f"{line.bytes:,} bytes ({line.origin}, line {line.line} of the document)"),
        ("longest pretoken", f"{pretoken.bytes:,} bytes, starts with {pretoken.starts_with!r}"),
        ("repeated lines", f"{found.repeated_lines:,} of the first {found.lines_compared:,}"),
        *_group_rows(found, None if all_groups else _GROUPS_SHOWN),
        ("pretokens", f"{training.pretokens:,} ({training.pretokenizer})"),
        ("distinct pretokens", f"{about}{training.distinct_pretokens:,}"),
        (
            f"training to {training.vocab_size:,}",
            f"about {training.wall_seconds:,.0f} s and {training.memory_bytes / 1e6:,.0f} MB",
        ),
        ("estimated from", training.basis),
    ]
    return [(name, escape(value)) for name, value in rows]


def _group_rows(found: CorpusCheck, shown: int | None) -> list[tuple[str, str]]:
    if list(found.groups) in ([], [""]):
        return []
    largest_first = sorted(found.groups.items(), key=lambda group: (-group[1].bytes, group[0]))
    rows = [
        (f"group {escape(name) or '(none)'}", f"{size.documents:,} documents, {size.bytes:,} bytes")
        for name, size in largest_first[:shown]
    ]
    more = len(found.groups) - len(rows)
    return [*rows, ("more groups", f"{more:,}; see --verbose")] if more else rows


def _print_table(rows: list[tuple[str, str]]) -> None:
    if not is_terminal():
        for name, value in rows:
            click.echo(f"{name}\t{value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value, overflow="fold"))
    Console().print(table)


def _print_findings(findings: tuple[Finding, ...]) -> None:
    if not findings:
        click.echo("no findings")
    for finding in findings:
        weight = "stops training" if finding.stops_training else "note"
        click.echo(
            f"{weight}: {finding.count:,} × {escape(finding.what)}: {escape(finding.advice)}"
        )
        for place in finding.places:
            click.echo(f"  {escape(place)}")


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A callback that tells on a terminal how much was read."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda read: bar.update(task, description=f"reading: {read / 1e6:,.0f} MB")
