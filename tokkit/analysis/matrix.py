"""A matrix of rows, read a block at a time: what every analysis of embeddings works on.

The rows may lie in memory or in a file of any size; they come out as float32, and nothing keeps
more of them than the block asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.model.weights import Weights

Floats = NDArray[np.float32]
BLOCK_BYTES = 1 << 26
PASS_BYTES = 1 << 22
"""Of a block that is looked at once: it stays in the processor's cache between two looks."""
_RELEASED_BYTES = 1 << 27  # of a mapped file, read in order, before its pages are given back
_INFINITE = 0x7F800000  # the bits of float32 infinity; NaN has greater ones
_HASH_SEED = 5
_FEWEST_ROWS = 2
_COMPARED = 1024


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of numbers, (n, d), in the type that they are stored in.

    `read(start, stop)` gives rows as float32, (stop - start, d); `take(rows)` those of a list.
    `held` is all of it in its stored type where it lies in memory or in a mapped file: for code
    that looks at rows in any order; `release` gives back the memory of a file's pages.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    read: Callable[[int, int], Floats]
    take: Callable[[ArrayLike], Floats]
    held: Tensor | None = None
    release: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.shape[1]

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, Floats]]:
        """Yield (number of the first row, rows as float32) of one block after another."""
        step = max(1, block_bytes // (4 * self.width))
        for start in range(0, len(self), step):
            yield start, self.read(start, min(start + step, len(self)))

    def whole(self) -> Floats:
        """All rows at once: for matrices that are known to be small."""
        return self.read(0, len(self))


def matrix_of(values: ArrayLike | Tensor, name: str = "matrix") -> Matrix:
    """A matrix held in memory, from an array or a tensor of two axes.

    Raises ConfigError for another number of axes and for one without rows or columns.
    """
    import torch

    held = values.detach() if isinstance(values, torch.Tensor) else torch.from_numpy(_array(values))
    check_shape(name, tuple(held.shape))
    rows, columns = held.shape
    return Matrix(
        name,
        (int(rows), int(columns)),
        str(held.dtype).removeprefix("torch."),
        lambda start, stop: held[start:stop].to(torch.float32).cpu().numpy(),
        lambda chosen: (
            held[torch.as_tensor(np.asarray(chosen, dtype=np.int64))]
            .to(torch.float32)
            .cpu()
            .numpy()
        ),
        held.cpu(),
    )


def stored_matrix(weights: Weights, name: str) -> Matrix:
    """A tensor of a file of weights as a matrix; ConfigError when it has not two axes."""
    import torch

    check_shape(name, weights.shape(name))
    held = weights.stored(name)
    rows, columns = held.shape
    between = max(1, _RELEASED_BYTES // (held.element_size() * columns))

    def read(start: int, stop: int) -> Floats:
        numbers: Floats = _as_float32(held[start:stop])
        if stop == rows or start // between != stop // between:
            weights.release(name)
        return numbers

    def take(chosen: ArrayLike) -> Floats:
        numbers = _as_float32(held[torch.as_tensor(np.asarray(chosen, dtype=np.int64))])
        weights.release(name)  # a page that is touched may bring megabytes of others with it
        return numbers

    return Matrix(
        name,
        (int(rows), int(columns)),
        weights.dtype(name),
        read,
        take,
        held,
        lambda: weights.release(name),
    )


def _as_float32(held: Tensor) -> Floats:
    """A copy: what comes from a file must outlive the pages that it is read from."""
    import torch

    numbers: Floats = held.to(torch.float32, copy=True).numpy()
    return numbers


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raise ConfigError unless the shape is that of a matrix with rows and columns."""
    if len(shape) != 2 or 0 in shape:
        raise ConfigError(
            f"an embedding is a matrix of rows and columns, but {name!r} has the shape "
            f"{list(shape)}: name another tensor"
        )


@dataclass(frozen=True, slots=True)
class RowSurvey:
    """What one look at every row found.

    usable    (n,) bool: finite and not all zero
    counts    rows by what is wrong with them; a row that repeats another is usable all the same
    groups    ids of the usable rows that are equal, number for number: one array a group, the
              largest group first
    """

    usable: NDArray[np.bool_]
    counts: Mapping[str, int]
    groups: tuple[NDArray[np.int64], ...]


HOLDS_NAN, INFINITE, ALL_ZERO = "rows that hold NaN", "infinite rows", "rows of zeros alone"
REPEATED = "rows that repeat an earlier one"


def row_faults(matrix: Matrix) -> tuple[NDArray[np.bool_], Mapping[str, int]]:
    """Which rows can be measured, (n,) bool, and how many cannot, by reason; see `survey_rows`."""
    found = survey_rows(matrix)
    return found.usable, found.counts


def survey_rows(matrix: Matrix) -> RowSurvey:
    """Look once at every row, a block at a time: NaN, infinity, zeros alone, repeated rows.

    Equal rows are found by a multilinear hash of 64 bits (Carter and Wegman 1979) and then
    compared number for number. Raises ConfigError where fewer than two rows can be measured.
    """
    largest, digests = _magnitudes_and_digests(matrix)
    faults = {
        HOLDS_NAN: largest > _INFINITE,
        INFINITE: largest == _INFINITE,
        ALL_ZERO: largest == 0,
    }
    usable = ~np.logical_or.reduce(list(faults.values()))
    counts = {reason: int(rows.sum()) for reason, rows in faults.items()}
    if usable.sum() < _FEWEST_ROWS:
        told = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
        raise ConfigError(
            f"geometry needs {_FEWEST_ROWS} rows or more that can be measured, but "
            f"{matrix.name!r} has {int(usable.sum())} of {len(matrix)}"
            f"{f' ({told})' if told else ''}: name another tensor"
        )
    groups = _equal_rows(matrix, digests, usable)
    counts[REPEATED] = sum(len(group) - 1 for group in groups)
    return RowSurvey(usable, counts, groups)


def _magnitudes_and_digests(
    matrix: Matrix,
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    from tokkit.analysis.matrix_kernels import survey

    generator = np.random.default_rng(_HASH_SEED)
    multipliers = generator.integers(0, 1 << 64, matrix.width, dtype=np.uint64) | np.uint64(1)
    largest = np.empty(len(matrix), np.uint32)
    digests = np.empty(len(matrix), np.uint64)
    for start, rows in matrix.blocks(PASS_BYTES):
        here = slice(start, start + len(rows))
        bits = np.ascontiguousarray(rows).view(np.uint32)
        survey(bits, multipliers, largest[here], digests[here])
    return largest, digests


def _equal_rows(
    matrix: Matrix, digests: NDArray[np.uint64], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], ...]:
    ids = np.flatnonzero(usable)
    order = ids[np.argsort(digests[ids], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(digests[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    groups = []
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        members = order[start : start + size]
        first = matrix.take(members[:1])
        # A hash that two different rows share leaves the later one out of the group.
        equal = np.concatenate(
            [
                (matrix.take(members[at : at + _COMPARED]) == first).all(axis=1)
                for at in range(0, size, _COMPARED)
            ]
        )
        if equal.sum() > 1:
            groups.append(members[equal].astype(np.int64))
    return tuple(sorted(groups, key=lambda group: (-len(group), group[0])))


def _array(values: ArrayLike) -> NDArray[np.generic]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"a matrix holds numbers, got values of type {array.dtype}")
    return np.array(array, dtype=np.float64 if array.dtype == np.float64 else np.float32)
