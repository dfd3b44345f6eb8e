"""What excites each unit: streamed as sorted, gate and up apart, values as words, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from feedforward_planted import HIDDEN, TOKENIZER, small_model, texts

from tokkit.analysis.feedforward import reading as reading_module
from tokkit.analysis.feedforward.gates import gate_table
from tokkit.analysis.feedforward.reading import SKIPPED, LayerReading, batch_rows, read
from tokkit.analysis.feedforward.running_top import RunningTop
from tokkit.analysis.feedforward.value_words import (
    agreement,
    first_tokens,
    following,
    value_scores,
)
from tokkit.analysis.windows import Windows, cut_windows
from tokkit.errors import ArtifactError
from tokkit.model.trace import trace


def silent(*_: object) -> None:
    pass


def windows_of(length: int = 17, rows: int = 13) -> Windows:
    return cut_windows(
        TOKENIZER, texts(), length=length, rows=rows, generator=np.random.default_rng(3)
    )


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_streamed_is_sorted(batch):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(101, 7, generator=generator)
    values[40:60] = values[:20]  # ties, which the earlier place wins
    values[90] = 0.0
    top = RunningTop(5)
    for first in range(0, 101, batch):
        part = values[first : first + batch]
        places = torch.arange(first, first + len(part)) * 3
        top.update(part, places, {"twice": 2 * part})
    for unit in range(7):
        size = values[:, unit].abs().tolist()
        expected = sorted(range(101), key=lambda at: (-size[at], at))[:5]
        assert top.places[unit].tolist() == [3 * at for at in expected]
        assert torch.equal(top.kept["hidden"][unit], values[expected, unit])
        assert torch.equal(top.kept["twice"][unit], 2 * values[expected, unit])


def test_fewer_places_than_are_kept():
    top = RunningTop(5)
    top.update(torch.tensor([[1.0], [-3.0]]), torch.arange(2), {})
    assert top.places.tolist() == [[1, 0]]
    assert top.kept["hidden"].tolist() == [[-3.0, 1.0]]


@pytest.mark.parametrize("kind", ["swiglu", "gelu"])
def test_a_pass_keeps_what_one_look_at_everything_gives(kind, monkeypatch):
    model, windows = small_model(feedforward=kind), windows_of()
    monkeypatch.setattr(reading_module, "_BATCH_NUMBERS", 1)
    assert batch_rows(model, 17) == 1
    found = read(model, windows, silent)
    with trace(model) as seen, torch.no_grad():
        model(torch.from_numpy(windows.ids))
    hidden = seen["blocks.1.feedforward.hidden"][:, SKIPPED:].numpy().reshape(-1, HIDDEN)
    layer = found.layers[1]
    best = np.abs(hidden).argmax(0)
    rows, at = np.divmod(best, windows.length - SKIPPED)
    assert layer.places[:, 0].tolist() == (rows * windows.length + at + SKIPPED).tolist()
    assert layer.hidden[:, 0] == pytest.approx(hidden[best, np.arange(HIDDEN)], abs=1e-5)
    assert layer.mean_abs == pytest.approx(np.abs(hidden).mean(0), rel=1e-4)
    assert layer.rms == pytest.approx(np.sqrt((hidden**2).mean(0)), rel=1e-4)
    if kind == "gelu":
        assert layer.gate is None
        assert gate_table(found.layers) is None
    else:
        assert layer.gate is not None
        assert layer.gate * layer.up == pytest.approx(layer.hidden, abs=1e-5)


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ("blocks.1.feedforward.up.weight", "what is unembedded must be finite"),
        ("final_norm.weight", "what is unembedded must be finite"),
        ("unembedding", "the unembedding must be finite"),
    ],
)
def test_weights_that_are_not_finite_are_refused(damaged, words):
    model = small_model()
    with torch.no_grad():
        model.get_parameter(damaged).fill_(torch.nan)
    with pytest.raises(ArtifactError, match=words):
        read(model, windows_of(), silent)


def layer_of(hidden, gate, up, places=None):
    hidden, gate, up = (np.array(x, dtype=np.float32) for x in (hidden, gate, up))
    ones = np.ones(len(hidden))
    places = np.zeros(hidden.shape, dtype=np.int64) if places is None else np.array(places)
    return LayerReading(0, places, hidden, gate, up, ones, ones, 2 * ones, ones)


def test_gate_and_up_apart():
    # Usual sizes: gate 2, up 1. Unit 0 is excited upwards by a gate of 4 times, unit 1 downwards
    # by up 3 times its usual size, unit 2 by both alike.
    table = gate_table(
        [
            layer_of(
                [[8, 8], [-6, -6], [2, -2]], [[8, 8], [2, 2], [2, -2]], [[1, 1], [-3, -3], [1, 1]]
            )
        ]
    )
    (row,) = table.records()
    assert row["layer"] == 0
    assert (row["positive"], row["negative"], row["mixed"]) == pytest.approx((1 / 3,) * 3)
    assert row["gate_open"] == pytest.approx(5 / 6)
    assert row["up_negative"] == pytest.approx(2 / 6)
    assert row["gate_times"] == 1.0  # of 4 4 1 1 1 1
    assert row["up_times"] == 1.0
    assert row["gate_larger"] == pytest.approx(2 / 6)


@torch.no_grad()
def test_values_as_words_by_hand():
    model = small_model()
    model.final_norm.weight.copy_(torch.arange(1.0, 33.0))
    model.unembedding.zero_()
    model.unembedding[5, 2], model.unembedding[6, 2], model.unembedding[7, 3] = 1.0, -1.0, 1.0
    down = model.blocks[1].feedforward.down.weight
    down[:, 9] = 0.0
    down[2, 9], down[3, 9] = 2.0, 0.5
    scores = value_scores(model, 1, [9])
    # 2 x the gain 3 of column 2; 0.5 x the gain 4 of column 3.
    assert scores[0, [5, 6, 7, 8]].tolist() == [6.0, -6.0, 2.0, 0.0]
    assert first_tokens(scores, 3).tolist() == [[5, 7, 0]]
    assert first_tokens(-scores, 1).tolist() == [[6]]


@torch.no_grad()
@pytest.mark.parametrize("place", ["pre", "sandwich", "post"])
def test_values_are_what_an_activation_adds_where_norms_hold_still(place):
    model = small_model(norm="layernorm", norm_place=place)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.add_(
                0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(len(name)))
            )
    direction = model.blocks[1].feedforward.down.weight[:, 4]
    gains = {
        "pre": [model.final_norm],
        "post": [model.blocks[1].feedforward_norm],
        "sandwich": [model.blocks[1].feedforward_post_norm, model.final_norm],
    }[place]
    for norm in gains:
        direction = (direction - direction.mean()) * norm.weight
    assert torch.allclose(
        value_scores(model, 1, [4])[0], model.unembedding_matrix @ direction, atol=1e-6
    )


def test_following_stops_at_the_end_of_a_window():
    windows = dataclasses.replace(windows_of(), ids=np.array([[4, 5, 6], [7, 8, 9]]))
    assert following(windows, np.array([[0, 1], [2, 3], [5, 4]])).tolist() == [
        [5, 6],
        [-1, 8],
        [-1, 9],
    ]


@torch.no_grad()
def test_values_that_promote_what_follows_are_told_from_shuffled_ones():
    model, windows = small_model(), windows_of()
    places = np.arange(HIDDEN)[:, None] * 7 + np.array([[0, 1]])
    signs = np.where(np.arange(HIDDEN) % 2, -1.0, 1.0)
    layer = layer_of(
        np.repeat(signs[:, None], 2, 1), np.ones((HIDDEN, 2)), np.ones((HIDDEN, 2)), places
    )
    tokens = following(windows, places)
    rows = model.unembedding_matrix
    aim = torch.stack([rows[[int(t) for t in of if t >= 0]].sum(0) for of in tokens], dim=1)
    at_random = agreement(model, layer, windows, np.random.default_rng(0))
    assert at_random.own.estimate < 0.2
    assert at_random.more.low <= 0, "nothing is claimed of values at random"
    model.blocks[0].feedforward.down.weight.copy_(aim * torch.from_numpy(signs).float())
    found = agreement(model, layer, windows, np.random.default_rng(0))
    assert found.own.estimate > 0.4  # two tokens share the first place
    assert found.more.low > 0.2
    assert found.units == HIDDEN
