"""Planted measurements give each verdict, and none where nothing was planted."""

import math
from dataclasses import replace

import pytest
from experiments.ladder_records import BEST, PLANTED, plant, prepare_tiny

from tokkit.errors import ArtifactError
from tokkit.experiments.ladder import (
    Chosen,
    best_rate,
    bits_of,
    largest_that_trains,
    unigram,
)
from tokkit.experiments.ladder_findings import Measured, find
from tokkit.experiments.ladder_rungs import BASE, DENSE, STEP_NAMES
from tokkit.experiments.ladder_verdict import COSTS, HELPS, OPEN, outcome
from tokkit.experiments.position_text import load_text
from tokkit.experiments.text_arms import measured_path, read_measured
from tokkit.files import write_json

CLIMBS = {
    "2017": 2.4, "null": 2.4, "to-pre-norm": 2.3, "to-rmsnorm": 2.3, "to-rotary": 2.2,
    "to-swiglu": 2.1, "to-grouped": 2.15, "to-mixture": 2.0, "only-rmsnorm": 2.4,
    "only-rotary": 2.3, "only-swiglu": 2.3, "only-grouped": 2.5, "only-mixture": 2.2,
}  # fmt: skip
SINKS = CLIMBS | {"to-grouped": 2.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare_tiny(tmp_path_factory.mktemp("planted"))


def found(folder, config=PLANTED, **planted):
    plant(folder, config, **planted)
    result = find(folder, config)
    (claim,) = result["claims"]
    return {name: table.records() for name, table in result["tables"].items()}, claim


def test_a_planted_gain_is_supported_and_its_steps_are_found(folder):
    tables, claim = found(folder, bits=CLIMBS)
    assert claim.verdict == "supported"
    assert all(control.holds for control in claim.controls)
    chain = {row["step"]: row for row in tables["chain_steps"]}
    assert list(chain) == list(STEP_NAMES)
    expected = {"pre-norm": HELPS, "rotary": HELPS, "swiglu": HELPS, "grouped": COSTS,
                "mixture": HELPS, "rmsnorm": OPEN}  # fmt: skip
    assert {step: row["outcome"] for step, row in chain.items()} == expected
    assert chain["pre-norm"]["low"] < -0.1 < chain["pre-norm"]["high"] < 0
    assert chain["pre-norm"]["p"] == 2 / 2**8
    assert chain["pre-norm"]["p_holm"] == 6 * 2 / 2**8
    alone = {row["step"]: row for row in tables["alone_steps"]}
    assert alone["mixture"]["minus"] == "only-swiglu"
    assert alone["mixture"]["difference"] == pytest.approx(-0.1, abs=0.03)
    assert alone["rmsnorm"]["outcome"] == OPEN


def test_a_stack_that_is_worse_contradicts(folder):
    _, claim = found(folder, bits=SINKS)
    assert claim.verdict == "contradicted"


def test_nothing_planted_leaves_it_open(folder):
    tables, claim = found(folder, spread=0.02)
    assert claim.verdict == "inconclusive"
    assert all(control.holds for control in claim.controls)
    steps = tables["chain_steps"] + tables["alone_steps"]
    assert {row["outcome"] for row in steps} == {OPEN}


def test_fewer_seeds_than_the_rule_asks_for_give_no_verdict(folder):
    config = replace(PLANTED, seeds=1)
    tables, claim = found(folder, config, bits=CLIMBS)
    assert claim.verdict == "inconclusive"
    assert claim.limits[0].startswith("With 1 seed(s), below the 8 that the rule asks for")
    assert {row["p"] for row in tables["chain_steps"]} == {None}


@pytest.mark.parametrize(
    ("planted", "failed"),
    [
        ({"bits": CLIMBS | {"null": 2.5}}, "2017 against itself with other seeds: sign-flip p"),
        ({"bits": CLIMBS | {"2017": 6.0, "null": 6.0}}, "2017: bits per byte below the unigram's"),
        ({"bits": CLIMBS, "best": {BASE: 1e-3}}, "2017: best rate within the grid"),
        ({"bits": CLIMBS, "best": {DENSE: 1e-2}}, "today: best rate within the grid"),
    ],
)
def test_a_failed_control_leaves_it_open(folder, planted, failed):
    _, claim = found(folder, **planted)
    assert claim.verdict == "inconclusive"
    assert any(c.name.startswith(failed) for c in claim.controls if not c.holds)


def test_an_edge_is_said(folder):
    tables, claim = found(folder, bits=CLIMBS, best={"only-rotary": 1e-3})
    assert claim.verdict == "supported"
    assert "Best at an end of the grid" in claim.limits[0]
    assert "2017 with rotary (0.001)" in claim.limits[0]
    assert [row["rung"] for row in tables["rungs"] if row["at_edge"]] == ["only-rotary"]


def test_a_final_seed_that_diverged_is_counted_and_left_out(folder):
    plant(folder, PLANTED, bits=CLIMBS)
    write_json(measured_path(folder, DENSE, 3), {"diverged": True})
    result = find(folder, PLANTED)
    (claim,) = result["claims"]
    assert claim.verdict == "inconclusive"
    rows = {row["rung"]: row for row in result["tables"]["rungs"].records()}
    assert rows[DENSE]["trained"] == 7
    ends = result["tables"]["ends"].records()
    assert ends[0]["pairs"] == 7
    for seed in range(8):
        write_json(measured_path(folder, DENSE, seed), {"diverged": True})
    rows = {r["rung"]: r for r in find(folder, PLANTED)["tables"]["rungs"].records()}
    assert rows[DENSE]["bits_per_byte"] is None


def test_stability_is_the_largest_rate_below_the_first_that_fails(folder):
    lost, diverged = {("2017", 1e-2), ("to-pre-norm", 0.4)}, {("only-rotary", 0.1)}
    tables, _ = found(folder, bits=CLIMBS, lost=lost, diverged=diverged)
    rows = {row["rung"]: row for row in tables["stability"]}
    assert (rows["2017"]["largest"], rows["2017"]["fails"]) == (BEST, 1e-2)
    assert (rows["to-pre-norm"]["largest"], rows["to-pre-norm"]["fails"]) == (0.1, 0.4)
    assert (rows["only-rotary"]["largest"], rows["only-rotary"]["fails"]) == (1e-2, 0.1)
    assert (rows[DENSE]["largest"], rows[DENSE]["fails"]) == (0.4, None)
    assert rows["to-pre-norm"]["room"] == pytest.approx(0.1 / BEST)
    rates = [row for row in tables["rates"] if row["rung"] == "only-rotary"]
    assert [row["diverged"] for row in rates] == [False, False, False, True]


def test_the_windows_that_choose_are_not_those_reported(folder):
    plant(folder, PLANTED)
    path = measured_path(folder, BASE, 0)
    record = read_measured(folder, BASE, 0)
    before = Measured(folder, PLANTED).bits[BASE][0].mean()
    record["nats"][::2] = [0.0] * len(record["nats"][::2])
    write_json(path, record)
    measured = Measured(folder, PLANTED)
    assert measured.bits[BASE][0].mean() == before
    by_hand = sum(record["nats"][1::2]) / math.log(2) / sum(record["bytes"][1::2])
    assert before == pytest.approx(by_hand)


def test_costs_are_ratios_to_2017(folder):
    tables, _ = found(folder)
    rows = {row["rung"]: row for row in tables["costs"]}
    assert rows[BASE]["speed"] == 1
    assert rows["to-mixture"]["speed"] == pytest.approx(0.5)
    assert rows["to-grouped"]["cache_bytes_per_token"] == rows[BASE]["cache_bytes_per_token"] / 2


def test_a_broken_record_is_told(folder):
    plant(folder)
    write_json(measured_path(folder, "tune-to-rotary-0.004", 1000), {"other": 1})
    with pytest.raises(ArtifactError, match="is no record of measurements: delete it, and run"):
        find(folder, PLANTED)


# Rules, by hand -----------------------------------------------------------------------------------


def test_the_best_of_a_planted_table():
    assert best_rate({1e-3: 2.2, 2e-3: 2.0, 4e-3: 2.1}) == Chosen(2e-3, at_edge=False)
    assert best_rate({1e-3: 2.2, 2e-3: 2.1, 4e-3: 2.0}) == Chosen(4e-3, at_edge=True)
    assert best_rate({1e-3: 2.0, 2e-3: 2.0, 4e-3: None}) == Chosen(1e-3, at_edge=True)
    assert best_rate({2e-3: None, 1e-3: None}) == Chosen(1e-3, at_edge=True)


def test_the_largest_that_trains():
    assert largest_that_trains({1.0: True, 2.0: True}) == 2.0
    assert largest_that_trains({1.0: False, 2.0: True}) is None


def test_an_outcome_needs_both_interval_and_test():
    assert outcome(-0.2, -0.1, 0.01) == HELPS
    assert outcome(0.1, 0.2, 0.01) == COSTS
    assert outcome(-0.2, 0.1, 0.01) == OPEN
    assert outcome(-0.2, -0.1, 0.05) == OPEN
    assert outcome(-0.2, -0.1, None) == OPEN
    assert outcome(None, None, None) == OPEN


def test_bits_are_over_the_windows_asked_for(folder):
    assert bits_of([math.log(2), 9.0, math.log(2)], [1, 5, 3], slice(0, None, 2)) == 0.5
    text = load_text(folder)
    both = [unigram(text, which) for which in (slice(0, None, 2), slice(1, None, 2))]
    assert min(both) < unigram(text, slice(None)) < max(both)
