"""The cache of encoded pretokens, and the table of whole tokens; see `encoding_kernels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FIRST_SLOTS = 1 << 14
_MAX_SLOTS = 1 << 21
_FIRST_POOL = 1 << 14
_MAX_POOL = 1 << 23
Words = NDArray[np.uint64]


class PretokenCache:
    """Pretokens and their ids, for one thread at a time. Grows to about 100 MiB, then starts anew.

    Text with ten million distinct pretokens so costs no more memory than text with one million; the
    frequent ones are soon back.
    """

    def __init__(self, max_slots: int = _MAX_SLOTS) -> None:
        self._max_slots = max_slots
        self._first_slots = min(_FIRST_SLOTS, max_slots)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._slots = np.zeros((self._first_slots, 4), dtype=np.uint64)
        self._pool = np.empty(_FIRST_POOL, dtype=np.int32)
        self._keys = np.empty(_FIRST_POOL, dtype=np.uint8)
        self._state = np.zeros(3, dtype=np.int64)

    @property
    def arrays(self) -> tuple[Words, NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
        """Slots (a power of two, 4), pooled ids, bytes of long pretokens, and what is in use."""
        return self._slots, self._pool, self._keys, self._state

    def make_room(self) -> None:
        """Make room for one more pretoken at least: double what is full, or forget everything."""
        from tokkit.tokenizer.encoding_kernels import MAX_CACHED_BYTES, move_entries

        entries, pooled, keyed = self._state.tolist()
        if pooled + MAX_CACHED_BYTES > len(self._pool):
            if len(self._pool) >= _MAX_POOL:
                return self.clear()
            self._pool = np.concatenate([self._pool, np.empty_like(self._pool)])
        if keyed + MAX_CACHED_BYTES > len(self._keys):
            if len(self._keys) >= _MAX_POOL:
                return self.clear()
            self._keys = np.concatenate([self._keys, np.empty_like(self._keys)])
        if 2 * (entries + 1) > len(self._slots):
            if len(self._slots) >= self._max_slots:
                return self.clear()
            larger = np.zeros((2 * len(self._slots), 4), dtype=np.uint64)
            self._state[0] = move_entries(self._slots, larger)
            self._slots = larger
        return None


def token_table(tokens: dict[bytes, int]) -> tuple[Words, NDArray[np.uint8]]:
    """A table of whole tokens as kernels take it, and their bytes; one slot if there are none."""
    from tokkit.tokenizer.encoding_kernels import enter_tokens

    tokens = {data: token for data, token in tokens.items() if data}
    slots = np.zeros((power_of_two(2 * len(tokens)), 4), dtype=np.uint64)
    data = np.frombuffer(bytearray().join(tokens), dtype=np.uint8)
    offsets = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum([len(token) for token in tokens], out=offsets[1:])
    if tokens:
        enter_tokens(slots, data, offsets, np.array(list(tokens.values()), dtype=np.int32))
    return slots, data


def power_of_two(least: int) -> int:
    """The smallest power of two that is not below `least`."""
    return 1 << max(least - 1, 0).bit_length()
