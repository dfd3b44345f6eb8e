"""Exact properties of positions: worked by hand, each with its control, and what rounding does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tokkit.analysis.positions import order, relative
from tokkit.analysis.positions.claims import added_claim, relative_claim
from tokkit.analysis.positions.exact import CONTROL_FLOOR, Property
from tokkit.analysis.positions.relative import (
    exact_tables,
    offset_spread,
    relative_properties,
    rotary_scores,
    rounding,
)
from tokkit.analysis.positions.run import analyze_scheme
from tokkit.analysis.positions.scheme import head_slopes, own_vectors, rotary_pairs, scheme_section
from tokkit.analysis.positions.tables import block_rotation_deviation, sinusoidal
from tokkit.model.config import POSITIONS, ModelConfig
from tokkit.model.layout import Layout
from tokkit.model.positions import sinusoidal_table
from tokkit.model.presets import PRESETS

TWO_PAIRS = ModelConfig(vocab_size=5, width=8, layers=2, query_heads=2, context=100)


def test_two_pairs_by_hand():
    fast, slow = rotary_pairs(TWO_PAIRS)
    assert fast.radians == 1
    assert slow.radians == pytest.approx(0.01)  # 10,000 ^ (-2/4)
    assert slow.wavelength_tokens == pytest.approx(200 * math.pi)
    assert (fast.turns, slow.turns) == pytest.approx((50 / math.pi, 0.5 / math.pi))
    assert (fast.completes, slow.completes) == (True, False)
    assert scheme_section(TWO_PAIRS).values["pairs_that_never_turn_once"] == 1


def test_scaling_and_layers_of_two_kinds():
    config = replace(
        TWO_PAIRS, rope_scaling="linear", rope_factor=4.0, rope_local_base=100.0,
        attention_pattern="sf", window=10,
    )  # fmt: skip
    pairs = {(pair.layers, pair.pair): pair for pair in rotary_pairs(config)}
    assert set(pairs) == {("full", 0), ("full", 1), ("sliding", 0), ("sliding", 1)}
    assert pairs["full", 0].radians == 0.25
    assert pairs["full", 0].base_radians == 1
    assert pairs["sliding", 0].radians == 1  # not scaled
    assert pairs["sliding", 1].radians == pytest.approx(0.1)


def test_slopes_of_two_heads_by_hand():
    found = head_slopes(replace(TWO_PAIRS, positions="alibi"))
    assert [head.slope for head in found] == [1 / 16, 1 / 256]
    assert found[0].halved_at == pytest.approx(16 * math.log(2))
    assert found[1].hundredth_at == pytest.approx(256 * math.log(100))
    assert head_slopes(TWO_PAIRS) == ()
    assert rotary_pairs(replace(TWO_PAIRS, positions="alibi")) == ()


def test_scores_of_one_pair_are_cosines_of_the_offset():
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    tables = exact_tables(torch.ones(1, dtype=torch.float64), torch.arange(5))
    places = np.arange(5)
    expected = np.cos(places[:, None] - places)
    np.testing.assert_allclose(rotary_scores(one, one, *tables), expected, atol=1e-15)


def test_the_spread_of_an_offset_is_over_all_pairs():
    n = 7
    scores = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    slow = {}
    for i in range(n):
        for j in range(n):
            slow.setdefault(i - j, []).append(float(scores[i, j]))
    spreads = {offset: max(values) - min(values) for offset, values in slow.items()}
    assert offset_spread(scores) == pytest.approx(max(spreads.values()))
    behind = max(value for offset, value in spreads.items() if offset >= 0)
    assert offset_spread(scores, causal=True) == pytest.approx(behind)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"rope_share": 0.5, "width": 16},
        {"rope_scaling": "yarn", "rope_factor": 3.0, "rope_original_context": 30},
        {"rope_local_base": 50.0, "attention_pattern": "s", "window": 9},
        {"positions": "alibi"},
    ],
)
def test_relative_scores_hold_and_their_control_fails(changed):
    config = replace(TWO_PAIRS, **({"head_width": 0} | changed))
    vectors = own_vectors(3, config.head_width, seed=1)
    found = relative_properties(config, *vectors, seed=0, of_model=True)
    assert [p.dtype for p in found] == ["float64", "float32"]
    assert all(p.holds and p.control_fails for p in found)
    assert "all pairs of 100 positions" in found[0].checked


def test_other_angles_at_each_position_would_be_seen():
    """A rotation by no multiple of the position is no function of the offset."""
    query, key = own_vectors(1, 2, seed=0)
    angles = torch.arange(9, dtype=torch.float64)[:, None] ** 1.5
    assert offset_spread(rotary_scores(query[0], key[0], angles.cos(), angles.sin())) > 0.1


def test_rounded_angles_err_more_the_farther_and_rounded_tables_as_much():
    config = ModelConfig(vocab_size=5, width=32, layers=1, query_heads=1, context=40_000)
    found = {(r.way, r.position): r.deviation for r in rounding(config, *own_vectors(3, 32, 0))}
    assert {position for _, position in found} == {2**n for n in range(6, 16)} | {39_999}
    assert all(found["float32", 2**n] < 1e-6 for n in range(6, 16))
    assert found["float32 angles", 32_768] > 50 * found["float32 angles", 64]
    assert 1e-4 < found["bfloat16 tables", 32_768] < 4 * found["bfloat16 tables", 64] < 0.04
    assert found["bfloat16 angles", 32_768] > 0.1
    assert rounding(replace(config, positions="none"), *own_vectors(3, 32, 0)) == ()


def test_the_sinusoidal_table_by_loops_and_its_shift():
    table, frequencies = sinusoidal(11, 6)
    for p in range(11):
        for i in range(3):
            angle = p / 10_000 ** (2 * i / 6)
            assert table[p, 2 * i] == pytest.approx(math.sin(angle))
            assert table[p, 2 * i + 1] == pytest.approx(math.cos(angle))
    np.testing.assert_allclose(sinusoidal_table(11, 6), table, atol=1e-6)
    assert block_rotation_deviation(table, frequencies) < 1e-14
    bent = table.copy()
    bent[7] += 0.01
    assert block_rotation_deviation(bent, frequencies) == pytest.approx(0.01, abs=0.006)


@pytest.mark.parametrize("scheme", POSITIONS)
def test_permutations_are_seen_by_all_but_the_model_without_positions_and_mask(scheme):
    model = order.small_model(scheme, seed=3)
    ids = torch.randint(97, (1, 13), generator=torch.Generator().manual_seed(0))
    deviation = order.permuted(model, ids, seed=0, masked=False)
    assert (deviation < 1e-12) == (scheme == "none")
    assert order.permuted(model, ids, seed=0, masked=True) > CONTROL_FLOOR


@pytest.mark.parametrize("scheme", POSITIONS)
def test_shifts_are_seen_by_absolute_schemes_alone(scheme):
    model = order.small_model(scheme, seed=3)
    ids = torch.randint(97, (2, 13), generator=torch.Generator().manual_seed(0))
    deviation = order.shifted(model, ids, [1, 50])
    assert (deviation < 1e-4) == (scheme in order.RELATIVE)


def test_the_forward_pass_of_a_layout_is_the_models():
    model = order.small_model("rope", seed=1)
    ids = torch.randint(97, (2, 9))
    with torch.inference_mode():
        torch.testing.assert_close(order.final(model, ids), model.hidden(ids))
    gapped = order.Gapped(model.config, 9, ids.device, gap=0)
    torch.testing.assert_close(order.final_under(model, ids, gapped), order.final(model, ids))


def test_everyone_sees_everyone_without_a_mask():
    layout = order.Unmasked(TWO_PAIRS, 3, torch.device("cpu"))
    free = layout.bias(sliding=False, slopes=None, key_columns=None, at=None)
    assert free.shape == (1, 1, 3, 3)
    assert not free.any()
    sloped = layout.bias(sliding=False, slopes=torch.tensor([0.5]), key_columns=None, at=None)
    assert sloped[0, 0].tolist() == [[0, -0.5, -1], [-0.5, 0, -0.5], [-1, -0.5, 0]]
    assert Layout.bias is not order.Unmasked.bias


@pytest.mark.parametrize("scheme", ["rope", "none"])
def test_every_property_holds_and_every_control_fails(scheme):
    found = order.order_properties(scheme, seed=0)
    assert all(p.holds for p in found)
    assert all(p.control_fails for p in found)
    assert len({(p.name, p.dtype, p.scheme, p.control) for p in found}) == len(found)


def prop(**changed):
    usual = {
        "name": "scores", "scheme": "rope", "of_model": True, "dtype": "float64", "checked": "",
        "relative_to": "x", "deviation": 0.0, "control": "c", "control_deviation": 1.0,
    }  # fmt: skip
    return Property(**(usual | changed))


def test_the_verdict_on_relative_scores():
    def verdict(*properties):
        return relative_claim("rope", properties).verdict

    assert verdict(prop()) == "supported"
    assert verdict(prop(), prop(deviation=1e-9)) == "contradicted"
    assert verdict(prop(deviation=math.nan)) == "contradicted"
    assert verdict(prop(control_deviation=1e-3)) == "inconclusive"
    assert relative_claim("learned", [prop(scheme="learned")]) is None
    assert relative_claim("rope", [prop(of_model=False)]) is None


def test_the_verdict_on_order():
    equal = prop(name="a permuted text", scheme="none", control="with the causal mask")

    def verdict(more, found=equal):
        return added_claim("rope", [found], more, 0.01, 12).verdict

    assert verdict((1.0, 0.5, 1.5)) == "supported"
    assert verdict((-1.0, -1.5, -0.5)) == "contradicted"
    assert verdict((0.1, -0.5, 0.5)) == "inconclusive"
    assert verdict((1.0, math.nan, math.nan)) == "inconclusive"
    assert verdict(None) == "inconclusive"
    assert verdict((1.0, 0.5, 1.5), replace(equal, deviation=1.0)) == "contradicted"
    assert verdict((1.0, 0.5, 1.5), replace(equal, control_deviation=0.0)) == "inconclusive"


def test_a_preset_without_weights(monkeypatch):
    monkeypatch.setattr(relative, "MOST_POSITIONS", 128)
    result = analyze_scheme(PRESETS["gemma-3-1b"].config, name="gemma-3-1b")
    assert {row["layers"] for row in result.tables["frequencies"].records()} == {"full", "sliding"}
    assert [claim.verdict for claim in result.claims] == ["supported", "inconclusive"]
    assert "heads" not in result.tables
