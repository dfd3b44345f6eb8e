"""What every command shares: options, escaping of foreign text, tables, progress."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tokkit.errors import unknown_choice

F = TypeVar("F", bound=Callable[..., Any])


class Choice(click.Choice[str]):
    """A choice whose error names the near match."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value` if it is one of the choices; fail with the nearest one otherwise."""
        if value not in self.choices:
            what = param.human_readable_name.lower().lstrip("-") if param else "value"
            self.fail(unknown_choice(what, value, self.choices), param, ctx)
        return str(value)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else."
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1),
    default=None,
    help="Processes to work in. [default: all cores]",
)


def verbosity_options(function: F) -> F:
    """Add -q/--quiet and -v/--verbose (the traceback of a failure is shown by `main`)."""
    verbose = click.option(
        "-v", "--verbose", is_flag=True, help="Say more; show the traceback of a failure."
    )
    quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result.")
    return quiet(verbose(function))


def escape(text: str) -> str:
    r"""Make foreign text safe for a terminal: control and invisible characters become escapes.

    >>> escape("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(
        character
        if character == " " or unicodedata.category(character)[0] in "LMNPS"
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_json(value: Any) -> None:
    """Print one strict JSON object to stdout, in UTF-8 whatever the terminal speaks."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # What a terminal could take for a command is left to JSON's own escapes.
    text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in written)
    text = text.replace("\x7f", "\\u007f")
    click.echo(text.encode("utf-8", "backslashreplace"))


def say(message: str, *, quiet: bool = False) -> None:
    """Print a message for the person, to stderr."""
    if not quiet:
        click.echo(message, err=True)


def is_terminal() -> bool:
    """Whether stdout is a terminal that a person looks at."""
    return sys.stdout.isatty()
