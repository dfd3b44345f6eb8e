"""The `tokkit` command: its nouns, each imported when it is called, and how failures are told."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback

import click

from tokkit import __version__
from tokkit.cli.common import escape, say
from tokkit.cli.lazy import LazyGroup
from tokkit.errors import TokkitError

# noun -> (module, attribute, help line); the help line stands here so that --help imports nothing.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("demo", "demo", "The main job, end to end, small: from text to a measured answer."),
    "corpus": ("corpus", "corpus", "Make the built-in text; check text before training."),
    "tokenizer": ("tokenizer", "tokenizer", "Train, audit and convert tokenizers; encode text."),
    "model": ("model", "model", "Load, train, run and convert models."),
    "analyze": ("analyze", "analyze", "Measure what is in the layers of a model."),
    "edit": ("edit", "edit", "Change one fact in a model, and measure what else changed."),
    "probe": ("probe", "probe", "Ask trained models questions and watch them answer."),
    "experiment": ("experiment", "experiment", "Train models side by side and test a claim."),
    "claims": ("claims", "claims", "The fifteen claims, and where each stands."),
    "report": ("report", "report", "Make a page from the results of runs."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tokkit")
def cli() -> None:
    """Follow text through a language model, from bytes to an answer, and measure what happens."""


def main(args: list[str] | None = None) -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character gets its escape, never a traceback.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code, each failure told in one line on stderr."""
    arguments = sys.argv[1:] if args is None else args
    try:
        outcome = cli.main(args=arguments, prog_name="tokkit", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else 0
    except (click.Abort, KeyboardInterrupt):
        say("interrupted: what was finished is saved; give the same command again to go on")
        return 130
    except SystemExit:
        # Whoever read our output (head, less) has gone, which is their right: click then replaces
        # stdout by a wrapper that is no stream, and leaves with 1.
        if isinstance(sys.stdout, io.TextIOBase):
            raise
        return 0
    except BrokenPipeError:
        _discard_stdout()
        return 0
    except (click.ClickException, TokkitError, OSError, MemoryError) as error:
        if any(word in ("-v", "--verbose") for word in arguments):
            traceback.print_exc()
        return _tell_failure(error)


def _tell_failure(error: Exception) -> int:
    """Say in a line what failed, and return the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        say(f"error: {escape(' '.join(error.format_message().split()))}")
        if isinstance(error, click.UsageError) and error.ctx is not None:
            say(f"try: {error.ctx.command_path} --help")
        return error.exit_code
    if isinstance(error, TokkitError):
        say(f"error: {escape(str(error))}")
        return error.exit_code
    if isinstance(error, OSError):
        _discard_stdout()
        where = "" if error.filename is None else f"{error.filename}: "
        say(f"error: {escape(f'{where}{(error.strerror or str(error)).lower()}')}; check the place")
        return 1
    say("error: out of memory: ask for less at once (smaller batch, fewer jobs)")
    return 1


def _discard_stdout() -> None:
    """Send what is left in stdout's buffer nowhere, or Python would complain of it at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
