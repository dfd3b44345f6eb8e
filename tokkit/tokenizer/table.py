"""The table of pretokens: a corpus read once, as counts.

Learning merges, every metric of an audit and every interval are worked out from it, never from the
text again. Its unit may be the pretokens of one pre-tokenizer, or atoms: stretches of text between
places where every pre-tokenizer of a family cuts, so that the pretokens of each follow exactly.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import atomic_file
from tokkit.tokenizer.array_archive import read_arrays
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ATOMS = "atoms"
_FORMAT = "tokkit/pretokens/1"
_ARRAYS = ("head", "data", "offsets", "counts", "columns", "pointers", "blocks")
_LARGEST_TOTAL = 2.0**62


@dataclass(frozen=True, slots=True)
class Blocks:
    """Runs of documents of one group, the units that intervals resample; int64 arrays (blocks,).

    `group` is an index into the table's group names. A document longer than a block lies in
    several, and is counted in the first. Words are runs of characters that are not white space;
    `lines` counts line feeds.
    """

    group: NDArray[np.int64]
    documents: NDArray[np.int64]
    bytes: NDArray[np.int64]
    characters: NDArray[np.int64]
    words: NDArray[np.int64]
    lines: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group)


@dataclass(frozen=True)
class Origin:
    """What a table was counted from: files, digest of the documents, texts that were cut out."""

    files: tuple[str, ...] = ()
    corpus_sha256: tuple[str, ...] = ()
    documents: int = 0
    bytes: int = 0
    replaced: int = 0
    skipped: int = 0
    removed_texts: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PretokenTable:
    """Distinct pretokens, in order of first appearance, with their counts in each block.

    Pretoken i is data[offsets[i]:offsets[i + 1]]; `block_counts` is sparse (blocks, n) int64.
    `pretokenizer` cut the text, or is None where the unit is the atom.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    block_counts: csr_array
    blocks: Blocks
    group_names: tuple[str, ...]
    pretokenizer: Pretokenizer | None
    origin: Origin

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def unit(self) -> str:
        """The name of the pre-tokenizer, or "atoms"."""
        return self.pretokenizer.name if self.pretokenizer else ATOMS

    def pretoken(self, number: int) -> bytes:
        """The bytes of one pretoken."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each pretoken in bytes (n,)."""
        return np.diff(self.offsets)

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """How often each pretoken stands in the text (n,)."""
        return np.bincount(
            self.block_counts.indices, weights=self.block_counts.data, minlength=len(self)
        ).astype(np.int64)

    @cached_property
    def group_totals(self) -> NDArray[np.int64]:
        """How often each pretoken stands in each group (groups, n)."""
        totals = np.zeros((len(self.group_names), len(self)), dtype=np.int64)
        for block, group in enumerate(self.blocks.group):
            row = slice(self.block_counts.indptr[block], self.block_counts.indptr[block + 1])
            totals[group, self.block_counts.indices[row]] += self.block_counts.data[row]
        return totals

    def split(self, pretokenizer: Pretokenizer | str) -> PretokenTable:
        """The table of the pretokens that `pretokenizer` cuts, with the same blocks, exactly.

        From atoms, every pre-tokenizer of their family can be had; from a pre-tokenizer's own
        table only itself. Raises ConfigError for another one: count the text for it.
        """
        rule = resolve_pretokenizer(pretokenizer)
        if rule == self.pretokenizer:
            return self
        from tokkit.tokenizer.splitting import ATOM_FAMILY

        if self.pretokenizer is not None or rule.name not in ATOM_FAMILY:
            raise ConfigError(
                f"a table of {self.unit} cannot be cut as {rule.name!r}: count the text again with "
                f"--pretokenizer {rule.name}"
            )
        from tokkit.tokenizer.counting import split_table

        return split_table(self, rule)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table to `path` (.npz, not compressed), atomically."""
        rule = self.pretokenizer
        head = {
            "format": _FORMAT,
            "group_names": self.group_names,
            "pretokenizer": asdict(rule) if rule else None,
            "origin": asdict(self.origin),
        }
        counts = self.block_counts
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                head=np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
                data=self.data,
                offsets=self.offsets,
                counts=counts.data,
                columns=counts.indices.astype(np.int32, copy=False),
                pointers=counts.indptr.astype(np.int64, copy=False),
                blocks=np.stack([getattr(self.blocks, f.name) for f in fields(Blocks)]),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PretokenTable:
        """Read a table that `save` wrote; ArtifactError when it is missing, cut or altered."""
        try:
            return _from_arrays(read_arrays(path, _ARRAYS))
        except FileNotFoundError:
            raise ArtifactError(f"table {path} does not exist: check the path") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{path} is not a whole table of pretokens ({error}): count the text again"
            ) from error


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> PretokenTable:
    from scipy.sparse import csr_array

    if not all(arrays[name].ndim == 1 for name in _ARRAYS if name != "blocks"):
        raise ValueError("its arrays do not fit together")
    rule, names, origin = _head(arrays["head"].tobytes())
    data, offsets, counts = arrays["data"], arrays["offsets"], arrays["counts"]
    blocks, pointers, columns = arrays["blocks"], arrays["pointers"], arrays["columns"]
    n = len(offsets) - 1
    sound = (
        data.dtype == np.uint8
        and columns.dtype == np.int32
        and offsets.dtype == counts.dtype == pointers.dtype == blocks.dtype == np.int64
        and _are_bounds(offsets, len(data))
        and (np.diff(offsets) > 0).all()
        and _are_bounds(pointers, len(columns))
        and len(columns) == len(counts)
        and blocks.shape == (len(fields(Blocks)), len(pointers) - 1)
        and (blocks >= 0).all()
        and blocks[0].max(initial=-1) < len(names)
        and columns.min(initial=0) >= 0
        and columns.max(initial=-1) < n
        and counts.min(initial=1) > 0
        and counts.sum(dtype=np.float64) < _LARGEST_TOTAL
    )
    if not sound:
        raise ValueError("its arrays do not fit together")
    return PretokenTable(
        data,
        offsets,
        csr_array((counts, columns, pointers), shape=(len(pointers) - 1, n)),
        Blocks(*blocks),
        names,
        rule,
        origin,
    )


def _are_bounds(bounds: NDArray[np.int64], size: int) -> bool:
    """Whether bounds rise from 0 to `size`."""
    return bool(
        len(bounds) and bounds[0] == 0 and bounds[-1] == size and (np.diff(bounds) >= 0).all()
    )


def _head(written: bytes) -> tuple[Pretokenizer | None, tuple[str, ...], Origin]:
    """The pre-tokenizer, the groups and the origin; ValueError where `save` writes other ones."""
    try:
        head = json.loads(written)
        if head["format"] != _FORMAT:
            raise ValueError(f"its format is {head['format']!r}, not {_FORMAT!r}")
        rule = head["pretokenizer"]
        rule = rule and Pretokenizer(**_with_tuples(rule))
        names = _with_tuples(head)["group_names"]
        origin = Origin(**_with_tuples(head["origin"]))
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError("its head is not that of a table") from error
    texts = (names, origin.files, origin.corpus_sha256, origin.removed_texts)
    numbers = (origin.documents, origin.bytes, origin.replaced, origin.skipped)
    sound = (
        all(map(_are_texts, texts))
        and all(type(number) is int and 0 <= number < _LARGEST_TOTAL for number in numbers)
        and isinstance(origin.settings, dict)
        and (
            rule is None
            or (
                isinstance(rule.name, str)
                and (rule.pattern is None or _are_texts(rule.patterns))
                and isinstance(rule.of_bytes, bool)
            )
        )
    )
    if not sound:
        raise ValueError("its head is not that of a table")
    return rule, names, origin


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)


def _with_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
    }


def merge_tables(tables: Sequence[PretokenTable]) -> PretokenTable:
    """One table of several, as if their texts had been counted together.

    Groups of the same name become one; blocks follow in the order of the tables. Raises ConfigError
    when there is no table, or when they were cut by different pre-tokenizers or had different texts
    cut out.
    """
    if not tables:
        raise ConfigError("no table to add up; give one or more")
    first = tables[0]
    for table in tables[1:]:
        if table.pretokenizer != first.pretokenizer:
            raise ConfigError(
                f"tables that are added up have one unit, got {first.unit} and {table.unit}; "
                f"count the texts with the same pre-tokenizer"
            )
        if table.origin.removed_texts != first.origin.removed_texts:
            raise ConfigError(
                f"tables that are added up had the same texts cut out, got "
                f"{first.origin.removed_texts} and {table.origin.removed_texts}; count again"
            )
    from tokkit.tokenizer.counting import add_tables

    return add_tables(tables)
