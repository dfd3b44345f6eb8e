"""How far rows with a label lie together by label: silhouette, neighbours, a linear boundary.

Each measure gives one number a word, so that words can be resampled and measures compared on the
same words. n words, C categories; distances are (n, n) and symmetric.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.meaning_words import Rows

Labels = NDArray[np.int64]
NEIGHBOURS = 5
FOLDS = 5
_REACH = 8  # so many times k neighbours hold k of a resample, all but never fewer
INVERSE_REGULARISATION = 10.0
"""C of the logistic regression on rows of unit length: fixed, never searched."""
_MOST_ITERATIONS = 300
_TOLERANCE = 1e-3


def cosine_distances(rows: Rows) -> Rows:
    """1 - cosine between rows of unit length, (n, n) in 0 to 2; exactly 0 on the diagonal."""
    distances: Rows = np.clip(1.0 - rows @ rows.T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    return distances


def gaps(values: Rows) -> Rows:
    """|x - y| between numbers (n,), as distances (n, n)."""
    return np.abs(values[:, None] - values[None, :])


def one_hot(labels: Labels) -> Rows:
    """(n, C): 1 where a word is of a category."""
    return np.asarray(np.eye(int(labels.max()) + 1)[labels])


def silhouettes(distances: Rows, labels: Labels) -> Rows:
    """The silhouette of each word, (n,) in -1 to 1; 0 for the only word of a category.

    (b - a) / max(a, b): a the mean distance to the others of its category, b the mean distance to
    the nearest other category. Source: Rousseeuw (1987), Journal of Computational and Applied
    Mathematics 20.
    """
    return weighted_silhouettes(distances, labels, np.ones(len(labels)))


def weighted_silhouettes(distances: Rows, labels: Labels, weights: Rows) -> Rows:
    """Silhouettes where word j counts `weights[j]` times; no word is its own neighbour. (n,)."""
    members = one_hot(labels) * weights[:, None]
    sizes = np.broadcast_to(members.sum(axis=0), (len(labels), members.shape[1])).copy()
    own = (np.arange(len(labels)), labels)
    sizes[own] -= weights
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(sizes > 1e-9, (distances @ members) / sizes, np.inf)
    a = means[own]
    means[own] = np.inf
    b = means.min(axis=1)
    defined = np.isfinite(a) & np.isfinite(b) & (np.maximum(a, b) > 0)
    safe_a, safe_b = np.where(defined, a, 1.0), np.where(defined, b, 1.0)
    return np.asarray((safe_b - safe_a) / np.maximum(safe_a, safe_b))


def nearest(distances: Rows, ties: NDArray[np.int64]) -> NDArray[np.int64]:
    """The other words of each word, nearest first, (n, n - 1); equal distances by `ties` (n,).

    Words stand in the order of their categories, so `ties` must be drawn: the order of the list
    would tell the category.
    """
    n = len(distances)
    apart = distances + np.diag(np.full(n, np.inf))
    order = np.lexsort((np.broadcast_to(ties, (n, n)), apart), axis=1)
    return np.asarray(order[:, : n - 1])


def neighbours_asked(labels: Labels) -> int:
    """How many neighbours are asked: 5, or as many as the smallest category can fill."""
    return int(min(NEIGHBOURS, np.bincount(labels).min() - 1))


def purities(order: NDArray[np.int64], labels: Labels, k: int) -> Rows:
    """The share of each word's k nearest words that are of its category, (n,)."""
    return np.asarray((labels[order[:, :k]] == labels[:, None]).mean(axis=1))


def weighted_purity(order: NDArray[np.int64], labels: Labels, k: int, weights: Rows) -> Rows:
    """Mean purity in each resample, (R,), where `weights` (R, n) say how often a word is in it.

    Of a word that is there more than once each copy is a neighbour of others, never of itself; the
    last neighbour counts in part where its copies go beyond k.
    """
    near = order[:, : _REACH * k]
    same = (labels[near] == labels[:, None]).astype(np.float64)
    means = np.empty(len(weights))
    for place, drawn in enumerate(weights):
        copies = drawn[near]
        before = np.cumsum(copies, axis=1) - copies
        taken = np.clip(k - before, 0.0, copies)
        held = taken.sum(axis=1)
        shares = (taken * same).sum(axis=1) / np.where(held > 0, held, 1.0)
        means[place] = (drawn * shares).sum() / drawn.sum()
    return means


def chance_purity(labels: Labels) -> float:
    """The purity of neighbours drawn at random: (n_c - 1) / (n - 1), averaged over words."""
    sizes = np.bincount(labels)
    return float(((sizes - 1) / (len(labels) - 1) * sizes / len(labels)).sum())


def fold_of(labels: Labels, generator: np.random.Generator, folds: int = FOLDS) -> Labels:
    """A fold for each word, (n,), so that each fold holds an equal part of each category."""
    drawn = np.empty(len(labels), dtype=np.int64)
    for category in np.unique(labels):
        members = np.flatnonzero(labels == category)
        first = int(generator.integers(folds))
        drawn[generator.permutation(members)] = (np.arange(len(members)) + first) % folds
    return drawn


def coordinates(rows: Rows) -> Rows:
    """The rows on their own principal axes, (n, at most n): all distances and products as before.

    A linear fit with an L2 penalty does not change under a rotation, and is far quicker here.
    """
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(left * sizes)


def separated(points: Rows, labels: Labels, folds: Labels) -> Rows:
    """1 where a linear boundary that never saw a word gives it its category, else 0; (n,).

    Multinomial logistic regression with an L2 penalty and C fixed at 10, one fit a fold.
    """
    from sklearn.linear_model import LogisticRegression

    right = np.zeros(len(labels))
    for fold in np.unique(folds):
        seen = folds != fold
        fit = LogisticRegression(
            C=INVERSE_REGULARISATION,
            solver="newton-cg",
            tol=_TOLERANCE,
            max_iter=_MOST_ITERATIONS,
        )
        fit.fit(points[seen], labels[seen])
        right[~seen] = fit.predict(points[~seen]) == labels[~seen]
    return right
