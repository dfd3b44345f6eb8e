"""Planted answers must give planted findings, and a null must give none."""

from dataclasses import replace

import numpy as np
import pytest
from experiments.conftest import TINY, plant_answers

from tokkit.errors import ArtifactError
from tokkit.experiments.arms import ARMS
from tokkit.experiments.findings import Answers, find


def claimed(folder, config, accuracy_of):
    plant_answers(folder, config, accuracy_of)
    return find(folder, config)


def as_expected(arm, measure):
    hidden = arm in ("bpe", "opaque", "placebo")
    return 0.35 if measure == "count C" and hidden else 0.99


def test_a_planted_effect_is_found(run_folder):
    found = claimed(run_folder, TINY, as_expected)
    (claim,) = found["claims"]
    assert claim.verdict == "supported"
    effects = {row["name"]: row for row in found["tables"]["effects"].records()}
    assert effects["visibility"]["estimate"] == pytest.approx(0.64, abs=0.05)
    assert effects["visibility"]["low"] < 0.64 < effects["visibility"]["high"]
    assert effects["length"]["low"] < 0 < effects["length"]["high"]
    assert effects["placebo_minus_bpe"]["low"] < 0 < effects["placebo_minus_bpe"]["high"]
    # Six differences of one sign: 2 of the 64 arrangements are as extreme.
    assert effects["visibility"]["p"] == pytest.approx(2 / 64)
    assert any("no test over seeds" in limit for limit in claim.limits)


def test_where_showing_letters_changes_nothing_the_claim_is_contradicted(run_folder):
    found = claimed(run_folder, TINY, lambda arm, measure: 0.99)
    assert found["claims"][0].verdict == "contradicted"


@pytest.mark.parametrize(
    ("failing", "control"),
    [
        (("char", "count C"), "char: count C"),
        (("placebo", "items"), "placebo: items"),
        (("bpe", "spelled C"), "bpe: spelled C"),
    ],
)
def test_a_control_that_fails_leaves_the_claim_open(run_folder, failing, control):
    found = claimed(
        run_folder,
        TINY,
        lambda arm, measure: 0.5 if (arm, measure) == failing else as_expected(arm, measure),
    )
    (claim,) = found["claims"]
    assert claim.verdict == "inconclusive"
    assert [c.name for c in claim.controls if not c.holds] == [control]


def test_an_effect_of_length_is_not_taken_for_one_of_letters(run_folder):
    def by_length(arm, measure):
        return 0.35 if measure == "count C" and ARMS[arm].length == "short" else 0.99

    found = claimed(run_folder, TINY, by_length)
    effects = {row["name"]: row for row in found["tables"]["effects"].records()}
    assert effects["length"]["low"] > 0.5
    assert found["claims"][0].verdict != "supported"


def test_a_cure_by_any_letters_at_all_is_not_taken_for_one_by_the_true_ones(run_folder):
    found = claimed(run_folder, TINY, lambda a, m: 0.99 if a == "placebo" else as_expected(a, m))
    assert found["claims"][0].verdict == "inconclusive"


def test_an_arm_left_out_leaves_the_claim_open(run_folder):
    config = replace(TINY, arms=("bpe", "char"))
    found = claimed(run_folder, config, as_expected)
    assert found["claims"][0].verdict == "inconclusive"
    assert set(found["values"]["arms"]) == {"bpe", "char"}


def test_the_table_holds_what_the_answers_say(run_folder):
    found = claimed(run_folder, TINY, as_expected)
    answers = Answers(run_folder, TINY)
    for row in found["tables"]["accuracy"].records():
        correct = answers.correct(row["arm"], row["measure"])
        assert row["accuracy"] == pytest.approx(correct.mean())
        assert (row["seeds"], row["n"]) == correct.shape
        assert row["skill"] == pytest.approx(
            (correct.mean() - row["baseline"]) / (1 - row["baseline"])
        )
    (rescue,) = (r for r in found["tables"]["rescue"].records() if r["arm"] == "bpe")
    word, spelled = answers.correct("bpe", "count C"), answers.correct("bpe", "spelled C")
    assert rescue["gain"] == pytest.approx((spelled - word).mean())
    assert rescue["n"] == word.size
    assert (
        rescue["both"] + rescue["only_spelled"] + rescue["only_word"] + rescue["neither"]
        == word.size
    )
    confusion = found["tables"]["confusion"].records()
    asked = sum(r["n"] for r in confusion if (r["arm"], r["measure"]) == ("char", "count C"))
    assert asked == word.size


def test_nobody_who_knows_letter_and_length_only_beats_the_baseline(run_folder):
    baselines = claimed(run_folder, TINY, as_expected)["values"]["chance"]
    assert baselines["items"] == pytest.approx(0.25, abs=0.1)
    assert 0.25 <= baselines["count C"] <= 0.60


def test_answers_cut_short_are_named(run_folder):
    plant_answers(run_folder, TINY, as_expected)
    path = run_folder / "answers" / "bpe-1.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ArtifactError, match=r"bpe-1\.jsonl cannot be read"):
        find(run_folder, TINY)


def test_the_same_answers_give_the_same_findings(run_folder):
    first = claimed(run_folder, TINY, as_expected)
    assert find(run_folder, TINY) == first
    assert np.isfinite([row["low"] for row in first["tables"]["accuracy"].records()]).all()
