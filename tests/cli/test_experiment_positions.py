"""`tokkit experiment`: its list, and `positions` as a person runs it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from experiments.position_records import TINY

from tokkit.cli.experiment import COMMANDS
from tokkit.cli.main import cli
from tokkit.experiments import positions
from tokkit.experiments.catalogue import ENTRIES

TOKKIT = [sys.executable, "-m", "tokkit"]


def tokkit(*arguments):
    return subprocess.run(
        [*TOKKIT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["experiment", "position", "--out", "x"], 2, "positions"),
        (["experiment", "positions"], 2, "--out"),
        (["experiment", "positions", "--out", "x", "--seeds", "0"], 2, "0 is not in the range"),
        (["experiment", "positions", "--out", "/proc/nowhere"], 1, "cannot write"),
    ],
)
def test_wrong_use_is_one_short_message(arguments, code, message):
    done = tokkit(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_help_and_list_import_nothing_heavy():
    code = (
        "import sys; from tokkit.cli.main import run; run(sys.argv[1:]);"
        "assert not {'torch', 'matplotlib', 'numba', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    for arguments in (["experiment", "--help"], ["experiment", "list"],
                      ["experiment", "positions", "--help"]):  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_the_list_names_every_experiment():
    assert [entry.name for entry in ENTRIES] == [name for name in COMMANDS if name != "list"]
    said = CliRunner().invoke(cli, ["experiment", "list"]).stdout
    for entry in ENTRIES:
        assert f"{entry.name}: {entry.question}" in said
        assert all(claim in said for claim in entry.claims)
        assert entry.quick in said
        assert entry.full in said
    record = json.loads(CliRunner().invoke(cli, ["experiment", "list", "--json"]).stdout)
    names = ["strawberry", "positions", "heads", "ladder"]
    assert [entry["name"] for entry in record["experiments"]] == names


def test_a_tiny_run_prints_numbers_by_length_and_json(tmp_path, monkeypatch):
    monkeypatch.setitem(positions.PROFILES, "quick", TINY)
    out = ["experiment", "positions", "--out", str(tmp_path / "run"), "--jobs", "1"]
    done = CliRunner().invoke(cli, out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["bits", "per", "byte", "1", "x", "1.5", "x", "2", "x", "4", "x"]
    assert next(line for line in lines if line.startswith("learned")).split()[2:] == ["-"] * 3
    assert "position-is-added: inconclusive" in lines
    assert any("control failed" in line for line in lines)
    again = CliRunner().invoke(cli, [*out, "--json"])
    record = json.loads(again.stdout)
    assert record["kind"] == "experiment.positions"
    assert record["settings"]["text"] == "english"
