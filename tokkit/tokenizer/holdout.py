"""Blocks of documents kept from training, to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError
from tokkit.stats import MIN_BLOCKS

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable

Ints = NDArray[np.int64]

HELD_OUT = 0.2


@dataclass(frozen=True, slots=True)
class Division:
    """Which blocks of a table are trained on and which measured: rising indices.

    Both are all blocks when nothing is held out; `reason` then says why.
    """

    trained: Ints
    measured: Ints
    reason: str | None

    @property
    def held_out(self) -> bool:
        """Whether what is measured was kept from training."""
        return self.reason is None


def divide_blocks(
    table: PretokenTable, share: float | None, generator: np.random.Generator
) -> Division:
    """Hold out a share of each group's blocks, drawn by `generator`; see `sweep`."""
    if share is not None and not 0 <= share < 1:
        raise ConfigError(f"the held-out share lies in 0 to below 1, got {share}; 0.2 is usual")
    all_blocks = np.arange(len(table.blocks), dtype=np.int64)
    if share == 0:
        return Division(all_blocks, all_blocks, "nothing was to be held out")
    measured: list[Ints] = []
    why = None
    groups = np.unique(table.blocks.group)
    for group in groups:
        members = np.flatnonzero(table.blocks.group == group)
        taken = round((HELD_OUT if share is None else share) * len(members))
        if not 0 < taken < len(members):
            name = table.group_names[int(group)]
            where = f"group {name!r}" if name else "the corpus"
            why = f"{where} has {len(members)} blocks of documents, too few to hold some out"
            break
        measured.append(np.sort(generator.choice(members, taken, replace=False)))
    enough = why is None and sum(map(len, measured)) - len(groups) + 1 >= MIN_BLOCKS
    if why is None and not enough and share is None:
        why = f"that would leave fewer than {MIN_BLOCKS} blocks to measure on"
    if why and share is not None:
        raise ConfigError(f"cannot hold out {share:g} of the text: {why}; give more text or 0")
    if why:
        return Division(all_blocks, all_blocks, why)
    kept = np.concatenate(measured)
    return Division(np.setdiff1d(all_blocks, kept), np.sort(kept), None)
