"""Costs of groups by hand, and the check that keeps lines from being called parallel."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges

from tokkit.tokenizer.audit import fairness
from tokkit.tokenizer.audit.counts import count_usage
from tokkit.tokenizer.audit.parallel import check_alignment
from tokkit.tokenizer.audit.replicates import Replicates

RNG = np.random.default_rng(0)


def setting(blocks, groups, *merges):
    table = tiny_table(blocks, groups=groups)
    made = Replicates(
        table.blocks.group, table.group_names, resamples=200, generator=np.random.default_rng(1)
    )
    usage = count_usage("t", from_merges(*merges), table)
    return usage, table, made


def test_costs_and_premiums_by_hand() -> None:
    # "ab" is one token in en; in xx each byte is one: half the tokens a byte.
    usage, table, made = setting([["abab"], ["cdcd"], ["ab"]], ["en", "xx", "en"], "a|b")
    costs = fairness.costs(usage, table, made)
    assert costs["bytes"][0] == pytest.approx([0.5, 1.0])
    found = fairness.groups_table({"t": (usage, costs)}, table, made, "en", "no lines").records()
    by = {(row["group"], row["basis"]): row for row in found}
    assert by["xx", "bytes"]["premium"] == pytest.approx(2.0)
    assert by["en", "bytes"]["premium"] == 1.0
    assert by["xx", "bytes"]["tokens"] == 4
    assert by["xx", "lines"]["premium"] is None
    assert by["xx", "lines"]["reason"] == "no lines"
    metrics = {
        (m.name, m.denominator): m for m in fairness.fairness_metrics(costs, made, "no lines")
    }
    # Two groups at 1/2 and 1: Gini 1/6, parity 1/2.
    assert metrics["gini", "tokens a byte"].rows[0] == pytest.approx(1 / 6)
    assert metrics["parity", "tokens a byte"].rows[0] == pytest.approx(0.5)
    assert metrics["gini", "tokens a line"].rows is None


def test_the_lorenz_curve_begins_with_the_cheapest_group() -> None:
    usage, table, made = setting([["abab"], ["cdcd"]], ["en", "xx"], "a|b")
    costs = fairness.costs(usage, table, made)
    rows = fairness.lorenz_table({"t": costs}, made.names, "no").records()
    assert [(r["group"], r["share_of_groups"], r["share_of_cost"]) for r in rows[:3]] == [
        ("", 0.0, 0.0),
        ("en", 0.5, pytest.approx(1 / 3)),
        ("xx", 1.0, pytest.approx(1.0)),
    ]


def test_an_interval_of_the_gini_coefficient_can_reach_equality() -> None:
    rng = np.random.default_rng(5)
    blocks = [["".join(rng.choice(["ab", "c"], 300))] for _ in range(40)]
    usage, table, made = setting(blocks, ["x", "y"] * 20, "a|b")
    costs = fairness.costs(usage, table, made)
    metric = fairness.fairness_metrics(costs, made, None)[0]
    found = made.estimate(metric.rows)
    assert found.low == 0.0 <= found.value <= found.high < 0.05


def test_a_planted_premium_is_found_within_its_interval() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(40):
        one = [["".join(rng.choice(["ab", "c"], 200, p=[0.5, 0.5]))] for _ in range(15)]
        two = [["".join(rng.choice(["ab", "c"], 200, p=[0.2, 0.8]))] for _ in range(15)]
        usage, table, made = setting([*one, *two], ["x"] * 15 + ["y"] * 15, "a|b")
        costs = fairness.costs(usage, table, made)
        row = fairness.groups_table({"t": (usage, costs)}, table, made, "x", "no").records()[1]
        # Bytes a token: 1 + p. Tokens a byte of y over x: (1 + .5) / (1 + .2).
        hits += row["low"] <= 1.5 / 1.2 <= row["high"]
    assert hits >= 34


def lengths(n=300):
    base = RNG.integers(10, 200, n)
    return base, np.round(base * RNG.normal(1.2, 0.15, n))


def aligned(en, other, counted=None):
    counted = counted or {"en": (len(en), 1), "xx": (len(other), 1)}
    found = check_alignment({"en": en, "xx": other}, "en", counted, np.random.default_rng(2))
    return {a.group: a for a in found}["xx"]


def test_translated_lines_are_parallel() -> None:
    found = aligned(*lengths())
    assert found.reason is None
    assert found.correlation > 0.8 > found.shifted
    assert found.p == 1 / 200


def test_shuffled_lines_are_not() -> None:
    en, other = lengths()
    found = aligned(en, RNG.permutation(other))
    assert found.reason == "line lengths of 'xx' and 'en' hardly go together"


def test_lines_one_off_are_not() -> None:
    en, other = lengths()
    # A trend in both makes even moved lines go together; the move is seen all the same.
    trend = np.linspace(1, 9, 300)
    found = aligned(en * trend, np.roll(other * trend, 1))
    assert found.correlation > 0.3
    assert found.reason == "lines of 'xx' fit those of 'en' better when moved"


def test_other_numbers_of_lines_are_not() -> None:
    en, other = lengths()
    assert aligned(en, other[:-1]).reason == "'xx' has 299 lines and 'en' 300"
    counted = {"en": (300, 1), "xx": (250, 1)}
    assert aligned(en, other, counted).reason == (
        "'xx' has 300 lines, but the counted corpus 250 line feeds in 1 documents"
    )
    assert aligned(en[:20], other[:20]).reason == "20 lines, and the check needs 30"
    assert "one length" in aligned(en, np.ones(300)).reason


def test_a_group_without_lines_is_named() -> None:
    found = check_alignment({"en": np.arange(40)}, "en", {"xx": (40, 1)}, RNG)
    assert found[0].reason == "the lines of 'xx' were not given"
