"""Added tokens in text: where they stand, leftmost and longest, as `tokenizers` matches them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Places = NDArray[np.int64]


class AddedTokens:
    """The added tokens that are matched in text, from the records of a tokenizer.json.

    Those with "normalized" set are looked for in a second pass, between the others, as the library
    does even where nothing is normalised. `are_plain` is False where one looks at the text around
    it (lstrip, rstrip, single_word), which is not done here. `longest` is the bytes of the longest.
    """

    def __init__(self, records: Sequence[dict[str, Any]], *, with_special: bool) -> None:
        active = [
            record
            for record in records
            if record["content"] and (with_special or not record["special"])
        ]
        self.are_plain = not any(
            record["lstrip"] or record["rstrip"] or record["single_word"] for record in active
        )
        passes = [
            {
                record["content"].encode("utf-8"): int(record["id"])
                for record in active
                if bool(record["normalized"]) == second
            }
            for second in (False, True)
        ]
        self._tries = [_trie(tokens) for tokens in passes if tokens]
        self.longest = max((len(content) for tokens in passes for content in tokens), default=0)

    def segments(self, data: NDArray[np.uint8], starts: Places) -> tuple[Places, Ids, Places]:
        """Cut pieces at added tokens: bounds, the token of each segment or -1, and its piece."""
        bounds = starts
        fixed = np.full(len(starts) - 1, -1, dtype=np.int32)
        source = np.arange(len(starts) - 1, dtype=np.int64)
        for first, nodes in self._tries:
            from tokkit.tokenizer.added_kernels import find_added

            bounds, fixed, inner = find_added(data, bounds, fixed, first, nodes)
            source = source[inner]
        return bounds, fixed, source

    def last_text(self, data: NDArray[np.uint8]) -> tuple[int, int]:
        """Begin and end of the last text of which, whatever follows `data`, no token takes a part.

        It begins after the last added token that is certain, or with `data`.
        """
        if not self.longest:
            return 0, len(data)
        # What stands later may be part of a token that ends after `data`; and such a token could
        # leave none to one of the second pass that overlaps it, so this takes twice the longest.
        certain = max(len(data) - 2 * self.longest + 1, 0)
        bounds, fixed, _ = self.segments(data, np.array([0, len(data)], dtype=np.int64))
        tokens = np.flatnonzero((fixed >= 0) & (bounds[:-1] < certain))
        begin = int(bounds[tokens[-1] + 1]) if len(tokens) else 0
        while 0 < certain < len(data) and data[certain] & 0xC0 == 0x80:
            certain -= 1
        return begin, max(begin, certain)


def _trie(tokens: dict[bytes, int]) -> tuple[Ids, Ids]:
    """First bytes and nodes of a trie, as `added_kernels.find_added` takes it."""
    first = np.full(256, -1, dtype=np.int32)
    nodes: list[list[int]] = []
    children: dict[tuple[int, int], int] = {}
    for content, token in tokens.items():
        node = -1
        for byte in content:
            child = children.get((node, byte))
            if child is None:
                child = children[node, byte] = len(nodes)
                nodes.append([byte, -1, -1 if node < 0 else nodes[node][1], -1])
                if node < 0:
                    first[byte] = child
                else:
                    nodes[node][1] = child
            node = child
        nodes[node][3] = token
    return first, np.array(nodes, dtype=np.int32)
