"""A position sees nothing to its right, exactly; and what each scheme tells of positions."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tiny_models import TIME, VOCAB, some_ids, tiny_model

from tokkit.model.config import NORM_PLACES, POSITIONS
from tokkit.model.positions import alibi_slopes, rotary_tables, rotate
from tokkit.model.trace import trace

HEADS = {"multi-head": (3, 3), "grouped": (6, 2), "multi-query": (3, 1)}
SETTINGS = list(product(POSITIONS, NORM_PLACES, HEADS))


def frequencies(base: float, width: int) -> torch.Tensor:
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def model_of(positions: str, norm_place: str, heads: str):
    query_heads, key_value_heads = HEADS[heads]
    return tiny_model(
        width=60,
        positions=positions,
        norm_place=norm_place,
        query_heads=query_heads,
        key_value_heads=key_value_heads,
    )


@pytest.mark.parametrize(("positions", "norm_place", "heads"), SETTINGS)
@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit(positions, norm_place, heads):
    model, ids = model_of(positions, norm_place, heads), some_ids()
    before = model(ids)
    for place in range(TIME):
        changed = ids.clone()
        changed[:, place] = (changed[:, place] + 1) % VOCAB
        after = model(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place], before[:, place])
        if place + 1 < TIME:
            assert not torch.equal(after[:, -1], before[:, -1])


@pytest.mark.parametrize(("positions", "norm_place", "heads"), SETTINGS)
@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
def test_gradients_into_the_future_are_exactly_zero(positions, norm_place, heads, explicit):
    model, ids = model_of(positions, norm_place, heads), some_ids()
    leaves = []

    def as_leaf(_module, _inputs, output):
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    model.tap_embedding.register_forward_hook(as_leaf)
    patterns = ["blocks.0.attention.pattern", "blocks.1.attention.pattern"] if explicit else []
    with trace(model, patterns):
        logits = model(ids)
    directions = torch.randn(VOCAB, generator=torch.Generator().manual_seed(2))
    for place in range(TIME):
        (gradient,) = torch.autograd.grad(
            (logits[:, place] @ directions).sum(), leaves[0], retain_graph=True
        )
        assert bool((gradient[:, place + 1 :] == 0).all())
        assert bool((gradient[:, : place + 1].abs().amax(-1) > 0).all())


def test_rotary_scores_depend_on_the_offset_alone():
    time, width = 31, 10
    query, key = torch.randn(2, width, generator=torch.Generator().manual_seed(7))
    cosines, sines = rotary_tables(frequencies(10_000.0, width), time)
    turned = [rotate(v.expand(1, 1, time, width), cosines, sines)[0, 0] for v in (query, key)]
    scores = turned[0] @ turned[1].T
    spread = scores.std()
    for offset in range(-time + 1, time):
        diagonal = scores.diagonal(offset)
        assert (diagonal - diagonal[0]).abs().max() <= 1e-5 * spread, offset
    assert (scores[0] - scores[0, 0]).abs().max() > spread, "offsets must matter"


def test_rotary_keeps_lengths_and_the_first_position():
    x = torch.randn(1, 3, 7, 10, generator=torch.Generator().manual_seed(1))
    cosines, sines = rotary_tables(frequencies(500.0, 10), 7)
    turned = rotate(x, cosines, sines)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])


@torch.no_grad()
def test_in_a_model_the_same_token_everywhere_shows_each_scheme():
    """One token repeated has one query and key: what is left in a score is its position."""
    ids = torch.full((1, 13), 4)
    found = {}
    for positions in POSITIONS:
        model = tiny_model(positions=positions)
        with trace(model, ["blocks.0.attention.pattern"]) as activations:
            model(ids)
        log_pattern = activations["blocks.0.attention.pattern"][0].log()
        own = log_pattern.diagonal(dim1=-2, dim2=-1)[..., None]
        found[positions] = log_pattern - own  # the score of (t, s) beyond that of (t, t)
    steps = torch.arange(13)
    distance = (steps[:, None] - steps[None, :]).float()
    seen = distance >= 0
    assert found["none"][:, seen].abs().max() < 1e-5
    expected = -alibi_slopes(3)[:, None, None] * distance
    assert (found["alibi"] - expected)[:, seen].abs().max() < 1e-5
    for offset in range(1, 12):
        rotary = found["rope"].diagonal(-offset, dim1=-2, dim2=-1)
        assert (rotary - rotary[:, :1]).abs().max() < 1e-4
    assert found["rope"][:, seen].abs().max() > 1e-2
    for absolute in ("learned", "sinusoidal"):
        diagonal = found[absolute].diagonal(-1, dim1=-2, dim2=-1)
        assert (diagonal - diagonal[:, :1]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_without_positions_one_layer_cannot_tell_the_order_of_what_came_before(positions):
    model, ids = tiny_model(positions=positions, layers=1), some_ids(batch=1)
    order = torch.tensor([3, 5, 0, 1, 4, 2, 6])
    before, after = model(ids)[0, -1], model(ids[:, order])[0, -1]
    difference = (after - before).abs().max()
    assert difference < 1e-5 if positions == "none" else difference > 1e-3


@torch.no_grad()
def test_without_positions_two_layers_can_tell_the_order_by_the_mask():
    model, ids = tiny_model(positions="none", layers=2), some_ids(batch=1)
    order = torch.tensor([3, 5, 0, 1, 4, 2, 6])
    assert (model(ids)[0, -1] - model(ids[:, order])[0, -1]).abs().max() > 1e-3


def test_rows_of_a_batch_are_apart():
    model, ids = tiny_model(key_value_heads=1), some_ids(batch=3)
    changed = ids.clone()
    changed[1] = (changed[1] + 1) % VOCAB
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[[0, 2]], after[[0, 2]])
