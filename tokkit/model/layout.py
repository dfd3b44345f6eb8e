"""Where the tokens of a batch stand: their positions, and which of them each may look at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tokkit.model.config import ModelConfig

Places = tuple[Tensor, Tensor]  # rows and positions, (N,) int64 each


@dataclass(slots=True)
class Layout:
    """The columns `start` to `start` + `time` - 1 of a batch, shared by all layers of one pass.

    `documents` (B, T) numbers packed documents; `padding` (B,) counts the columns at the left of
    each row that are no text. Neither: every row is one text from column 0 on.
    """

    config: ModelConfig
    time: int
    device: torch.device
    start: int = 0
    documents: Tensor | None = None
    padding: Tensor | None = None
    _biases: dict[tuple[bool, bool], Tensor | None] = field(default_factory=dict)
    _positions: Tensor | None = None

    def positions(self) -> Tensor | None:
        """What stands at each column, (B, T) int64; None where that is the column's number."""
        if self.documents is None and self.padding is None:
            return None
        if self._positions is None:
            self._positions = self._count_positions()
        return self._positions

    def _count_positions(self) -> Tensor:
        columns = torch.arange(self.start, self.start + self.time, device=self.device)
        if self.documents is not None:
            opens = torch.ones_like(self.documents, dtype=torch.bool)
            opens[:, 1:] = self.documents[:, 1:] != self.documents[:, :-1]
            return columns - torch.where(opens, columns, 0).cummax(dim=1).values
        assert self.padding is not None
        return (columns - self.padding[:, None]).clamp(min=0)

    def last_position(self) -> int:
        """No position of this pass is beyond."""
        return self.start + self.time - 1

    def bias(
        self, *, sliding: bool, slopes: Tensor | None, key_columns: Tensor | None, at: Places | None
    ) -> Tensor | None:
        """What is added to the scores: (B or N or 1, H or 1, T or 1, S) float32, -inf for no.

        None where a query sees all that is not to its right. `key_columns` (S,) are the columns
        of the keys, None for those of this pass.
        """
        kind = (sliding, at is None)
        if kind not in self._biases:  # layers of one kind have keys of the same columns
            if key_columns is None:
                key_columns = torch.arange(self.start, self.start + self.time, device=self.device)
            self._biases[kind] = self._bias(sliding, slopes, key_columns, at)
        return self._biases[kind]

    def _bias(
        self, sliding: bool, slopes: Tensor | None, key_columns: Tensor, at: Places | None
    ) -> Tensor | None:
        """One number a query and key; the batch axis stays, or the fused kernel is not taken."""
        window = self.config.window if sliding and self._reaches_beyond_window() else 0
        alone = self.time == 1 and (not window or len(key_columns) <= window)
        free = slopes is None and self.documents is None and self.padding is None
        if free and not window and at is None and (alone or self.start == 0):
            return None
        asked = torch.arange(self.start, self.start + self.time, device=self.device)[None]
        if at is not None:
            asked = self.start + at[1][:, None]
        distance = (asked[:, :, None] - key_columns)[:, None]  # B or 1 or N, 1, T or 1, S
        hidden = distance < 0
        if window:
            hidden = hidden | (distance >= window)
        if self.documents is not None:
            of_query = self.documents if at is None else self.documents[at][:, None]
            of_key = self.documents if at is None else self.documents[at[0]]
            hidden = hidden | (of_query[:, :, None] != of_key[:, None])[:, None]
        if self.padding is not None:
            padding = self.padding if at is None else self.padding[at[0]]
            padded = (key_columns < padding[:, None])[:, None, None]
            # A padded column sees itself: a row of scores that is -inf throughout has no softmax.
            hidden = hidden | (padded & (distance != 0))
        if slopes is not None:
            return (-slopes[:, None, None] * distance).masked_fill(hidden, -math.inf)
        return torch.zeros(hidden.shape, device=self.device).masked_fill(hidden, -math.inf)

    def _reaches_beyond_window(self) -> bool:
        return self.last_position() >= self.config.window
