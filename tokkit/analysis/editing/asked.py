"""What a model says after prompts: before an edit, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor

from tokkit.analysis.editing.request import SLOT, EditRequest, answer_ids
from tokkit.errors import InputError
from tokkit.model.generation import generate_ids
from tokkit.model.scoring import score
from tokkit.model.transformer import Transformer

NEW_TOKENS = 12
KINDS = ("prompt", "paraphrase", "neighbour")


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt: of KINDS, as text, as tokens, and the target's tokens after it."""

    kind: str
    text: str
    ids: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """The target's probability, the log-probabilities of the next token (V,), and a text."""

    target_probability: float
    following: Tensor
    text: str

    @property
    def answer(self) -> int:
        """The likeliest next token."""
        return int(self.following.argmax())

    def divergence(self, other: Reply) -> float:
        """Kullback-Leibler divergence (nats) of the other's next token from this one's."""
        return max(0.0, float((self.following.exp() * (self.following - other.following)).nansum()))


def asked_of(
    tokenizer: Any,
    request: EditRequest,
    paraphrases: Sequence[str],
    neighbours: Sequence[str],
    *,
    start_ids: Sequence[int] = (),
    context: int | None = None,
) -> list[Asked]:
    """The prompt, its paraphrases ("{}" stands for the subject) and its neighbours, checked.

    Raises InputError for one that is empty, ends in white space or is longer than the context.
    """
    texts = [("prompt", request.filled)]
    texts += [("paraphrase", text.replace(SLOT, request.subject)) for text in paraphrases]
    texts += [("neighbour", text) for text in neighbours]
    found = []
    for kind, text in texts:
        if not text.strip() or text != text.rstrip():
            raise InputError(
                f"a {kind} must be a text that does not end in white space, got {text!r}: the "
                "answer brings its own"
            )
        ids, target = answer_ids(tokenizer, text, request.target, start_ids, context=context)
        found.append(Asked(kind, text, ids, target))
    return found


@torch.no_grad()
def replies(
    model: Transformer, tokenizer: Any, asked: Sequence[Asked], *, end_ids: Sequence[int] = ()
) -> list[Reply]:
    """What the model says after each, the likeliest token at every step, and the odds."""
    room = model.config.context + 1 - max(len(one.ids) for one in asked)
    prompts = [one.ids for one in asked]
    said = generate_ids(
        model, prompts, max_new_tokens=min(NEW_TOKENS, room), stop_ids=frozenset(end_ids)
    )
    scores = score(model, [(one.ids, one.target) for one in asked])
    found = []
    for one, ids, scored in zip(asked, said, scores, strict=True):
        read = torch.tensor([one.ids], device=model.embedding.device)
        last = torch.tensor([0]), torch.tensor([len(one.ids) - 1])
        following = model(read, at=last)[0].float().log_softmax(-1).cpu()
        text = tokenizer.decode(token for token in ids if token not in end_ids)
        found.append(Reply(exp(scored.total), following, text))
    return found
