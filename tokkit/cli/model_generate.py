"""`tokkit model generate`: text from a model, a token at a time, and what the model saw in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tokkit.cli.common import (
    Choice,
    escape,
    json_option,
    print_json,
    say,
    seed_option,
    verbosity_options,
)

if TYPE_CHECKING:
    from tokkit.results import Result

_DEVICES = ("auto", "cpu", "cuda", "mps")
_PATH = click.Path(path_type=Path)
_SPACE = "\N{OPEN BOX}"


@click.command()
@click.argument("source", metavar="MODEL")
@click.argument("prompts", metavar="[PROMPT]...", nargs=-1)
@click.option(
    "--prompt-file",
    "files",
    multiple=True,
    metavar="FILE",
    help="A file that is a prompt, - for stdin; can be given again.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1),
    default=None,
    help="The longest continuation. [default: 64, or what the context leaves room for]",
)
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    help="0 takes the likeliest token; above, tokens are drawn.",
)
@click.option("--top-k", type=int, default=0, help="Draw from the K likeliest. [default: all]")
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    help="Draw from the fewest likeliest that hold P together. [default: all]",
)
@click.option(
    "--min-p",
    type=float,
    default=0.0,
    help="Draw from those at least P times as likely as the likeliest. [default: all]",
)
@click.option(
    "--repetition-penalty",
    type=float,
    default=1.0,
    show_default=True,
    help="Above 1: what the text holds already is made less likely.",
)
@click.option(
    "--stop", multiple=True, metavar="TEXT", help="End before this text; can be given again."
)
@seed_option
@click.option(
    "--chat/--no-chat",
    default=False,
    show_default=True,
    help="Put each prompt, as a user's message, into the model's chat template.",
)
@click.option("--show-steps", is_flag=True, help="Show what was likeliest at each step.")
@click.option(
    "--score",
    "continuations",
    multiple=True,
    metavar="CONTINUATION",
    help="Write nothing: how probable is this text after each prompt? Again for more.",
)
@click.option(
    "--out",
    type=_PATH,
    default=None,
    help="Folder for result.json and a page, with each step made again as a check.",
)
@click.option(
    "--device", type=Choice(_DEVICES), default="auto", show_default=True, help="Where to compute."
)
@json_option
@verbosity_options
def generate(
    source: str,
    prompts: tuple[str, ...],
    files: tuple[str, ...],
    stop: tuple[str, ...],
    chat: bool,
    show_steps: bool,
    continuations: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Continue each PROMPT with MODEL, a token at a time.

    The text comes to stdout as it is made; of several prompts, which are worked on together, each
    when all are done. MODEL is as in `tokkit model --help`.
    """
    texts = [*prompts, *(_read(name) for name in files)]
    _check(texts, stop, continuations, options, out, show_steps=show_steps)
    from tokkit.model.sampling import SamplingConfig
    from tokkit.probes.writing import Request, score_texts, write

    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    request = Request(
        source=source,
        prompts=tuple(texts),
        max_new_tokens=options["max_new_tokens"],
        sampling=SamplingConfig(**{name: options[name] for name in names}),
        stop=stop,
        seed=options["seed"],
        chat=chat,
        device=options["device"],
        candidates=5 if show_steps or as_json or out is not None else 1,
    )
    if out is not None:
        from tokkit.files import ensure_folder

        ensure_folder(out)
    if continuations:
        result = score_texts(request, continuations)
    else:
        live = len(texts) == 1 and not as_json
        result = write(request, show=_stream() if live else None, check=out is not None)
        if live:
            click.echo()
    if out is not None:
        _save(result, out, quiet=quiet, verbose=verbose)
    if as_json:
        print_json(asdict(result))
    elif continuations:
        _print_table(result, "scores")
    else:
        _print(result, show_steps=show_steps, quiet=quiet)


def _read(name: str) -> str:
    """The whole of a prompt file, without the end of its last line."""
    from tokkit.errors import InputError

    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 at byte {error.start}: convert it") from error


def _check(
    texts: Sequence[str],
    stop: Sequence[str],
    continuations: Sequence[str],
    options: dict[str, Any],
    out: Path | None,
    *,
    show_steps: bool,
) -> None:
    """Refuse what is missing or would have no effect."""
    if not texts:
        raise click.UsageError("give a PROMPT, or --prompt-file FILE (- for stdin)")
    if any(not text for text in stop):
        raise click.UsageError("--stop needs a text of at least one character")
    given = (("--top-k", "top_k", 0), ("--top-p", "top_p", 1), ("--min-p", "min_p", 0))
    for flag, name, neutral in given:
        if options["temperature"] == 0 and options[name] != neutral:
            raise click.UsageError(
                f"{flag} has no effect at temperature 0, which takes the likeliest token: "
                "add --temperature, for example 0.8"
            )
    writing = {
        "--stop": stop,
        "--max-new-tokens": options["max_new_tokens"],
        "--temperature": options["temperature"],
        "--show-steps": show_steps,
    }
    for flag, value in writing.items():
        if continuations and value:
            raise click.UsageError(f"--score writes no text, so {flag} has no effect: leave it out")
    if continuations and out is not None:
        raise click.UsageError("--score has no page yet: use --json instead of --out")


def _stream() -> Callable[[int, str], None]:
    """Writes pieces as they come; nothing in them reaches the terminal as a command."""

    def show(_: int, piece: str) -> None:
        click.echo(_escaped(piece), nl=False)
        sys.stdout.flush()

    return show


def _escaped(text: str) -> str:
    """Text from a model, escaped but for its newlines and tabs."""
    return "".join(c if c in "\n\t" else escape(c) for c in text)


def _save(result: Result, out: Path, *, quiet: bool, verbose: bool) -> None:
    from tokkit.report.outputs import save_outputs

    paths = save_outputs(result, out, "generate")
    if verbose:
        for path in paths:
            say(f"wrote {escape(str(path))}", quiet=quiet)
    say(f"page: {escape(str(paths[-1]))}", quiet=quiet)


def _print(result: Result, *, show_steps: bool, quiet: bool) -> None:
    texts = result.values["texts"]
    if len(texts) > 1:
        for number, text in enumerate(texts, start=1):
            click.echo(f"[{number}] {escape(text['prompt'])}")
            click.echo(_escaped(text["text"]))
    if show_steps:
        _print_table(result, "steps")
    for claim in result.claims:
        say(f"{claim.id}: {claim.verdict}", quiet=quiet)


def _print_table(result: Result, name: str) -> None:
    from tokkit.cli.tokenizer_audit import print_table

    table = result.tables[name]
    rows = [[_cell(value) for value in row] for row in table.rows]
    place = next((n for n, column in enumerate(table.columns) if column.name == "token"), None)
    if place is not None:
        rows = [[*r[:place], escape(r[place]).replace(" ", _SPACE), *r[place + 1 :]] for r in rows]
    print_table([column.label for column in table.columns], rows)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
