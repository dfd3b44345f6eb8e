"""The README says what the commands do now."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tokkit.cli.main import cli
from tokkit.results import read_result

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.removeprefix(".venv/bin/")
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if "tokkit " in line
]


def test_the_help_block_is_the_help():
    (shown,) = re.findall(r"\$ tokkit --help\n(.*?)```", README, flags=re.DOTALL)
    assert shown == CliRunner().invoke(cli, ["--help"], prog_name="tokkit").output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_is_understood(command):
    words = shlex.split(command)
    words = words[words.index("tokkit") + 1 :]  # behind torchrun, or first
    group, context = cli, None
    while hasattr(group, "list_commands"):
        context = group.make_context("tokkit", [words[0]], parent=context, resilient_parsing=True)
        group = group.get_command(context, words.pop(0))
        assert group is not None, command
    # Parses the options and arguments without running the command.
    group.make_context(group.name, words, parent=context)


def test_the_figures_and_pages_it_points_to_stand_in_the_repository():
    for path in re.findall(r'(?:src="|\]\()(?!http)([^")#]+)', README):
        assert (ROOT / path).is_file(), path


def test_its_table_is_the_reference_results():
    result = read_result(ROOT / "reports" / "strawberry")
    rows = {(r["arm"], r["measure"]): r for r in result.tables["accuracy"].records()}
    shown = re.findall(
        r"^\| (\w+) \| (?:hidden|visible|wrong) \| \w+ \| (.*) \|$", README, re.MULTILINE
    )
    assert [arm for arm, _ in shown] == list(result.values["arms"])
    for arm, cells in shown:
        measures = ("count C", "spelled C", "count R", "items")
        expected = [
            f"{100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
            for row in (rows[arm, measure] for measure in measures)
        ]
        assert cells.split(" | ") == expected
    assert f"is **{result.claims[0].verdict}** by a rule" in README
