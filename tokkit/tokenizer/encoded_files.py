"""The files of an encoding: their names, and how they are written and read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError, ConfigError, OutputError
from tokkit.files import atomic_file, read_json
from tokkit.tokenizer.array_file import ArrayFile
from tokkit.tokenizer.encoding import Ids, Places
from tokkit.tokenizer.stochastic import StochasTok

RECORD_KIND = "tokkit.encoding"
_SUFFIX = ".npy"


@dataclass(frozen=True, slots=True)
class EncodedPaths:
    """The three files of an encoding.

    ids      .npy, unsigned integers: the ids of all documents, one after another
    offsets  .npy, int64 (documents + 1,): document d is ids[offsets[d]:offsets[d + 1]]
    record   .json: what was encoded, with what, and how
    """

    ids: Path
    offsets: Path
    record: Path


def encoded_paths(out: str | os.PathLike[str]) -> EncodedPaths:
    """The files that belong to `out`; ConfigError where its name does not end in .npy."""
    target = Path(out)
    if target.suffix != _SUFFIX or target.name == _SUFFIX:
        raise ConfigError(
            f"ids are written as a NumPy array, to a name that ends in {_SUFFIX}, got "
            f"{str(out)!r}; give for example {target.stem or 'ids'}{_SUFFIX}"
        )
    return EncodedPaths(
        target,
        target.with_name(f"{target.stem}.offsets{_SUFFIX}"),
        target.with_name(f"{target.stem}.json"),
    )


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned integer type that holds the ids from 0 to `vocab_size` - 1."""
    return np.min_scalar_type(max(vocab_size - 1, 0))


class DocumentWriter:
    """Writes ids document by document, expanded and with end tokens where that is asked for."""

    def __init__(
        self,
        ids_file: ArrayFile,
        offsets_file: ArrayFile,
        end_id: int | None,
        expander: StochasTok | None,
    ) -> None:
        self._ids_file = ids_file
        self._offsets_file = offsets_file
        self._end_id = end_id
        self._expander = expander

    def add(self, ids: Ids, starts: Places, *, final: bool = False) -> None:
        """Take in further ids, in which documents begin at `starts`."""
        if self._expander:
            ids, starts = self._expander.add(ids, starts, final=final)
        if self._end_id is not None and len(starts):
            # Before each document but the very first, the one before it ends.
            ended = starts[0 if self._offsets_file.length else 1 :]
            ids = np.insert(ids, ended, self._end_id)
            starts = starts + np.arange(len(starts)) + (len(ended) == len(starts))
        self._offsets_file.append(starts + self._ids_file.length)
        self._ids_file.append(ids)

    def finish(self) -> None:
        """Write what was held back, the last end token, and the last offset."""
        if self._expander:
            self.add(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64), final=True)
        if self._end_id is not None and self._offsets_file.length:
            self._ids_file.append(np.array([self._end_id]))
        self._offsets_file.append(np.array([self._ids_file.length]))


@contextlib.contextmanager
def written_files(
    targets: EncodedPaths, dtype: np.dtype[Any]
) -> Iterator[tuple[ArrayFile, ArrayFile, Path]]:
    """The three files under temporary names; on success they get their own, the ids last."""
    with (
        atomic_file(targets.ids) as ids_path,
        atomic_file(targets.offsets) as offsets_path,
        atomic_file(targets.record) as record_path,
        ArrayFile(ids_path, dtype) as ids,
        ArrayFile(offsets_path, np.dtype("i8")) as offsets,
    ):
        yield ids, offsets, record_path
        # A full disk shows here at the latest, while none of the three has its name.
        offsets.finish()
        ids.finish()


def require_own_record(path: Path) -> None:
    """Refuse to replace a .json that no encoding wrote: it may be the tokenizer, or the text."""
    if not path.exists():
        return
    try:
        record = read_json(path)
    except ArtifactError:
        record = None
    if not isinstance(record, dict) or record.get("kind") != RECORD_KIND:
        raise OutputError(
            f"cannot write {path}: it stands there and is no record of an encoding; choose another "
            f"name with --out"
        )


def read_ids(path: str | os.PathLike[str], *, what: str = "ids") -> NDArray[np.integer[Any]]:
    """The integers of a one-dimensional .npy file, mapped, not read; ArtifactError for others."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"cannot read {what} from {path}: {error}; make it again") from error
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise ArtifactError(
            f"{what} are a one-dimensional array of integers, which {path} is not; "
            f"give one that was written by: tokkit tokenizer encode --out"
        )
    return values
