"""Probes: against scikit-learn, a rotation, and rows that say nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tokkit.analysis.probing import (
    LogisticProbe,
    Preparation,
    Task,
    class_shares,
    cross_entropy,
)
from tokkit.analysis.probing_mlp import MlpProbe
from tokkit.analysis.probing_splits import (
    control_task,
    folds,
    group_numbers,
    shuffled_task,
    split_groups,
    variant_split,
)
from tokkit.errors import ConfigError, InputError


def drawn(n=211, d=7, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, d)).astype(np.float32), generator


def rotation(d, seed=1):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_are_those_of_scikit_learn(classes):
    rows, generator = drawn()
    rows = rows.astype(np.float64)  # scikit-learn would stay in single precision
    rows[:, 0] *= 5
    labels = np.stack(
        [
            np.digitize(rows[:, c] + generator.standard_normal(211), np.arange(classes - 1))
            for c in (0, 1)
        ],
        axis=1,
    )
    penalty = 0.02
    probe = LogisticProbe(classes, penalty, tolerance=1e-14, max_iterations=2000)
    said = probe.fit(rows, labels).predict(rows)
    for head in range(2):
        oracle = LogisticRegression(C=1 / (penalty * 211), tol=1e-10, max_iter=5000)
        expected = oracle.fit(rows, labels[:, head]).predict_proba(rows)
        np.testing.assert_allclose(said[:, head], expected, atol=1e-5)


def test_a_warm_start_ends_where_a_cold_one_does():
    rows, _ = drawn()
    labels = (rows[:, :1] > 0).astype(np.int64)
    cold = LogisticProbe(2, 0.01, tolerance=1e-12).fit(rows, labels)
    warm = LogisticProbe(2, 0.01, tolerance=1e-12).fit(
        rows, labels, LogisticProbe(2, 1.0).fit(rows, labels)
    )
    np.testing.assert_allclose(cold.predict(rows), warm.predict(rows), atol=1e-3)


def test_preparation_by_hand_and_for_a_rotation():
    rows = np.array([[0, 0], [2, 0], [0, 4], [2, 4]], dtype=np.float32)
    prepared = Preparation().fit(rows)
    assert prepared.mean_.tolist() == [1, 2]
    assert prepared.scale_ == pytest.approx(np.sqrt(2.5))  # mean of 1 and 4
    assert prepared.variance_ == pytest.approx([4 / 2.5, 1 / 2.5])
    skewed = drawn(503, 5)[0] ** 2 * np.arange(1, 6, dtype=np.float32)
    turned = (skewed @ rotation(5)).astype(np.float32)
    np.testing.assert_allclose(
        Preparation().fit(skewed).transform(skewed),
        Preparation().fit(turned).transform(turned),
        atol=2e-4,
    )


def test_what_cannot_be_prepared_is_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        Preparation().fit(np.array([[1.0], [np.nan]], dtype=np.float32))
    with pytest.raises(InputError, match="all rows are equal"):
        Preparation().fit(np.ones((3, 2), dtype=np.float32))
    with pytest.raises(InputError, match="2 or more rows"):
        Preparation().fit(np.ones((1, 2), dtype=np.float32))
    with pytest.raises(InputError, match="rows of 2 numbers"):
        Preparation().fit(np.eye(2, dtype=np.float32)).transform(np.ones((1, 3), dtype=np.float32))
    with pytest.raises(InputError, match="2 labels were given for 3 rows"):
        LogisticProbe(2, 0.1).fit(np.ones((3, 2), dtype=np.float32), np.zeros((2, 1), dtype=int))
    with pytest.raises(ConfigError, match="penalty above 0"):
        LogisticProbe(2, 0.0)
    with pytest.raises(ConfigError, match=r"must lie in 0\.\.1"):
        Task("odd", np.array([[2]]), 2, ("x",))
    with pytest.raises(ConfigError, match="stops by a validation part"):
        MlpProbe(2, seed=0).fit(np.ones((3, 2), dtype=np.float32), np.zeros((3, 1), dtype=int))


def test_the_mlp_finds_what_no_straight_line_does():
    rows, _ = drawn(1500, 5)
    labels = ((rows[:, :1] > 0) ^ (rows[:, 1:2] > 0)).astype(np.int64)
    parts = slice(0, 1000), slice(1000, 1250), slice(1250, 1500)
    (train, held, test), truth = parts, labels[parts[2], 0]
    straight = LogisticProbe(2, 0.01).fit(rows[train], labels[train]).predict(rows[test])
    mlp = MlpProbe(2, seed=0).fit(rows[train], labels[train], (rows[held], labels[held]))
    assert ((straight[:, 0, 1] > 0.5) == truth).mean() < 0.65
    assert ((mlp.predict(rows[test])[:, 0, 1] > 0.5) == truth).mean() > 0.85
    again = MlpProbe(2, seed=0).fit(rows[train], labels[train], (rows[held], labels[held]))
    np.testing.assert_array_equal(mlp.predict(rows[test]), again.predict(rows[test]))


def test_shares_and_entropy_by_hand():
    assert class_shares(np.array([[0], [0], [1]]), 2).tolist() == [[3 / 5, 2 / 5]]
    said = np.array([[[0.25, 0.75]], [[0.5, 0.5]]])
    assert cross_entropy(said, np.array([[1], [0]])) == pytest.approx(
        -(np.log(0.75) + np.log(0.5)) / 2
    )


def test_a_group_lies_in_one_part_alone():
    groups = np.repeat(np.arange(101), 3)
    split = split_groups(groups, np.random.default_rng(0))
    parts = [set(groups[part]) for part in (split.train, split.validation, split.test)]
    assert not parts[0] & (parts[1] | parts[2])
    assert not parts[1] & parts[2]
    assert sum(map(len, parts)) == 101
    assert abs(len(split.train) - 0.6 * 303) < 6
    with pytest.raises(ConfigError, match="3 or more groups"):
        split_groups([0, 0, 1], np.random.default_rng(0))
    assert len(split_groups([0, 1, 2], np.random.default_rng(0)).test) == 1


def test_variants_are_tested_where_their_word_was_seen():
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    split = variant_split(groups, np.random.default_rng(0))
    assert sorted(groups[split.test]) == [0, 2]
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(7))


def test_the_control_task_gives_a_word_one_label_of_the_same_distribution():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(2000), 2)
    task = Task("t", (generator.random((4000, 2)) < [0.1, 0.5]).astype(np.int64), 2, ("a", "b"))
    control = control_task(task, groups, generator)
    assert (control.labels[::2] == control.labels[1::2]).all()
    np.testing.assert_allclose(control.labels.mean(axis=0), [0.1, 0.5], atol=0.03)
    dealt = shuffled_task(task, generator)
    assert dealt.labels.sum(axis=0).tolist() == task.labels.sum(axis=0).tolist()


def test_folds_and_numbers_of_groups():
    assert group_numbers(["b", "a", "b"]).tolist() == [0, 1, 0]
    fold = folds([5, 5, 7, 8], 3, np.random.default_rng(0))
    assert fold[0] == fold[1]
    assert sorted({*fold.tolist()}) == [0, 1, 2]
    with pytest.raises(ConfigError, match="3 folds need as many groups"):
        folds([1, 1, 2], 3, np.random.default_rng(0))
