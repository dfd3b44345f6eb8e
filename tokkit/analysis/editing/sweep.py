"""Which layer to edit: the one where it works best on this fact, not the one that traces best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from torch import Tensor

from tokkit.analysis.editing.asked import Asked, Reply, replies
from tokkit.analysis.editing.passes import editable_layers
from tokkit.analysis.editing.rank_one import Edit, applied, compute_edit
from tokkit.analysis.editing.request import EditRequest
from tokkit.errors import ConfigError
from tokkit.model.transformer import Transformer

LAYERS = 6
RULE = (
    "the layer with the largest harmonic mean of: the target's probability after the prompt; its "
    "mean probability after the paraphrases; the mean over the neighbours of exp(-divergence of "
    "the next token, in nats); each where there are any"
)
Told = Callable[[str, str, int, int], None]


@dataclass(frozen=True, slots=True)
class Swept:
    """One layer's edit and what the model said with it."""

    edit: Edit
    replies: tuple[Reply, ...]
    efficacy: float
    paraphrase: float | None
    neighbourhood: float | None

    @property
    def score(self) -> float:
        """The harmonic mean of what there is; 0 where one of them is."""
        parts = [self.efficacy, self.paraphrase, self.neighbourhood]
        known = [part for part in parts if part is not None]
        return len(known) / sum(1 / part for part in known) if min(known) > 0 else 0.0


def layers_to_try(model: Transformer, *, layer: int | None, every: int | None) -> tuple[int, ...]:
    """One layer, every n-th that can be edited, or LAYERS of them evenly apart.

    Raises ConfigError where there is none.
    """
    if layer is not None:
        return (layer,)
    possible = editable_layers(model)
    if not possible:
        raise ConfigError(
            "no layer of this model can be edited: it needs two layers or more, with a dense "
            "feed-forward in one that is not the last"
        )
    if every is not None:
        return possible[::every]
    count = min(LAYERS, len(possible))
    return tuple(possible[int((n + 0.5) * len(possible) / count)] for n in range(count))


def sweep(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    asked: Sequence[Asked],
    before: Sequence[Reply],
    *,
    moments: Mapping[int, Tensor],
    prefixes: Sequence[str],
    start_ids: Sequence[int],
    end_ids: Sequence[int],
    told: Told,
    **settings: Any,
) -> list[Swept]:
    """Edit each layer of `moments` by itself and ask; the model is left as it was."""
    found = []
    for number, (layer, moment) in enumerate(moments.items()):
        told("editing", "layers", number, len(moments))
        edit = compute_edit(
            model, tokenizer, request, layer=layer, moments=moment, start_ids=start_ids,
            prefixes=prefixes, **settings,
        )  # fmt: skip
        with applied(model, edit):
            after = replies(model, tokenizer, asked, end_ids=end_ids)
        found.append(scored(edit, asked, before, after))
    return found


def best(found: Sequence[Swept]) -> Swept:
    """By RULE; of equal ones the lowest layer."""
    return max(found, key=lambda one: (one.score, -one.edit.layer))


def scored(
    edit: Edit, asked: Sequence[Asked], before: Sequence[Reply], after: Sequence[Reply]
) -> Swept:
    """What RULE looks at."""
    kinds = [one.kind for one in asked]
    chances = {"prompt": [], "paraphrase": [], "neighbour": []}  # type: dict[str, list[float]]
    for kind, old, new in zip(kinds, before, after, strict=True):
        kept = exp(-old.divergence(new)) if kind == "neighbour" else new.target_probability
        chances[kind].append(kept)
    efficacy, paraphrase, neighbourhood = (
        sum(values) / len(values) if values else None for values in chances.values()
    )
    assert efficacy is not None
    return Swept(edit, tuple(after), efficacy, paraphrase, neighbourhood)
