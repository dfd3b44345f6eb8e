"""The run itself: schemes differ in positions alone, it repeats, and goes on where it was."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from experiments.position_records import TINY

from tokkit.errors import ConfigError
from tokkit.experiments.position_schemes import BLIND, CANNOT, LENGTHS, SCALINGS, SCHEMES
from tokkit.experiments.positions import (
    ORDER,
    TEXT,
    Job,
    PositionsConfig,
    jobs_of,
    model_config,
    profile,
    run_positions,
)
from tokkit.model.checkpoint import load_checkpoint
from tokkit.model.transformer import Transformer
from tokkit.results import read_result

SMALL = replace(TINY, seeds=2)

CHILD = """
import sys
from tokkit.experiments import positions
from tokkit.training import config
sys.path.insert(0, {tests!r})
from experiments.test_positions_experiment import SMALL

make = config.TrainingConfig
config.TrainingConfig = lambda **settings: make(**settings, save_seconds=0)
positions.run_positions(SMALL, {folder!r}, jobs=1)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    told = []
    result = run_positions(SMALL, folder, jobs=1, progress=lambda *now: told.append(now))
    return folder, result, told


def measured(folder):
    found = {}
    for path in sorted(folder.glob("measured/*.json")):
        found[path.name] = json.loads(path.read_text(encoding="utf-8"))
        del found[path.name]["training_seconds"]
    return found


def test_a_run_leaves_its_result_and_every_model(finished):
    folder, result, told = finished
    again = read_result(folder)
    assert again.tables == result.tables
    assert again.kind == "experiment.positions"
    assert len(measured(folder)) == 2 * (2 * len(SCHEMES) + 1)
    assert len(list(folder.glob("models/*"))) == 2 * len(SCHEMES)
    assert not list(folder.rglob("training-state*"))
    steps = 8 * len(jobs_of(SMALL))
    assert told[-1] == (steps, steps, "")
    assert {claim.id for claim in result.claims} == {"position-is-added", "rope-is-relative"}
    assert all(claim.verdict == "inconclusive" for claim in result.claims)


def test_only_positions_differ_between_the_schemes():
    for part in (TEXT, ORDER):
        models = {s: Transformer(model_config(TINY, part, s), seed=3) for s in SCHEMES}
        plain = dict(models["none"].named_parameters())
        for scheme, model in models.items():
            own = dict(model.named_parameters())
            added = own.keys() - plain.keys()
            assert added == ({"position_embedding"} if scheme == "learned" else set())
            assert all(torch.equal(own[name], plain[name]) for name in plain)


def test_schemes_see_the_same_batches_and_seeds_see_others(tmp_path):
    from tokkit.experiments.position_asking import order_batch

    one, again, other = (order_batch(TINY, seed, 4) for seed in (0, 0, 1))
    assert torch.equal(one.ids, again.ids)
    assert not torch.equal(one.ids, other.ids)


def test_beyond_its_table_a_learned_model_has_no_number_but_a_reason(finished):
    _, result, _ = finished
    for table, value in (("text_lengths", "bits_per_byte"), ("order", "accuracy")):
        for row in result.tables[table].records():
            beyond = row["arm"] == "learned" and row["length"] > 1
            assert (row[value] is None) == beyond
            assert row["reason"] == (CANNOT if beyond else None)
    places = [r for r in result.tables["text_by_place"].records() if r["arm"] == "learned"]
    assert [row["bits_per_byte"] is None for row in places] == [False] * 8 + [True] * 24


def test_scaled_forms_are_the_trained_weights_at_their_own_length(finished):
    folder, _, _ = finished
    record = measured(folder)["text-rotary-0.json"]["arms"]
    for scaling in SCALINGS:
        assert record[scaling]["matched"]["1.0"] == record["rotary"]["matched"]["1.0"]
        assert record[scaling]["matched"]["4.0"] != record["rotary"]["matched"]["4.0"]


def test_the_blind_model_answers_shuffled_lists_alike_and_two_layers_do_not(finished):
    _, result, _ = finished
    assert result.values["blind"] == {"name": BLIND, "unchanged_when_shuffled": 1.0}
    (claim, _) = result.claims
    assert {c.name: c.holds for c in claim.controls}[
        f"{BLIND}: answers that stay when lists are shuffled (share)"
    ]


def test_checkpoints_open_and_know_their_scheme(finished):
    folder, _, _ = finished
    checkpoint = load_checkpoint(folder / "models" / "text-ALiBi-1")
    assert checkpoint.model.config.positions == "alibi"
    assert checkpoint.about["scheme"] == "ALiBi"
    assert checkpoint.about["seed"] == 1


def test_the_same_command_again_trains_nothing(finished):
    folder, result, _ = finished
    before = {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")}
    again = run_positions(SMALL, folder, jobs=1)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("measured/*")} == before
    assert again.tables == result.tables
    assert again.claims == result.claims


def test_lost_measurements_are_had_again(finished, tmp_path):
    import shutil

    folder, _, _ = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "measured" / "text-rotary-1.json").unlink()
    run_positions(SMALL, copy, jobs=1)
    assert measured(copy) == measured(folder)


def test_other_settings_are_refused_in_the_same_folder(finished):
    folder, _, _ = finished
    with pytest.raises(ConfigError, match=r"other settings \(order_steps: 8, now 9\): give anot"):
        run_positions(replace(SMALL, order_steps=9), folder)


def test_two_processes_give_the_bits_of_one(finished, tmp_path):
    folder, result, _ = finished
    other = run_positions(SMALL, tmp_path / "two", jobs=2)
    assert measured(tmp_path / "two") == measured(folder)
    assert other.tables == result.tables


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(finished, tmp_path):
    folder, result, _ = finished
    tests = os.path.dirname(os.path.dirname(__file__))
    code = CHILD.format(tests=tests, folder=str(tmp_path / "run"))
    for wanted in ("text-learned-0-to-1", "order-rotary-0-to-1"):
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        state = tmp_path / "run" / "training" / wanted / "training-state.safetensors"
        while child.poll() is None and time.monotonic() < deadline:
            if state.exists():
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert child.wait() == -signal.SIGKILL, f"ended before it could be killed in {wanted}"
    assert not (tmp_path / "run" / "result.json").exists()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert measured(tmp_path / "run") == measured(folder)
    assert read_result(tmp_path / "run").tables == result.tables


def test_every_model_is_in_one_job(finished):
    jobs = jobs_of(replace(profile("full"), seeds=9))
    models = [(job.part, job.scheme, seed) for job in jobs for seed in job.seeds]
    assert len(models) == len(set(models)) == 9 * (2 * len(SCHEMES) + 1)
    assert max(len(job.seeds) for job in jobs) <= 4
    assert Job(ORDER, BLIND, (4, 5)).name == "order-one-layer-none-4-to-5"
    assert len({job.name for job in jobs}) == len(jobs)


def test_the_profiles():
    assert profile("full").seeds == 8
    assert profile("quick", seeds=2).seeds == 2
    assert LENGTHS == (1.0, 1.5, 2.0, 4.0)
    with pytest.raises(ConfigError, match="full"):
        profile("ful")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"text_length": 60}, "text_length must be a multiple of 8, got 60"),
        ({"order_length": 6}, "order_length must be at least 8, .* got 6"),
        ({"order_least": 1}, "order_least must be at least 2, got 1"),
        ({"order_rows": 81}, "order_rows must be a multiple of 5, got 81"),
        ({"text": "englsh"}, "english"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PositionsConfig(**settings)
