"""`tokkit tokenizer audit`: measure tokenizers, or what vocabulary to train, on a corpus."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
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
from tokkit.cli.progress import Update, progress, say_if_cold
from tokkit.cli.tokenizer_train import Sizes, reading_options
from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tokkit.results import Result
    from tokkit.tokenizer.table import PretokenTable

_PATH = click.Path(path_type=Path)
_STDIN = "-"
_GENERIC_STEMS = ("tokenizer", "vocab", "merges", "tokenizer_model")


def corpus_options(function: Any) -> Any:
    """Add --on and --table, and how the files of --on are read."""
    on = click.option(
        "--on",
        multiple=True,
        metavar="CORPUS",
        help="File, folder, glob or URL to measure on; may be given again.",
    )
    table = click.option(
        "--table", type=_PATH, help="A table that `tokenizer count` saved, instead."
    )
    resamples = click.option(
        "--resamples",
        type=click.IntRange(1, 1_000_000),
        default=1000,
        show_default=True,
        help="Resamples of the block bootstrap behind the intervals.",
    )
    return on(table(resamples(reading_options(function))))


@click.command()
@click.argument("tokenizers", metavar="[TOKENIZER...]", nargs=-1, type=_PATH)
@corpus_options
@click.option("--reference", metavar="GROUP", help="Compare groups with this. [default: largest]")
@click.option("--base", metavar="NAME", help="Compare tokenizers with this. [default: the first]")
@click.option(
    "--parallel-lines", is_flag=True, help="Lines of the groups are translations; this is checked."
)
@click.option(
    "--sweep", is_flag=True, help="Train and measure vocabularies, in place of TOKENIZER."
)
@click.option(
    "--sizes",
    type=Sizes(),
    default=(1000, 2000, 4000, 8000, 16000, 32000),
    metavar="N,N...",
    help="--sweep: vocabulary sizes. [default: 1000 to 32000, doubling]",
)
@click.option(
    "--pretokenizers",
    default="gpt2,cl100k,o200k",
    show_default=True,
    metavar="NAME,NAME...",
    help="--sweep: pre-tokenizers.",
)
@click.option(
    "--held-out",
    type=float,
    metavar="SHARE",
    help="--sweep: share of the text to measure on, not to train on; 0 for none. [default: 0.2 if "
    "there is enough]",
)
@click.option(
    "--model-width",
    type=click.IntRange(1),
    default=768,
    show_default=True,
    help="--sweep: width of the embeddings.",
)
@click.option(
    "--out", type=_PATH, default=Path("reports/audit"), show_default=True, help="Folder to write."
)
@seed_option
@jobs_option
@json_option
@verbosity_options
def audit(
    tokenizers: tuple[Path, ...],
    on: tuple[str, ...],
    table: Path | None,
    sweep: bool,
    out: Path,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Measure TOKENIZERs on a corpus, with intervals: result.json, audit.md, audit.csv, a page.

    TOKENIZER is a tokenizer.json, tiktoken ranks, vocab.json with merges.txt, a SentencePiece
    .model, or a folder with one. With --sweep, vocabulary sizes and pre-tokenizers are compared
    instead, each trained here.
    """
    from tokkit.files import ensure_folder
    from tokkit.report.outputs import save_outputs

    if sweep == bool(tokenizers):
        raise click.UsageError("give either TOKENIZER... or --sweep, and not both")
    require_corpus(on, table)
    loaded = load_named(tokenizers)
    ensure_folder(out)
    say_if_cold(quiet=quiet)
    with progress(quiet=quiet) as update:
        counted = counted_table(on, table, options, jobs, update)
        if sweep:
            result, csv = _sweep(counted, on, options, jobs, update)
        else:
            result, csv = _audit(loaded, counted, on, options, update)
    result = with_corpus(result, counted)
    paths = save_outputs(result, out, "sweep" if sweep else "audit", csv)
    if as_json:
        print_json(asdict(result))
    else:
        _print_main(result)
    if verbose:
        for path in paths:
            say(f"wrote {escape(str(path))}", quiet=quiet)
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)


def _audit(
    loaded: Mapping[str, Any],
    table: PretokenTable,
    on: Sequence[str],
    options: Mapping[str, Any],
    update: Update,
) -> tuple[Result, str]:
    from tokkit.report.long import long_csv
    from tokkit.tokenizer.audit import audit as measure
    from tokkit.tokenizer.parallel_lines import line_lengths

    reading = reading_of(options)
    counted = counts_from_text(loaded, table, on, reading, update)
    lines = None
    if options["parallel_lines"]:
        require_second_pass(on, "--parallel-lines")
        update("reading lines", "bytes", 0, None)
        lines = line_lengths(on, **reading)
    update("measuring", "tokenizers", 0, len(loaded))
    result = measure(
        loaded,
        table,
        reference=options["reference"],
        base=options["base"],
        counted=counted,
        parallel_lines=lines,
        seed=options["seed"],
        resamples=options["resamples"],
    )
    result = with_notes(result, counted)
    return result, long_csv(result)


