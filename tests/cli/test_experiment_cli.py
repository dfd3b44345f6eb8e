"""`tokkit experiment` and `tokkit demo`, as a person runs them; the quick experiment itself."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TOKKIT = [sys.executable, "-m", "tokkit"]


def tokkit(*arguments):
    return subprocess.run(
        [*TOKKIT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["experiment", "strawbery", "--out", "x"], 2, "strawberry"),
        (["experiment", "strawberry"], 2, "--out"),
        (["experiment", "strawberry", "--out", "x", "--seeds", "0"], 2, "0 is not in the range"),
        (["experiment", "strawberry", "--out", "/proc/nowhere"], 1, "cannot write"),
        (["demo", "--out", "/dev/null/x"], 1, "cannot write"),
        (["demo", "--jobs", "many"], 2, "many"),
    ],
)
def test_wrong_use_is_one_short_message(arguments, code, message):
    done = tokkit(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_ctrl_c_keeps_what_was_done(tmp_path):
    out = tmp_path / "run"
    arguments = [*TOKKIT, "experiment", "strawberry", "--out", str(out), "--jobs", "2"]
    running = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("training/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list(out.rglob(".tokkit-*"))
    assert not (out / "result.json").exists()
    assert (out / "questions.json").exists()
    assert _ends(running.pid)


def _ends(group):
    """Whether every process of a group ends within ten seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_the_quick_experiment_from_text_to_page(tmp_path):
    out = tmp_path / "demo"
    done = tokkit("demo", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    (claim,) = result["claims"]
    assert said["claims"] == {"counting-is-tokenization": claim["verdict"]}
    assert (out / "index.html").stat().st_size > 50_000
    # What the machine's arithmetic can change is left out; what the experiment is for is not.
    assert all(control["holds"] for control in claim["controls"]), claim["controls"]
    assert claim["verdict"] == "supported"
    columns = [column["name"] for column in result["tables"]["accuracy"]["columns"]]
    rows = [dict(zip(columns, r, strict=True)) for r in result["tables"]["accuracy"]["rows"]]
    accuracy = {(row["arm"], row["measure"]): row["accuracy"] for row in rows}
    assert accuracy["char", "count C"] > 0.95
    assert accuracy["bpe", "count C"] < 0.6
    asked = tokkit("probe", "ask", result["values"]["question"], "--model", out, "--json")
    answers = {m["asked"]["arm"]: m["asked"] for m in json.loads(asked.stdout)["models"]}
    assert len(answers) == 5
    assert answers["char"]["correct"]
    again = tokkit("report", out, "--out", tmp_path / "page")
    assert again.returncode == 0
    first = (out / "index.html").read_bytes()
    assert (tmp_path / "page" / "index.html").read_bytes() == first
