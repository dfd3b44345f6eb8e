"""Scores and code lengths: by hand, and against scikit-learn under weights."""

import numpy as np
import pytest
from sklearn import metrics

from tokkit.analysis.probing import LogisticProbe
from tokkit.analysis.probing_mdl import FRACTIONS, boundaries, online_code, prior_code_bits
from tokkit.analysis.probing_scores import (
    accuracy,
    average_precision,
    balanced_accuracy,
    bounds,
    decisions,
    group_weights,
    macro_f1,
    r_squared,
    stratified_balanced_accuracy,
    usable_heads,
)
from tokkit.errors import ConfigError


@pytest.fixture
def cells():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, (97, 2))
    chosen = np.where(generator.random((97, 2)) < 0.6, labels, generator.integers(0, 3, (97, 2)))
    weights = generator.integers(1, 4, (5, 97)).astype(np.float32)
    return chosen, labels, weights


def test_scores_under_weights_are_those_of_scikit_learn(cells):
    chosen, labels, weights = cells
    said = balanced_accuracy(chosen, labels, 3, weights)
    one = chosen[:, :1], labels[:, :1]
    for b, weight in enumerate(weights):
        for head in range(2):
            args = labels[:, head], chosen[:, head]
            expected = metrics.balanced_accuracy_score(*args, sample_weight=weight)
            assert said[b, head] == pytest.approx(expected, abs=1e-6)
        args = labels[:, 0], chosen[:, 0]
        assert macro_f1(*one, 3, weights)[b] == pytest.approx(
            metrics.f1_score(*args, average="macro", sample_weight=weight), abs=1e-6
        )
        assert accuracy(*one, weights)[b] == pytest.approx(
            metrics.accuracy_score(*args, sample_weight=weight), abs=1e-6
        )
        assert r_squared(chosen[:, 0], labels[:, 0], weights)[b] == pytest.approx(
            metrics.r2_score(*args, sample_weight=weight), abs=1e-6
        )
        two = np.minimum(chosen[:, :1], 1), np.minimum(labels[:, :1], 1)
        assert stratified_balanced_accuracy(*two, weights)[b] == pytest.approx(
            metrics.balanced_accuracy_score(two[1][:, 0], two[0][:, 0], sample_weight=weight),
            abs=1e-6,
        )


def test_within_heads_by_hand():
    """Head a: 1 of 2 found, 0 of 2 taken for it, weight 1; head b: 1 of 1, 1 of 3, weight 3/4.

    (1/2 x 1 + 2/3 x 3/4) / (7/4) = 4/7.
    """
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0]])
    chosen = np.array([[1, 1], [0, 1], [0, 0], [0, 0]])
    ones = np.ones((1, 4), dtype=np.float32)
    assert stratified_balanced_accuracy(chosen, labels, ones)[0] == pytest.approx(0.5 + 2 / 7)


def test_saying_yes_more_often_where_more_is_true_is_no_knowledge():
    generator = np.random.default_rng(0)
    shares = np.linspace(0.02, 0.5, 20)
    labels = (generator.random((5000, 20)) < shares).astype(np.int64)
    chosen = (generator.random((5000, 20)) < shares).astype(np.int64)
    weights = group_weights(np.arange(5000), 300, generator)
    found = bounds(stratified_balanced_accuracy(chosen, labels, weights))
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.02


def test_average_precision_with_ties_is_that_of_scikit_learn(cells):
    _, labels, weights = cells
    labels = np.minimum(labels, 1)
    score = np.round(np.random.default_rng(1).random((97, 2)), 1).astype(np.float32)
    said = average_precision(score, labels, weights)
    for b, weight in enumerate(weights):
        expected = metrics.average_precision_score(labels[:, 1], score[:, 1], sample_weight=weight)
        assert said[b, 1] == pytest.approx(expected, abs=1e-6)


def test_decisions_with_a_prior_take_what_rose_the_most():
    said = np.array([[[0.8, 0.2]]], dtype=np.float32)
    assert decisions(said).tolist() == [[0]]
    assert decisions(said, [[0.9, 0.1]]).tolist() == [[1]]  # 0.2 / 0.1 over 0.8 / 0.9


def test_rows_of_a_group_are_drawn_together():
    weights = group_weights([4, 4, 9, 2], 50, np.random.default_rng(0))
    assert weights.shape == (51, 4)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[1:, [0, 2, 3]].sum(axis=1) == 3).all()
    with pytest.raises(ConfigError, match="2 or more groups"):
        group_weights([1, 1], 10, np.random.default_rng(0))


def test_bounds_leave_out_what_is_no_number():
    assert bounds(np.array([0.5, np.nan, 0.4, 0.6])).low == pytest.approx(0.405)
    assert bounds(np.array([np.nan, 0.5])).estimate is None
    assert usable_heads(np.array([[0, 1]] * 10 + [[1, 1]] * 10), 2).tolist() == [True, False]


def test_the_online_code_by_hand():
    """Four labels of two classes, blocks to 1, 2, 4; the probe says 0.75 for the true class.

    Smoothed with one row seen: (0.75 + 1) / 3 = 7/12; with two: (1.5 + 1) / 4 = 5/8.
    """
    labels = np.array([[0], [1], [1], [0]])

    def predict(seen, until):
        true = labels[seen:until]
        return np.where(true[:, :, None] == np.arange(2), 0.75, 0.25)

    code = online_code([predict], labels, 2, (1, 2, 4))
    assert code.bits == pytest.approx(1 - np.log2(7 / 12) - 2 * np.log2(5 / 8))
    assert code.uniform_bits == 4
    assert code.compression == pytest.approx(4 / code.bits)
    # Laplace: 1/2, 1/3, 2/4, 2/5 = 1/30: (4 + 1)! / (1! 2! 2!) = 30
    assert code.prior_bits == pytest.approx(np.log2(30))
    assert [seen for seen, _ in code.blocks] == [0, 1, 2]


def test_a_mixture_costs_at_most_the_log_of_its_number_more_than_the_best():
    labels = np.zeros((40, 1), dtype=np.int64)
    good, bad = (
        lambda seen, until, p=p: np.tile([p, 1 - p], (until - seen, 1, 1)) for p in (0.99, 0.2)
    )
    best = online_code([good], labels, 2, (2, 10, 40)).bits
    mixed = online_code([good, bad], labels, 2, (2, 10, 40)).bits
    assert best <= mixed <= best + 1


def test_blocks_are_voita_and_titov_s():
    assert boundaries(1000) == (1, 2, 4, 8, 16, 32, 62, 125, 250, 500, 1000)
    assert boundaries(3)[-1] == 3
    assert FRACTIONS[-1] == 1
    with pytest.raises(ConfigError, match="2 or more rows"):
        boundaries(1)
    with pytest.raises(ConfigError, match="blocks that end at row 3"):
        online_code([lambda a, b: None], np.zeros((3, 1), dtype=int), 2, (1, 2))


def test_random_labels_are_not_compressed_and_planted_ones_are():
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((1200, 6)).astype(np.float32)
    noise = (generator.random((1200, 1)) < 0.3).astype(np.int64)
    planted = (rows[:, :1] > 0.5).astype(np.int64)

    def code(labels):
        def predict(seen, until):
            return LogisticProbe(2, 0.03).fit(rows[:seen], labels[:seen]).predict(rows[seen:until])

        return online_code([predict], labels, 2, boundaries(1200))

    assert 0.9 < code(noise).compression_of_prior < 1
    assert code(planted).compression_of_prior > 2
    assert prior_code_bits(noise, 2) < 1200
