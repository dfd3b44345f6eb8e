"""Which tokens a text can give, as far as the tokenizer lets it be decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.tokenizer.audit.reachability import (
    CLASSES,
    MERGES,
    NOT_FOUND,
    NOT_TEXT,
    OTHER,
    REACHABLE,
    SAME_BYTES,
)

NOT_ALONE = 7
"""Its bytes alone encode otherwise: known of tokenizers of which no more can be decided."""
PROVED = (MERGES, SAME_BYTES, NOT_TEXT)
"""The kinds that prove that no text gives the token."""
WORDS = {
    REACHABLE: "some text gives it",
    **CLASSES,
    OTHER: "not an ordinary token",
    NOT_ALONE: "its own text encodes otherwise",
}


@dataclass(frozen=True, slots=True)
class Reached:
    """`kind` (V,) is a key of WORDS for each row; `is_decided`: whether all of them are known."""

    kind: NDArray[np.int8]
    is_decided: bool

    def words(self, row: int) -> str:
        """What is known of a row, in words."""
        return WORDS[int(self.kind[row])]

    def can_come(self, row: int) -> bool | None:
        """Whether a text can give the token; None where it is not known."""
        kind = int(self.kind[row])
        return None if kind in (NOT_FOUND, OTHER) else kind == REACHABLE


def reach_of(tokenizer: Any, rows: int, met: NDArray[np.bool_] | None = None) -> Reached:
    """Decide for each of `rows` rows whether any text gives its token.

    Exactly for a byte-level BPE of a known pre-tokenizer (`find_reach`); for others only whether
    a token that is whole characters encodes to itself, the test of Land and Bartolo (2024,
    section 3.1). `met` (rows,) marks tokens known to have come out.
    """
    from tokkit.tokenizer.artifact import Tokenizer
    from tokkit.tokenizer.audit.counts import token_table
    from tokkit.tokenizer.audit.reachability import find_reach
    from tokkit.tokenizer.encoding import Encoder

    kind = np.full(rows, OTHER, dtype=np.int8)
    if tokenizer is None:
        return Reached(kind, is_decided=False)
    ids = tokenizer.vocab_size
    known = None if met is None else met[:ids]
    if isinstance(tokenizer, Tokenizer) and tokenizer.pretokenizer is not None:
        kind[:ids] = find_reach(Encoder(tokenizer), token_table(tokenizer), known).kind
        return Reached(kind, is_decided=True)
    kind[:ids] = _alone(tokenizer)
    if known is not None:
        kind[:ids][known & (kind[:ids] != OTHER)] = REACHABLE
    return Reached(kind, is_decided=False)


def _alone(tokenizer: Any) -> NDArray[np.int8]:
    """REACHABLE where the text of a token encodes to it, NOT_FOUND where it is no whole text.

    What is no part of any text is NOT_TEXT, whatever the tokenizer does: it is given texts only.
    """
    from tokkit.tokenizer.audit.utf8 import is_part_of_text

    fixed = tokenizer.special_ids | tokenizer.added_ids | tokenizer.unused_ids
    kind = np.full(tokenizer.vocab_size, NOT_FOUND, dtype=np.int8)
    kind[sorted(fixed)] = OTHER
    texts: dict[int, str] = {}
    for token in range(tokenizer.vocab_size):
        if token not in fixed:
            try:
                texts[token] = tokenizer.token_bytes(token).decode("utf-8")
            except UnicodeDecodeError:
                if not is_part_of_text(tokenizer.token_bytes(token)):
                    kind[token] = NOT_TEXT
    for token, ids in zip(texts, _encoded(tokenizer, list(texts.values())), strict=True):
        if ids is not None:
            kind[token] = REACHABLE if ids == [token] else NOT_ALONE
    return kind


def _encoded(tokenizer: Any, texts: list[str]) -> list[list[int] | None]:
    """The ids of each text; None for those that a tokenizer refuses."""
    from tokkit.errors import InputError

    try:
        return list(tokenizer.encode_batch(texts))
    except InputError:
        pass
    found: list[list[int] | None] = []
    for text in texts:
        try:
            found.append(tokenizer.encode(text))
        except InputError:
            found.append(None)
    return found
