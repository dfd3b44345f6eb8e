from dataclasses import replace

import numpy as np
import pytest

from tokkit.analysis.embeddings import meaning, meaning_measures
from tokkit.analysis.embeddings.meaning import meaning_section
from tokkit.analysis.embeddings.meaning_claim import meaning_claim
from tokkit.analysis.embeddings.meaning_measures import (
    INITIAL,
    MEASURES,
    RANDOM,
    MeasureFinding,
    Structure,
)
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError
from tokkit.results import Result, read_result, write_result
from tokkit.stats import Interval

CATEGORIES = {
    name: tuple(f"{name}{letter}" for letter in "abcdefghijklmno") for name in ("red", "dog", "pie")
}
ANALOGIES = {"colour:animal": [(f"red{letter}", f"dog{letter}") for letter in "abcdefg"]}
COLUMNS = 23


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch):
    monkeypatch.setattr(meaning_measures, "RESAMPLES", 100)
    monkeypatch.setattr(meaning_measures, "SHUFFLES", dict.fromkeys(MEASURES, 19))


def subject_of(strength=2.0, seed=0, **known):
    """45 words of three planted categories, after some rows that are no words."""
    draw = np.random.default_rng(seed)
    words = [word for own in CATEGORIES.values() for word in own]
    tokens = [b"", b"<end>", b"\n", b"##", *(b" " + word.encode() for word in words)]
    rows = draw.standard_normal((len(tokens), COLUMNS))
    centres = draw.standard_normal((3, COLUMNS)) * strength
    rows[4:] += np.repeat(centres, 15, axis=0)
    return Subject(
        name="planted",
        rows=matrix_of(rows),
        usable=np.ones(len(tokens), dtype=bool),
        tokens=tokens,
        **known,
    )


def initial(subject, seed=7):
    shape = subject.rows.shape
    return matrix_of(np.random.default_rng(seed).standard_normal(shape) * 0.02)


def section(subject, **asked):
    asked = {"categories": CATEGORIES, "analogies": ANALOGIES, "seed": 0} | asked
    return meaning_section(subject, **asked)


def test_trained_rows_over_initial_rows_support_the_claim():
    subject = subject_of()
    subject = replace(subject, initial=initial(subject))
    found = section(subject, bit_equal=True, largest_deviation=0.0)
    (claim,) = found.claims
    assert (claim.id, claim.verdict) == ("lookup", "supported")
    assert all(control.holds for control in claim.controls)
    assert found.values["baseline"] == INITIAL
    assert found.values["analogies_asked"] == 42
    assert set(found.tables) == {
        "category_measures", "categories", "category_words", "analogies",
        "map_pca", "map_tsne", "map_quality",
    }  # fmt: skip
    kinds = {row["rows"] for row in found.tables["map_tsne"].records()}
    assert kinds == {"trained rows", INITIAL}
    assert len(found.tables["category_words"].rows) == 45


def test_rows_that_are_only_initial_do_not_support_it():
    subject = subject_of(strength=0.0)
    subject = replace(subject, initial=initial(subject))
    (claim,) = section(subject, bit_equal=True, largest_deviation=0.0).claims
    assert claim.verdict != "supported"


def test_without_initial_rows_the_claim_is_open_and_the_baseline_random():
    found = section(subject_of(), bit_equal=True, largest_deviation=0.0)
    assert found.values["baseline"] == RANDOM
    assert found.claims[0].verdict == "inconclusive"


def test_the_section_is_strict_json_and_the_same_run_to_run(tmp_path):
    subject = subject_of()
    found, again = section(subject), section(subject)
    assert found.tables == again.tables
    result = Result("analysis.embeddings", "t", {}, found.values, found.tables, found.claims, {})
    read = read_result(write_result(result, tmp_path))
    assert read.tables["categories"] == found.tables["categories"]


def test_counts_give_the_baseline_of_frequency():
    subject = subject_of()
    counts = np.arange(len(subject.rows), dtype=np.int64)
    found = section(replace(subject, counts=counts))
    record = found.tables["category_measures"].records()[1]
    # Counts rise from category to category: frequency alone tells them apart.
    assert record["frequency"] > 0.8
    names = [control.name for control in found.claims[0].controls]
    assert "neighbour purity beyond that of word frequency alone, lower bound" in names


