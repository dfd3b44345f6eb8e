"""Text comes out one next-token prediction after another."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokkit.errors import ConfigError, InputError
from tokkit.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could come next, with the probability that the model gives it."""

    id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Step:
    """One generated token, its probability, and the likeliest tokens at that place, best first."""

    id: int
    probability: float
    candidates: tuple[Candidate, ...]


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    temperature: float = 0.0,
    top_k: int = 0,
    generator: torch.Generator | None = None,
    candidates: int = 1,
) -> list[list[Step]]:
    """Continue each prompt (a list of ids) by up to `max_new_tokens` tokens.

    Prompts of different lengths share a batch, padded on the right, where the causal mask hides
    the padding. `temperature` 0 takes the likeliest token (the lowest id among equals); above 0
    it samples, from the `top_k` likeliest (and those equal to the last of them) if top_k > 0,
    with `generator`. A token of `stop_ids`
    ends its row and is the row's last step. Probabilities are those of the model itself, before
    temperature and top_k.

    Raises ConfigError for settings out of range, InputError for an empty prompt or one that does
    not leave room for an answer in the model's context.
    """
    _check_settings(max_new_tokens, temperature, top_k, candidates)
    if not prompts:
        return []
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    if int(lengths.min()) == 0:
        raise InputError("a prompt must have at least one token, got an empty one")
    room = int(lengths.max()) + max_new_tokens - 1
    if room > model.config.context:
        raise InputError(
            f"the longest prompt has {int(lengths.max())} tokens and {max_new_tokens} are to "
            f"follow, but the model's context is {model.config.context}: shorten the text"
        )
    ids = torch.zeros(len(prompts), room + 1, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.as_tensor(prompt)
    steps: list[list[Step]] = [[] for _ in prompts]
    active = torch.arange(len(prompts))
    for _ in range(max_new_tokens):
        ends = lengths[active] - 1
        places = (torch.arange(len(active)), ends)
        probabilities = model(ids[active, : int(ends.max()) + 1], at=places).float().softmax(-1)
        chosen = _choose(probabilities, temperature, top_k, generator)
        best = probabilities.topk(min(candidates, probabilities.shape[-1]))
        taken = probabilities.gather(1, chosen[:, None])[:, 0]
        columns = (active, chosen, taken, best.indices, best.values)
        for row, *step in zip(*(column.tolist() for column in columns), strict=True):
            steps[row].append(_step(*step))
        ids[active, lengths[active]] = chosen
        lengths[active] += 1
        going = [row for row in active.tolist() if steps[row][-1].id not in stop_ids]
        active = torch.tensor(going, dtype=torch.long)
        if not going:
            break
    return steps


def _check_settings(max_new_tokens: int, temperature: float, top_k: int, candidates: int) -> None:
    if max_new_tokens < 1 or candidates < 1 or top_k < 0:
        raise ConfigError(
            "max_new_tokens and candidates must be at least 1 and top_k not negative, got "
            f"{max_new_tokens}, {candidates} and {top_k}"
        )
    if not (math.isfinite(temperature) and temperature >= 0):
        raise ConfigError(f"temperature must be 0 (greedy) or above, got {temperature}")


def _choose(
    probabilities: Tensor, temperature: float, top_k: int, generator: torch.Generator | None
) -> Tensor:
    """The next id of each row of (N, V) probabilities."""
    if temperature == 0:
        return probabilities.argmax(-1)
    logits = probabilities.double().log()
    # The best is moved to 0, or a temperature near 0 would leave nothing but infinities.
    logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    if top_k:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _step(chosen: int, probability: float, ids: list[int], values: list[float]) -> Step:
    pairs = zip(ids, values, strict=True)
    return Step(chosen, probability, tuple(Candidate(i, p) for i, p in pairs))
