"""Online code: how many bits the labels take for one who has the rows, and learns on the way.

Source: Voita and Titov (2020), "Information-Theoretic Probing with Minimum Description Length",
section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tokkit.analysis.probing import Floats, Ints, class_shares
from tokkit.errors import ConfigError

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
Predictor = Callable[[int, int], Floats]
"""predict(seen, until): probabilities (until - seen, H, K) of the rows seen to until - 1, by a
probe that was fitted on the rows before them."""


@dataclass(frozen=True, slots=True)
class CodeLength:
    """Bits that all labels take, by the probe and by two codes that do not look at the rows.

    `uniform_bits` gives every class log2 K bits; `prior_bits` learns the shares of the classes.
    `blocks` holds (rows seen before, bits of the block) of the best predictor.
    """

    bits: float
    uniform_bits: float
    prior_bits: float
    labels: int
    blocks: tuple[tuple[int, float], ...]

    @property
    def compression(self) -> float:
        """Uniform code over online code: 1 where nothing is learned, more where there is."""
        return self.uniform_bits / self.bits

    @property
    def compression_of_prior(self) -> float:
        """Prior code over online code: above 1 where the rows tell of the labels."""
        return self.prior_bits / self.bits


def boundaries(rows: int, fractions: Sequence[float] = FRACTIONS) -> tuple[int, ...]:
    """How many rows have been sent after each block; the last is `rows`."""
    if rows < 2:
        raise ConfigError(f"an online code needs 2 or more rows, got {rows}")
    return tuple(sorted({max(1, round(rows * share)) for share in fractions} | {rows}))


def online_code(
    predictors: Sequence[Predictor], labels: Ints, classes: int, ends: Sequence[int]
) -> CodeLength:
    """The prequential code length of labels (N, H), block by block up to each of `ends`.

    The first block is sent by the uniform code; each later one by a probe fitted on all before:
    L = t_1 H log2 K - sum over blocks of log2 p(labels | rows). With several predictors
    (penalties) the message is that of their even mixture, -log2 mean 2^-L, which needs no
    validation part and costs at most log2 of their number more than the best.
    """
    if not predictors or len(ends) < 1 or ends[-1] != len(labels):
        raise ConfigError(
            f"an online code needs a predictor and blocks that end at row {len(labels)}, got "
            f"{len(predictors)} and {list(ends)}"
        )
    heads = labels.shape[1]
    first = ends[0] * heads * float(np.log2(classes))
    found = []
    for predict in predictors:
        blocks = [(0, first)]
        for seen, until in pairwise(ends):
            share = _smoothed(predict(seen, until), seen)
            true = np.take_along_axis(share, labels[seen:until, :, None], axis=-1)
            blocks.append((seen, float(-np.log2(true).sum())))
        found.append(tuple(blocks))
    totals = np.array([sum(bits for _, bits in blocks) for blocks in found])
    least = totals.min()
    mixed = least - np.log2(np.mean(2.0 ** (least - totals)))
    return CodeLength(
        float(mixed),
        labels.size * float(np.log2(classes)),
        prior_code_bits(labels, classes),
        int(labels.size),
        found[int(totals.argmin())],
    )


def _smoothed(share: Floats, seen: int) -> Floats:
    """Each class counted once more, so that what was never seen does not cost infinitely much."""
    return np.asarray((seen * share.astype(np.float64) + 1) / (seen + share.shape[-1]))


def prior_code_bits(labels: Ints, classes: int) -> float:
    """Bits by the adaptive code of Laplace, p = (n_k + 1) / (n + K), which sees labels alone.

    Of n labels with counts n_k it takes log2 of (n + K - 1)! / ((K - 1)! prod n_k!) in all.
    """
    from scipy.special import gammaln

    n = len(labels)
    counts = class_shares(labels, classes) * (n + classes) - 1
    nats = gammaln(n + classes) - gammaln(classes) - gammaln(counts + 1).sum(axis=1)
    return float(nats.sum() / np.log(2))
