"""The run itself: it ends, repeats, climbs only what trains, and goes on where it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from experiments.ladder_records import TINY, prepare_tiny

from tokkit.errors import ConfigError
from tokkit.experiments import ladder
from tokkit.experiments.ladder import LadderConfig, profile, run_ladder
from tokkit.experiments.ladder_costs import kept_bytes, read_costs
from tokkit.experiments.ladder_rungs import Rung
from tokkit.model.cache import Cache
from tokkit.model.config import ModelConfig
from tokkit.results import read_result
from tokkit.training.objective import Batch

SMALL = replace(TINY, seeds=2, rates=(1e-3, 1e-2), higher_rates=(0.1,))

CHILD = """
import sys
from tokkit.experiments import ladder
from tokkit.training import config
sys.path.insert(0, {tests!r})
from experiments.test_ladder_experiment import SMALL

make = config.TrainingConfig
config.TrainingConfig = lambda **settings: make(**settings | {{"save_seconds": 0}})
ladder.run_ladder(SMALL, {folder!r}, jobs=1)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = prepare_tiny(tmp_path_factory.mktemp("finished"))
    told = []
    result = run_ladder(SMALL, folder, jobs=1, progress=lambda *now: told.append(now))
    return folder, result, told


def measured(folder):
    found = {}
    for path in sorted(folder.glob("measured/*.json")):
        if path.name != "costs.json":
            found[path.name] = json.loads(path.read_text(encoding="utf-8"))
            del found[path.name]["training_seconds"]
    return found


def test_a_run_leaves_its_result(finished):
    folder, result, told = finished
    assert read_result(folder).tables == result.tables
    assert result.kind == "experiment.ladder"
    assert [claim.id for claim in result.claims] == ["the-modern-stack"]
    rungs = len(SMALL.rungs())
    # Tuned at two rates, trained from two seeds, the base from two more; four steps train nothing,
    # so that none climbs.
    assert len(measured(folder)) == rungs * 2 + rungs * 2 + 2
    assert {row["largest"] for row in result.tables["stability"].records()} == {None}
    dones = [done for done, _, _ in told]
    assert dones == sorted(dones)
    assert told[-1][0] == told[-1][1]
    assert not list(folder.rglob("training-state*"))


def test_only_what_trains_climbs(monkeypatch, tmp_path):
    trained = []
    fine = {("2017", 1e-3), ("2017", 1e-2), ("2017", 0.1), ("to-rotary", 1e-3), ("2017", 0.3)}
    config = replace(SMALL, higher_rates=(0.1, 0.3, 0.5))
    monkeypatch.setattr(ladder, "load_text", lambda _: None)
    monkeypatch.setattr(ladder, "highest_that_trains", lambda _: 3.0)
    monkeypatch.setattr(ladder, "trains", lambda _, rung, rate, *__: (rung.name, rate) in fine)
    ladder._climb(
        tmp_path, config, lambda arms, round_: trained.extend((a.name, round_) for a in arms)
    )
    assert trained == [("tune-2017-0.1", 0), ("tune-2017-0.3", 1), ("tune-2017-0.5", 2)]


def test_the_same_command_again_trains_nothing(finished):
    folder, result, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")}
    again = run_ladder(SMALL, folder, jobs=1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")} == before
    assert again.tables == result.tables
    assert again.claims == result.claims


def test_lost_measurements_are_had_again(finished, tmp_path):
    folder, _, _ = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    for lost in ("to-rotary-1.json", "tune-2017-0.001-1000.json"):
        (copy / "measured" / lost).unlink()
    run_ladder(SMALL, copy, jobs=1)
    assert measured(copy) == measured(folder)


def test_other_settings_are_refused_in_the_same_folder(finished):
    folder, _, _ = finished
    with pytest.raises(ConfigError, match=r"other settings \(steps: 4, now 5\): give another"):
        run_ladder(replace(SMALL, steps=5), folder)


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(finished, tmp_path):
    folder, _, _ = finished
    tests = os.path.dirname(os.path.dirname(__file__))
    code = CHILD.format(tests=tests, folder=str(tmp_path / "run"))
    prepare_tiny(tmp_path / "run")
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    training = tmp_path / "run" / "training" / "to-rotary-0-1"
    while child.poll() is None and time.monotonic() < deadline:
        if training.exists():
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    assert child.wait() == -signal.SIGKILL, "ended before it could be killed"
    assert not (tmp_path / "run" / "result.json").exists()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert measured(tmp_path / "run") == measured(folder)


def test_costs_count_what_is_there(finished):
    folder, _, _ = finished
    costs = read_costs(folder)
    for rung in SMALL.rungs():
        cost = costs[rung.name]
        assert cost["optimizer_bytes"] == 2 * cost["parameter_bytes"] == 8 * cost["parameters"]
        assert cost["cache_bytes_per_token"] == Cache(rung.config, 1, 1).bytes
        assert len(cost["seconds"]) == SMALL.timing_rounds
        assert all(seconds > 0 for seconds in cost["seconds"])
        assert cost["activation_bytes"] > 0


def test_kept_bytes_grow_with_the_rows_and_leave_parameters_out():
    config = ModelConfig(vocab_size=40, width=8, layers=1, query_heads=2, context=8, tied=True)
    ids = torch.randint(0, 40, (4, 9), generator=torch.Generator().manual_seed(0))

    def kept(rows, of=config):
        batch = Batch(ids[:rows, :-1].contiguous(), None, None, ids[:rows, 1:].contiguous())
        return kept_bytes(Rung("a", "a", of), batch)

    two, three, four = kept(2), kept(3), kept(4)
    assert four - three == three - two > 0
    deeper = kept(2, replace(config, layers=3)) - kept(2, replace(config, layers=2))
    assert deeper == kept(2, replace(config, layers=2)) - two > 0


def test_the_profiles():
    assert profile("full").seeds == 8
    assert profile("full").tuning_seeds == 2
    assert profile("quick", seeds=2).seeds == 2
    with pytest.raises(ConfigError, match="full"):
        profile("ful")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"seeds": 1000}, "seeds and tuning_seeds must be below 1000, got 1000 and 1"),
        ({"windows": 3}, "windows must be at least 4, got 3"),
        ({"rates": ()}, r"rates, .* must be 1 or more and grow, got \(\)"),
        ({"rates": (2e-3, 1e-3)}, "must be 1 or more and grow"),
        ({"higher_rates": (1e-3,)}, "must be 1 or more and grow"),
        ({"heads": 3}, "heads must be even"),
        ({"width": 30}, "width must be a multiple of query_heads"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"text": "englsh"}, "english"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        LadderConfig(**settings)
