"""`tokkit tokenizer train` and `count`: from text to a table of pretokens to a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from tokkit.cli.common import (
    Choice,
    escape,
    jobs_option,
    json_option,
    print_json,
    say,
    verbosity_options,
)
from tokkit.cli.progress import Update, progress, say_if_cold
from tokkit.errors import ConfigError
from tokkit.tokenizer.from_files import (
    TrainingOptions,
    tokenizer_path,
    train_from_files,
    train_other_model,
    training_path,
)
from tokkit.tokenizer.presets import PRETOKENIZERS
from tokkit.tokenizer.table import ATOMS, PretokenTable, merge_tables
from tokkit.tokenizer.train import SPECIAL_TOKENS

F = TypeVar("F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


def reading_options(function: F) -> F:
    """Add the options of every command that reads documents."""
    for option in reversed(
        (
            click.option("--text-field", default="text", show_default=True, metavar="NAME",
                         help="Field of JSONL or Parquet with the text."),
            click.option("--group-field", metavar="NAME",
                         help="Field with the group of a document, such as its language."),
            click.option("--group-by-folder", is_flag=True,
                         help="The folder of a file is the group of its documents."),
            click.option("--errors", type=Choice(["strict", "replace", "skip"]), default="strict",
                         show_default=True, help="What to do with bytes that are not UTF-8."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def fixed_token_options(function: F) -> F:
    """Add --special and --added, the texts that no merge learns."""
    special = click.option("--special", multiple=True, default=SPECIAL_TOKENS, show_default=True,
                           metavar="TEXT", help="A special token; may be given again.")  # fmt: skip
    added = click.option("--added", multiple=True, metavar="TEXT",
                         help="A token for this very text; may be given again.")  # fmt: skip
    return special(added(function))


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between."""

    name = "sizes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Turn "1000,2000" into (1000, 2000)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(",") if part.strip())
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1000,2000", param, ctx)


