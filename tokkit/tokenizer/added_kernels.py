"""Find added tokens in text before it is cut into pretokens."""

from __future__ import annotations

import numpy as np

from tokkit.jit import kernel


@kernel
def _wider(values):  # type: ignore[no-untyped-def]
    wider = np.empty(2 * values.size, dtype=values.dtype)
    wider[: values.size] = values
    return wider


@kernel
def find_added(data, bounds, fixed, first, trie):  # type: ignore[no-untyped-def]
    """Cut text segments at added tokens: leftmost, the longest there. Returns bounds and fixed.

    `first` int32 (256,) is the trie's node for a first byte, or -1; a node is a row of `trie` int32
    (nodes, 4): its byte, its first child, its next sibling, and the token that ends there, or -1.
    """
    new_bounds = np.empty(2 * bounds.size + 16, dtype=np.int64)
    new_fixed = np.empty(new_bounds.size, dtype=np.int32)
    # Which of the given segments each new one comes from.
    source = np.empty(new_bounds.size, dtype=np.int64)
    new_bounds[0] = 0
    count = 0
    for segment in range(bounds.size - 1):
        position, end = bounds[segment], bounds[segment + 1]
        text_start = position
        while position <= end:
            token = np.int32(-1)
            token_end = position
            if position < end and fixed[segment] < 0:
                node = first[data[position]]
                if node < 0:
                    position += 1
                    continue
                place = position
                while node >= 0:
                    place += 1
                    if trie[node, 3] >= 0:
                        token, token_end = trie[node, 3], place
                    node = trie[node, 1]
                    while node >= 0 and (place >= end or trie[node, 0] != data[place]):
                        node = trie[node, 2]
                if token < 0:
                    position += 1
                    continue
            elif fixed[segment] >= 0:
                position = end
            if count + 3 > new_fixed.size:
                new_bounds = _wider(new_bounds)
                new_fixed = _wider(new_fixed)
                source = _wider(source)
            if text_start < position or token < 0:
                # The end of a segment is always told, so that one without text is kept.
                new_fixed[count] = fixed[segment]
                source[count] = segment
                count += 1
                new_bounds[count] = position
            if token < 0:
                break
            new_fixed[count] = token
            source[count] = segment
            count += 1
            new_bounds[count] = token_end
            position = token_end
            text_start = token_end
    return new_bounds[: count + 1].copy(), new_fixed[:count].copy(), source[:count].copy()
