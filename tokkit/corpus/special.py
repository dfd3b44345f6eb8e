"""Find texts that spell a special token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

_HEAD_BYTES = 3


class SpecialFinder:
    """Counts where some texts stand, from left to right and the longest first, as they are cut out.

    A place is looked at closely only where the first three bytes could be those of such a text,
    which arrays tell at once.
    """

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = sorted(set(texts), key=lambda text: (-len(text), text))
        self._longest = max(map(len, texts), default=0)
        self._firsts = {text[:1] for text in texts}
        self._tables = np.zeros((_HEAD_BYTES, 256), dtype=np.bool_)
        for text in texts:
            for place in range(_HEAD_BYTES):
                self._tables[place, text[place] if place < len(text) else slice(None)] = True
        self._tail = b""

    def begin(self) -> None:
        """Start a document: no text reaches into it from the one before."""
        self._tail = b""

    def count(self, data: bytes | bytearray) -> Counter[bytes]:
        """How often each text ends in the next part of the document."""
        found: Counter[bytes] = Counter()
        before = len(self._tail)
        text = self._tail + data
        if self._longest > 1:
            self._tail = text[1 - self._longest :]
        if not any(first in text for first in self._firsts):
            return found
        done = 0
        for place in self._candidates(text):
            if place < done:
                continue
            for known in self._texts:
                if text.startswith(known, place):
                    done = place + len(known)
                    # What stands in the tail alone was counted with the part before.
                    found[known] += done > before
                    break
        return +found

    def _candidates(self, text: bytes) -> list[int]:
        padded = np.frombuffer(text + bytes(_HEAD_BYTES), np.uint8)
        places = np.flatnonzero(self._tables[0][padded[: len(text)]])
        for ahead in range(1, _HEAD_BYTES):
            places = places[self._tables[ahead][padded[places + ahead]]]
        return [int(place) for place in places]