def _sweep(
    table: PretokenTable,
    on: Sequence[str],
    options: Mapping[str, Any],
    jobs: int | None,
    update: Update,
) -> tuple[Result, str]:
    from tokkit.report.long import wide_csv
    from tokkit.tokenizer.counting import count
    from tokkit.tokenizer.presets import resolve_pretokenizer
    from tokkit.tokenizer.splitting import ATOM_FAMILY
    from tokkit.tokenizer.sweep import sweep as measure

    names = [name.strip() for name in options["pretokenizers"].split(",") if name.strip()]
    others = {}
    for name in names:
        rule = resolve_pretokenizer(name)
        if table.pretokenizer is None and rule.name not in ATOM_FAMILY:
            require_second_pass(on, f"the pre-tokenizer {name!r}")
            update(f"counting for {name}", "bytes", 0, None)
            others[name] = count(on, rule, **reading_of(options), jobs=jobs)
    steps = len(options["sizes"]) * len(names)
    done = [0]

    def tell(what: str) -> None:
        update(what, "vocabularies", done[0], steps)
        done[0] += "measuring" in what

    result = measure(
        table,
        sizes=options["sizes"],
        pretokenizers=names,
        others=others,
        model_width=options["model_width"],
        held_out=options["held_out"],
        reference=options["reference"],
        seed=options["seed"],
        resamples=options["resamples"],
        progress=tell,
    )
    return result, wide_csv(result.tables["sweep"])


# Shared with `compare` ---------------------------------------------------------------------------


def reading_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `reading_options`, as the reading functions take them."""
    return {
        name: options[name] for name in ("text_field", "group_field", "group_by_folder", "errors")
    }


def require_corpus(on: Sequence[str], table: Path | None) -> None:
    """Wrong usage without a corpus to measure on."""
    if not on and table is None:
        raise click.UsageError("give a corpus: --on FILE, or --table TABLE")


def require_second_pass(on: Sequence[str], what: str) -> None:
    """ConfigError where the text is needed again but cannot be read again."""
    if not on:
        raise ConfigError(f"{what} needs the text itself: give its files with --on")
    if _STDIN in on:
        raise ConfigError(f"{what} needs to read the text twice, which stdin cannot: give files")


def load_named(paths: Sequence[Path]) -> dict[str, Any]:
    """Load tokenizers under names that tell them apart: a file's stem, or its folder's name."""
    from tokkit.tokenizer.formats import load_tokenizer

    named = {}
    for path in paths:
        plain = path.resolve()
        while plain.is_file() and plain.stem in _GENERIC_STEMS:
            plain = plain.parent
        stem = plain.stem if plain.is_file() else plain.name
        name, number = stem, 2
        while name in named:
            name, number = f"{stem}-{number}", number + 1
        named[name] = load_tokenizer(path)
    return named


def counted_table(
    on: Sequence[str],
    table: Path | None,
    options: Mapping[str, Any],
    jobs: int | None,
    update: Update,
) -> PretokenTable:
    """The corpus counted as atoms, or a table that was saved."""
    from tokkit.tokenizer.counting import CountProgress, count
    from tokkit.tokenizer.table import PretokenTable

    if table is not None:
        return PretokenTable.load(table)

    def tell(at: CountProgress) -> None:
        update("counting", "bytes", at.bytes, None)

    return count(on, **reading_of(options), jobs=jobs, progress=tell)


def counts_from_text(
    loaded: Mapping[str, Any],
    table: PretokenTable,
    on: Sequence[str],
    reading: Mapping[str, Any],
    update: Update,
) -> dict[str, Any]:
    """Count from the text the tokens of those tokenizers that the table cannot follow."""
    from tokkit.tokenizer.text_counts import count_from_text, follows_from

    needed = {name: each for name, each in loaded.items() if not follows_from(each, table)}
    if not needed:
        return {}
    names = ", ".join(map(escape, needed))
    require_second_pass(on, f"the tokenizer {names}")
    say(f"{names}: splits text in a way of its own, so the text is encoded once more, slower")
    started = time.perf_counter()
    counted = count_from_text(
        needed,
        on,
        table,
        **reading,
        progress=lambda done: update("encoding the text", "bytes", done, None),
    )
    update(f"encoded in {time.perf_counter() - started:.0f} s", "tokenizers", len(needed), None)
    return counted


def with_notes(result: Result, counted: Mapping[str, Any]) -> Result:
    """Say in the record which tokenizers were counted from the text."""
    from tokkit.tokenizer.text_counts import NOTE

    notes = dict(result.values.get("notes", {}))
    for name in counted:
        notes[name] = [*notes.get(name, []), NOTE]
    return replace(result, values={**result.values, "notes": notes})


def with_corpus(result: Result, table: PretokenTable) -> Result:
    """Say in the record what the table was counted from."""
    origin = table.origin
    settings = {**result.settings, "on": list(origin.files), "reading": dict(origin.settings)}
    return replace(result, settings=settings)


# What is printed ---------------------------------------------------------------------------------


def _print_main(result: Result) -> None:
    """The main numbers: a table on a terminal, else lines with tabs."""
    from tokkit.report import sweep, tokenizers

    if result.kind == sweep.KIND:
        print_table(*sweep.main_numbers(result))
    else:
        print_table(*tokenizers.main_numbers(result))


def print_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Rows of text, aligned on a terminal, with tabs between elsewhere; escaped in either case."""
    if not is_terminal():
        for line in (headings, *lines):
            click.echo("\t".join(escape(cell) for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(Text(escape(heading)), justify="right" if place else "left")
    for line in lines:
        table.add_row(*(Text(escape(cell)) for cell in line))
    Console().print(table)
