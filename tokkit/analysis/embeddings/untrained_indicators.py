"""How near each row is to what an untrained row looks like: low values are suspicious.

Rows that no text calls for share their gradient: the softmax pushes all of them away from the same
states, so in the unembedding they drift together, and lie near the mean of any that are known to
be untrained. In an input embedding of its own an unused row is never touched, but by weight decay,
which makes it short where it works on the table. Source: Land and Bartolo (2024), "Fishing for
Magikarp", section 3.2.

Legend: V rows, D their width, R rows of the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.matrix import Matrix

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

COSINE, COSINE_NO_COMPONENT, DISTANCE, NORM = (
    "output_cosine",
    "output_cosine_no_component",
    "output_distance",
    "input_norm",
)
LABELS = {
    COSINE: "Cosine distance from the reference",
    COSINE_NO_COMPONENT: "Cosine distance from the reference, first component removed",
    DISTANCE: "Euclidean distance from the reference",
    NORM: "Norm of the input row",
}
PRIMARY_RULE = (
    "where rows known to be untrained are at hand and lie closer together than 19 of 20 sets of as "
    "many random rows, the cosine distance from their mean in the output matrix (the embedding "
    "itself where tied); else the norm of the input rows"
)
"""Land and Bartolo remove the first principal component before; here that is reported beside it.

In the small models trained here the drift of the untrained rows is itself the direction of most
variance, and without it nothing is left to find: the area fell from 0.99 to 0.6 (found out on two
models, tied and untied, before the rule was fixed; SmolLM2 ranks the same tokens first either way).
"""
_COMPONENT_ROWS = 8192
_DENSE_WIDTH = 1024
_SUBSPACE, _ITERATIONS = 8, 12
_BLOCK_BYTES = 1 << 24
_RANDOM_SETS = 199
_RANDOM_QUANTILE = 0.95
_MOST_COMPARED = 100


@dataclass(frozen=True, slots=True)
class Indicators:
    """Each indicator (V,) float64, NaN for rows that are not measured; and which of them counts.

    agreement        mean cosine of two rows of the reference
    random_agreement that of as many random rows, which 19 of 20 of 199 drawings stay below (where
                     most rows are untrained, random ones agree as well, and the norm is left);
                     both are None without a reference
    component_share  of the variance that the first component holds
    """

    values: Mapping[str, Floats]
    primary: str
    agreement: float | None
    random_agreement: float | None
    component_share: float | None


def measure_indicators(
    rows: Matrix,
    output: Matrix,
    usable: Flags,
    reference: Ints,
    generator: np.random.Generator,
) -> Indicators:
    """All indicators of an embedding `rows` and an unembedding `output` (the same where tied).

    `usable` (V,) marks rows that are measured; `reference` (R,) are ids of untrained rows, or too
    few to use. The primary indicator follows PRIMARY_RULE.
    """
    values = {NORM: row_norms(rows, usable)}
    if not len(reference):
        return Indicators(values, NORM, None, None, None)
    component, share = first_component(output, usable)
    values |= reference_distances(output, usable, reference, component)
    agreement = mean_cosine(output.take(reference).astype(np.float64))
    pool = np.setdiff1d(np.flatnonzero(usable), reference)
    drawn = _random_agreement(output, pool, len(reference), generator)
    primary = COSINE if agreement > drawn else NORM
    return Indicators(values, primary, agreement, drawn, share)


def row_norms(matrix: Matrix, usable: Flags) -> Floats:
    """The Euclidean norm of each row, (V,); NaN where a row is not measured."""
    found = np.full(len(matrix), np.nan)
    for start, block in matrix.blocks(_BLOCK_BYTES):
        here = slice(start, start + len(block))
        exact = block.astype(np.float64)
        norms = np.sqrt(np.einsum("nd,nd->n", exact, exact))
        found[here] = np.where(usable[here], norms, np.nan)
    return found


def first_component(matrix: Matrix, usable: Flags) -> tuple[Floats, float]:
    """The first principal component, (D,) of length 1, and its share of the variance.

    Of at most 8192 rows, evenly spaced; the largest coordinate is positive.
    """
    there = np.flatnonzero(usable)
    step = -(-len(there) // _COMPONENT_ROWS)
    sample = matrix.take(there[:: max(step, 1)])
    sample -= sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = float(np.einsum("nd,nd->", sample, sample, dtype=np.float64))
    if total <= 0:
        return np.zeros(matrix.width), 0.0
    value, vector = _largest(sample)
    return vector * np.sign(vector[np.abs(vector).argmax()]), value / total


def _largest(sample: NDArray[np.float32]) -> tuple[float, Floats]:
    """The largest eigenvalue of sample' sample, and its vector: (D,)."""
    width = sample.shape[1]
    if width <= _DENSE_WIDTH:
        from scipy.linalg import eigh

        exact = sample.astype(np.float64)
        values, vectors = eigh(exact.T @ exact, subset_by_index=(width - 1, width - 1))
        return float(values[0]), np.asarray(vectors[:, 0], dtype=np.float64)
    # Subspace iteration: of a fixed cost, and exact where the first component stands out.
    basis = np.random.default_rng(0).standard_normal((width, _SUBSPACE))
    for _ in range(_ITERATIONS):
        basis = np.linalg.qr(basis)[0]
        basis = np.asarray(sample.T @ (sample @ basis.astype(np.float32)), dtype=np.float64)
    basis = np.linalg.qr(basis)[0]
    inside = (sample @ basis.astype(np.float32)).astype(np.float64)
    values, vectors = np.linalg.eigh(inside.T @ inside)
    return float(values[-1]), np.asarray(basis @ vectors[:, -1])


