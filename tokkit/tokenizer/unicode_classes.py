r"""The kind of each code point, exactly as the regular expressions of `tokenizers` see it.

A pattern such as \p{L}+ means what the engine's own copy of the Unicode tables says. That engine
(Oniguruma) was asked about every code point, and its answers are kept in unicode_classes.npz
beside this file, as a table of two levels: `blocks[index[c >> 7] << 7 | c & 127]` is the class of
the code point c. Regenerate it after an update of `tokenizers`:

    python -m tokkit.tokenizer.unicode_classes

The engine of tokenizers 0.23 knows Unicode 16.0, in which 154,834 code points have a class other
than OTHER. Splitters built on other tables cut elsewhere (`test_splitting_classes.py` counts):

- `unicodedata` of Python 3.11 (Unicode 14.0) lacks 10,294 of them, and str.isspace() adds the
  controls U+001C..U+001F to white space;
- `regex` 2026.11 (Unicode 17.0) knows 17,810 more, and has U+0295 as a letter without case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import normalizers

from tokkit.files import atomic_file

PATH = Path(__file__).with_suffix(".npz")
CODE_POINTS = 0x110000
# The classes. All of \p{L} is >= LU, and [^\s\p{L}\p{N}] is <= SYMBOL. OTHER is \p{C}.
OTHER, MARK, PUNCTUATION, SYMBOL, NUMBER, SPACE, NEWLINE, LU, LT, LL, LM, LO = range(12)

# Four bytes of broken UTF-8 can spell numbers up to here: the index covers them, as OTHER.
_SPELLABLE = 0x200000
_BLOCK_BITS = 7
PATTERNS = {
    MARK: r"\p{M}",
    PUNCTUATION: r"\p{P}",
    SYMBOL: r"\p{S}",
    NUMBER: r"\p{N}",
    SPACE: r"[\s&&[^\r\n]]",
    NEWLINE: r"[\r\n]",
    LU: r"\p{Lu}",
    LT: r"\p{Lt}",
    LL: r"\p{Ll}",
    LM: r"\p{Lm}",
    LO: r"\p{Lo}",
}


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """`blocks[index[c >> 7] << 7 | c & 127]` is the class of the code point c."""

    index: NDArray[np.uint8]  # (2**21 / 2**7,)
    blocks: NDArray[np.uint8]  # (distinct blocks * 2**7,), the block of ASCII first

    def of(self, points: NDArray[Any]) -> NDArray[np.uint8]:
        """The classes of code points, in the shape of `points`; surrogates are OTHER."""
        rows = self.index[points >> _BLOCK_BITS].astype(np.int64) << _BLOCK_BITS
        classes: NDArray[np.uint8] = self.blocks[rows | (points & ((1 << _BLOCK_BITS) - 1))]
        return classes


@cache
def class_table() -> ClassTable:
    """The table as stored, read once."""
    with np.load(PATH, allow_pickle=False) as stored:
        table = ClassTable(stored["index"], stored["blocks"])
    for array in (table.index, table.blocks):
        array.flags.writeable = False
    return table


def matching(pattern: str) -> NDArray[np.bool_]:
    """Which code points one-character `pattern` matches in `tokenizers`, (0x110000,)."""
    everything = np.r_[0:0xD800, 0xE000:CODE_POINTS].astype("<u4")
    remove = normalizers.Replace(tokenizers.Regex(pattern), "")
    kept = remove.normalize_str(everything.tobytes().decode("utf-32-le"))
    matches = np.zeros(CODE_POINTS, dtype=bool)
    matches[everything] = True
    matches[np.frombuffer(kept.encode("utf-32-le"), dtype="<u4")] = False
    return matches


def ask_the_engine() -> NDArray[np.uint8]:
    """The class of every code point, (0x110000,), by the engine of the installed `tokenizers`."""
    classes = np.full(CODE_POINTS, OTHER, dtype=np.uint8)
    for code, pattern in PATTERNS.items():
        members = matching(pattern)
        assert not classes[members].any(), f"{pattern} overlaps another class"
        classes[members] = code
    return classes


def pack(classes: NDArray[np.uint8]) -> ClassTable:
    """Classes of all code points, (0x110000,), as the table of two levels."""
    padded = np.full(_SPELLABLE, OTHER, dtype=np.uint8)
    padded[: len(classes)] = classes
    rows: dict[bytes, int] = {}
    blocks = padded.reshape(-1, 1 << _BLOCK_BITS)
    index = [rows.setdefault(block.tobytes(), len(rows)) for block in blocks]
    assert len(rows) <= 256, "the index holds bytes"
    return ClassTable(
        np.array(index, dtype=np.uint8), np.frombuffer(b"".join(rows), dtype=np.uint8)
    )


def main() -> None:
    """Write unicode_classes.npz anew."""
    table = pack(ask_the_engine())
    with atomic_file(PATH) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, index=table.index, blocks=table.blocks)


if __name__ == "__main__":
    main()
