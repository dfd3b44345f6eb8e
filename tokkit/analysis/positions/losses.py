"""Loss by position, and loss on text whose order is destroyed within windows of growing size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.intervals import Ratios, Resampling
from tokkit.errors import ArtifactError
from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
_BATCH_TOKENS = 1024
_LOGIT_BYTES = 1 << 27


def nats_of(model: Transformer, rows: Ids, *, given: int) -> Floats:
    """Nats of each token after the first `given`: rows (N, S) int64 -> (N, S - given).

    `given` is 1 or more. Raises ArtifactError where a loss is not finite.
    """
    device = model.embedding.device
    ids = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
    step = max(1, _BATCH_TOKENS // ids.shape[1])
    with torch.inference_mode():
        parts = [
            _nats(model, ids[start : start + step], given) for start in range(0, len(ids), step)
        ]
    found: Floats = torch.cat(parts).double().cpu().numpy()
    check_finite(found)
    return found


def _nats(model: Transformer, ids: Tensor, given: int) -> Tensor:
    return nats_after(model, model.hidden(ids), ids, given)


def nats_after(model: Transformer, hidden: Tensor, ids: Tensor, given: int) -> Tensor:
    """As `nats_of`, from what is unembedded of the same rows, (B, S, D), without a check."""
    hidden, targets = hidden[:, given - 1 : -1], ids[:, given:]
    step = max(1, _LOGIT_BYTES // (4 * model.config.vocab_size * len(ids)))
    parts = []
    for start in range(0, targets.shape[1], step):
        logits = model.unembed(hidden[:, start : start + step]).float()
        wanted = targets[:, start : start + step, None]
        parts.append(logits.logsumexp(-1) - logits.gather(-1, wanted)[..., 0])
    return torch.cat(parts, dim=1)


def check_finite(nats: Floats) -> None:
    """Raise ArtifactError where a loss is not finite."""
    if not np.isfinite(nats).all():
        raise ArtifactError(
            "the model's losses must be finite, but some are NaN or infinite: its weights are "
            "damaged, get the model again"
        )


@dataclass(frozen=True, slots=True)
class LossBin:
    """Loss over the tokens that have `first` to `last` tokens before them in their row."""

    first: int
    last: int
    tokens: int
    nats: tuple[float, float, float]  # a token: estimate, low, high
    bits_per_byte: tuple[float, float, float]


def position_bins(first: int, length: int) -> list[tuple[int, int]]:
    """Bins of positions from `first` to `length` - 1, each twice as wide as the one before.

    >>> position_bins(1, 20)
    [(1, 1), (2, 3), (4, 7), (8, 15), (16, 19)]
    """
    bins = []
    while first < length:
        last = 0 if first == 0 else 2 * first - 1
        bins.append((first, min(last, length - 1)))
        first = last + 1
    return bins


def loss_by_position(
    nats: Floats, sizes: Ids, first: int, resampling: Resampling
) -> tuple[LossBin, ...]:
    """Mean losses in bins of positions, with intervals.

    `nats` (N, P) and `sizes` (N, P), bytes of the tokens, are those of positions `first` on.
    """
    found = []
    for low, high in position_bins(first, first + nats.shape[1]):
        here = slice(low - first, high - first + 1)
        lost, bytes_ = nats[:, here].sum(1), sizes[:, here].sum(1)
        tokens = np.full(len(nats), high - low + 1)
        found.append(
            LossBin(
                low,
                high,
                int(tokens.sum()),
                _three(resampling.ratios(lost, tokens)),
                _three(resampling.ratios(lost / math.log(2), bytes_)),
            )
        )
    return tuple(found)


def _three(ratios: Ratios) -> tuple[float, float, float]:
    return float(ratios.estimate), float(ratios.low), float(ratios.high)


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Loss with order destroyed within windows of `window` tokens; 1 is the text as it is.

    `more` is the loss over that of the same text in order, paired by text.
    """

    window: int
    nats: tuple[float, float, float]
    more: tuple[float, float, float]


def shuffled_rows(rows: Ids, window: int, *, kept: int, generator: np.random.Generator) -> Ids:
    """Each row, (N, S), with its tokens after the first `kept` shuffled in windows of `window`.

    The kept ones stay, so that all orders predict the same tokens.
    """
    mixed = rows.copy()
    for start in range(kept, rows.shape[1], window):
        mixed[:, start : start + window] = generator.permuted(
            rows[:, start : start + window], axis=1
        )
    return mixed


def window_sizes(tokens: int) -> list[int]:
    """1, 2, 4, ... and all tokens.

    >>> window_sizes(9)
    [1, 2, 4, 8, 9]
    """
    sizes = [1 << power for power in range(max(1, tokens).bit_length()) if 1 << power < tokens]
    return [*sizes, tokens]


def loss_when_shuffled(
    model: Transformer,
    rows: Ids,
    *,
    kept: int,
    seed: int,
    resampling: Resampling,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[tuple[Shuffled, ...], Floats]:
    """Losses of the rows (N, S) in all orders; and how much more each row's is when all is mixed.

    The second is (N,) nats a token.
    """
    sizes: Sequence[int] = window_sizes(rows.shape[1] - kept)
    found, ordered, more = [], np.zeros(len(rows)), np.zeros(len(rows))
    for place, window in enumerate(sizes):
        generator = np.random.default_rng([seed, window])
        mixed = shuffled_rows(rows, window, kept=kept, generator=generator)
        means = nats_of(model, mixed, given=kept).mean(1)
        if window == 1:
            ordered = means
        more = means - ordered
        found.append(
            Shuffled(window, _three(resampling.means(means)), _three(resampling.means(more)))
        )
        told(place + 1, len(sizes))
    return tuple(found), more
