"""Indicators and areas: by hand, planted rows that are found, nulls that give nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ortho_group, spearmanr
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from tokkit.analysis.embeddings import untrained_indicators as indicators
from tokkit.analysis.embeddings.untrained_indicators import (
    COSINE,
    COSINE_NO_COMPONENT,
    DISTANCE,
    NORM,
    first_component,
    mean_cosine,
    measure_indicators,
    reference_distances,
    row_norms,
)
from tokkit.analysis.embeddings.untrained_truth import (
    auc_with_interval,
    judge,
    rank_correlation,
)
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError

ROWS, WIDTH, UNUSED = 997, 31, 83
SHOWN = 11  # of the unused rows, those known to be


def draw(seed=0):
    return np.random.default_rng(seed)


def planted(drift, seed=0):
    """Random rows, of which the first UNUSED share a drift of this length."""
    generator = draw(seed)
    rows = generator.normal(size=(ROWS, WIDTH)) / math.sqrt(WIDTH)
    direction = generator.normal(size=WIDTH)
    rows[:UNUSED] += drift * direction / np.linalg.norm(direction)
    return rows


def measured(rows):
    matrix = matrix_of(rows)
    usable = np.ones(len(rows), dtype=bool)
    return measure_indicators(matrix, matrix, usable, np.arange(SHOWN), draw(1))


def area(values):
    """That of the unused rows which are not of the reference."""
    positive = np.arange(ROWS) < UNUSED
    return auc_with_interval(-values[SHOWN:], positive[SHOWN:])


# Indicators ---------------------------------------------------------------------------------------


def test_distances_by_hand_and_a_row_is_not_measured_from_itself():
    rows = np.array([[3.0, 0.0], [0.0, 3.0], [2.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    found = reference_distances(
        matrix_of(rows), np.array([1, 1, 1, 1, 0], bool), np.array([0, 1]), np.array([0.0, 1.0])
    )
    # The mean of the reference is (1.5, 1.5); rows 0 and 1 are measured from each other.
    assert found[COSINE][:4] == pytest.approx([1, 1, 0, 1 + math.sqrt(0.5)])
    assert found[DISTANCE][:4] == pytest.approx(
        [3 * math.sqrt(2), 3 * math.sqrt(2), math.sqrt(0.5), math.sqrt(2.5**2 + 1.5**2)]
    )
    # Without the second axis: (3), (0), (2), (-1) against 1.5; 0 and 1 against 0 and 3.
    assert found[COSINE_NO_COMPONENT][:4] == pytest.approx([1, 1, 0, 2])
    assert all(math.isnan(values[4]) for values in found.values())


def test_norms_are_those_of_numpy_and_nan_where_not_measured():
    rows = planted(0.0)
    usable = np.arange(ROWS) != 5
    found = row_norms(matrix_of(rows), usable)
    assert found[usable] == pytest.approx(np.linalg.norm(rows[usable], axis=1), rel=1e-6)
    assert math.isnan(found[5])


def test_the_first_component_is_that_of_sklearn():
    rows = planted(2.0) * np.linspace(1, 3, WIDTH)
    vector, share = first_component(matrix_of(rows), np.ones(ROWS, dtype=bool))
    oracle = PCA(n_components=1).fit(rows)
    assert abs(vector @ oracle.components_[0]) == pytest.approx(1, abs=1e-6)
    assert share == pytest.approx(oracle.explained_variance_ratio_[0], rel=1e-5)
    assert vector[np.abs(vector).argmax()] > 0


def test_wide_matrices_have_the_same_first_component(monkeypatch):
    matrix, usable = matrix_of(planted(2.0)), np.ones(ROWS, dtype=bool)
    dense, share = first_component(matrix, usable)
    monkeypatch.setattr(indicators, "_DENSE_WIDTH", 1)
    wide, wide_share = first_component(matrix, usable)
    assert wide == pytest.approx(dense, abs=1e-3)
    assert wide_share == pytest.approx(share, rel=1e-4)


def test_rows_that_are_all_the_same_have_no_component():
    vector, share = first_component(matrix_of(np.ones((5, 3))), np.ones(5, dtype=bool))
    assert (vector.tolist(), share) == ([0, 0, 0], 0)


def test_mean_cosine_by_hand():
    assert mean_cosine(np.array([[2.0, 0], [0, 1], [1, 0]])) == pytest.approx(1 / 3)
    assert mean_cosine(np.array([[2.0, 0]])) == 0


def test_planted_rows_are_found_whole_and_in_any_rotation():
    rows = planted(3.0)
    found = measured(rows)
    assert found.primary == COSINE
    assert area(found.values[COSINE]).value == 1
    turned = measured(rows @ ortho_group.rvs(WIDTH, random_state=3))
    for name in (COSINE, DISTANCE, NORM, COSINE_NO_COMPONENT):
        assert turned.values[name] == pytest.approx(found.values[name], abs=1e-4)


def test_without_a_plant_areas_hold_chance_and_the_reference_is_not_used():
    hits, unused = 0, 0
    for seed in range(20):
        found = measured(planted(0.0, seed))
        one = area(found.values[COSINE])
        hits += one.low <= 0.5 <= one.high
        assert abs(one.value - 0.5) < 0.15
        unused += found.primary == NORM
    # Chance takes the reference for one in 20 times, and so often the interval misses.
    assert unused >= 16
    assert hits >= 16


def test_the_order_of_the_blocks_does_not_matter(monkeypatch):
    rows = planted(1.0)
    whole = measured(rows)
    monkeypatch.setattr(indicators, "_BLOCK_BYTES", 4 * WIDTH * 7)
    parts = measured(rows)
    for name, values in whole.values.items():
        assert parts.values[name] == pytest.approx(values, abs=1e-12)


def test_without_a_reference_only_the_norm_is_measured():
    matrix = matrix_of(planted(0.0))
    none = np.zeros(0, dtype=np.int64)
    found = measure_indicators(matrix, matrix, np.ones(ROWS, dtype=bool), none, draw())
    assert list(found.values) == [NORM]
    assert (found.primary, found.agreement, found.random_agreement) == (NORM, None, None)


# Areas --------------------------------------------------------------------------------------------


def test_an_area_by_hand_with_ties():
    # Pairs: (2, 1) won, (2, 2) tied, (3, 1) and (3, 2) won: 3.5 of 4.
    one = auc_with_interval([1.0, 2, 2, 3], [False, False, True, True])
    assert one.value == 0.875
    assert (one.positives, one.negatives) == (2, 2)


def test_areas_are_those_of_sklearn():
    generator = draw(4)
    for _ in range(20):
        scores = generator.integers(0, 9, 101).astype(float)
        positive = generator.random(101) < 0.3
        found = auc_with_interval(scores, positive)
        assert found.value == pytest.approx(roc_auc_score(positive, scores))
        assert found.low < found.value < found.high


def test_intervals_have_width_at_the_ends_and_mirror_each_other():
    positive = np.arange(80) < 20
    best = auc_with_interval(positive.astype(float), positive)
    worst = auc_with_interval(-positive.astype(float), positive)
    assert (best.value, best.high) == (1, 1)
    assert 0.9 < best.low < 0.97
    assert (worst.low, worst.high) == (0, pytest.approx(1 - best.low))
    large = auc_with_interval(np.arange(5000) < 400, np.arange(5000) < 400)
    assert 0.99 < large.low < 1


def test_the_interval_covers_the_true_area():
    from scipy.stats import norm

    generator, positive, covered = draw(5), np.arange(80) < 20, 0
    true = norm.cdf(1.5 / math.sqrt(2))
    for _ in range(400):
        found = auc_with_interval(generator.normal(1.5 * positive, 1), positive)
        covered += found.low <= true <= found.high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize(
    ("scores", "positive", "text"),
    [
        ([1.0, 2], [True], "each score needs its group"),
        ([1.0, math.nan], [True, False], "scores must be finite"),
        ([1.0, 2], [True, True], "needs both groups, got 2 positives and 0 negatives"),
        ([], [], "needs both groups"),
    ],
)
def test_areas_that_there_are_not(scores, positive, text):
    with pytest.raises(ConfigError, match=text):
        auc_with_interval(scores, positive)


def test_rank_correlations_are_those_of_scipy():
    generator = draw(6)
    first = generator.integers(0, 9, 50)
    second = first + generator.integers(0, 9, 50)
    found = rank_correlation(first, second)
    assert found.value == pytest.approx(spearmanr(first, second).statistic)
    assert found.low < found.value < found.high
    assert math.isnan(rank_correlation(first, np.ones(50)).value)
    assert rank_correlation(np.arange(9), np.arange(9)).value == pytest.approx(1)
    with pytest.raises(ConfigError, match="needs 4 pairs or more, got 3"):
        rank_correlation([1, 2, 3], [1, 2, 3])


def test_an_indicator_is_judged_only_by_enough_tokens_of_each_kind():
    counts = np.repeat([0, 5, 100], [19, 21, 60])
    values = counts + np.linspace(0, 0.5, 100)
    longer = np.ones(100, dtype=bool)
    assert judge(values, values, counts, longer) is None
    counts[19] = 0
    found = judge(values, values[::-1].copy(), counts, longer)
    assert found.never.value == 1
    assert found.rare.positives == 40
    assert found.longer.value == 1
    assert found.null.value == pytest.approx(0, abs=0.05)
    assert judge(values, values, counts, np.arange(100) > 5).longer is None
