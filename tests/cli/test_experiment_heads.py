"""`tokkit experiment heads` as a person runs it."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from experiments.head_records import TINY

from tokkit.cli.main import cli
from tokkit.experiments import heads

COMMAND = ["experiment", "heads", "--jobs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run by the command line, and what it said."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(heads.PROFILES, "quick", TINY)
        yield folder, CliRunner().invoke(cli, [*COMMAND, "--out", str(folder), "--seeds", "1"])


def test_a_run_prints_what_it_found(run):
    folder, done = run
    assert done.exit_code == 0, done.output
    assert "slices minus free: " in done.stdout
    assert "heads-are-projections: inconclusive" in done.stdout
    assert "grouped-queries: inconclusive" in done.stdout
    assert "control failed: free: bits per byte below the unigram's" in done.stdout
    assert f"tokkit report {folder}" in done.stderr


def test_a_trained_model_is_read_too_and_json_is_one_object(run):
    folder, _ = run
    source = str(folder / "models" / "free-0")
    done = CliRunner().invoke(
        cli, [*COMMAND, "--out", str(folder), "--seeds", "1", "--model", source, "--json"]
    )
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert record["kind"] == "experiment.heads"
    assert record["settings"]["models"] == ["free-0"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--out"),
        (["--out", "x", "--seeds", "0"], 2, "0 is not in the range"),
        (["--out", "/proc/nowhere"], 1, "cannot write"),
        (["--out", "x", "--model", "no/such/model"], 1, "no/such/model"),
    ],
)
def test_wrong_use_is_one_short_message(arguments, code, message, tmp_path):
    words = [sys.executable, "-m", "tokkit", *COMMAND, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from tokkit.cli.main import run; run(sys.argv[1:]);"
        "assert not {'torch', 'matplotlib', 'numba', 'sklearn', 'scipy'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "experiment", "heads", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--model MODEL" in done.stdout
