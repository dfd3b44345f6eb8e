"""What each attention head reads of the residual stream, seen in its weights.

A head's query, key and value are linear maps (K, D) of the stream. Were a head a slice of the
vector it would read K of the D coordinates; a projection reads them all. How many coordinates are
read depends on the basis, so two things that no change of basis alters stand beside it: how far
the three maps of a head fit into one subspace of K dimensions, as they do for a slice in any
basis, and how far the heads' subspaces overlap, which those of slices never do.

Letters: D width of the stream, H heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer

Floats = NDArray[np.float64]

MAPS = ("query", "key", "value")
NULL_DRAWS = 200
_NULL_SEED = 0


@dataclass(frozen=True, slots=True)
class Null:
    """A measure of random matrices with independent normal entries: mean and middle 95%."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MapReading:
    """One map of one head. `learned` is the participation of what training changed, if known.

    participation   coordinates of the stream that are read, 1 to D
    effective_rank  dimensions of the map, 1 to K
    """

    layer: int
    head: int
    map: str
    participation: float
    learned: float | None
    effective_rank: float


@dataclass(frozen=True, slots=True)
class JointReading:
    """The three maps of one head together.

    outside  share of the squared weights, each map weighted alike, outside of the best subspace
             of K dimensions: 0 for a slice in any basis
    """

    layer: int
    head: int
    effective_rank: float
    outside: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far the subspaces that two heads' maps read overlap, over the pairs of a layer's heads:
    0 orthogonal, as slices are, 1 the same; random ones overlap by K / D on average.

    same_coordinates  cosine of how two maps spread their squares over the coordinates: 0 where
                      they read none in common, as slices do; 1 where they weigh them alike
    """

    layer: int
    map: str
    mean: float
    largest: float
    same_coordinates: float
    pairs: int


def head_maps(model: Transformer, layer: int) -> dict[str, Floats]:
    """The weights by which each head reads the stream: {map: (heads, K, D)}; keys and values have
    as many heads as are kept.

    Before the maps, a pre-norm model multiplies the coordinates by the norm's gain, which thus
    belongs to what is read; the scale common to all coordinates does not matter here. In a
    post-norm model the stream has its gain already. A layer norm's centring is left out.
    """
    from tokkit.model.transformer import Block

    block = model.blocks[layer]
    assert isinstance(block, Block)
    gain = np.ones(model.config.width)
    if not block.post_norm:
        gain = block.attention_norm.weight.detach().double().numpy() + block.attention_norm.offset
    maps = {}
    for name in MAPS:
        weight = getattr(block.attention, name).weight.detach().double().numpy() * gain
        maps[name] = weight.reshape(-1, model.config.head_width, model.config.width)
    return maps


def participation(matrix: Floats) -> float:
    """How many columns a matrix spreads its squares over: (sum e)^2 / sum e^2 (Bell and Dean
    1970), e the sum of squares of each column. 0 for a matrix of zeros.

    >>> participation(np.ones((2, 5))), participation(np.eye(2, 5))
    (5.0, 2.0)
    """
    energy = np.square(matrix).sum(axis=-2)
    squares = float(np.square(energy).sum())
    return float(energy.sum()) ** 2 / squares if squares else 0.0


def effective_rank(matrix: Floats) -> float:
    """The exponential of the entropy of the singular values, as shares of their sum (Roy and
    Vetterli 2007).
    """
    values = np.sqrt(squared_singular_values(matrix))
    if not values.sum():
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def outside_share(matrix: Floats, dimensions: int) -> float:
    """Share of a matrix's squares outside of the best subspace of as many dimensions (Eckart and
    Young 1936).
    """
    squares = squared_singular_values(matrix)
    return float(squares[dimensions:].sum() / squares.sum()) if squares.sum() else 0.0


def squared_singular_values(matrix: Floats) -> Floats:
    """Of a matrix with fewer rows than columns, the largest first.

    From the products of its rows, several times as fast as the matrix itself; what lies below
    1e-15 of the largest is rounding, and told as 0.
    """
    squares = np.linalg.eigvalsh(matrix @ matrix.T)[::-1]
    return np.asarray(np.where(squares > 1e-15 * squares[0], squares, 0.0))


def subspace_overlap(first: Floats, second: Floats) -> float:
    """Mean squared cosine of the principal angles (Bjorck and Golub 1973) between the row spaces
    of two (K, D) matrices of full rank: 0 to 1.
    """
    bases = [np.linalg.qr(matrix.T)[0] for matrix in (first, second)]
    return float(np.square(bases[0].T @ bases[1]).sum() / len(first))


def joined(maps: Sequence[Floats]) -> Floats:
    """Maps of one head, each scaled to squares that sum to 1, above one another: (3 K, D)."""
    return np.concatenate([matrix / (np.linalg.norm(matrix) or 1.0) for matrix in maps])


def read_heads(model: Transformer, initial: Transformer | None = None) -> list[MapReading]:
    """Each map of each head; `initial` is the same model before its training."""
    found = []
    for layer in range(model.config.layers):
        before = None if initial is None else head_maps(initial, layer)
        for name, maps in head_maps(model, layer).items():
            for head, matrix in enumerate(maps):
                learned = None
                if before is not None:
                    learned = participation(matrix - before[name][head])
                found.append(
                    MapReading(layer, head, name, participation(matrix), learned,
                               effective_rank(matrix))
                )  # fmt: skip
    return found


def mean_participation(model: Transformer) -> float:
    """Coordinates read, the mean over heads and their maps."""
    read = [
        participation(matrix)
        for layer in range(model.config.layers)
        for maps in head_maps(model, layer).values()
        for matrix in maps
    ]
    return float(np.mean(read))


def read_joined(model: Transformer) -> list[JointReading]:
    """The query, key and value maps of each query head together."""
    config = model.config
    group = config.query_heads // config.key_value_heads
    found = []
    for layer in range(config.layers):
        maps = head_maps(model, layer)
        for head in range(config.query_heads):
            own = [maps[name][head if name == "query" else head // group] for name in MAPS]
            both = joined(own)
            found.append(
                JointReading(layer, head, effective_rank(both),
                             outside_share(both, config.head_width))
            )  # fmt: skip
    return found


def read_overlaps(model: Transformer) -> list[Overlap]:
    """The overlap between the heads of a layer, for each map that has more than one head."""
    found = []
    for layer in range(model.config.layers):
        for name, maps in head_maps(model, layer).items():
            bases = np.linalg.qr(maps.transpose(0, 2, 1))[0]  # heads, D, K
            beside = bases.transpose(1, 0, 2).reshape(model.config.width, -1)
            squares = np.square(beside.T @ beside).reshape(len(maps), -1, len(maps), maps.shape[1])
            shared = squares.sum((1, 3)) / model.config.head_width
            pairs = shared[np.triu_indices(len(maps), 1)]
            if pairs.size:
                found.append(
                    Overlap(layer, name, float(pairs.mean()), float(pairs.max()),
                            _same_coordinates(maps), pairs.size)
                )  # fmt: skip
    return found


def _same_coordinates(maps: Floats) -> float:
    """The mean over pairs of (heads, K, D) maps of the cosine of their columns' squares."""
    energy = np.square(maps).sum(1)
    length = np.linalg.norm(energy, axis=1, keepdims=True)
    shares = energy / np.where(length > 0, length, 1.0)
    return float((shares @ shares.T)[np.triu_indices(len(maps), 1)].mean())


