"""The learning rate by hand, the update against a second writing of it, and what is refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import batch_at, evaluate, tiny_model, training_config
from torch.nn import functional

from tokkit.errors import ConfigError
from tokkit.training.loop import METRICS_FILE, STATE_FILE, TrainingConfig, read_metrics, train

GOLDEN = Path(__file__).parent.parent / "golden" / "training_losses.json"


def test_learning_rate_by_hand():
    config = TrainingConfig(steps=11, learning_rate=2.0, warmup_steps=4, final_fraction=0.1)
    expected = {0: 0.5, 1: 1.0, 3: 2.0, 4: 2.0, 7: 1.1, 10: 0.2}  # 7 is half way of 4..10
    for step, rate in expected.items():
        assert config.rate_at(step) == pytest.approx(rate)
    assert config.rate_at(5) == pytest.approx(2 * (0.1 + 0.9 * (1 + math.cos(math.pi / 6)) / 2))
    rates = [config.rate_at(step) for step in range(4, 11)]
    assert rates == sorted(rates, reverse=True)


def test_learning_rate_at_the_edges():
    assert TrainingConfig(steps=1, learning_rate=2.0, warmup_steps=0).rate_at(0) == 2.0
    short = TrainingConfig(steps=3, learning_rate=2.0, warmup_steps=4)
    assert [short.rate_at(step) for step in range(3)] == [0.5, 1.0, 1.5]
    flat = TrainingConfig(steps=9, learning_rate=2.0, warmup_steps=0, final_fraction=1.0)
    assert {flat.rate_at(step) for step in range(9)} == {2.0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"log_every": 0}, "log_every must be at least 1, got 0"),
        ({"warmup_steps": -1}, "warmup_steps must not be negative, got -1"),
        ({"evaluate_every": -1}, "evaluate_every must not be negative, got -1"),
        ({"save_seconds": math.nan}, "save_seconds must not be negative, got nan"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or above, finite, got -0.1"),
        ({"weight_decay": math.inf}, "weight_decay must be 0 or above, finite, got inf"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and finite, got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate must be above 0 and finite, got inf"),
        ({"clip_norm": 0}, "clip_norm must be above 0 and finite, got 0"),
        ({"beta1": 1.0}, "beta1 must be from 0 to below 1, got 1.0"),
        ({"beta2": -0.1}, "beta2 must be from 0 to below 1, got -0.1"),
        ({"final_fraction": 1.1}, "final_fraction must lie in 0..1, got 1.1"),
        ({"final_fraction": math.nan}, "final_fraction must lie in 0..1, got nan"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_what_is_refused(changed, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        training_config(**changed)


def test_metrics_come_when_they_are_due(tmp_path):
    config = training_config(steps=16, log_every=5, evaluate_every=8)
    train(tiny_model(), batch_at, config, tmp_path, evaluate=evaluate)
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [5, 8, 10, 15, 16]
    assert [line["step"] for line in lines if "evaluation" in line] == [8, 16]
    for line in lines:
        assert line["learning_rate"] == config.rate_at(line["step"] - 1)
        assert line["loss"] > 0
    assert (tmp_path / METRICS_FILE).read_text().count("\n") == 5
    assert read_metrics(tmp_path / "nowhere") == []


def test_the_first_loss_is_the_cross_entropy_in_nats(tmp_path):
    model, batch = tiny_model(), batch_at(0)
    with torch.no_grad():
        logits = model(batch.ids).double().numpy()[batch.rows, batch.positions]
    shifted = logits - logits.max(-1, keepdims=True)
    odds = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
    expected = -np.log(odds[np.arange(10), batch.targets]).mean()
    train(model, batch_at, training_config(log_every=1, steps=1), tmp_path)
    assert read_metrics(tmp_path)[0]["loss"] == pytest.approx(expected, rel=1e-5)


def adamw_by_hand(config: TrainingConfig) -> dict[str, np.ndarray]:
    """Loshchilov and Hutter 2019, algorithm 2, in float64, with clipping by the common norm."""
    model = tiny_model().double()
    moments = {n: (0.0, 0.0) for n, _ in model.named_parameters()}
    for step in range(config.steps):
        batch = batch_at(step)
        logits = model(batch.ids)[batch.rows, batch.positions]
        loss = functional.cross_entropy(logits, batch.targets)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        assert norm > config.clip_norm, "clipping must have something to do"
        rate = config.rate_at(step)
        with torch.no_grad():
            for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
                g = gradient * config.clip_norm / norm
                first, second = moments[name]
                first = config.beta1 * first + (1 - config.beta1) * g
                second = config.beta2 * second + (1 - config.beta2) * g**2
                moments[name] = first, second
                multiplies = ".attention." in name or ".feedforward." in name
                p.mul_(1 - rate * config.weight_decay * multiplies)
                unbiased = second / (1 - config.beta2 ** (step + 1))
                p.sub_(rate * first / (1 - config.beta1 ** (step + 1)) / (unbiased.sqrt() + 1e-8))
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def test_the_update_is_adamw_with_decay_of_matrices_alone(tmp_path):
    config = training_config(steps=5, weight_decay=3.0, clip_norm=0.1)
    model = tiny_model()
    start = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    train(model, batch_at, config, tmp_path)
    for name, expected in adamw_by_hand(config).items():
        moved = np.abs(expected - start[name]).max()
        assert moved > 1e-3, name
        found = model.get_parameter(name).detach().numpy()
        assert np.abs(found - expected).max() <= 2e-3 * moved, name


def test_a_run_repeats_to_the_last_bit(tmp_path):
    states = []
    for turn in ("one", "two"):
        torch.manual_seed(len(turn) + len(states))  # what the world's generator does is nothing
        model = tiny_model()
        train(model, batch_at, training_config(), tmp_path / turn, evaluate=evaluate)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    one, two = ((tmp_path / turn / METRICS_FILE).read_bytes() for turn in ("one", "two"))
    assert one == two
    assert (tmp_path / "one" / STATE_FILE).exists()
    train(tiny_model(seed=1), batch_at, training_config(), tmp_path / "three", evaluate=evaluate)
    assert (tmp_path / "three" / METRICS_FILE).read_bytes() != one


@pytest.mark.parametrize("settings", [{}, {"positions": "learned", "norm_place": "post"}])
def test_one_batch_can_be_learned_by_heart(tmp_path, settings):
    config = training_config(steps=150, log_every=1, weight_decay=0.0)
    train(tiny_model(**settings), lambda _: batch_at(0), config, tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path)]
    assert losses[0] > 2.0
    assert losses[-1] < 0.01


def test_shuffled_answers_that_contradict_cannot_be_learned(tmp_path):
    """The other side: the same input with two answers has a floor of ln 2."""
    batch = batch_at(0)
    ids = batch.ids[:1].repeat(2, 1)
    places = torch.tensor([0, 1]), torch.tensor([6, 6])
    contradiction = type(batch)(ids, *places, torch.tensor([3, 4]))
    config = training_config(steps=100, log_every=100)
    train(tiny_model(), lambda _: contradiction, config, tmp_path)
    assert read_metrics(tmp_path)[-1]["loss"] == pytest.approx(math.log(2), abs=0.01)


# Golden losses ----------------------------------------------------------------------------------

GOLDEN_SETTINGS = {
    "llama": {"key_value_heads": 1},
    "gpt2": {
        "positions": "learned",
        "norm": "layernorm",
        "feedforward": "gelu",
        "linear_bias": True,
        "tied": True,
    },
    "alibi-features": {"positions": "alibi", "feedforward": "relu", "token_features": 3},
    "post-sinusoidal": {"positions": "sinusoidal", "norm": "layernorm", "norm_place": "post"},
}


def losses_of(name: str, folder: Path) -> list[float]:
    train(tiny_model(**GOLDEN_SETTINGS[name]), batch_at, training_config(), folder)
    return [line["loss"] for line in read_metrics(folder)]


@pytest.mark.parametrize("name", GOLDEN_SETTINGS)
def test_losses_are_those_kept_as_golden(name, tmp_path):
    """A change of the maths shows here. Was it meant? Then `python test_training.py` anew."""
    golden = json.loads(GOLDEN.read_text())[name]
    assert losses_of(name, tmp_path) == pytest.approx(golden, rel=1e-3)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        kept = {name: losses_of(name, Path(scratch) / name) for name in GOLDEN_SETTINGS}
    GOLDEN.write_text(json.dumps(kept, indent=1) + "\n")
