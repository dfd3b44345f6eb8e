"""What a model says before anything is changed: a fact it does not know cannot be moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from tokkit.analysis.editing.request import EditRequest, Located, answer_ids
from tokkit.errors import InputError
from tokkit.model.generation import generate
from tokkit.model.scoring import score
from tokkit.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Present:
    """How the model goes on by itself: `ids`, as many as the answers asked for have at most.

    `probability` is that of the first of them, `target_probability` that of the whole target;
    `runner_up` is the token that came second for the first place.
    """

    ids: tuple[int, ...]
    text: str
    probability: float
    target_probability: float
    runner_up: int


def check_request(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    place: Located,
    *,
    answer: str | None = None,
    start_ids: Sequence[int] = (),
) -> Present:
    """What the model says now; raises InputError where there is nothing to be changed.

    That is where it says the target already, and where it does not say `answer`, if given: then it
    does not know the fact.
    """
    known: tuple[int, ...] = ()
    if answer is not None:
        _, known = answer_ids(
            tokenizer, request.filled, answer, start_ids, context=model.config.context
        )
    now = present_answer(model, tokenizer, place, tokens=max(len(known), len(place.target)))
    if now.ids[: len(place.target)] == place.target:
        raise InputError(
            f"the target must differ from the present answer, but after {request.filled!r} the "
            f"model says {now.text!r} already: give another target"
        )
    if now.ids[: len(known)] != known:
        raise InputError(
            f"the model does not know this fact: after {request.filled!r} it says {now.text!r}, "
            f"not {answer!r}; nothing was changed. Give another prompt, or no answer"
        )
    return now


def present_answer(model: Transformer, tokenizer: Any, place: Located, *, tokens: int) -> Present:
    """The likeliest next tokens, one after the other, and what the target is worth."""
    room = model.config.context - len(place.ids) + 1
    (steps,) = generate(model, [place.ids], max_new_tokens=min(tokens, room), candidates=2)
    (target,) = score(model, [(place.ids, place.target)])
    ids = tuple(step.id for step in steps)
    return Present(
        ids,
        tokenizer.decode(ids),
        steps[0].probability,
        exp(target.total),
        steps[0].candidates[1].id,
    )
