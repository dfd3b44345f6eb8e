"""`tokkit tokenizer encode` and `decode`: text to ids and back, printed or in bulk."""

from __future__ import annotations

import contextlib
import sys
import time
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
    seed_option,
    verbosity_options,
)
from tokkit.corpus.readers import read_documents
from tokkit.tokenizer.bulk import (
    EncodingProgress,
    decode_file,
    encode_files,
    is_first_run,
)
from tokkit.tokenizer.encoded_files import encoded_paths
from tokkit.tokenizer.formats import load_tokenizer

_TOKENIZER = click.argument("tokenizer", type=click.Path(path_type=Path))
_SECONDS_BETWEEN_LINES = 10.0


@click.command()
@_TOKENIZER
@click.argument("words", metavar="[TEXT | FILE...]", nargs=-1)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Encode this file instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Encode FILEs to this .npy; document offsets and a record come to stand beside it.",
)
@click.option(
    "--allow-special", is_flag=True, help="Read text that spells a special token as that token."
)
@click.option("--end", metavar="TOKEN", help="With --out: put this token after each document.")
@click.option(
    "--dropout",
    type=float,
    default=0.0,
    show_default=True,
    help="With --out: leave out each merge with this probability (BPE-dropout).",
)
@click.option(
    "--stochastok",
    type=float,
    default=0.0,
    show_default=True,
    help="With --out: try so many random splits a token (StochasTok).",
)
@click.option(
    "--text-field",
    default="text",
    show_default=True,
    metavar="NAME",
    help="Field of JSONL with the text.",
)
@click.option(
    "--errors",
    type=Choice(["strict", "replace", "skip"]),
    default="strict",
    show_default=True,
    help="With --out: what to do with text that cannot be read.",
)
@click.option(
    "--jobs", type=click.IntRange(1), default=None, help="Threads to work in. [default: all cores]"
)
@seed_option
@json_option
@verbosity_options
@click.pass_context
def encode(
    context: click.Context,
    /,
    tokenizer: Path,
    words: tuple[str, ...],
    file: Path | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Print the ids of TEXT, or of a file, on one line for each document; or encode FILEs to --out.

    With --out ids.npy, the ids of all documents go there as unsigned integers, where each document
    begins to ids.offsets.npy, and what was done to ids.json.
    """
    if out is None:
        _refuse_without_out(context)
        _print_ids(tokenizer, words, file, options, as_json=as_json)
        return
    files = [*words, *([str(file)] if file else [])]
    if not files:
        raise click.UsageError("give the files to encode to --out")
    encoded_paths(out)
    loaded = load_tokenizer(tokenizer)
    if is_first_run():
        say("compiling the encoder, once for this installation", quiet=quiet)
    with _progress(quiet=quiet) as progress:
        record = encode_files(loaded, files, out, progress=progress, **options)
    if as_json:
        print_json(record)
    elif not quiet:
        click.echo(_summary(out, record))


def _refuse_without_out(context: click.Context) -> None:
    """An option that would do nothing is a mistake worth telling."""
    for name in ("end", "dropout", "stochastok", "errors", "jobs", "seed"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes with --out, which writes the ids to a file")


def _print_ids(
    path: Path, words: tuple[str, ...], file: Path | None, options: dict[str, Any], *, as_json: bool
) -> None:
    if len(words) + (file is not None) != 1:
        raise click.UsageError("give either TEXT or --file FILE, and not both")
    loaded = load_tokenizer(path)
    documents = read_documents([file], text_field=options["text_field"]) if file else ()
    texts = list(words) or [document.text for document in documents]
    batch = loaded.encode_batch(texts, allow_special=options["allow_special"])
    if as_json:
        print_json({"documents": [{"ids": ids, "tokens": len(ids)} for ids in batch]})
        return
    for ids in batch:
        click.echo(" ".join(map(str, ids)))


def _summary(out: Path, record: dict[str, Any]) -> str:
    speed = record["bytes"] / 1e6 / max(record["wall_seconds"], 1e-3)
    by_library = ", by the tokenizers library" if record["engine"] == "library" else ""
    return (
        f"{escape(str(out))}: {record['tokens']:,} ids as {record['dtype']} from "
        f"{record['documents']:,} documents, {record['bytes']:,} bytes, in "
        f"{record['wall_seconds']:.1f} s ({speed:.1f} MB/s{by_library})"
    )


@click.command()
@_TOKENIZER
@click.argument("ids", metavar="[IDS...]", nargs=-1, type=int)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help="Decode the ids of this .npy, as written by encode --out, to --out.",
)
@click.option("--out", type=click.Path(path_type=Path), help="With --file: the file to write.")
@click.option(
    "--document",
    type=int,
    help="With --file: this document alone, counted from 0. [default: all, joined]",
)
@json_option
@verbosity_options
def decode(
    tokenizer: Path,
    ids: tuple[int, ...],
    file: Path | None,
    out: Path | None,
    document: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Print the text of IDS: the exact bytes into a pipe or file, escaped on a terminal.

    With --file ids.npy --out FILE, write the exact bytes of many ids.
    """
    if bool(ids) == (file is not None) or (file is None) != (out is None):
        raise click.UsageError("give either IDS, or --file IDS.npy with --out FILE")
    if file is None or out is None:
        if document is not None:
            raise click.UsageError("--document goes with --file, which holds several")
        _print_text(tokenizer, ids, as_json=as_json)
        return
    written = decode_file(load_tokenizer(tokenizer), file, out, document=document)
    if as_json:
        print_json({"out": str(out), "bytes": written})
    elif not quiet:
        click.echo(f"{escape(str(out))}: {written:,} bytes")


def _print_text(path: Path, ids: tuple[int, ...], *, as_json: bool) -> None:
    loaded = load_tokenizer(path)
    data = loaded.decode_bytes(ids)
    if as_json:
        print_json({"text": loaded.decode(ids), "bytes": data.hex()})
    elif is_terminal():
        click.echo(escape(loaded.decode(ids)))
    else:
        sys.stdout.buffer.write(data)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[EncodingProgress], None] | None]:
    """A callback that tells how far encoding is: a live line on a terminal, else some lines."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("encoding", total=None)
            yield lambda progress: bar.update(task, description=_stage(progress))
    else:
        yield _plain_lines()


def _plain_lines() -> Callable[[EncodingProgress], None]:
    said = time.monotonic() - _SECONDS_BETWEEN_LINES

    def update(progress: EncodingProgress) -> None:
        nonlocal said
        if time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(_stage(progress))

    return update


def _stage(progress: EncodingProgress) -> str:
    megabytes = progress.bytes / 1e6
    speed = megabytes / max(progress.wall_seconds, 1e-3)
    return f"encoding: {megabytes:,.1f} MB, {progress.tokens:,} ids so far ({speed:.1f} MB/s)"
