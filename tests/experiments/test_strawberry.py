"""The run itself: it repeats, goes on where it was, and leaves ordinary checkpoints."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from experiments.conftest import TINY

from tokkit.errors import ConfigError
from tokkit.experiments.strawberry import load_prepared, run_strawberry
from tokkit.probes.targets import find_checkpoints, load_target
from tokkit.results import read_result

SMALL = replace(
    TINY, seeds=1, steps=12, curve_points=3, curve_questions=20, arms=("bpe", "letters")
)

CHILD = """
import sys
from dataclasses import replace
from tokkit.experiments import strawberry
from tokkit.training import loop
sys.path.insert(0, {tests!r})
from experiments.test_strawberry import SMALL

make = loop.TrainingConfig
loop.TrainingConfig = lambda **settings: make(**settings, save_seconds=0)
strawberry.run_strawberry(SMALL, {folder!r}, jobs=1)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run_strawberry(SMALL, folder, jobs=1)


def weights(folder):
    return {p.parent.name: p.read_bytes() for p in folder.glob("models/*/model.safetensors")}


def answers(folder):
    return {p.name: p.read_bytes() for p in folder.glob("answers/*.jsonl")}


def test_a_run_leaves_result_checkpoints_and_answers(finished):
    folder, result = finished
    again = read_result(folder)
    assert again.tables == result.tables
    assert [path.name for path in find_checkpoints(folder)] == ["bpe-0", "letters-0"]
    rows = [json.loads(line) for line in (folder / "answers" / "bpe-0.jsonl").open()]
    questions = load_prepared(folder).questions
    assert len(rows) == sum(len(asked) for asked in questions.values()) + 2
    assert not list(folder.rglob("training-state*"))
    steps = {row["step"] for row in result.tables["curves"].records()}
    assert steps == {4, 8, 12}


def test_a_checkpoint_answers_as_it_did_in_the_run(finished):
    folder, _ = finished
    rows = [json.loads(line) for line in (folder / "answers" / "letters-0.jsonl").open()][:40]
    target = load_target(folder / "models" / "letters-0")
    found = target.answer([row["question"] for row in rows])
    assert [answer.text for answer in found] == [row["answer"] for row in rows]
    assert target.arm == "letters"


def test_arms_share_the_initial_values_of_what_they_share(finished):
    folder, _ = finished
    models = [load_target(path).model for path in find_checkpoints(folder)]
    assert models[0].embedding.shape == models[1].embedding.shape
    # Rows that no question uses get no gradient, so they still hold their initial values.
    unused = models[0].embedding.shape[0] - 1
    assert (models[0].embedding[unused] == models[1].embedding[unused]).all()


def test_the_same_command_again_trains_nothing(finished):
    folder, result = finished
    before = {p: p.stat().st_mtime_ns for p in folder.glob("models/*/*")}
    again = run_strawberry(SMALL, folder, jobs=1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("models/*/*")} == before
    assert again.tables == result.tables


def test_lost_answers_are_had_again(tmp_path):
    config = replace(SMALL, arms=("char",), steps=2, curve_points=1)
    run_strawberry(config, tmp_path, jobs=1)
    path = tmp_path / "answers" / "char-0.jsonl"
    before = path.read_bytes()
    path.unlink()
    run_strawberry(config, tmp_path, jobs=1)
    assert path.read_bytes() == before


def test_other_settings_are_refused_in_the_same_folder(finished):
    folder, _ = finished
    with pytest.raises(ConfigError, match=r"other settings \(steps: 12, now 13\): give another"):
        run_strawberry(replace(SMALL, steps=13), folder)


def test_two_processes_give_the_bits_of_one(finished, tmp_path):
    folder, _ = finished
    run_strawberry(SMALL, tmp_path / "two", jobs=2)
    assert weights(tmp_path / "two") == weights(folder)
    assert answers(tmp_path / "two") == answers(folder)


def test_progress_ends_with_every_step_done(tmp_path):
    told = []
    config = replace(SMALL, arms=("char",), steps=4)
    run_strawberry(config, tmp_path, jobs=1, progress=lambda *now: told.append(now))
    assert told[-1] == (4, 4, "")


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(finished, tmp_path):
    folder, _ = finished
    tests = os.path.dirname(os.path.dirname(__file__))
    code = CHILD.format(tests=tests, folder=str(tmp_path / "run"))
    state = tmp_path / "run" / "training"
    for wanted in ("bpe-0", "letters-0"):
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            if (state / wanted / "training-state.safetensors").exists():
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        assert child.wait() == -signal.SIGKILL, f"ended before it could be killed in {wanted}"
    assert not (tmp_path / "run" / "result.json").exists()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert weights(tmp_path / "run") == weights(folder)
    assert answers(tmp_path / "run") == answers(folder)
    assert read_result(tmp_path / "run").tables == read_result(folder).tables
