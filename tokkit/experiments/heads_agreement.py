"""How alike what two heads give is: debiased linear centred kernel alignment (CKA).

Sources: Kornblith et al. 2019 (linear CKA); Song et al. 2012, equation 5 (the unbiased estimator
of HSIC), used for CKA by Nguyen et al. 2021. Worked out in the space of features: with n tokens
and K numbers a head, no n x n matrix is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import InputError

Floats = NDArray[np.float64]
SHUFFLES = 20


@dataclass(frozen=True, slots=True)
class Agreement:
    """CKA of every pair of heads, (n, n), and of pairs whose tokens were shuffled, each head's on
    its own: (shuffles, n, n).
    """

    cka: Floats
    shuffled: Floats


def debiased_cka(features: Floats) -> Floats:
    """CKA of each pair of heads: (heads, tokens, K) -> (heads, heads).

    1 on the diagonal; near 0, and as often below, for independent ones. NaN for a head that gives
    the same for every token. Raises InputError for fewer than 4 tokens.
    """
    hsic = unbiased_hsic(features)
    own = np.sqrt(np.where(hsic.diagonal() > 0, hsic.diagonal(), np.nan))
    return np.asarray(hsic / np.outer(own, own))


def unbiased_hsic(features: Floats) -> Floats:
    """The unbiased estimate of HSIC with linear kernels, of each pair: (heads, heads).

    With K = X X^T and L = Y Y^T, their diagonals set to 0:
    [tr K L + (1 K 1)(1 L 1) / ((n - 1)(n - 2)) - 2 (1 K L 1) / (n - 2)] / (n (n - 3)).
    """
    count, tokens, width = features.shape
    if tokens < 4:
        raise InputError(f"unbiased CKA needs 4 or more tokens, got {tokens}: give more text")
    # HSIC does not feel a shift; without the mean the sums below lose no digits to it.
    centred = features - features.mean(1, keepdims=True)
    lengths = np.square(centred).sum(2)  # heads, tokens: the diagonals
    flat = centred.transpose(1, 0, 2).reshape(tokens, count * width)
    products = np.square(flat.T @ flat).reshape(count, width, count, width).sum((1, 3))
    traces = products - lengths @ lengths.T
    rows = np.einsum("htk,hk->ht", centred, centred.sum(1)) - lengths
    totals = rows.sum(1)
    between = np.outer(totals, totals) / ((tokens - 1) * (tokens - 2))
    crossed = 2 * (rows @ rows.T) / (tokens - 2)
    return np.asarray((traces + between - crossed) / (tokens * (tokens - 3)))


def agreement(features: Floats, generator: np.random.Generator) -> Agreement:
    """CKA of heads' outputs on the same tokens, (heads, tokens, K), with its null."""
    shuffled = []
    for _ in range(SHUFFLES):
        orders = np.argsort(generator.random(features.shape[:2]), axis=1)
        shuffled.append(debiased_cka(np.take_along_axis(features, orders[:, :, None], axis=1)))
    return Agreement(debiased_cka(features), np.array(shuffled))
