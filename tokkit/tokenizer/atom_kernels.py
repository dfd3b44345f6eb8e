"""Compiled search for atoms: the automaton of `atom_rules`, run over UTF-8 bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel
from tokkit.tokenizer.atom_rules import (
    ACTION_SHIFT,
    CUT_UNLESS_CONTRACTION,
)
from tokkit.tokenizer.scan_kernels import (
    Bytes,
    Ints,
    Tables,
    any_case_contraction,
    wide_column,
)

Longs = NDArray[np.int64]

_STATE = (1 << ACTION_SHIFT) - 1


@kernel
def _may_be_contraction(data: Bytes, i: int, end: int, known: bool) -> Any:
    """Whether the apostrophe at i begins a contraction, or might if more than `end` were known."""
    if any_case_contraction(data, i, end) > i:
        return True
    return not known and i + 3 > end


@kernel
def atom_ends(
    data: Bytes,
    starts: Longs,
    first_state: int,
    known: bool,
    automaton: NDArray[np.int16],
    tables: Tables,
    ends: Ints,
) -> int:
    """Write the ends of the atoms of all pieces, return their number.

    `first_state` is START or UNKNOWN; `known` says that a piece ends where `starts` says so, and
    does not go on unseen. The other arguments are those of `splitting_kernels`, with the tables
    of `atom_rules`; `ends` has room for one a byte and one more.
    """
    count = 0
    for piece in range(len(starts) - 1):
        i, end = starts[piece], starts[piece + 1]
        entry, previous = first_state << 8, i
        while 0 <= i < end:
            if data[i] < 0x80:
                column, after = data[i], i + 1
            else:
                column, after = wide_column(data, i, end, tables)
            entry = automaton[(entry & _STATE) + column]
            action = entry >> ACTION_SHIFT
            # Without a branch, which no processor could foresee: written always, counted if true.
            ends[count] = i - (i - previous) * (action >> 1)
            count += action & 1
            if action == CUT_UNLESS_CONTRACTION and not _may_be_contraction(data, i, end, known):
                ends[count] = i
                count += 1
            previous, i = i, after
        if end > starts[piece]:
            ends[count] = end
            count += 1
    return count