# Nulls ------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def participation_null(head_width: int, width: int) -> Null:
    """Of a random (K, D) matrix."""
    return _null(lambda draw: participation(draw(head_width, width)))


@lru_cache(maxsize=32)
def rank_null(rows: int, width: int) -> Null:
    """Effective rank of a random (rows, D) matrix."""
    return _null(lambda draw: effective_rank(draw(rows, width)))


@lru_cache(maxsize=32)
def outside_null(head_width: int, width: int) -> Null:
    """Outside share of three random (K, D) maps together."""
    return _null(
        lambda draw: outside_share(joined([draw(head_width, width) for _ in MAPS]), head_width)
    )


@lru_cache(maxsize=32)
def same_coordinates_null(head_width: int, width: int) -> Null:
    """Same coordinates of two random (K, D) matrices."""
    return _null(
        lambda draw: _same_coordinates(np.array([draw(head_width, width) for _ in range(2)]))
    )


@lru_cache(maxsize=32)
def overlap_null(head_width: int, width: int) -> Null:
    """Overlap of the row spaces of two random (K, D) matrices."""
    return _null(lambda draw: subspace_overlap(draw(head_width, width), draw(head_width, width)))


def _null(measure: Callable[[Callable[[int, int], Floats]], float]) -> Null:
    generator = np.random.default_rng(_NULL_SEED)

    def draw(rows: int, columns: int) -> Floats:
        return generator.standard_normal((rows, columns))

    values = [measure(draw) for _ in range(NULL_DRAWS)]
    low, high = np.quantile(values, (0.025, 0.975))
    return Null(float(np.mean(values)), float(low), float(high))


def towards_null(value: float, head_width: int, null: Null) -> float:
    """Where a participation lies between a slice's (0) and a random projection's (1)."""
    return (value - head_width) / (null.mean - head_width)