def test_a_world_gives_its_own_categories_and_no_common_analogies():
    found = meaning_section(subject_of(world=CATEGORIES), seed=0)
    assert found.values["words"] == 45
    assert found.values["analogies_asked"] == 0
    assert "analogies" not in found.tables


def test_without_tokens_there_is_no_section():
    assert meaning_section(replace(subject_of(), tokens=None), seed=0) is None


def test_common_words_that_are_not_there_say_why():
    found = meaning_section(subject_of(), seed=0)
    assert "needs 2 categories of 5 words" in found.values["reason"]
    assert found.tables == {}
    assert found.claims[0].verdict == "inconclusive"
    assert found.left_out["words that no row stands for"] > 200


def test_rows_that_cannot_be_measured_are_left_out():
    subject = subject_of()
    usable = subject.usable.copy()
    usable[4:7] = False
    rows = subject.rows.whole()
    rows[4:7] = np.nan
    found = section(replace(subject, usable=usable, rows=matrix_of(rows)))
    assert found.values["words"] == 42
    assert found.left_out["words whose row cannot be measured"] == 3
    assert found.left_out["pairs with a word that is not one row"] == 3
    assert found.values["analogies_asked"] == 12


def test_more_words_than_can_be_measured_are_drawn(monkeypatch):
    monkeypatch.setattr(meaning, "MOST_WORDS", 30)
    monkeypatch.setattr(meaning, "MOST_ON_MAP", 20)
    found = section(subject_of())
    assert found.values["words"] == 30
    assert found.left_out["words beyond 30, not drawn"] == 15
    assert len(found.tables["map_pca"].rows) == 40


def test_initial_rows_of_another_shape_are_refused():
    subject = replace(subject_of(), initial=matrix_of(np.ones((5, COLUMNS))))
    with pytest.raises(ConfigError, match="initial rows are compared one by one"):
        section(subject)


def finding(measure, gain, *, p=0.5, shuffled=0.3, beyond=None):
    at = Interval(0.5, 0.4, 0.6, 1, 60, 0.95)
    return MeasureFinding(
        measure=measure, trained=at, shuffled=shuffled, shuffled_high=0.4, p=0.001, p_holm=0.003,
        baseline=at, baseline_p=p, gain=Interval(sum(gain) / 2, *gain, 1, 60, 0.95), gain_p=0.01,
        gain_p_holm=0.03, beyond=beyond,
    )  # fmt: skip


def judged(*gains, words=60, baseline=INITIAL, bit_equal=True, **known):
    structure = Structure(
        words=words, categories=("a", "b"), neighbours=5, chance_purity=0.5, largest_share=0.5,
        baseline=baseline, by_category=(), by_word={}, baseline_by_word={},
        measures=tuple(finding(*pair, **known) for pair in zip(MEASURES, gains, strict=True)),
    )  # fmt: skip
    return meaning_claim(bit_equal, 0.0 if bit_equal else 1e-3, structure).verdict


UP, NONE, WIDE = (0.1, 0.3), (-0.04, 0.04), (-0.1, 0.2)


def test_the_rule_of_the_claim():
    assert judged(NONE, UP, UP) == "supported"
    assert judged(UP, UP, WIDE) == "inconclusive"
    assert judged(UP, UP, NONE) == "contradicted"
    assert judged(UP, NONE, UP) == "contradicted"
    assert judged(UP, UP, UP, bit_equal=False) == "contradicted"
    assert judged(UP, UP, UP, bit_equal=None) == "inconclusive"
    assert judged(UP, UP, UP, baseline=RANDOM) == "inconclusive"
    assert judged(UP, UP, UP, words=39) == "inconclusive"
    assert judged(UP, UP, UP, p=0.005) == "inconclusive"
    assert judged(UP, UP, UP, shuffled=0.56) == "inconclusive"
    low = Interval(0.1, -0.1, 0.3, 1, 60, 0.95)
    assert judged(UP, UP, UP, beyond=low) == "inconclusive"
    assert meaning_claim(True, 0.0, None).verdict == "inconclusive"
