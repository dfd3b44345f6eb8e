"""Arms trained alike on one text: what is kept, what diverges, what goes on."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from experiments.ladder_records import TINY, prepare_tiny

from tokkit.errors import ArtifactError, ConfigError
from tokkit.experiments.position_text import load_text, text_tokens
from tokkit.experiments.text_arms import (
    STACK,
    Arm,
    TextSettings,
    jobs_of,
    measured_path,
    prepare_arms_text,
    read_measured,
    run_arms,
    steps_in,
    training_name,
    unigram_bits,
    window_bits,
)
from tokkit.files import write_json
from tokkit.model.checkpoint import load_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

SETTINGS = replace(TINY.text_settings(), steps=6, curve_points=3, keep_models=True)
PLAIN = ModelConfig(
    vocab_size=300, width=16, layers=1, query_heads=2, hidden_width=16, context=16, tied=True
)
MIXED = replace(PLAIN, experts=2, experts_per_token=1, expert_width=8)
ARMS = (
    Arm("plain", PLAIN, 1e-3, (0, 1)),
    Arm("wild", PLAIN, 1e30, (0, 1)),
    Arm("mixed", MIXED, 1e-3, (0,)),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = prepare_tiny(tmp_path_factory.mktemp("arms"))
    told = []
    run_arms(folder, ARMS, SETTINGS, jobs=1, progress=lambda *now: told.append(now))
    assert told[-1][1] == steps_in(ARMS, SETTINGS) == 3 * SETTINGS.steps
    return folder


def test_every_seed_has_its_record_and_checkpoint(place):
    record = read_measured(place, "plain", 1)
    assert record["arm"] == "plain"
    assert record["rate"] == 1e-3
    assert [step for step, _ in record["losses"]] == [2, 4, 6]
    assert len(record["nats"]) == len(record["bytes"]) == SETTINGS.windows
    checkpoint = load_checkpoint(place / "models" / "plain-1")
    assert checkpoint.about["seed"] == 1
    assert not list(place.rglob("training-state*"))


def test_bits_per_byte_are_those_of_the_text_tokens_over_their_bytes(place):
    """Worked out anew: rows of the trained length, each token once, end tokens left out."""
    import torch

    text = load_text(place)
    model = load_checkpoint(place / "models" / "plain-0").model
    nats = np.zeros(len(text.windows))
    for window, ids in enumerate(text.windows):
        for start in range(0, len(ids) - 1, SETTINGS.length):
            piece = torch.from_numpy(ids[start : start + SETTINGS.length + 1])
            with torch.no_grad():
                logs = model(piece[None, :-1])[0].double().log_softmax(-1)
            for place_, target in enumerate(piece[1:].tolist()):
                if target != text.record["end_id"]:
                    nats[window] -= float(logs[place_, target])
    record = read_measured(place, "plain", 0)
    np.testing.assert_allclose(record["nats"], nats, rtol=1e-5)
    size = sum(len(_bytes_of(text, ids)) for ids in text.windows[:, 1:])
    assert record["bits_per_byte"] == pytest.approx(nats.sum() / math.log(2) / size, rel=1e-5)
    assert window_bits([record]).mean() == pytest.approx(record["bits_per_byte"])


def _bytes_of(text, ids):
    return b"".join(b"x" * int(text.token_bytes[token]) for token in ids)


def test_the_unigram_baseline_is_of_the_same_tokens(place):
    text = load_text(place)
    nats, bits = unigram_bits(text)
    targets = text.windows[:, 1:]
    by_hand = (text.unigram[targets] * text_tokens(text, targets)).sum()
    assert sum(nats) == pytest.approx(by_hand)
    assert bits == pytest.approx(by_hand / math.log(2) / text.token_bytes[targets].sum())


def test_a_training_that_diverges_is_a_measurement(place):
    for seed in (0, 1):  # the stack stopped, and each seed went its own way
        record = read_measured(place, "wild", seed)
        assert record["diverged"] is True
        assert "training diverged" in record["reason"]
        assert "nats" not in record
        json.dumps(record, allow_nan=False)


def test_what_is_measured_is_not_trained_again_and_what_is_lost_is(place):
    before = {p: p.read_bytes() for p in (place / "measured").iterdir()}
    lost = measured_path(place, "plain", 1)
    lost.unlink()
    run_arms(place, ARMS, SETTINGS, jobs=1)
    again = json.loads(lost.read_bytes())
    first = json.loads(before[lost])
    for record in (again, first):
        del record["training_seconds"]
    assert again == first
    assert all(p.read_bytes() == was for p, was in before.items() if not p.name.startswith("plain"))


def build_other(arm, seed):
    return Transformer(arm.config, seed=seed + 50)


def measure_count(model, asked):
    return {"count": model.parameter_count()["total"], "length": asked.length}


def test_another_build_and_measure(tmp_path):
    arm = Arm("own", PLAIN, 1e-3, (3,), alone=True)
    settings = replace(SETTINGS, keep_models=False)
    prepare_tiny(tmp_path)
    run_arms(tmp_path, [arm], settings, build=build_other, measure=measure_count, jobs=1)
    record = read_measured(tmp_path, "own", 3)
    assert record["count"] == Transformer(PLAIN, seed=None).parameter_count()["total"]
    assert record["length"] == 16
    assert not (tmp_path / "models").exists()


def test_stacks_only_where_they_pay():
    many = tuple(range(9))
    stacked = jobs_of(Arm("a", PLAIN, 1e-3, many), SETTINGS)
    assert [len(job.seeds) for job in stacked] == [STACK, STACK, 1]
    assert training_name(stacked[1]) == "a-4-5-6-7"
    for arm in (Arm("a", MIXED, 1e-3, many), Arm("a", PLAIN, 1e-3, many, alone=True)):
        assert [job.seeds for job in jobs_of(arm, SETTINGS)] == [(seed,) for seed in many]


def test_a_broken_record_is_told(tmp_path):
    write_json(measured_path(tmp_path, "a", 0), {"diverged": "no"})
    with pytest.raises(ArtifactError, match="is no record of measurements: delete it, and run"):
        read_measured(tmp_path, "a", 0)
    with pytest.raises(ArtifactError, match="a-1"):
        read_measured(tmp_path, "a", 1)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"name": "a/b"}, "an arm's name becomes a file's"),
        ({"name": ".."}, "an arm's name becomes a file's"),
        ({"name": ""}, "an arm's name becomes a file's"),
        ({"rate": 0.0}, "rate must be above 0 and finite, got 0.0"),
        ({"rate": math.nan}, "rate must be above 0 and finite, got nan"),
        ({"seeds": ()}, r"1 or more different seeds of 0 or above, got \(\)"),
        ({"seeds": (1, 1)}, r"different seeds of 0 or above, got \(1, 1\)"),
        ({"seeds": (-1,)}, "different seeds of 0 or above"),
    ],
)
def test_arms_out_of_range_are_refused(arm, message):
    with pytest.raises(ConfigError, match=message):
        Arm(**{"name": "a", "config": PLAIN, "rate": 1e-3, "seeds": (0,), **arm})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"megabytes": math.inf}, "megabytes must be above 0 and finite, got inf"),
        ({"text": "englsh"}, "english"),
        ({"curve_points": 0}, "curve_points must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TextSettings(**settings)


def test_more_windows_than_the_text_has_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="give more text, or fewer or shorter windows"):
        prepare_arms_text(tmp_path, replace(SETTINGS, megabytes=0.02, windows=5000))


def test_two_arms_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="names of their own, got plain, plain"):
        run_arms(tmp_path, [ARMS[0], ARMS[0]], SETTINGS)
