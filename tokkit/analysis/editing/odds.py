"""How probable two answers are after each prompt of a batch, and which the model says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokkit.analysis.editing.passes import right_padded
from tokkit.model.transformer import Transformer

KINDS = (
    *("prompt", "paraphrase", "unseen paraphrase"),
    *("neighbour, same answer", "neighbour, other answer"),
)
_ROWS = 64


@dataclass(frozen=True, slots=True)
class Query:
    """A prompt of one of KINDS, `about` a subject; its true answer, and the edit's target."""

    kind: str
    ids: tuple[int, ...]
    answer: tuple[int, ...]
    target: tuple[int, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Odds:
    """Log-probabilities of answer and target (nats), and whether greedy decoding says them.

    `said` is the likeliest next token.
    """

    answer_nats: float
    target_nats: float
    answer_said: bool
    target_said: bool
    said: int

    @property
    def prefers_target(self) -> bool:
        """Whether the target is more probable than the answer."""
        return self.target_nats > self.answer_nats

    def record(self) -> dict[str, Any]:
        """As JSON; `Odds(**record)` is its inverse."""
        return asdict(self)


@torch.no_grad()
def odds_of(model: Transformer, queries: Sequence[Query]) -> list[Odds]:
    """Ask all of them in batches of right-padded rows; answers of one token share their row."""
    wanted = [(q.ids, answer) for q in queries for answer in (q.answer, q.target)]
    rows = list(dict.fromkeys((*ids, *answer[:-1]) for ids, answer in wanted))
    place = {row: n for n, row in enumerate(rows)}
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, bool, int]] = {}
    for start in range(0, len(rows), _ROWS):
        here = rows[start : start + _ROWS]
        asked = [
            pair
            for pair in dict.fromkeys(wanted)
            if start <= place[(*pair[0], *pair[1][:-1])] < start + len(here)
        ]
        at = [place[(*ids, *answer[:-1])] - start for ids, answer in asked]
        found |= dict(zip(asked, _read(model, here, asked, at), strict=True))
    return [_odds(found[q.ids, q.answer], found[q.ids, q.target]) for q in queries]


def _read(
    model: Transformer,
    rows: Sequence[tuple[int, ...]],
    asked: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    at: Sequence[int],
) -> list[tuple[float, bool, int]]:
    """Of each (prompt, answer) in its row: nats, whether it is said, the first likeliest token."""
    device = model.embedding.device
    lengths = [len(answer) for _, answer in asked]
    lines = [row for row, length in zip(at, lengths, strict=True) for _ in range(length)]
    columns = [len(ids) - 1 + n for ids, answer in asked for n in range(len(answer))]
    tokens = torch.tensor([token for _, answer in asked for token in answer], device=device)
    places = torch.tensor(lines, device=device), torch.tensor(columns, device=device)
    logits: Tensor = model(right_padded(rows, device), at=places).float()
    best = logits.argmax(-1)
    nats = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    ends = np.cumsum(lengths).tolist()
    found = []
    for length, end in zip(lengths, ends, strict=True):
        part = slice(end - length, end)
        said = best[part] == tokens[part]
        found.append((float(nats[part].double().sum()), bool(said.all()), int(best[part.start])))
    return found


def _odds(answer: tuple[float, bool, int], target: tuple[float, bool, int]) -> Odds:
    return Odds(answer[0], target[0], answer[1], target[1], answer[2])
