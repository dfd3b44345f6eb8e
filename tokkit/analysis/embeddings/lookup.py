"""What the embedding step of a model gives, beside the rows of its table: bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import Floats, Matrix
from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.model.transformer import Transformer

CONTEXTS = 4
"""Orders of the ids that are looked up: each id stands at other places, among other ids."""
_ADDED = ("learned", "sinusoidal")


@dataclass(frozen=True, slots=True)
class Lookup:
    """How exactly the embedding step is a lookup, for `ids` different ids in `contexts` orders.

    bit_equal           embedding = row x scale (+ vector of the place), every bit
    largest_deviation   of it, over all numbers
    same_in_context     an id's vector stays as it is, every bit, when the ids around it change;
                        in a model that adds no place also when it stands elsewhere
    position_added      whether the model adds a vector of the place here
    position_deviation  how much embedding - row differs between tokens at one place, at most: by
                        the rounding of one sum, as the vector of the place is added apart; None
                        where none is added
    told_apart          share of pairs of different ids looked up whose rows differ in some bit
    """

    ids: int
    contexts: int
    scale: float
    bit_equal: bool
    largest_deviation: float
    same_in_context: bool
    position_added: bool
    position_deviation: float | None
    told_apart: float


@dataclass(frozen=True, slots=True)
class Tie:
    """The output's rows beside the input's: of `rows`, `equal` are so in every bit."""

    rows: int
    equal: int
    largest_deviation: float


def lookup_record(subject: Subject, ids: ArrayLike, *, seed: int = 0) -> Lookup:
    """Look up `ids` (N,), different ones, in CONTEXTS orders, and compare with the rows.

    Raises ConfigError without a model, for ids outside of it, repeated ones, and more than fit
    into its context.
    """
    import torch

    model, wanted = _checked(subject, np.asarray(ids, dtype=np.int64))
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(wanted) for _ in range(CONTEXTS)])
    batch = torch.from_numpy(orders)
    rows = torch.from_numpy(subject.rows.take(orders.ravel())).view(*orders.shape, -1)
    with torch.inference_mode():
        embedded = _embedded(model, batch)
        scale = model.config.embedding_scale
        plain = rows * scale if scale != 1 else rows
        if model.feature_embedding is not None:
            plain = plain + model.token_features[batch] @ model.feature_embedding
        places = _places(model, len(wanted))
        expected = plain if places is None else plain + places
        apart = None if places is None else embedded - plain
    return Lookup(
        ids=len(wanted),
        contexts=CONTEXTS,
        scale=float(scale),
        bit_equal=torch.equal(embedded, expected),
        largest_deviation=float((embedded - expected).abs().max()),
        same_in_context=_same_in_context(model, wanted, generator)
        and (places is not None or _same_in_orders(orders, embedded)),
        position_added=places is not None,
        position_deviation=None if apart is None else float((apart - apart[:1]).abs().max()),
        told_apart=_told_apart(subject.rows.take(wanted)),
    )


def _checked(subject: Subject, ids: NDArray[np.int64]) -> tuple[Transformer, NDArray[np.int64]]:
    model = subject.model
    if model is None:
        raise ConfigError("a lookup is shown in a whole model, and only weights are given")
    top, longest = model.config.vocab_size, model.config.context
    if ids.ndim != 1 or not 0 < len(ids) <= longest or len(np.unique(ids)) != len(ids):
        raise ConfigError(
            f"ids must be 1 to {longest} different ones in a row, got an array of {ids.shape}"
        )
    if ids.min() < 0 or ids.max() >= top:
        raise ConfigError(f"ids must lie in 0..{top - 1}, got {ids.min()} to {ids.max()}")
    return model, ids


def _embedded(model: Transformer, batch: Tensor) -> Tensor:
    """What enters the first layer, taken on the way through the whole model."""
    from tokkit.model.trace import trace

    with trace(model, ["embedding"]) as activations:
        model.hidden(batch)
    return activations["embedding"]


def _places(model: Transformer, length: int) -> Tensor | None:
    """The vectors of the first places, (T, D), of a model that adds them."""
    from tokkit.model.positions import sinusoidal_table

    if model.config.positions not in _ADDED:
        return None
    if model.position_embedding is not None:
        return model.position_embedding[:length]
    return sinusoidal_table(length, model.config.width).to(model.embedding)


def _same_in_context(
    model: Transformer, ids: NDArray[np.int64], generator: np.random.Generator
) -> bool:
    """Whether every second vector stays, bit for bit, when the ids between them change places."""
    import torch

    other = ids.copy()
    other[1::2] = generator.permutation(ids[1::2][::-1])
    with torch.inference_mode():
        first, second = _embedded(model, torch.from_numpy(np.stack([ids, other])))
    return torch.equal(first[::2], second[::2])


def _same_in_orders(orders: NDArray[np.int64], vectors: Tensor) -> bool:
    """Whether each id has the same vector (C, T, D) at all its places, bit for bit."""
    places = orders.argsort(axis=1, kind="stable")
    aligned = vectors.numpy()[np.arange(len(orders))[:, None], places]
    return bool((aligned == aligned[:1]).all())


def _told_apart(rows: Floats) -> float:
    if len(rows) < 2:
        return 0.0
    _, sizes = np.unique(rows, axis=0, return_counts=True)
    count = len(rows)
    return 1 - float((sizes * (sizes - 1)).sum()) / (count * (count - 1))


def compare_rows(first: Matrix, second: Matrix) -> Tie:
    """Compare two matrices of one shape row by row, a block at a time.

    Raises ConfigError where their shapes differ.
    """
    if first.shape != second.shape:
        raise ConfigError(
            f"input and output rows must have one shape, got {first.shape} and {second.shape}"
        )
    equal, deviation = 0, 0.0
    for start, rows in first.blocks():
        others = second.read(start, start + len(rows))
        equal += int((rows == others).all(axis=1).sum())
        with np.errstate(invalid="ignore"):
            gap = np.abs(rows - others)
        deviation = max(deviation, float(np.max(gap, initial=0, where=np.isfinite(gap))))
    return Tie(len(first), equal, deviation)