def reference_distances(
    matrix: Matrix, usable: Flags, reference: Ints, component: Floats
) -> dict[str, Floats]:
    """Distances of each row from the mean row of `reference`, (V,) each.

    Cosine distance (1 - cosine), the same with `component` (D,) projected out of all rows, and
    Euclidean distance. A row of the reference is measured from the mean of the others: its own
    part in the mean would bring it nearer.
    """
    known = matrix.take(reference).astype(np.float64)
    total = known.sum(axis=0)
    mean = total / len(reference)
    found = {name: np.full(len(matrix), np.nan) for name in (COSINE, COSINE_NO_COMPONENT, DISTANCE)}
    for start, block in matrix.blocks(_BLOCK_BYTES):
        there = np.flatnonzero(usable[start : start + len(block)])
        _measure(found, start + there, block[there].astype(np.float64), mean[None], component)
    others = (total - known) / max(len(reference) - 1, 1)
    if len(reference) > 1:
        _measure(found, reference, known, others, component)
    return found


def _measure(
    found: Mapping[str, Floats], ids: Ints, rows: Floats, means: Floats, component: Floats
) -> None:
    """Fill in the distances of rows (n, D) from means, (n, D) or (1, D) for all."""
    product = np.einsum("nd,nd->n", rows, means) if len(means) > 1 else rows @ means[0]
    squares, mean_squares = (np.einsum("nd,nd->n", x, x) for x in (rows, means))
    along, mean_along = rows @ component, means @ component
    found[COSINE][ids] = _cosine_distance(product, squares * mean_squares)
    found[COSINE_NO_COMPONENT][ids] = _cosine_distance(
        product - along * mean_along,
        np.maximum(squares - along**2, 0) * np.maximum(mean_squares - mean_along**2, 0),
    )
    # In float64 the difference of large numbers still tells rows that are nearly the same.
    found[DISTANCE][ids] = np.sqrt(np.maximum(squares - 2 * product + mean_squares, 0))


def mean_cosine(rows: Floats) -> float:
    """The mean cosine of two different rows of (R, D); 0 for one row."""
    count = len(rows)
    if count < 2:
        return 0.0
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    total = units.sum(axis=0)
    return float((total @ total - (units * units).sum()) / (count * (count - 1)))


def _random_agreement(
    matrix: Matrix, pool: Ints, size: int, generator: np.random.Generator
) -> float:
    """The 95% quantile of the mean cosines in 199 sets of `size` rows drawn from the pool."""
    size = min(size, len(pool), _MOST_COMPARED)
    drawn = (generator.choice(pool, size, replace=False) for _ in range(_RANDOM_SETS))
    found = [mean_cosine(matrix.take(ids).astype(np.float64)) for ids in drawn]
    return float(np.quantile(found, _RANDOM_QUANTILE))


def _cosine_distance(product: Floats, squares: Floats) -> Floats:
    """1 - cosine, of dot products (n,) and the products of both squared lengths (n,).

    1 where one has no length.
    """
    lengths = np.sqrt(squares)
    cosine = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
    return np.asarray(1.0 - cosine)
