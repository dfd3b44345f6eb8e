"""The lengths of a corpus's lines, group by group: what tells whether groups are parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tokkit.corpus.shards import ShardReader

Ints = NDArray[np.int64]

_LINE_FEED = 10


def line_lengths(
    paths: Sequence[str | os.PathLike[str]],
    *,
    text_field: str = "text",
    group_field: str | None = None,
    group_by_folder: bool = False,
    errors: str = "strict",
) -> dict[str, Ints]:
    """Bytes of each line of each group, in the order of the text, without line feeds.

    A line ends with a line feed; where no document of the corpus holds one, each document is a
    line. Raises what reading raises.
    """
    reader = ShardReader(
        paths,
        text_field=text_field,
        group_field=group_field,
        group_by_folder=group_by_folder,
        errors=errors,
    )
    lines: dict[int, list[Ints]] = {}
    documents: dict[int, list[int]] = {}
    for shard in reader:
        for piece, group in enumerate(shard.groups.tolist()):
            data = shard.data[shard.starts[piece] : shard.starts[piece + 1]]
            ends = np.flatnonzero(data == _LINE_FEED)
            lines.setdefault(group, []).append(np.diff(ends, prepend=-1) - 1)
            documents.setdefault(group, []).append(len(data))
    found = {group: np.concatenate(parts) for group, parts in lines.items()}
    if not any(len(lengths) for lengths in found.values()):
        found = {group: np.array(sizes, np.int64) for group, sizes in documents.items()}
    return {reader.group_names[group]: lengths for group, lengths in found.items()}
