"""`tokkit experiment ladder` as a person runs it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from experiments.ladder_records import TINY, prepare_tiny

from tokkit.cli.main import cli
from tokkit.experiments import ladder

TOKKIT = [sys.executable, "-m", "tokkit"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--out"),
        (["--out", "x", "--seeds", "0"], 2, "0 is not in the range"),
        (["--out", "x", "--seeds", "1000"], 2, "1000 is not in the range"),
        (["--out", "x", "--jobs", "0"], 2, "0 is not in the range"),
        (["--out", "/proc/nowhere"], 1, "cannot write"),
    ],
)
def test_wrong_use_is_one_short_message(arguments, code, message):
    done = subprocess.run([*TOKKIT, "experiment", "ladder", *arguments], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from tokkit.cli.main import run; run(sys.argv[1:]);"
        "assert not {'torch', 'matplotlib', 'numba', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, "experiment", "ladder", "--help"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_tiny_run_prints_rungs_steps_and_json(tmp_path, monkeypatch):
    monkeypatch.setitem(ladder.PROFILES, "quick", TINY)
    prepare_tiny(tmp_path / "run")
    out = ["experiment", "ladder", "--out", str(tmp_path / "run"), "--jobs", "1"]
    done = CliRunner().invoke(cli, out)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["bits/byte", "active", "rate", "largest", "speed"]
    assert lines[1].startswith("2017 ")
    assert next(line for line in lines if line.startswith("+ mixture"))
    assert any(line.startswith("rotary alone: ") for line in lines)
    assert "the-modern-stack: inconclusive" in lines
    record = json.loads(CliRunner().invoke(cli, [*out, "--json"]).stdout)
    assert record["kind"] == "experiment.ladder"
    assert record["settings"]["higher_rates"] == list(TINY.higher_rates)
