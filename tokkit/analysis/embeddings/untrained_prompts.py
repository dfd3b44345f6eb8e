"""Asking a model to repeat a token: one that it never learned to write, it does not repeat.

Land and Bartolo (2024, section 3.3): a token is verified as under-trained where its probability
stays below 1% in prompts that call for nothing but it. The ids are put into the prompts as they
are, so that a token which no text gives is asked too. What stands before the token asked for is
the same for all and is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

VERIFIED_BELOW = 0.01
"""Probability of repeating it, at best, of a token that is verified as under-trained."""
SHOTS = 6
_BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class Template:
    """`opening`, then `before` token `between` token `after` for each shot; then the question.

    With `run` above 0 there are no shots: the token alone, so many times, after the opening.
    """

    name: str
    opening: str = ""
    before: str = ""
    between: str = ""
    after: str = ""
    run: int = 0


TEMPLATES = (
    Template("arrow", "Copy:\n", "[", "] -> [", "]\n"),
    Template("quoted", "Each line says the same twice.\n", '"', '" = "', '"\n'),
    Template("run", "Here is the same word over and over again, without an end:", run=8),
)
"""Of seven tried on random ordinary tokens, the three in which SmolLM2 repeats them best.

Two earlier ones had also been run on tokens that looked untrained before they were replaced.
"""


@dataclass(frozen=True, slots=True)
class Repeated:
    """How probable it is that each token asked is repeated.

    `ids` (n,); `by_template` (n, templates); `templates` names those that fit the context.
    """

    ids: Ints
    by_template: Floats
    templates: tuple[str, ...]

    @property
    def best(self) -> Floats:
        """The largest probability over the templates: (n,)."""
        return np.asarray(self.by_template.max(axis=1))


def repeat_probabilities(
    model: Transformer,
    tokenizer: Any,
    ids: Ints,
    examples: Ints,
    *,
    start_ids: Sequence[int] = (),
    shots: int = SHOTS,
) -> Repeated:
    """The probability with which the model repeats each of `ids` (n,), by template.

    `examples` are ordinary tokens to show in the shots, `shots` of them for a template, others for
    the next; `start_ids` stand before each prompt. Shots are left out where the context of the
    model is too short for them, and so is a template that does not fit without any.
    """
    found, names = [], []
    for number, template in enumerate(TEMPLATES):
        shown = np.roll(examples, -number * shots)[:shots]
        prompt = _prompt(template, tokenizer, shown, start_ids, model.config.context)
        if prompt is None:
            continue
        prefix, question, holes = prompt
        found.append(_ask(model, prefix, question, holes, ids))
        names.append(template.name)
    by_template = np.stack(found, axis=1) if found else np.zeros((len(ids), 0))
    return Repeated(ids, by_template, tuple(names))


_Prompt = tuple[list[int], list[int], list[int]]


def _prompt(
    template: Template, tokenizer: Any, shown: Ints, start_ids: Sequence[int], context: int
) -> _Prompt | None:
    """The ids read once, those of the question, and the places of the token in these."""
    opening, before, between, after = (
        list(tokenizer.encode(text)) if text else []
        for text in (template.opening, template.before, template.between, template.after)
    )
    if template.run:
        prefix, question = [*start_ids, *opening], [0] * template.run
        holes = list(range(template.run))
    else:
        shots = [[*before, int(token), *between, int(token), *after] for token in shown]
        question, holes = [*before, 0, *between], [len(before)]
        room = context - len(start_ids) - len(opening) - len(question)
        while shots and sum(map(len, shots)) > room:
            shots.pop()
        prefix = [*start_ids, *opening, *(token for shot in shots for token in shot)]
    fits = len(prefix) + len(question) <= context
    return (prefix, question, holes) if fits else None


def _ask(
    model: Transformer, prefix: list[int], question: list[int], holes: list[int], ids: Ints
) -> Floats:
    """The probability of each token after the question that holds it: (n,)."""
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(ids), _BATCH_ROWS):
            asked = torch.from_numpy(ids[start : start + _BATCH_ROWS]).to(model.embedding.device)
            text = torch.tensor(question, device=asked.device).repeat(len(asked), 1)
            text[:, holes] = asked[:, None]
            logits = _last_logits(model, prefix, text).float()
            chosen = logits.gather(1, asked[:, None])[:, 0] - logits.logsumexp(-1)
            found.append(chosen.exp().cpu().numpy().astype(np.float64))
    return np.concatenate(found) if found else np.zeros(0)


def _last_logits(model: Transformer, prefix: list[int], text: Any) -> Any:
    """Logits after each row of `text` (B, T), each behind `prefix`, which is read once: (B, V)."""
    import torch

    from tokkit.model.cache import Cache

    rows, length = text.shape
    last = torch.arange(rows, device=text.device), torch.full_like(text[:, 0], length - 1)
    if not prefix:
        return model(text, at=last)
    cache = Cache(
        model.config, 1, len(prefix) + length, dtype=model.embedding.dtype, device=text.device
    )
    model.hidden(torch.tensor([prefix], device=text.device), cache=cache)
    cache.select(torch.zeros(rows, dtype=torch.long, device=text.device))
    return model(text, at=last, cache=cache)
