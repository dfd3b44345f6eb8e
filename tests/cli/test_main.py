"""The edge of the command line: help, exit codes, one-line failures, nothing heavy at start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tokkit import __version__
from tokkit.cli import common
from tokkit.cli.main import COMMANDS, cli, run
from tokkit.errors import ArtifactError, ConfigError, TokkitError

HEAVY = ("torch", "sklearn", "matplotlib", "scipy", "numba", "joblib", "transformers")


def tokkit(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tokkit", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `fail` that raises what the test puts into the list."""
    failures: list[BaseException] = []

    @click.command()
    @common.verbosity_options
    def fail(quiet: bool, verbose: bool) -> None:
        raise failures[0]

    original = type(cli).get_command

    def get_command(group: click.Group, ctx: click.Context, name: str) -> click.Command | None:
        return fail if name == "fail" else original(group, ctx, name)  # type: ignore[arg-type]

    monkeypatch.setitem(COMMANDS, "fail", ("fail", "fail", "Fail."))
    monkeypatch.setattr(type(cli), "get_command", get_command)
    return failures


def test_help_lists_every_noun_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tokkit.cli.main import run; code = run(['--help']);"
        f"print('loaded:', [m for m in {HEAVY} if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for noun, (_, _, line) in COMMANDS.items():
        assert f"  {noun} " in done.stdout
        assert line in done.stdout
    assert "loaded: []" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("noun", COMMANDS)
def test_each_noun_has_help_and_imports_nothing_heavy_for_it(noun: str) -> None:
    code = (
        f"import sys; from tokkit.cli.main import run; code = run(['{noun}', '--help']);"
        f"print('loaded:', [m for m in {HEAVY} if m in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: tokkit {noun}" in done.stdout
    assert "loaded: []" in done.stdout


def test_version() -> None:
    done = tokkit("--version")
    assert (done.returncode, done.stdout) == (0, f"tokkit, version {__version__}\n")


def test_without_a_command_the_help_is_shown_as_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err


def test_an_unknown_command_names_the_near_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["experimnt"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "error: unknown command 'experimnt': did you mean 'experiment'? "
        f"(choose from {', '.join(COMMANDS)})\ntry: tokkit --help\n"
    )


def test_an_unknown_option_names_the_near_match(
    capsys: pytest.CaptureFixture[str], failing_command: list[BaseException]
) -> None:
    assert run(["fail", "--verbos"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: No such option '--verbos'.")
    assert "--verbose" in error
    assert hint == "try: tokkit fail --help"


def test_an_unknown_choice_names_the_near_match() -> None:
    @click.command()
    @click.option("--arm", type=common.Choice(["bpe", "char"]))
    def ask(arm: str) -> None:
        click.echo(arm)

    assert CliRunner().invoke(ask, ["--arm", "char"]).output == "char\n"
    wrong = CliRunner().invoke(ask, ["--arm", "chra"])
    assert wrong.exit_code == 2
    assert "unknown arm 'chra': did you mean 'char'? (choose from bpe, char)" in wrong.stderr


@pytest.mark.parametrize(
    ("failure", "exit_code", "told"),
    [
        (TokkitError("it broke; mend it"), 1, "error: it broke; mend it\n"),
        (ArtifactError("cut\x1b[31m"), 1, "error: cut\\x1b[31m\n"),
        (ConfigError("seeds must be 1 or more"), 2, "error: seeds must be 1 or more\n"),
        (
            FileNotFoundError(2, "No such file or directory", "a.txt"),
            1,
            "error: a.txt: no such file or directory; check the place\n",
        ),
        (MemoryError(), 1, "error: out of memory: ask for less at once"),
        (KeyboardInterrupt(), 130, "interrupted: what was finished is saved; give the same"),
    ],
)
def test_failures_are_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failing_command: list[BaseException],
    failure: BaseException,
    exit_code: int,
    told: str,
) -> None:
    monkeypatch.setattr("tokkit.cli.main._discard_stdout", lambda: None)
    failing_command.append(failure)
    assert run(["fail"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.lstrip("\n").startswith(told)
    assert captured.err.strip().count("\n") == 0


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_verbose_shows_the_traceback_above_the_line(
    capsys: pytest.CaptureFixture[str], failing_command: list[BaseException], flag: str
) -> None:
    failing_command.append(ArtifactError("cut short"))
    assert run(["fail", flag]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback")
    assert error.endswith("\nerror: cut short\n")


def test_a_fault_of_ours_keeps_its_traceback(failing_command: list[BaseException]) -> None:
    failing_command.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import os, signal, sys, tokkit.cli.main as m;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "m.LazyGroup.get_command = lambda *_: os.kill(os.getpid(), signal.SIGINT);"
        "m.main(['demo'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.strip().startswith("interrupted: ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed_pipe:
        done = subprocess.run(
            [sys.executable, "-m", "tokkit", "--help"],
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tokkit", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: no space left on device; check the place\n"


def test_json_is_utf8_even_where_the_terminal_speaks_ascii() -> None:
    code = (
        "import sys; sys.stdout.reconfigure(encoding='ascii');"
        "from tokkit.cli.common import print_json; print_json({'word': 'Öl \\udce9'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b'{"word": "\xc3\x96l \\udce9"}\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 3 × ½ ✓ é", "plain words, 3 × ½ ✓ é"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\udcff", "\\udcff"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_foreign_text_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert common.escape(text) == shown
