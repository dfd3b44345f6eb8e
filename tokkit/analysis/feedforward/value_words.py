"""What a unit writes, as words; and whether they are those that follow what excites it.

A unit's value is its column of the down projection. Read through the gain of the final norm and
the unembedding it is a score for each token (Geva et al. 2021, section 4; Geva et al. 2022). M
units, V tokens, k exciting places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.feedforward.reading import LayerReading
from tokkit.analysis.intervals import Ratios, resampling
from tokkit.analysis.windows import Windows
from tokkit.model.layers import Norm
from tokkit.model.transformer import Transformer

AGREEMENT_UNITS = 96  # of a layer, drawn by the seed
FIRST_SHARE = 0.01  # of the vocabulary: what counts as promoted
SHUFFLES = 8
_CHUNK = 32  # units whose scores of all tokens are held at once
Ids = NDArray[np.int64]


@torch.no_grad()
def value_scores(model: Transformer, layer: int, units: Sequence[int]) -> Tensor:
    """The score that each unit's value gives each token, (units, V).

    Up to a factor for all tokens, what a positive activation adds to the logits, with the final
    norm's division held. Post-norm and sandwich models: their gains on the way are applied.
    """
    block: Any = model.blocks[layer]
    values = block.feedforward.down.weight[:, list(units)].T
    if block.feedforward_post_norm is not None:
        values = _gained(values, block.feedforward_post_norm)
    values = _gained(values, block.feedforward_norm if block.post_norm else model.final_norm)
    return values @ model.unembedding_matrix.T


def _gained(values: Tensor, norm: Norm | None) -> Tensor:
    """A direction as a norm passes it on while its divisor stands still."""
    if norm is None:
        return values
    if norm.bias is not None:
        values = values - values.mean(-1, keepdim=True)
    return values * (1 + norm.weight if norm.offset else norm.weight)


def first_tokens(scores: Tensor, count: int) -> Ids:
    """The tokens of the largest scores, (n, count), of equal ones the lowest id."""
    return scores.sort(dim=-1, descending=True, stable=True).indices[:, :count].numpy()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often what follows the exciting texts is among what the value promotes.

    `own`, `shuffled` (with another unit's texts) and `more`, their difference, have intervals
    over units; `first` is how often it is the first word of all (the rate of Geva et al. 2021).
    """

    layer: int
    units: int
    own: Ratios
    shuffled: Ratios
    more: Ratios
    first: float


def following(windows: Windows, places: Ids) -> Ids:
    """The token after each place, -1 where the window ends there."""
    flat, length = windows.ids.reshape(-1), windows.length
    after = flat[np.minimum(places + 1, flat.size - 1)]
    return np.where(places % length == length - 1, -1, after)


def agreement(
    model: Transformer, reading: LayerReading, windows: Windows, generator: np.random.Generator
) -> Agreement:
    """Compare AGREEMENT_UNITS units' values with what follows their texts, and with a null.

    An activation below zero promotes what the value scores lowest. The null gives each unit the
    texts of another unit of the layer and its own signs, SHUFFLES times.
    """
    count = len(reading.places)
    chosen = np.sort(generator.choice(count, min(count, AGREEMENT_UNITS), replace=False))
    tokens = following(windows, reading.places[chosen])
    signs = np.sign(reading.hidden[chosen])
    most = min(len(chosen) - 1, SHUFFLES)
    turns = 1 + generator.permutation(max(0, len(chosen) - 1))[:most]
    sets = np.stack((tokens, *(np.roll(tokens, int(turn), axis=0) for turn in turns)), axis=1)
    ranks = _ranks(model, reading.layer, chosen, sets, signs)
    known = sets >= 0
    bound = max(1, round(FIRST_SHARE * model.config.vocab_size))
    hits = np.where(known, ranks < bound, 0).sum(-1) / np.maximum(1, known.sum(-1))
    own, null = hits[:, 0], hits[:, 1:].mean(1) if most else np.full(len(hits), np.nan)
    drawn = resampling(np.arange(len(chosen)), generator)
    first = ((ranks[:, 0] == 0) & known[:, 0]).sum() / max(1, known[:, 0].sum())
    return Agreement(
        reading.layer, len(chosen), drawn.means(own), drawn.means(null), drawn.means(own - null),
        float(first),
    )  # fmt: skip


@torch.no_grad()
def _ranks(
    model: Transformer, layer: int, units: Ids, tokens: Ids, signs: NDArray[np.float32]
) -> Ids:
    """How many tokens score higher than the given ones, (n, sets, k), in the sign's direction."""
    ranks = np.zeros(tokens.shape, dtype=np.int64)
    for first in range(0, len(units), _CHUNK):
        part = slice(first, first + _CHUNK)
        scores = value_scores(model, layer, units[part].tolist())
        ordered = scores.sort(dim=-1).values
        given = torch.from_numpy(np.maximum(tokens[part], 0)).flatten(1)
        own = scores.gather(1, given)
        below = torch.searchsorted(ordered, own, right=False)
        above = scores.shape[1] - torch.searchsorted(ordered, own, right=True)
        shape = tokens[part].shape
        high, low = above.view(shape).numpy(), below.view(shape).numpy()
        ranks[part] = np.where(signs[part][:, None] >= 0, high, low)
    return ranks
