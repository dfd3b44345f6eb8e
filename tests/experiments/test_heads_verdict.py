"""The verdicts on planted records: each rule's ends, and each control that fails."""

import pytest
from experiments.head_records import planted, rotation_row

from tokkit.experiments.heads_verdict import heads_claims


def verdicts(**changed):
    projections, grouped = heads_claims(planted(**changed))
    assert (projections.id, grouped.id) == ("heads-are-projections", "grouped-queries")
    return projections.verdict, grouped.verdict


def test_what_was_hoped_for_is_supported():
    assert verdicts() == ("supported", "supported")
    assert verdicts(given=30.0) == ("supported", "supported")


@pytest.mark.parametrize(
    "changed",
    [
        {"costs": (0.1, 0.05, 0.01, 0.08)},  # slicing alone: not told from 0
        {"costs": (0.1, 0.05, 0.05, 0.01)},  # given back: not told from 0
        {"costs": (0.01, 0.0, 0.05, 0.08)},
        {"free": 29.0},  # not half way from 8 to 51.2
        {"given": 7.9},  # one other model reads as slices do
    ],
)
def test_what_is_not_shown_is_inconclusive(changed):
    assert verdicts(**changed) == ("inconclusive", "supported")


@pytest.mark.parametrize(
    "changed",
    [
        {"free": 8.0},
        {"rotation": (rotation_row("given", rotated=1e-3, holds=False),)},
        {"costs": (0.0, 0.0, 0.0, 0.0), "half": 0.005},
        {"costs": (-0.1, -0.1, -0.1, -0.1)},
    ],
)
def test_what_is_contrary_is_contradicted(changed):
    assert verdicts(**changed)[0] == "contradicted"


@pytest.mark.parametrize(
    "changed",
    [
        {"sliced": 9.0},
        {"masks_kept": 0.9},
        {"rotation": (rotation_row("given", control=1e-5, control_fails=False),)},
    ],
)
def test_a_failed_control_of_the_projections_says_nothing(changed):
    assert verdicts(**changed) == ("inconclusive", "supported")


@pytest.mark.parametrize("changed", [{"learned": 0.98}, {"bits": 3.9}, {"bits": None}])
def test_models_that_learned_nothing_say_nothing(changed):
    assert verdicts(**changed) == ("inconclusive", "inconclusive")


def test_a_model_that_cannot_be_rotated_takes_no_part():
    row = rotation_row(
        "given", rotated=None, holds=None, control=None, control_fails=None, read_after=None,
        reason="layer norm",
    )  # fmt: skip
    assert verdicts(rotation=(row,)) == ("supported", "supported")


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"kv_costs": (0.01, 0.02, 0.04)}, "inconclusive"),  # its upper bound is .06
        ({"kv_costs": (0.08, 0.09, 0.2)}, "contradicted"),
        ({"kv_costs": (-0.1, -0.1, -0.1)}, "supported"),
        ({"cache": (4096, 2048, 1024, 700)}, "contradicted"),
    ],
)
def test_the_rule_of_grouped_queries(changed, verdict):
    assert verdicts(**changed)[1] == verdict


def test_few_seeds_are_said():
    few = heads_claims(planted(seeds=2))[0]
    assert "With 2 seed(s)" in few.limits[0]
    assert not any("seed(s)" in limit for limit in heads_claims(planted())[0].limits)
