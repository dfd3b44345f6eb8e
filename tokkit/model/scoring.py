"""How probable given continuations are: the log-probability of each of their tokens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.errors import InputError
from tokkit.model.cache import Cache
from tokkit.model.generation import BATCH_BYTES, batches, check_ids, left_padded
from tokkit.model.transformer import Transformer

Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Score:
    """The natural log-probability of each token of a continuation, given all before it."""

    log_probabilities: tuple[float, ...]

    @property
    def total(self) -> float:
        """That of the whole continuation: their sum."""
        return math.fsum(self.log_probabilities)


@torch.inference_mode()
def score(model: Transformer, pairs: Sequence[Pair], *, cached: bool = True) -> list[Score]:
    """Score each (prompt ids, continuation ids); an empty continuation has the sum 0.

    Pairs share batches, bounded in memory; a prompt that several pairs of a batch have is read
    once, and its keys and values serve them all. With `cached=False` each pair is read alone and
    whole: the oracle.

    Raises InputError for an empty prompt, an id that the model does not have, or a pair that is
    longer than the model's context (its last token is never read).
    """
    check_ids(model.config, [prompt for prompt, _ in pairs], what="a prompt")
    check_ids(model.config, [ids for _, ids in pairs if len(ids)], what="a continuation")
    longest = max((len(prompt) + len(ids) - 1 for prompt, ids in pairs), default=0)
    if longest > model.config.context:
        raise InputError(
            f"a prompt and its continuation are {longest + 1} tokens together, but the model's "
            f"context is {model.config.context}: shorten the text"
        )
    found: list[Score] = [Score(())] * len(pairs)
    asked = [place for place, (_, ids) in enumerate(pairs) if len(ids)]
    if not cached:
        for place in asked:
            found[place] = _score_alone(model, pairs[place])
        return found
    # Pairs of one prompt stand beside each other: sorted by length, then by the ids.
    asked.sort(key=lambda place: (len(pairs[place][0]), list(pairs[place][0])))
    more = max((len(pairs[place][1]) for place in asked), default=0)
    for batch in batches(model.config, [len(pairs[place][0]) for place in asked], more):
        places = [asked[number] for number in batch]
        scores = _score_batch(model, [pairs[place] for place in places])
        for place, one in zip(places, scores, strict=True):
            found[place] = one
    return found


def _score_alone(model: Transformer, pair: Pair) -> Score:
    """One forward pass over the whole text."""
    prompt, continuation = pair
    device = model.embedding.device
    ids = torch.tensor([[*prompt, *continuation[:-1]]], device=device)
    hidden = model.hidden(ids)[0, len(prompt) - 1 :]
    targets = torch.tensor(continuation, device=device)
    return Score(tuple(_log_probabilities(model, hidden, targets).tolist()))


def _score_batch(model: Transformer, pairs: Sequence[Pair]) -> list[Score]:
    """Prompts once, padded on the left; then all but the last token of each continuation.

    Continuations are padded on the right, where the causal mask hides what no text has.
    """
    device, longest = model.embedding.device, max(len(ids) for _, ids in pairs)
    if max(len(prompt) for prompt, _ in pairs) + longest - 1 > model.config.context:
        # A long prompt and another's long continuation do not fit into one batch's columns.
        half = len(pairs) // 2
        return _score_batch(model, pairs[:half]) + _score_batch(model, pairs[half:])
    distinct = list(dict.fromkeys(tuple(prompt) for prompt, _ in pairs))
    number = {prompt: place for place, prompt in enumerate(distinct)}
    owner = torch.tensor([number[tuple(prompt)] for prompt, _ in pairs], device=device)
    ids, padding = left_padded(distinct, device)
    rows, length = ids.shape
    cache = Cache(
        model.config, rows, length + longest - 1, dtype=model.embedding.dtype, device=device
    )
    last = torch.arange(rows, device=device), torch.full((rows,), length - 1, device=device)
    first = model.hidden(ids, last, padding=padding, cache=cache)[owner][:, None]  # B 1 D
    hidden = first
    if longest > 1:
        cache.select(owner)
        read = [[*ids[:-1], *[0] * (longest - len(ids))] for _, ids in pairs]
        rest = model.hidden(torch.tensor(read, device=device), cache=cache)
        hidden = torch.cat((first, rest), dim=1)
    lengths = [len(ids) for _, ids in pairs]
    there = torch.arange(longest, device=device) < torch.tensor(lengths, device=device)[:, None]
    targets = torch.tensor([token for _, ids in pairs for token in ids], device=device)
    found = iter(_log_probabilities(model, hidden[there], targets).tolist())
    return [Score(tuple(itertools.islice(found, length))) for length in lengths]


def _log_probabilities(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    """Of targets (N,) after hidden (N, D): (N,) float32, never all N rows of logits at once."""
    rows = max(1, BATCH_BYTES // (16 * model.config.vocab_size))
    parts = []
    for start in range(0, len(targets), rows):
        wanted = targets[start : start + rows]
        logits = model.unembed(hidden[start : start + rows]).float()
        parts.append(logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1))
    return torch.cat(parts)
