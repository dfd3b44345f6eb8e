"""Heads that continue what was seen before: found on random tokens that are repeated.

An induction head looks from a token to what followed the same token earlier (Elhage et al. 2021;
Olsson et al. 2022). A row holds R random tokens twice; the score of a head is the weight from each
token of the second copy to the token after its first occurrence. The control row has the same
second half after other tokens: nothing repeats there, and what is left is looking at that distance.

Heads are found on one half of the rows; what they do is tested on the other. L layers, H heads,
N rows, S tokens that the model puts before a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis import patterns
from tokkit.analysis.positions.losses import check_finite, nats_after
from tokkit.model.transformer import Transformer
from tokkit.stats import holm, sign_flip_p

Floats = NDArray[np.float64]
Head = tuple[int, int]
ROWS = 32
COPY_TOKENS = 32
FEWEST_COPIED = 4
INDUCTION_SHARE = 0.2
INDUCTION_TIMES = 4
ALPHA = 0.05
FOUND_RULE = (
    f"Found is a head that, on the choosing half of the rows, gives at least {INDUCTION_SHARE:.0%} "
    "of its weight to the token after the first occurrence, at least "
    f"{INDUCTION_TIMES} times what it gives to that place where nothing repeats, with "
    f"p < {ALPHA} (sign flips over rows, Holm over all heads)."
)


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows of random tokens, `given` tokens before them, `copied` in each half.

    repeated, single  (N, S + 2R) int64: the second half again, and after other tokens
    choosing          (N,) bool: rows by which heads are found
    """

    repeated: Tensor
    single: Tensor
    given: int
    copied: int
    choosing: NDArray[np.bool_]


def draw_repeats(
    tokenizer: Any, context: int, generator: np.random.Generator, start_ids: Sequence[int] = ()
) -> Repeats | None:
    """Draw ROWS rows from all tokens that are no special ones; None where the context is too short.

    Every second row chooses.
    """
    copied = min(COPY_TOKENS, (context - len(start_ids)) // 2)
    barred = set(tokenizer.special_ids) | set(tokenizer.unused_ids)
    tokens = np.array([t for t in range(tokenizer.vocab_size) if t not in barred], dtype=np.int64)
    if copied < FEWEST_COPIED or len(tokens) < 2 * copied:
        return None
    start = np.tile(np.array(start_ids, dtype=np.int64), (ROWS, 1))
    # No token twice in a row's draw: the first occurrence is the only one.
    drawn = np.stack([generator.permutation(tokens)[: 2 * copied] for _ in range(ROWS)])
    own, other = drawn[:, :copied], drawn[:, copied:]
    return Repeats(
        torch.from_numpy(np.concatenate((start, own, own), axis=1)),
        torch.from_numpy(np.concatenate((start, other, own), axis=1)),
        len(start_ids),
        copied,
        np.arange(ROWS) % 2 == 0,
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each row and head, (N, L, H), mean weights of the second half's tokens; and losses.

    after     to the place after the first occurrence (there or not)
    previous  to the token before
    nats      (N, S + 2R - max(S, 1)) of each token that is predicted; None where not asked for
    """

    after: Floats
    previous: Floats
    nats: Floats | None


def scores(
    model: Transformer, rows: Tensor, given: int, copied: int, *, losses: bool = False
) -> Scores:
    """Measure rows (N, S + 2R) of a `Repeats`, whichever kind they are; `losses` too if asked.

    Raises ArtifactError where queries, keys or losses are not finite.
    """
    config = model.config
    shape = len(rows), config.layers, config.query_heads
    after, previous = np.zeros(shape), np.zeros(shape)
    nats = []
    with torch.inference_mode():
        for found in patterns.traced(model, rows):
            if losses:
                nats.append(nats_after(model, found.hidden, rows[found.rows], max(1, given)))
            for layer, (query, key) in enumerate(found.pairs):
                attention = patterns.attention_of(model, layer)
                weights = patterns.pattern(attention, query, key, found.layout, copied)
                # Query r stands at given + copied + r; the token after its first is given + r + 1.
                to_after = weights[..., given + 1 :].diagonal(dim1=-2, dim2=-1)[..., :-1]
                to_last = weights[..., given + copied - 1 :].diagonal(dim1=-2, dim2=-1)
                after[found.rows, layer] = to_after.mean(-1).double().numpy()
                previous[found.rows, layer] = to_last.mean(-1).double().numpy()
    if not losses:
        return Scores(after, previous, None)
    each: Floats = torch.cat(nats).double().numpy()
    check_finite(each)
    return Scores(after, previous, each)


def chance(copied: int, given: int) -> float:
    """What the place after the first occurrence gets of weight that is dealt evenly."""
    return float(np.mean([1 / (given + copied + r + 1) for r in range(copied - 1)]))


def copy_losses(nats: Floats, given: int, copied: int) -> tuple[Floats, Floats]:
    """Mean nats of each row over the first copy, and over the second: (N,) each.

    The first token of each copy is left out: nothing foretells it.
    """
    skipped = max(1, given)  # nats[:, 0] is of the token at this place
    first = nats[:, given + 1 - skipped : given + copied - skipped]
    second = nats[:, given + copied + 1 - skipped :]
    return first.mean(1), second.mean(1)


def adjusted_p(repeated: Floats, single: Floats, generator: np.random.Generator) -> Floats:
    """Holm's p (L, H) that a head's score (N, L, H) is not that of rows without repetition."""
    shape = repeated.shape[1:]
    apart = (repeated - single).reshape(len(repeated), -1)
    found = holm(sign_flip_p(apart, generator).tolist())
    return np.array(found, dtype=np.float64).reshape(shape)


def induction_heads(repeated: Floats, single: Floats, generator: np.random.Generator) -> list[Head]:
    """The heads that FOUND_RULE finds by scores (N, L, H) of the choosing rows, strongest first."""
    own, null = repeated.mean(0), single.mean(0)
    p = adjusted_p(repeated, single, generator)
    fits = (own >= INDUCTION_SHARE) & (own >= INDUCTION_TIMES * null) & (p < ALPHA)
    heads = [(int(layer), int(head)) for layer, head in np.argwhere(fits)]
    return sorted(heads, key=lambda at: (-own[at], at))