class Weight(click.ParamType[tuple[str, float]]):
    """GROUP=NUMBER."""

    name = "weight"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        """Turn "en=0.5" into ("en", 0.5)."""
        if isinstance(value, tuple):
            return value
        group, _, number = str(value).rpartition("=")
        try:
            return group, float(number)
        except ValueError:
            self.fail(f"{value!r} is not of the form GROUP=NUMBER, such as en=0.5", param, ctx)


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path())
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=_PATH,
    help="Train on a counted table instead of files; may be given again: they add up.",
)
@click.option(
    "--out",
    type=_PATH,
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
    "--sizes",
    type=Sizes(),
    default=(),
    metavar="N,N...",
    help="Smaller vocabularies to write from the same training.",
)
@click.option(
    "--model",
    type=Choice(["bpe", "unigram", "wordpiece"]),
    default="bpe",
    show_default=True,
    help="Kind; the other two train through tokenizers, slower.",
)
@click.option(
    "--pretokenizer",
    type=Choice(list(PRETOKENIZERS)),
    default="gpt2",
    show_default=True,
    help="Where text is cut before merging.",
)
@click.option(
    "--pattern",
    metavar="REGEX",
    help="Cut by this Oniguruma expression instead: slower, through tokenizers.",
)
@fixed_token_options
@click.option(
    "--min-frequency",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How often a pair must stand in the text to be merged.",
)
@click.option(
    "--min-gain",
    type=float,
    default=0.0,
    metavar="SHARE",
    help="Stop when a merge saves less than this share of the text's bytes.",
)
@click.option("--max-token-length", type=click.IntRange(1), help="Tokens stay shorter, in bytes.")
@click.option(
    "--limit-alphabet",
    type=click.IntRange(1),
    help="Bytes that merges may join: the most frequent ones.",
)
@click.option(
    "--min-count",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Leave out pretokens that stand less often in the text.",
)
@click.option(
    "--veto", metavar="REGEX", help="Make no token whose bytes this Python expression matches."
)
@click.option(
    "--extend", type=_PATH, metavar="TOKENIZER", help="Start with the merges of this tokenizer."
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=Weight(),
    metavar="GROUP=NUMBER",
    help="Count a group's text so many times; may be given again.",
)
@click.option("--save-table", type=_PATH, help="Keep the counted table, for the next training.")
@click.option(
    "--checkpoint",
    type=_PATH,
    help="Keep the state of learning here; go on from it if it is there.",
)
@click.option("--verify", is_flag=True, help="Prove the merges by an independent slow method.")
@reading_options
@jobs_option
@json_option
@verbosity_options
def train(
    files: tuple[str, ...],
    tables: tuple[Path, ...],
    out: Path,
    model: str,
    pattern: str | None,
    pretokenizer: str,
    special: tuple[str, ...],
    added: tuple[str, ...],
    weights: tuple[tuple[str, float], ...],
    extend: Path | None,
    save_table: Path | None,
    checkpoint: Path | None,
    verify: bool,
    text_field: str,
    group_field: str | None,
    group_by_folder: bool,
    errors: str,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **learning: Any,
) -> None:  # fmt: skip
    """Learn a tokenizer from text, and write it as tokenizer.json.

    FILE may be plain text, JSONL or Parquet, packed (.gz .bz2 .xz .zst) or not, a folder, a glob,
    a URL, or - for stdin. The text is read once and counted; a table that was counted before, with
    `tokkit tokenizer count`, takes its place.
    """
    if bool(files) == bool(tables):
        raise click.UsageError("give either FILE... or --table TABLE, and not both")
    if pattern is not None:
        _refuse_options({"pretokenizer"}.__contains__, "is the other way to say where to cut")
    if tables:
        _refuse_options(_OF_READING.__contains__, "is for reading text, not for --table")
    options = TrainingOptions(
        pretokenizer=_rule(pretokenizer, pattern),
        special_tokens=special,
        added_tokens=added,
        group_weights=dict(weights),
        extend=None if extend is None else str(extend),
        **learning,
    )
    reading = {
        "text_field": text_field,
        "group_field": group_field,
        "group_by_folder": group_by_folder,
        "errors": errors,
    }
    if model != "bpe":
        _train_other_model(model, files, out, options, reading, as_json=as_json, quiet=quiet)
        return
    say_if_cold(quiet=quiet)
    if pattern:
        say("an expression of your own is cut through tokenizers, some 30 times slower",
            quiet=quiet)  # fmt: skip
    with progress(quiet=quiet) as update:
        if files:
            _tell_reading(update, 0)
        record = train_from_files(
            files,
            out,
            options,
            table=merge_tables([PretokenTable.load(path) for path in tables]) if tables else None,
            save_table=save_table,
            checkpoint=checkpoint,
            verify=verify,
            reading=reading,
            jobs=jobs,
            on_count=lambda done: _tell_reading(update, done.bytes),
            on_learn=lambda done, total: update("learning merges", "tokens", done, total),
        )
    _tell_training(record, out, options, as_json=as_json, quiet=quiet, verbose=verbose)


def _tell_reading(update: Update, done: int) -> None:
    update("reading text", "bytes", done, None)


def _rule(pretokenizer: str, pattern: str | None) -> Any:
    from tokkit.tokenizer.presets import Pretokenizer

    return pretokenizer if pattern is None else Pretokenizer("custom", pattern)


