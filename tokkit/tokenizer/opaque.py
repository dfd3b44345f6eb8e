"""Opaque ids: each token of k bytes written as k ids of its own that say nothing about letters.

The control for sequence length: a text becomes as long as its bytes, while what is inside a token
stays as hidden as before.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

from tokkit.errors import InputError
from tokkit.tokenizer.artifact import Tokenizer


class OpaqueIds:
    """Rewrites ids of `tokenizer`: an ordinary token of k >= 2 bytes becomes k sub-ids of its own.

    A space before the token is not counted among its k bytes. Single bytes, also behind a space,
    and added and special tokens keep their id. Sub-ids start at the tokenizer's `vocab_size` and
    follow the order of ids: the first one of token t is `vocab_size` plus the k of all earlier
    tokens that have sub-ids. `size` counts all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._sub_ids: dict[int, range] = {}
        self._owner: list[int] = []
        for token in range(tokenizer.vocab_size):
            if tokenizer.kind(token) != "token":
                continue
            length = len(tokenizer.token_bytes(token).removeprefix(b" "))
            if length >= 2:
                first = tokenizer.vocab_size + len(self._owner)
                self._sub_ids[token] = range(first, first + length)
                self._owner.extend([token] * length)

    @property
    def size(self) -> int:
        """Number of ids: those of the tokenizer, then all sub-ids."""
        return self.tokenizer.vocab_size + len(self._owner)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`, expanded; see `Tokenizer.encode`."""
        return self.expand(self.tokenizer.encode(text, allow_special=allow_special))

    def encode_batch(self, texts: Sequence[str], *, allow_special: bool = False) -> list[list[int]]:
        """The ids of each text, expanded."""
        batch = self.tokenizer.encode_batch(texts, allow_special=allow_special)
        return [self.expand(ids) for ids in batch]

    def expand(self, ids: Iterable[int]) -> list[int]:
        """Replace each token of two bytes or more by its sub-ids; InputError for an unknown id."""
        expanded: list[int] = []
        for token in ids:
            self.tokenizer.token_bytes(token)
            expanded.extend(self._sub_ids.get(token, (token,)))
        return expanded

    def collapse(self, ids: Iterable[int], *, strict: bool = True) -> list[int]:
        """Undo `expand`: each whole run of sub-ids becomes its token again.

        Sub-ids that form no whole token raise InputError, or are dropped where not `strict`. An
        id outside 0 to `size` - 1 always raises InputError.
        """
        return [token for token in self._tokens(ids, strict=strict) if token is not None]

    def decode(self, ids: Iterable[int], *, strict: bool = True) -> str:
        """The text of `ids`; where not `strict`, U+FFFD stands for sub-ids that form no token."""
        data = b"".join(
            "\ufffd".encode() if token is None else self.tokenizer.token_bytes(token)
            for token in self._tokens(ids, strict=strict)
        )
        return data.decode("utf-8", errors="replace")

    def _tokens(self, ids: Iterable[int], *, strict: bool) -> list[int | None]:
        """Each id or whole run of sub-ids as its token; None for each sub-id outside such a run."""
        known = [self._checked(token) for token in ids]
        tokens: list[int | None] = []
        position = 0
        while position < len(known):
            token = known[position]
            if token < self.tokenizer.vocab_size:
                if token in self._sub_ids and strict:
                    raise InputError(
                        f"id {token} at position {position} is written as sub-ids here; "
                        f"call expand on the ids first"
                    )
                tokens.append(token)
                position += 1
                continue
            owner = self._owner[token - self.tokenizer.vocab_size]
            run = self._sub_ids[owner]
            if known[position : position + len(run)] == list(run):
                tokens.append(owner)
                position += len(run)
            elif strict:
                raise InputError(
                    f"sub-id {token} at position {position} is no part of a whole token: "
                    f"{run.start} to {run.stop - 1} must stand together, in order"
                )
            else:
                tokens.append(None)
                position += 1
        return tokens

    def _checked(self, token: int) -> int:
        index = operator.index(token)
        if not 0 <= index < self.size:
            raise InputError(
                f"unknown id {index}: ids run from 0 to {self.size - 1} with the sub-ids"
            )
        return index
