"""Areas under ROC curves of many units at once, and how unlikely each is by chance.

M units, W words, C categories. U is the count of pairs (a word of the category, another word) in
which the first has the larger activation, ties as a half: U / pairs is the area (Hanley and
McNeil 1982; Mann and Whitney 1947).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def ranks(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ranks of the words for each unit, 1 the lowest, ties the mean: (W, M) -> (M, W)."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(activations, axis=0).T, dtype=np.float32)


def one_hot(labels: Ids, categories: int) -> NDArray[np.float32]:
    """(W, C): 1 where a word is of a category."""
    return np.asarray(labels[:, None] == np.arange(categories), dtype=np.float32)


def centred_sums(ranked: NDArray[np.float32], members: NDArray[np.float32]) -> Floats:
    """U minus its mean under chance, (M, C), of ranks (M, W) and one-hot labels (W, C)."""
    sizes = members.sum(0, dtype=np.float64)
    return np.asarray(ranked @ members - sizes * (len(members) + 1) / 2, dtype=np.float64)


def areas(sums: Floats, labels: Ids, categories: int) -> Floats:
    """Centred sums (..., C) as areas under the curve, 0..1."""
    sizes = np.bincount(labels, minlength=categories)
    pairs = sizes * (len(labels) - sizes)
    return np.asarray(0.5 + sums / np.maximum(pairs, 1))


class Surprise:
    """-log10 of the two-sided p-value of |U - mean| for a category's and the other words' counts.

    From the exact distribution without ties (Mann and Whitney 1947, the recursion of section 3);
    it puts categories of different sizes on one scale, which a maximum over them needs.
    """

    def __init__(self, members: int, others: int) -> None:
        self.mean = members * others / 2
        counts = _distribution(members, others)
        upper = np.cumsum(counts[::-1])[::-1] / counts.sum()
        self._table = -np.log10(np.minimum(1.0, 2 * upper))

    def of(self, centred: Floats) -> Floats:
        """The surprise of centred sums of any shape."""
        # Half steps come of ties; rounding down says no more than is known.
        at = np.floor(np.abs(centred) + self.mean + 1e-3).astype(np.int64)
        return np.asarray(self._table[np.clip(at, 0, len(self._table) - 1)])


def _distribution(members: int, others: int) -> Floats:
    """How many orders give each U: N(u; m, n) = N(u - n; m - 1, n) + N(u; m, n - 1)."""
    size = members * others + 1
    before = np.zeros((others + 1, size))
    before[:, 0] = 1.0
    for _ in range(members):
        now = np.zeros_like(before)
        now[0, 0] = 1.0
        for n in range(1, others + 1):
            now[n] = now[n - 1]
            now[n, n:] += before[n, : size - n]
        before = now
    return np.asarray(before[others])
