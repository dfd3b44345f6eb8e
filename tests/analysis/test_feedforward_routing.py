"""Mixtures: loads, dead experts and what decides the route, from a planted router; shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feedforward_planted import CATEGORIES, TOKENIZER, category_tokens, small_model, texts

from tokkit.analysis.feedforward.routing import against_permuted, information, loads
from tokkit.analysis.feedforward.run import analyze_feedforward
from tokkit.analysis.feedforward.shares import VOCABULARIES, WIDTHS, shares_section
from tokkit.errors import ConfigError
from tokkit.model.presets import PRESETS

EXPERTS = {"experts": 5, "experts_per_token": 1, "expert_width": 11}


def test_information_by_hand():
    assert information(np.array([0, 0, 1, 1]), np.array([5, 5, 9, 9])) == pytest.approx(np.log(2))
    assert information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    # Joint 2/4 1/4 / 0 1/4: 0.5 ln(0.5/0.375) + 0.25 ln(0.25/0.375) + 0.25 ln(0.25/0.125).
    by_hand = 0.5 * np.log(4 / 3) + 0.25 * np.log(2 / 3) + 0.25 * np.log(2)
    assert information(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(by_hand)


def test_information_by_chance_is_not_significant():
    generator = np.random.default_rng(0)
    own, null, p = against_permuted(
        generator.integers(0, 5, 60), generator.integers(0, 9, 60), generator, 99
    )
    assert own == pytest.approx(null, rel=0.5)
    assert p > 0.05


def test_loads_by_hand():
    assert loads(np.array([[0, 2], [0, 3], [2, 0]]), 5).tolist() == pytest.approx(
        [3 / 6, 0, 2 / 6, 1 / 6, 0]
    )


@pytest.fixture(scope="module")
def routed():
    """Layer 1 sends ants and buns to expert 3, and all else to 1: each category to one."""
    model = small_model(**EXPERTS)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.output.weight.zero_()
            block.feedforward.down.weight.zero_()
        model.embedding[:, :2] = 0.0
        model.embedding[:, 1] = 1.0
        for name in ("ant", "bun"):
            model.embedding[category_tokens(name), 0] = 3.0
        router = model.blocks[1].feedforward.router.weight
        router.zero_()
        router[3, 0] = router[1, 1] = 1.0
    return analyze_feedforward(model, TOKENIZER, texts(), lists=CATEGORIES)


def test_a_planted_router_is_seen(routed):
    result = routed.result
    assert result.values["units"] == 0
    assert result.values["mixture_layers"] == 2
    assert not result.claims
    assert not routed.units
    row = result.tables["routing"].records()[1]
    assert row["dead"] == 3
    # Of the words drawn for the text 28 of 117 are ants and buns.
    load = [r["load"] for r in result.tables["loads"].records() if r["layer"] == 1]
    assert load[3] == pytest.approx(28 / 117, abs=0.05)
    assert load[1] == pytest.approx(1 - load[3])
    assert row["load_entropy"] == pytest.approx(-sum(x * np.log(x) for x in load if x))
    assert row["token_information"] == pytest.approx(row["load_entropy"]), "the token decides"
    assert row["token_information"] > 1.5 * row["token_information_null"]
    assert row["p_token"] == pytest.approx(1 / 101)
    assert row["category_information"] == pytest.approx(np.log(2))
    assert row["p_category"] < 0.01
    assert row["category_information_null"] < 0.2


def test_a_random_router_knows_no_category():
    result = analyze_feedforward(
        small_model(2, **EXPERTS, expert_pattern="de"), TOKENIZER, texts(), lists=CATEGORIES
    ).result
    (row,) = result.tables["routing"].records()
    assert row["layer"] == 1
    assert row["p_category"] > 0.01
    assert {r["layer"] for r in result.tables["units"].records()} == {0}, "dense layers have units"
    assert result.claims[0].verdict == "contradicted"


def test_units_of_a_mixture_are_refused():
    with pytest.raises(ConfigError, match="layer 0 is a mixture of experts"):
        analyze_feedforward(small_model(**EXPERTS), TOKENIZER, texts(), layer=0)


def test_a_dense_model_has_no_routing():
    result = analyze_feedforward(small_model(), TOKENIZER, texts(), lists=CATEGORIES).result
    assert result.values["mixture_layers"] == 0
    assert "routing" not in result.tables


def test_shares_by_hand():
    config = small_model().config
    rows = shares_section("small", config).tables["shares"].records()
    own = rows[0]
    # 2 layers: attention 4 x 32^2, feed-forward 3 x 32 x 23, two norms of 32; two tables.
    feedforward, attention = 2 * 3 * 32 * 23, 2 * 4 * 32 * 32
    total = feedforward + attention + 5 * 32 + 2 * TOKENIZER.vocab_size * 32
    assert own["parameters"] == total
    assert own["feedforward"] == pytest.approx(feedforward / total)
    assert own["tables"] == pytest.approx(2 * TOKENIZER.vocab_size * 32 / total)
    assert [row["model"] for row in rows[1:]] == list(PRESETS)


def test_the_wide_are_feedforward_and_the_narrow_tables():
    rows = shares_section("small", small_model().config).tables["shares_by_width"].records()
    assert len(rows) == len(VOCABULARIES) * len(WIDTHS)
    narrow, wide = rows[len(WIDTHS)], rows[2 * len(WIDTHS) - 1]
    assert narrow["tables"] > 0.9
    assert wide["feedforward"] == pytest.approx(2 / 3, abs=0.01)