def _tell_training(
    record: dict[str, Any],
    out: Path,
    options: TrainingOptions,
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    if record["ran_out_of_pairs"]:
        say(
            f"the vocabulary ends at {record['vocab_size']} of {options.vocab_size} tokens: no "
            f"pair stands {options.min_frequency} times or more in the text any longer, or saves "
            f"enough of it; for more tokens give more text",
            quiet=quiet,
        )
    path = tokenizer_path(out)
    if verbose:
        say(f"training record: {escape(str(training_path(path)))}", quiet=quiet)
    if as_json:
        print_json({key: value for key, value in record.items() if key != "trace"})
        return
    if quiet:
        return
    seconds = sum(record["wall_seconds"].values())
    click.echo(
        f"{escape(str(path))}: {record['vocab_size']:,} tokens from {record['documents']:,} "
        f"documents, {record['bytes']:,} bytes, in {seconds:.1f} s"
    )
    for smaller, size in record["sizes"].items():
        click.echo(f"{escape(smaller)}: {size:,} tokens")
    proof = record["verification"]
    if proof:
        click.echo(
            f"verified: {proof['sampled_merges']} merges of a sample, and "
            f"{len(proof['checked_steps'])} steps on the whole text"
            if not proof["reason"]
            else f"not verified: {proof['reason']}"
        )


_OF_EVERY_MODEL = {
    "files", "tables", "out", "model", "vocab_size", "pretokenizer", "pattern", "special",
    "text_field", "as_json", "quiet", "verbose",
}  # fmt: skip


_OF_READING = {"text_field", "group_field", "group_by_folder", "errors"}
_OF_COUNTING = {*_OF_READING, "pretokenizer", "special", "added"}


def _refuse_options(is_ignored: Callable[[str], bool], why: str) -> None:
    """Refuse options that would be passed over in silence."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and is_ignored(name):
            raise ConfigError(f"{parameter.opts[0]} {why}; leave it out")


def _train_other_model(
    model: str,
    files: tuple[str, ...],
    out: Path,
    options: TrainingOptions,
    reading: dict[str, Any],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    _refuse_options(
        lambda name: name not in _OF_EVERY_MODEL, f"is for --model bpe, not for {model}"
    )
    if not files:
        raise ConfigError(f"{model} is trained on text, not on a table: give FILE...")
    say(f"training {model} through tokenizers", quiet=quiet)
    record = train_other_model(model, files, out, options, text_field=reading["text_field"])
    if as_json:
        print_json(record)
    elif not quiet:
        click.echo(f"{escape(str(tokenizer_path(out)))}: {record['vocab_size']:,} tokens")


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path())
@click.option(
    "--add",
    "tables",
    multiple=True,
    type=_PATH,
    help="Add a table that was counted before, here or elsewhere; may be given again.",
)
@click.option("--out", type=_PATH, required=True, help="Table to write (.npz).")
@click.option(
    "--pretokenizer",
    type=Choice([ATOMS, *PRETOKENIZERS]),
    default=ATOMS,
    show_default=True,
    help="Unit to count; from atoms most pre-tokenizers follow.",
)
@click.option(
    "--processes", is_flag=True, help="Count each file in a process of its own, not in threads."
)
@fixed_token_options
@reading_options
@jobs_option
@json_option
@verbosity_options
def count(
    files: tuple[str, ...],
    tables: tuple[Path, ...],
    out: Path,
    pretokenizer: str,
    processes: bool,
    special: tuple[str, ...],
    added: tuple[str, ...],
    text_field: str,
    group_field: str | None,
    group_by_folder: bool,
    errors: str,
    jobs: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:  # fmt: skip
    """Count text once into a table, which training, sweeps and audits take instead of the text.

    A corpus counted on ten machines trains as one: add their tables up with --add.
    """
    if not files and not tables:
        raise click.UsageError("give FILE... to count, or --add TABLE, or both")
    if not files:
        _refuse_options(_OF_COUNTING.__contains__, "is for counting text, and no FILE was given")
    parts = [PretokenTable.load(path) for path in tables]
    if files:
        from tokkit.tokenizer import counting

        say_if_cold(quiet=quiet)
        with progress(quiet=quiet) as update:
            _tell_reading(update, 0)
            reading: dict[str, Any] = {
                "removed_texts": (*special, *added),
                "text_field": text_field,
                "group_field": group_field,
                "group_by_folder": group_by_folder,
                "errors": errors,
                "jobs": jobs,
            }
            if processes:
                parts.append(counting.count_in_processes(files, pretokenizer, **reading))
            else:
                reading["progress"] = lambda done: _tell_reading(update, done.bytes)
                parts.append(counting.count(files, pretokenizer, **reading))
    table = merge_tables(parts)
    table.save(out)
    described = {
        "path": str(out),
        "unit": table.unit,
        "distinct": len(table),
        "blocks": len(table.blocks),
        "groups": list(table.group_names),
        "documents": table.origin.documents,
        "bytes": table.origin.bytes,
        "replaced": table.origin.replaced,
        "skipped": table.origin.skipped,
        "corpus_sha256": list(table.origin.corpus_sha256),
    }
    if as_json:
        print_json(described)
    elif not quiet:
        click.echo(
            f"{escape(str(out))}: {len(table):,} distinct {table.unit} of {table.origin.bytes:,} "
            f"bytes in {len(table.blocks):,} blocks"
        )
