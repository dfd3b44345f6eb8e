"""Maps of rows in the plane, with a number for what each map keeps and what it makes up.

Any map of many dimensions on two bends distances; t-SNE draws clusters where there are none. So a
map comes with its quality and is never shown without a null map of the same number of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.analysis.probing import one_thread
from tokkit.errors import ConfigError

Points = NDArray[np.float64]
NEIGHBOURS = 5
MIN_POINTS = 8
MOST_PERPLEXITY = 30.0
PCA, TSNE = "PCA", "t-SNE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """Points (n, 2) of rows, and how far they are to be trusted.

    trustworthiness      0 to 1: 1 where no neighbour on the map is a stranger among the rows
                         (Venna and Kaski 2001)
    kept_neighbours      share of each row's 5 nearest that are among its 5 nearest on the map;
                         `chance_neighbours` is what points dropped at random would keep
    rows_purity, map_purity   share of the 5 nearest that have the same label, among the rows and
                         on the map: a map that is purer than its rows shows too much; None without
                         labels
    explained_variance   share of the variance along each axis; None for t-SNE
    """

    method: str
    points: Points
    trustworthiness: float
    kept_neighbours: float
    chance_neighbours: float
    rows_purity: float | None
    map_purity: float | None
    explained_variance: tuple[float, float] | None = None
    perplexity: float | None = None


def pca_map(rows: ArrayLike, labels: Sequence[int] | None = None) -> Map:
    """Rows (n, D) on their two axes of most variance, centred on their mean.

    The sign of an axis is that which makes its largest loading positive (of equal ones the first).
    Raises ConfigError for fewer than 8 rows, one column, or numbers that are not finite. Source:
    Pearson (1901).
    """
    values = _checked(rows)
    centred = values - values.mean(axis=0)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(axes[:2]).argmax(axis=1)
    signs = np.where(axes[[0, 1], largest] < 0, -1.0, 1.0)
    points = left[:, :2] * sizes[:2] * signs
    whole = float((sizes**2).sum())
    first, second = (float(size**2) / whole if whole else 0.0 for size in sizes[:2])
    return _judged(PCA, values, points, labels, explained=(first, second))


def tsne_map(rows: ArrayLike, seed: int, labels: Sequence[int] | None = None) -> Map:
    """Rows (n, D) by t-SNE, from their PCA map: the same points for the same seed and machine.

    Perplexity is 30, or (n - 1) / 3 where that is less. Gradients are exact and one thread works,
    as sums in another order would end in another map. Raises ConfigError as `pca_map` does.
    Source: van der Maaten and Hinton (2008), by scikit-learn.
    """
    from sklearn import manifold

    values = _checked(rows)
    perplexity = min(MOST_PERPLEXITY, (len(values) - 1) / 3)
    # t-SNE starts from a PCA of its own, which fails on rows that are all the same.
    start = "pca" if np.ptp(values, axis=0).any() else "random"
    with one_thread():
        fit = manifold.TSNE(
            2, perplexity=perplexity, init=start, random_state=seed, method="exact", n_jobs=1
        )
        points = np.asarray(fit.fit_transform(values), dtype=np.float64)
    return _judged(TSNE, values, points, labels, perplexity=perplexity)


def shuffled_columns(rows: ArrayLike, generator: np.random.Generator) -> Points:
    """Each column's numbers dealt anew to the rows: spreads stay, and no row keeps its place."""
    return np.asarray(generator.permuted(np.asarray(rows, dtype=np.float64), axis=0))


def purity(points: ArrayLike, labels: Sequence[int], k: int = NEIGHBOURS) -> float:
    """The share of each point's k nearest points that have its label (Euclidean)."""
    marks = np.asarray(labels)
    return float((marks[_nearest(np.asarray(points), k)] == marks[:, None]).mean())


def _judged(
    method: str,
    rows: Points,
    points: Points,
    labels: Sequence[int] | None,
    *,
    explained: tuple[float, float] | None = None,
    perplexity: float | None = None,
) -> Map:
    from sklearn.manifold import trustworthiness

    k = min(NEIGHBOURS, (len(rows) - 1) // 2)
    near, on_map = _nearest(rows, k), _nearest(points, k)
    kept = (near[:, :, None] == on_map[:, None, :]).any(axis=2).mean()
    return Map(
        method=method,
        points=points,
        trustworthiness=float(trustworthiness(rows, points, n_neighbors=k)),
        kept_neighbours=float(kept),
        chance_neighbours=k / (len(rows) - 1),
        rows_purity=None if labels is None else purity(rows, labels, k),
        map_purity=None if labels is None else purity(points, labels, k),
        explained_variance=explained,
        perplexity=perplexity,
    )


def _nearest(points: Points, k: int) -> NDArray[np.int64]:
    """The k nearest others of each point, (n, k); of equal ones the first."""
    squares = (points**2).sum(axis=1)
    apart = squares[:, None] + squares[None, :] - 2 * points @ points.T
    np.fill_diagonal(apart, np.inf)
    return np.asarray(np.argsort(apart, axis=1, kind="stable")[:, :k])


def _checked(rows: ArrayLike) -> Points:
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < MIN_POINTS or values.shape[1] < 2:
        raise ConfigError(
            f"a map needs {MIN_POINTS} rows or more of 2 columns or more, got an array of shape "
            f"{list(values.shape)}: give more words"
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            f"a map needs finite rows, but {int((~np.isfinite(values).all(axis=1)).sum())} hold "
            "NaN or infinity: leave them out"
        )
    return values
