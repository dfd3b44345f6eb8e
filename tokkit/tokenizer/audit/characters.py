"""Letters, digits and space of UTF-8, counted over many pieces at once.

What a letter is, is what the regular expressions of `tokenizers` say; see
`tokkit.tokenizer.unicode_classes`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

LETTER, NUMBER, SPACE = 1, 2, 4


@cache
def character_kinds() -> NDArray[np.uint8]:
    r"""For each code point LETTER (\p{L}), NUMBER (\p{N}), SPACE (\s) or 0: (0x110000,)."""
    from tokkit.tokenizer import unicode_classes as known

    classes = known.class_table().of(np.arange(known.CODE_POINTS))
    kinds = np.zeros(len(classes), np.uint8)
    kinds[classes >= known.LU] = LETTER
    kinds[classes == known.NUMBER] = NUMBER
    kinds[(classes == known.SPACE) | (classes == known.NEWLINE)] = SPACE
    return kinds


def count_kind(data: NDArray[np.uint8], offsets: Ints, wanted: int) -> Ints:
    """How many whole characters of a kind each piece holds: (pieces,).

    Piece i is data[offsets[i]:offsets[i + 1]]; bytes that are no UTF-8 within it count for none.
    """
    from tokkit.tokenizer.audit.characters_kernels import count_characters

    counts: Ints = count_characters(data, offsets, character_kinds(), wanted)
    return counts


def are_valid(data: NDArray[np.uint8], offsets: Ints) -> NDArray[np.bool_]:
    """Whether each piece is valid UTF-8 on its own: (pieces,)."""
    from tokkit.tokenizer.audit.characters_kernels import valid_pieces

    valid: NDArray[np.bool_] = valid_pieces(data, offsets)
    return valid
