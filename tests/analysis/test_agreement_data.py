"""Numbers of agreement by hand: masses, nulls, shares, ranks, kinds of heads, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tokkit.analysis.attention.agreement import item_counts, plan_of
from tokkit.analysis.attention.agreement_claim import _verdict, attention_claim, chosen_head
from tokkit.analysis.attention.agreement_data import (
    Measured,
    gather_weights,
    means,
    rank_correlation,
    shares,
)
from tokkit.analysis.attention.agreement_items import ADVERB, ATTRACTORS, SUBJECT, Item
from tokkit.analysis.attention.agreement_measures import (
    CUT_ROLES,
    OUTPUTS,
    PATCH_ROLES,
    WEIGHT_ROLES,
    Caused,
    Knocked,
    Looked,
    Patched,
    Plan,
    roles_of,
)
from tokkit.analysis.attention.agreement_tables import KINDS, accuracy_table, head_kinds
from tokkit.analysis.intervals import Ratios, resampling
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.results import Control

LAYERS, HEADS = 2, 3


def item(n=1, *, adverb=(4, 5), length=6, split="own", nearest="same number"):
    places = {SUBJECT: (1,), ATTRACTORS: (3,) if n else (), ADVERB: adverb}
    return Item("", tuple(range(length)), tuple(range(length)), 0, 1, places, n, nearest, split)


def looked(of, weights):
    """Every head alike, but for head 0.0, which has these weights from the last token."""
    columns = len(of.ids)
    at_last = np.full((LAYERS, HEADS, columns), 1 / columns)
    at_last[0, 0] = weights
    at_verb = np.full((LAYERS, HEADS, columns + 1), 1 / (columns + 1))
    return Looked(at_last, at_verb, roles_of(of))


def drawn_of(n):
    return resampling(np.arange(n), np.random.default_rng(0))


def test_masses_and_even_dealing():
    items = [item(), item(0)]
    weights = [0.1, 0.4, 0.05, 0.2, 0.1, 0.15]
    found = gather_weights([looked(each, weights) for each in items], items)
    order = (SUBJECT, ATTRACTORS, ADVERB, "first token", "other tokens")
    assert order == WEIGHT_ROLES
    np.testing.assert_allclose(found.mass[0, 0, 0, 0], [0.4, 0.2, 0.25, 0.1, 0.05])
    np.testing.assert_allclose(found.mass[1, 0, 0, 0], [0.4, np.nan, 0.25, 0.1, 0.25])
    np.testing.assert_allclose(found.even[0, 0], np.array([1, 1, 2, 1, 1]) / 6)
    np.testing.assert_allclose(found.even[0, 1], np.array([1, 1, 2, 1, 1]) / 7)
    np.testing.assert_allclose(found.mass[0, 1, 1, 2], found.even[0, 1])  # the verb itself is none


def test_weight_of_like_distance_is_of_other_sentences():
    """The subject of the short sentence stands 2 before its last token, as "x" in the long one."""
    long, short = item(), item(0, adverb=(2, 3), length=4)
    found = gather_weights(
        [looked(long, [0.1, 0.4, 0.05, 0.2, 0.1, 0.15]), looked(short, [0.5, 0.3, 0.1, 0.1])],
        [long, short],
    )
    # 4 before the last token stands nothing but the long sentence's own subject.
    assert np.isnan(found.by_distance[0]).all()
    assert found.by_distance[1, 0, 0] == pytest.approx(0.2)
    assert found.by_distance[1, 1, 1] == pytest.approx(1 / 6)


def test_means_and_shares_leave_out_what_is_not_there():
    drawn = drawn_of(12)
    values = np.arange(12.0)
    values[::2] = np.nan
    assert means(drawn, values).estimate == pytest.approx(6.0)
    moved = np.stack([np.full(12, 2.0), np.full(12, np.nan)], 1)
    found = shares(drawn, moved, np.full(12, 4.0))
    assert found.estimate[0] == found.low[0] == found.high[0] == pytest.approx(0.5)
    assert np.isnan(found.estimate[1])
    weighted = shares(drawn, np.array([1.0] + [0.0] * 11), np.array([9.0] + [1.0] * 11))
    assert weighted.estimate == pytest.approx(1 / 20)


def test_rank_correlation_is_spearmans():
    generator = np.random.default_rng(4)
    weight, moved = (generator.normal(size=(30, LAYERS, HEADS)) for _ in range(2))
    apart = generator.uniform(1, 2, 30)
    value, low, high = rank_correlation(drawn_of(30), weight, moved, apart)
    expected = spearmanr(weight.mean(0).ravel(), moved.mean(0).ravel()).statistic
    assert value == pytest.approx(expected)
    assert low < high
    same = rank_correlation(drawn_of(30), weight, weight, np.ones(30))
    assert same == pytest.approx((1, 1, 1))
    flat = rank_correlation(drawn_of(30), np.ones_like(weight), moved, apart)
    assert np.isnan(flat).all()


def planted(n=24, *, effect=1.0, adverb_cut=0.0, right=True, fresh=0.0, seed=0):
    """Measures of sentences: head 0.0 looks and does `effect`, head 0.1 does it without a look."""
    generator = np.random.default_rng(seed)
    items = [item(k % 2) for k in range(n)]
    spread = generator.normal(0, 0.01, n)
    own = [looked(i, [0.1, 0.5 + s, 0.1, 0.1, 0.1, 0.1 - s])
           for i, s in zip(items, spread, strict=True)]  # fmt: skip
    flat = [looked(i, [1 / 6] * 6) for i in items]
    caused = []
    for s in spread:
        clean = (2.0 if right else -2.0) + s
        heads = np.zeros((LAYERS, HEADS))
        heads[0, :2] = effect * (4 + s)
        states = np.zeros((LAYERS, len(PATCH_ROLES)))
        states[0, 0] = states[1, 3] = 4 + s
        patched = Patched(states, np.zeros((len(OUTPUTS), LAYERS)), heads, heads)
        after = np.full((1, len(CUT_ROLES)), clean)
        after[0, 0] -= effect * 2 + s
        after[0, 2] -= adverb_cut
        caused.append(
            Caused(4 + s, {"restoring": patched, "breaking": patched}, Knocked(clean, after, after),
                   np.zeros((LAYERS, len(CUT_ROLES))), np.zeros((LAYERS, HEADS)))
        )  # fmt: skip
    untouched = np.full((1, len(CUT_ROLES)), 0.1)
    untouched[0, 0] -= fresh
    return Measured(
        items, gather_weights(own, items), caused, gather_weights(flat, items),
        [Knocked(0.1, untouched, untouched)] * n, Plan((0, 1), ((0, 1),)), n,
    )  # fmt: skip


def test_kinds_of_heads():
    measured = planted()
    kinds = head_kinds(measured, drawn_of(24))
    assert kinds[0, 0] == "looks and matters"
    assert kinds[0, 1] == "matters, does not look"
    assert kinds[1, 2] == "neither"
    assert head_kinds(planted(effect=0.001), drawn_of(24))[0, 0] == "looks, does not matter"
    assert set(kinds.values()) <= set(KINDS)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "supported"),
        ({"adverb_cut": 2.0}, "inconclusive"),
        ({"adverb_cut": 9.0}, "inconclusive"),  # the fresh model's control fails with it
        ({"right": False}, "inconclusive"),
        ({"fresh": 5.0}, "inconclusive"),
    ],
)
def test_verdicts(changed, verdict):
    claim = attention_claim("it", planted(**changed), 0)
    assert claim.verdict == verdict
    assert claim.evidence[0].n == 12  # the half that did not choose
    assert claim.evidence[2].n == 24
    assert all(e.p is not None for e in claim.evidence[:4])
    assert claim == attention_claim("it", planted(**changed), 0)


def test_contradicted_where_an_interval_lies_below():
    good, bad = (Ratios(*(np.array(x) for x in b)) for b in ((1, 0.5, 2), (-1, -2, -0.5)))
    unclear = Ratios(*(np.array(x) for x in (1, -0.5, 2)))
    holds, fails = Control("c", 1.0, 0.0, True), Control("c", -1.0, 0.0, False)
    p = [0.01] * 2
    assert _verdict([holds], [good, good], p) == "supported"
    assert _verdict([holds], [good, bad], p) == "contradicted"
    assert _verdict([holds], [good, unclear], p) == "inconclusive"
    assert _verdict([holds], [good, good], [0.01, 0.06]) == "inconclusive"
    assert _verdict([holds], [good, good], [0.01, None]) == "inconclusive"
    assert _verdict([holds, fails], [good, bad], p) == "inconclusive"


def test_the_head_is_chosen_by_the_choosing_half():
    weights = planted(4).weights
    weights.mass[:] = 0
    weights.mass[::2, 0, 1, 2, 0] = 1
    weights.mass[1::2, 0, 0, 1, 0] = 1
    assert chosen_head(weights, np.array([True, False, True, False])) == (1, 2)
    assert chosen_head(weights, np.array([False, True, False, True])) == (0, 1)


def test_no_sentence_has_an_adverb_before_its_last_token():
    measured = planted()
    for found in measured.caused:
        for side in found.patched.values():
            side.states[:, PATCH_ROLES.index(ADVERB)] = np.nan
    claim = attention_claim("it", measured, 0)
    assert claim.verdict == "inconclusive"
    assert (claim.evidence[3].value, claim.evidence[3].n) == (None, 0)


def test_accuracy_by_hand():
    items = [item(0, nearest="none"), item(1), item(1), item(1, nearest="other number")]
    rows = accuracy_table(items, np.array([1.0, 1.0, -1.0, -2.0])).records()
    assert [(r["attractors"], r["nearest"], r["items"], r["right"]) for r in rows] == [
        (0, "none", 1, 1.0), (1, "same number", 2, 0.5), (1, "other number", 1, 0.0),
    ]  # fmt: skip
    assert 0 < rows[1]["low"] < 0.5 < rows[1]["high"] < 1


@pytest.mark.parametrize("layers", [1, 2, 30])
def test_plans(layers):
    config = ModelConfig(vocab_size=5, width=4, layers=layers, query_heads=1)
    plan = plan_of(config, heads_everywhere=False)
    assert plan.layers[0] == 0
    assert plan.layers[-1] == layers - 1
    assert len(set(plan.layers)) == len(plan.layers) == min(layers, 10)
    assert plan.windows[-1] == (0, layers - 1)
    parts = plan.windows[:-1]
    assert [n for first, last in parts for n in range(first, last + 1)] == list(range(layers))
    assert item_counts(Transformer(config, seed=0)) == (96, 96)
