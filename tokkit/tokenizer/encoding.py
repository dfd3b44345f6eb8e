"""Encode bytes by compiled kernels, with the ids that the `tokenizers` library gives.

Text is cut at added tokens, split into pretokens, and each distinct pretoken is merged once: a
cache remembers it. What the kernels cannot do (a pattern that is no preset, tokenizers that are no
byte-level BPE, added tokens that look at the text around them) goes through the library, slower;
`Encoder.engine` tells which.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError
from tokkit.tokenizer.added import AddedTokens
from tokkit.tokenizer.alphabet import unspell
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.cache import PretokenCache, power_of_two, token_table
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.splitting import is_compiled, last_cut, pretoken_ends

Engine = Literal["compiled", "library"]
# Byte arrays, int64 places and int32 ids.
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Ids = NDArray[np.int32]
_BATCH_BYTES = 1 << 20
_SEARCHED_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Segments:
    """Pieces of text cut at added tokens, with the pretokens between.

    bounds  (segments + 1,) int64: segment s is data[bounds[s]:bounds[s + 1]]
    fixed   (segments,) int32: the added token that it is, or -1
    source  (segments,) int64: the piece it is from
    ends    (pretokens,) int32: where pretokens end, of added tokens too
    """

    bounds: Places
    fixed: Ids
    source: Places
    ends: NDArray[np.int32]

    def of_pieces(self, offsets: Places, pieces: int) -> Places:
        """Offsets of pieces (pieces + 1,) from those of segments (segments + 1,)."""
        if len(self.source) == pieces:
            return offsets
        last = np.searchsorted(self.source, np.arange(pieces), side="right")
        return np.concatenate([offsets[:1], offsets[last]])


class Encoder:
    """Encodes with one tokenizer; may be shared between threads.

    `allow_special` reads text that spells a special token as that token. Arrays of bytes are valid
    UTF-8, uint8 and writeable (numba compiles anew for others); places are int64.
    """

    def __init__(self, tokenizer: Tokenizer | Any, *, allow_special: bool = False) -> None:
        self.tokenizer = tokenizer
        self.allow_special = allow_special
        self.engine: Engine = "library"
        """`compiled`, or `library` where text has to go through `tokenizers`."""
        self.can_split = False
        """Whether `segments` works: pretokens are found here, if slowly, and merged by kernels."""
        self._rule: Pretokenizer | None = None
        self._caches: list[PretokenCache] = []
        if not isinstance(tokenizer, Tokenizer):
            return
        # What `to_json` would tell, without a large vocabulary being spelled out and read again.
        self._record = tokenizer._record
        self._added = AddedTokens(self._record["added_tokens"], with_special=allow_special)
        self._rule = tokenizer.pretokenizer
        if self._rule is not None and self._added.are_plain and not self._hides_bytes():
            self.can_split = True
            self.engine = "compiled" if is_compiled(self._rule) else "library"

    def _hides_bytes(self) -> bool:
        """Whether a byte's own token is special, and so never comes from plain text."""
        return not self.tokenizer.special_ids.isdisjoint(self.tokenizer.byte_ids.tolist())

    @cached_property
    def model(self) -> tuple[Any, ...]:
        """What kernels take: byte ids, merges, their results, the vocabulary where it is needed."""
        from tokkit.tokenizer.merging_kernels import MAX_IDS, fill_merges, rank_byte_pairs

        merges = np.ascontiguousarray(self.tokenizer.merge_table, dtype=np.int32)
        if self.tokenizer.vocab_size > MAX_IDS or len(merges) > 4 * MAX_IDS:
            raise ConfigError(
                f"vocabularies of up to {MAX_IDS:,} ids are encoded here, got "
                f"{self.tokenizer.vocab_size:,} and {len(merges):,} merges; use a smaller one"
            )
        table = np.empty(power_of_two(2 * len(merges) + 2), dtype=np.int64)
        fill_merges(table, merges)
        byte_ids = np.ascontiguousarray(self.tokenizer.byte_ids, dtype=np.int32)
        byte_pairs = np.empty(1 << 16, dtype=np.int32)
        rank_byte_pairs(table, byte_ids, byte_pairs)
        results = np.append(merges[:, 2], np.int32(0)).astype(np.int32)
        whole = self._whole_tokens() if self.tokenizer.ignores_merges else {}
        return (byte_ids, byte_pairs, table, results, *token_table(whole))

    def _whole_tokens(self) -> dict[bytes, int]:
        """Pretokens that are taken whole where merges are ignored: what plain text may become."""
        tokens = {}
        for spelling, token in self._record["model"]["vocab"].items():
            if token not in self.tokenizer.special_ids:
                with contextlib.suppress(KeyError):
                    tokens[unspell(spelling)] = token
        return tokens

    def encode_units(self, data: Bytes, offsets: Places) -> tuple[Ids, Places]:
        """The ids of units, each of which is one whole pretoken, or a text of its own.

        Unit i is data[offsets[i]:offsets[i + 1]]. Returns ids (n,) int32, and offsets (units + 1,)
        int64 of each unit's ids. A byte-level BPE takes each unit as one pretoken, valid UTF-8 or
        not, and looks for no added token; any other tokenizer encodes it as a text by itself.
        """
        if not isinstance(self.tokenizer, Tokenizer):
            return self._by_library(data, offsets)
        from tokkit.tokenizer import encoding_kernels

        _require_places(data, offsets)
        id_offsets = np.zeros(len(offsets), dtype=np.int64)
        out = np.empty(offsets[-1] + 2, dtype=np.int32)
        n = encoding_kernels.encode_units(data, offsets, self.model, out, id_offsets)
        return out[:n].copy(), id_offsets

    def encode_pieces(self, data: Bytes, starts: Places) -> tuple[Ids, Places]:
        """The ids of pieces of text, each split and encoded on its own.

        Piece i is data[starts[i]:starts[i + 1]]. Returns ids (n,) int32, and offsets (pieces + 1,)
        int64 of each piece's ids.
        """
        _require_places(data, starts)
        if self.engine == "library":
            return self._by_library(data, starts)
        out = np.empty(len(data) + 2, dtype=np.int32)
        offsets = np.zeros(len(starts), dtype=np.int64)
        with self._cache() as cache:
            # By the megabyte, so that a batch's pretokens are still near when they are encoded.
            for first, last in _batches(starts, _BATCH_BYTES):
                view = data[starts[first] : starts[last]]
                begin = offsets[first]
                found = self._encode_batch(
                    view, starts[first : last + 1] - starts[first], out[begin:], cache
                )
                offsets[first + 1 : last + 1] = found[1:] + begin
        return out[: offsets[-1]].copy(), offsets

    def _encode_batch(self, data: Bytes, starts: Places, out: Ids, cache: PretokenCache) -> Places:
        """Write the ids of pieces to `out`; returns the offsets of each piece's ids."""
        from tokkit.tokenizer.encoding_kernels import encode_segments

        cut = self.segments(data, starts)
        id_offsets = np.zeros(len(cut.bounds), dtype=np.int64)
        run = np.zeros(4, dtype=np.int64)
        while not encode_segments(
            data, cut.ends, cut.bounds, cut.fixed, self.model, cache.arrays, run, out, id_offsets
        ):
            cache.make_room()
        return cut.of_pieces(id_offsets, len(starts) - 1)

    def segments(self, data: Bytes, starts: Places) -> Segments:
        """Cut pieces at added tokens and into pretokens."""
        if self._rule is None or not self.can_split:
            raise ConfigError(
                "pretokens can be told for a byte-level BPE that cuts by patterns, got another "
                "tokenizer; use encode_pieces, which goes through the library"
            )
        bounds, fixed, source = self._added.segments(data, starts)
        return Segments(bounds, fixed, source, pretoken_ends(data, bounds, self._rule))

    def cut(self, data: Bytes) -> int:
        """The largest place where text may be cut so that both sides have the same ids; 0: none.

        Whatever follows `data`: a `Cut` for `tokkit.corpus.shards.ShardReader`.
        """
        if self._rule is None or self.engine == "library":
            return 0
        begin, end = self._added.last_text(data)
        place = last_cut(data[begin:end], self._rule)
        if place == 0 and self._rule.pattern is None:
            place = self._last_unmergeable(data[begin:end])
        return begin + int(place)

    def _last_unmergeable(self, data: Bytes) -> int:
        """The last place between two bytes that no token holds side by side, of a character; or 0.

        No merge can reach across, so the ids of uncut text are the same on both sides. A pretoken
        that is taken whole could reach across.
        """
        if self.tokenizer.ignores_merges or len(data) < 2:
            return 0
        # From the end, in stretches, for the text may be long.
        for end in range(len(data), 1, -_SEARCHED_BYTES):
            begin = max(end - _SEARCHED_BYTES - 1, 0)
            first, second = data[begin : end - 1], data[begin + 1 : end]
            pairs = first.astype(np.int32) << 8 | second
            apart = np.flatnonzero(~self._inner_pairs[pairs] & ((second & 0xC0) != 0x80))
            if len(apart):
                return begin + int(apart[-1]) + 1
        return 0

    @cached_property
    def _inner_pairs(self) -> NDArray[np.bool_]:
        """Whether two bytes stand side by side in a token, bool of shape (65536,)."""
        inner = np.zeros(1 << 16, dtype=np.bool_)
        for token in np.unique(self.tokenizer.merge_table[:, 2]).tolist():
            spelled = np.frombuffer(self.tokenizer.token_bytes(token), dtype=np.uint8)
            inner[spelled[:-1].astype(np.int32) << 8 | spelled[1:]] = True
        return inner

    def decode(self, ids: NDArray[np.integer[Any]]) -> Bytes:
        """The exact bytes of ids, uint8: the tokens' bytes joined.

        Raises InputError for an id outside the vocabulary or that no token has, and ConfigError for
        a tokenizer whose tokens' bytes do not join to the text.
        """
        from tokkit.tokenizer.decoding_kernels import join_bytes, joined_size

        if not isinstance(self.tokenizer, Tokenizer):
            raise ConfigError(
                "only a byte-level BPE has bytes that join to the text, got another kind of "
                "tokenizer; use its decode_bytes"
            )
        ids = np.array(ids, dtype=np.int64)
        starts, lengths, data = self._token_bytes
        size = joined_size(ids, starts, lengths)
        if size < 0:
            self.tokenizer.token_bytes(int(ids[-1 - size]))
        out = np.empty(size, dtype=np.uint8)
        join_bytes(ids, starts, lengths, data, out)
        return out

    @cached_property
    def _token_bytes(self) -> tuple[Places, Places, Bytes]:
        """Where each token's bytes begin and how many there are (-1: none), and all the bytes."""
        unused = self.tokenizer.unused_ids
        tokens = [
            b"" if token in unused else self.tokenizer.token_bytes(token)
            for token in range(self.tokenizer.vocab_size)
        ]
        lengths = np.array([len(token) for token in tokens], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        lengths[sorted(unused)] = -1
        return starts, lengths, np.frombuffer(bytearray().join(tokens), dtype=np.uint8)

    @contextlib.contextmanager
    def _cache(self) -> Iterator[PretokenCache]:
        """A cache that no other thread uses meanwhile."""
        try:
            cache = self._caches.pop()
        except IndexError:
            cache = PretokenCache()
        yield cache
        # After an error it is not given back: a kernel that was left may have it half filled.
        self._caches.append(cache)

    def _by_library(self, data: Bytes, starts: Places) -> tuple[Ids, Places]:
        """Each piece through the tokenizer itself, as a text."""
        raw = data.tobytes()
        bounds = starts.tolist()
        texts = [raw[start:end].decode("utf-8") for start, end in itertools.pairwise(bounds)]
        batch = self.tokenizer.encode_batch(texts, allow_special=self.allow_special)
        offsets = np.zeros(len(starts), dtype=np.int64)
        np.cumsum([len(ids) for ids in batch], out=offsets[1:])
        flat = np.fromiter((i for ids in batch for i in ids), dtype=np.int32, count=offsets[-1])
        return flat, offsets


def _require_places(data: Bytes, starts: Places) -> None:
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != len(data) or np.any(np.diff(starts) < 0):
        ends = f"{starts[0]} to {starts[-1]}" if len(starts) else "none"
        raise ConfigError(
            f"places must rise from 0 to the {len(data)} bytes of data, got {ends}; "
            f"give where each piece starts, and the end"
        )


def _batches(starts: Places, least: int) -> Iterator[tuple[int, int]]:
    """Ranges of pieces that hold `least` bytes or somewhat more."""
    first = 0
    while first < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[first] + least))
        last = min(max(last, first + 1), len(starts) - 1)
        yield first, last
        first = last
