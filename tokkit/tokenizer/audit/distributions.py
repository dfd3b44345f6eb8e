"""How long tokens are and how often they stand, as points for a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokkit.results import Column, Table
from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.tables import TOKENIZER

_RANKS_A_DECADE = 20


def lengths_table(usages: Sequence[Usage]) -> Table:
    """Ids and their occurrences by length in bytes; special and unused ids are left out."""
    rows = []
    for usage in usages:
        fixed = usage.tokenizer.special_ids | getattr(usage.tokenizer, "unused_ids", frozenset())
        kept = np.ones(len(usage.tokens), np.bool_)
        kept[np.fromiter(fixed, np.int64, len(fixed))] = False
        lengths, counts = usage.tokens.lengths[kept], usage.of_tokens[kept]
        declared = np.bincount(lengths)
        used = np.bincount(lengths[counts > 0], minlength=len(declared))
        times = np.zeros(len(declared), np.int64)
        np.add.at(times, lengths, counts)
        total = max(1, int(times.sum()))
        rows += [
            (usage.name, length, int(declared[length]), int(used[length]), int(times[length]),
             float(times[length] / total))
            for length in np.flatnonzero(declared).tolist()
        ]  # fmt: skip
    columns = (
        TOKENIZER,
        Column("length", "Bytes of the token", "bytes"),
        Column("declared", "Ids", "tokens"),
        Column("used", "Ids met", "tokens"),
        Column("count", "Times met", "tokens"),
        Column("share", "Share of the text's tokens", "proportion"),
    )
    return Table("Token lengths", columns, tuple(rows))


def frequencies_table(usages: Sequence[Usage]) -> Table:
    """Counts of tokens against their rank, at 20 ranks a decade."""
    rows = []
    for usage in usages:
        counts = np.sort(usage.of_tokens)[::-1]
        counts = counts[counts > 0]
        points = np.geomspace(
            1, len(counts), max(2, int(_RANKS_A_DECADE * np.log10(len(counts) + 1)))
        )
        summed = np.cumsum(counts)
        rows += [
            (usage.name, rank, int(counts[rank - 1]), float(counts[rank - 1] / summed[-1]),
             float(summed[rank - 1] / summed[-1]))
            for rank in np.unique(points.astype(np.int64)).tolist()
        ]  # fmt: skip
    columns = (
        TOKENIZER,
        Column("rank", "Rank", "rank"),
        Column("count", "Times met", "tokens"),
        Column("share", "Share of the text's tokens", "proportion"),
        Column("cumulative", "Share of this rank and those before", "proportion"),
    )
    return Table("Token frequencies by rank", columns, tuple(rows))
