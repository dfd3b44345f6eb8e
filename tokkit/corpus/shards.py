"""Read documents as arrays of bytes, many at a time: what the compiled kernels work on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.document import CorpusDigest, Document, encode_utf8
from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import find_sources
from tokkit.corpus.parts import Part, read_parts
from tokkit.corpus.pieces import MAX_PIECE_BYTES, Cut, PieceCutter
from tokkit.corpus.records import RecordFields
from tokkit.errors import ConfigError

_MAX_PIECES = 1 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """Pieces of documents, joined. A piece is a whole document, or a part of one.

    data       (bytes,) uint8, valid UTF-8; each piece is valid by itself
    starts     (pieces + 1,) int64: piece i is data[starts[i]:starts[i + 1]]
    groups     (pieces,) int32, index into `ShardReader.group_names`
    continued  (pieces,) bool: the piece goes on with the document of the piece before it, which
               may stand in an earlier shard
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    groups: NDArray[np.int32]
    continued: NDArray[np.bool_]


class ShardReader:
    """The documents of files, folders, globs, URLs or "-" as shards of about `shard_bytes`.

    A document longer than `part_bytes` comes in pieces of about that size, cut where `cut` allows;
    without `cut` it comes whole. Texts in `remove` are left out, the longest first where several
    start at one place, and the document goes on as a new piece after each. A document of which
    nothing is left is an empty piece. Memory is bounded by a shard, a piece, and one record.

    `group_field` names a string field of JSONL or a column of Parquet; `group_by_folder` takes
    `Source.folder`. `errors` is strict, replace or skip, or a whole `FaultPolicy`. `watch` is shown
    each part of a document as it is read, before anything is removed.

    After the iteration, which can be had once: `group_names` in order of appearance ([""] without
    groups), `documents`, `bytes` (before `remove`), `replaced` and `skipped` faults, and the
    `hexdigest()` that `CorpusDigest` gives for `read_documents` on the same input.

    Raises ConfigError for settings that contradict each other, and InputError as `read_documents`
    does, and for a piece of 2 GiB or more.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        *,
        text_field: str = "text",
        group_field: str | None = None,
        group_by_folder: bool = False,
        errors: str | FaultPolicy = "strict",
        cut: Cut | None = None,
        shard_bytes: int = 1 << 24,
        part_bytes: int = 1 << 18,
        remove: Sequence[bytes] = (),
        watch: Callable[[Part], None] | None = None,
    ) -> None:
        if group_field is not None and group_by_folder:
            raise ConfigError(
                f"groups come from one place, got the field {group_field!r} and the folder; "
                f"leave one out"
            )
        self._policy = errors if isinstance(errors, FaultPolicy) else FaultPolicy(errors)
        self._groups: dict[str, int] = {} if group_field is not None or group_by_folder else {"": 0}
        self._digest = CorpusDigest()
        self._watch = watch
        fields = RecordFields(text_field, group_field)
        parts = read_parts(find_sources(paths), fields, self._policy, by_folder=group_by_folder)
        pieces = _cutter(remove, cut, part_bytes, shard_bytes).pieces(self._watched(parts))
        self._shards = _shards(pieces, self._groups, shard_bytes)
        self._begun = False

    @property
    def group_names(self) -> list[str]:
        """The groups met so far, in order of appearance."""
        return list(self._groups)

    @property
    def documents(self) -> int:
        """How many documents were read so far."""
        return self._digest.documents

    @property
    def bytes(self) -> int:
        """How many bytes of text were read so far, in UTF-8 and before `remove`."""
        return self._digest.bytes

    @property
    def replaced(self) -> int:
        """How many faults were replaced so far."""
        return self._policy.replaced

    @property
    def skipped(self) -> int:
        """How many faults were left out so far."""
        return self._policy.skipped

    def hexdigest(self) -> str:
        """The digest of the documents read so far, as `CorpusDigest` defines it."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Shard]:
        if self._begun:
            raise ConfigError("a ShardReader is read once; make another for a second reading")
        self._begun = True
        return self._shards

    def _watched(self, parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            self._digest.add_bytes(part.data, continued=part.continued)
            if self._watch is not None:
                self._watch(part)
            yield part


def shards_of_documents(
    documents: Iterable[Document],
    *,
    cut: Cut | None = None,
    shard_bytes: int = 1 << 24,
    part_bytes: int = 1 << 18,
    remove: Sequence[bytes] = (),
) -> Iterator[Shard]:
    """The shards of documents that are at hand, as `ShardReader` makes them; all of group 0.

    Raises ConfigError for sizes out of range, InputError for half of a surrogate pair in a text.
    """
    cutter = _cutter(remove, cut, part_bytes, shard_bytes)
    parts = (
        Part(encode_utf8(document), document.origin, "", document.continued)
        for document in documents
    )
    return _shards(cutter.pieces(parts), {"": 0}, shard_bytes)


def _cutter(
    remove: Sequence[bytes], cut: Cut | None, part_bytes: int, shard_bytes: int
) -> PieceCutter:
    for what, size in (("shard_bytes", shard_bytes), ("part_bytes", part_bytes)):
        if not 4 <= size <= MAX_PIECE_BYTES:
            raise ConfigError(f"{what} is 4 to {MAX_PIECE_BYTES}, got {size}; change it")
    return PieceCutter(remove, cut, part_bytes)


def _shards(pieces: Iterable[Part], groups: dict[str, int], shard_bytes: int) -> Iterator[Shard]:
    """Join pieces into shards of at most `shard_bytes`, or one piece; number groups in turn."""
    shard = _ShardBuilder()
    for piece in pieces:
        full = shard.bytes + len(piece.data) > shard_bytes
        if shard.pieces and (full or shard.pieces == _MAX_PIECES):
            yield shard.build()
            shard = _ShardBuilder()
        shard.add(piece, groups.setdefault(piece.group, len(groups)))
    if shard.pieces:
        yield shard.build()


class _ShardBuilder:
    """Gathers pieces and joins them once."""

    def __init__(self) -> None:
        self.bytes = 0
        self._data: list[bytes | bytearray] = []
        self._groups: list[int] = []
        self._continued: list[bool] = []

    @property
    def pieces(self) -> int:
        return len(self._data)

    def add(self, piece: Part, group: int) -> None:
        self.bytes += len(piece.data)
        self._data.append(piece.data)
        self._groups.append(group)
        self._continued.append(piece.continued)

    def build(self) -> Shard:
        starts = np.zeros(self.pieces + 1, np.int64)
        np.cumsum([len(data) for data in self._data], out=starts[1:])
        # A bytearray, for numba compiles anew for arrays that cannot be written to.
        first = self._data[0]
        is_whole = self.pieces == 1 and isinstance(first, bytearray)
        return Shard(
            np.frombuffer(first if is_whole else bytearray().join(self._data), np.uint8),
            starts,
            np.array(self._groups, np.int32),
            np.array(self._continued, np.bool_),
        )
