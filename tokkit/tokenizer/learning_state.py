"""The arrays that merges are learned in: laid out once, and made larger as they fill."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError, InputError
from tokkit.files import atomic_file
from tokkit.tokenizer.array_archive import read_arrays
from tokkit.tokenizer.memory import require_memory

if TYPE_CHECKING:
    from tokkit.tokenizer.learning_kernels import State

_CHECKPOINT = "tokkit/learning/1"
_LARGEST_INT32 = 2**31 - 1
_BYTES_A_PLACE = 24
"""What a symbol of a distinct pretoken takes while merges are learned, as measured."""
_ENTRY_ARRAYS = ("entry_pairs", "entry_starts", "entry_lengths", "entry_next")
_HEAP_ARRAYS = ("heap_counts", "heap_entries")


def first_state(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    alphabet: Sequence[int],
    vocab_size: int,
    given_merges: int,
) -> State:
    """Lay out pretokens (see `learn`), count their pairs of symbols, and fill the heap.

    `alphabet` lists the bytes that are symbols, in the order of their numbers. There is room for a
    vocabulary of `vocab_size`, `given_merges` of which may not stand in the text. Raises InputError
    when the pretokens do not fit into 2^31 places or into memory.
    """
    from tokkit.tokenizer import learning_kernels as kernels

    size = int(offsets[-1]) + len(offsets)
    if size > _LARGEST_INT32:
        raise InputError(
            f"the distinct pretokens may take {_LARGEST_INT32:,} places, but take {size:,}; leave "
            f"out the rare ones with --min-count, or choose a pre-tokenizer that cuts more"
        )
    require_memory(_BYTES_A_PLACE * size, what=f"{len(counts):,} distinct pretokens")
    n = len(alphabet)
    symbol_of_byte = np.full(256, -1, dtype=np.int32)
    symbol_of_byte[alphabet] = np.arange(n)
    symbols, word_of = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    filled = kernels.lay_out(data, offsets, symbol_of_byte, symbols, word_of)
    symbols, word_of = symbols[:filled], word_of[:filled]
    pair_counts, numbers = np.zeros(n * n, dtype=np.int64), np.zeros(n * n, dtype=np.int64)
    kernels.first_pairs(symbols, word_of, counts, n, pair_counts, numbers)
    # A merge that is learned leaves a token less somewhere, so they are never more than the places.
    most_tokens = min(vocab_size, n + size) + given_merges + 2
    state = _empty_state(symbols, word_of, counts, most_tokens)
    _enter_alphabet(state, alphabet)
    state.counters[kernels.TOKENS_LEFT] = _total(symbols, word_of, counts)
    kernels.start_entries(state, n, pair_counts, numbers)
    return state


def _empty_state(
    symbols: NDArray[np.int32],
    word_of: NDArray[np.int32],
    counts: NDArray[np.int64],
    most_tokens: int,
) -> State:
    from tokkit.tokenizer import learning_kernels as kernels

    size = len(symbols)
    entries = max(1 << 16, size // 4)
    pairs, pair_counts, heads = _pair_table(1 << max(17, (size // 16).bit_length()))
    return kernels.State(
        counters=np.zeros(kernels.N_COUNTERS, dtype=np.int64),
        symbols=symbols,
        word_of=word_of,
        weights=counts,
        pairs=pairs,
        pair_counts=pair_counts,
        heads=heads,
        entry_pairs=np.empty(entries, dtype=np.uint64),
        entry_starts=_ints(entries),
        entry_lengths=_ints(entries),
        entry_next=_ints(entries),
        places=np.empty(size + size // 4 + (1 << 12), dtype=np.int32),
        heap_counts=_longs(entries),
        heap_entries=_ints(entries),
        token_slots=np.full(1 << (2 * most_tokens).bit_length(), -1, dtype=np.int32),
        token_data=np.empty(max(1 << 16, 16 * most_tokens), dtype=np.uint8),
        token_starts=_longs(most_tokens),
        token_lengths=_longs(most_tokens),
        sums=np.zeros((5, most_tokens), dtype=np.int64),
        touched=np.empty((2, most_tokens), dtype=np.int32),
        merges=np.empty((most_tokens, 3), dtype=np.int32),
        trace=np.empty((most_tokens, 2), dtype=np.int64),
    )


def _enter_alphabet(state: State, alphabet: Sequence[int]) -> None:
    from tokkit.tokenizer import learning_kernels as kernels

    n = len(alphabet)
    state.counters[[kernels.N_TOKENS, kernels.N_VOCAB, kernels.N_BYTES]] = n
    state.token_data[:n] = alphabet
    state.token_starts[:n] = np.arange(n)
    state.token_lengths[:n] = 1
    kernels.enter_symbols(state, n)


def with_room(state: State, outcome: int) -> State:
    """The state with a larger array in place of the one that the kernel found too small.

    `outcome` is what the kernel returned; one that asks for no room leaves the state as it is.
    """
    from tokkit.tokenizer import learning_kernels as kernels

    wanted = int(state.counters[kernels.WANTED])
    if outcome == kernels.NEEDS_PAIRS:
        return _with_more_pairs(state, wanted)
    if outcome == kernels.NEEDS_PLACES:
        kernels.compact_places(state)
        room = len(state.places) - int(state.counters[kernels.N_PLACES])
        if room >= wanted and 4 * room >= len(state.places):
            return state
    names = {
        kernels.NEEDS_ENTRIES: (*_ENTRY_ARRAYS, *_HEAP_ARRAYS),
        kernels.NEEDS_PLACES: ("places",),
        kernels.NEEDS_BYTES: ("token_data",),
        kernels.NEEDS_MERGES: ("merges", "trace"),
    }.get(outcome, ())
    return state._replace(**{name: _larger(getattr(state, name), wanted) for name in names})


def _with_more_pairs(state: State, wanted: int) -> State:
    from tokkit.tokenizer import learning_kernels as kernels

    size = len(state.pairs)
    live = int(np.count_nonzero((state.pair_counts != 0) | (state.heads >= 0)))
    while 2 * (live + wanted) > size:
        size *= 2
    pairs, pair_counts, heads = _pair_table(size)
    state.counters[kernels.N_PAIRS] = kernels.move_pairs(
        state.pairs, state.pair_counts, state.heads, pairs, pair_counts, heads
    )
    return state._replace(pairs=pairs, pair_counts=pair_counts, heads=heads)


def save_state(state: State, fingerprint: str, path: str | os.PathLike[str]) -> None:
    """Write the state of a training to `path`, atomically; `fingerprint` tells what it is of."""
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        head = np.frombuffer(f"{_CHECKPOINT} {fingerprint}".encode(), dtype=np.uint8)
        np.savez(file, head=head, **state._asdict())


def load_state(first: State, fingerprint: str, path: str | os.PathLike[str]) -> State | None:
    """The state that `save_state` wrote, or None where there is no file.

    `first` is the state that this training began with. What the arrays hold is not checked: a
    checkpoint that was forged can bring the process down, one that was cut or altered is refused.

    Raises ArtifactError when the file is not whole or is of another training.
    """
    if not Path(path).exists():
        return None
    try:
        arrays = read_arrays(path, ("head", *first._fields))
        if arrays.pop("head").tobytes() != f"{_CHECKPOINT} {fingerprint}".encode():
            raise ArtifactError(
                f"checkpoint {path} is of a training on other text or with other options: "
                f"remove it, or name another with --checkpoint"
            )
        for name, array in first._asdict().items():
            if (arrays[name].dtype, arrays[name].ndim) != (array.dtype, array.ndim):
                raise ValueError(f"its {name} is not that of a training")
        return first._replace(**arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"checkpoint {path} is not whole ({error}): remove it and train again"
        ) from error


def _larger(old: NDArray[Any], wanted: int) -> NDArray[Any]:
    size = len(old) + max(wanted, len(old) // 2)
    if size > _LARGEST_INT32:
        raise InputError(
            f"learning merges may take {_LARGEST_INT32:,} places, but needs more; leave out the "
            f"rare pretokens with --min-count"
        )
    require_memory(size * old[:1].nbytes, what="learning merges")
    new = np.empty((size, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new


def _pair_table(size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32]]:
    require_memory(20 * size, what="the pairs of tokens")
    empty = np.full(size, 2**64 - 1, dtype=np.uint64)
    return empty, np.zeros(size, dtype=np.int64), np.full(size, -1, dtype=np.int32)


def _ints(size: int) -> NDArray[np.int32]:
    return np.empty(size, dtype=np.int32)


def _longs(size: int) -> NDArray[np.int64]:
    return np.empty(size, dtype=np.int64)


def _total(
    symbols: NDArray[np.int32], word_of: NDArray[np.int32], counts: NDArray[np.int64]
) -> int:
    return int(np.bincount(word_of[symbols >= 0], minlength=len(counts)) @ counts)
