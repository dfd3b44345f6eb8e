"""One fact at a time: asked unedited, edited in one layer, changed as the baselines do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokkit.analysis.editing.known_facts import KnownFact
from tokkit.analysis.editing.metrics import (
    Unrelated,
    measures_of,
    ngram_entropy,
    queries_of,
    repeated_share,
    written,
)
from tokkit.analysis.editing.odds import Odds, Query, odds_of
from tokkit.analysis.editing.passes import feedforward_of, frozen, hidden_after, stream_before
from tokkit.analysis.editing.rank_one import Edit, applied, compute_edit, dual_key
from tokkit.analysis.editing.request import SLOT
from tokkit.analysis.editing.study_records import Record
from tokkit.analysis.editing.value import EditSettings
from tokkit.errors import ArtifactError
from tokkit.model.transformer import Transformer

EDITED = "edit"
RANDOM_KEY = "random key"
PLAIN_MOMENTS = "without second moments"
RANDOM_VALUE = "random value"
FINE_TUNED = "fine-tuning"
UNEDITED = "no edit"
ARMS: dict[str, str] = {
    EDITED: "the rank-one edit",
    FINE_TUNED: (
        "gradient steps on the same matrix and the bare prompt, the change no longer than the "
        "edit's (Frobenius norm)"
    ),
    PLAIN_MOMENTS: "the edit's key and value, with the identity for second moments",
    RANDOM_VALUE: "the edit's key, a random value of the same length",
    RANDOM_KEY: "the edit's value, a random key of the same length",
    UNEDITED: "the model as it was",
}
_STEPS_TO_BUDGET = 5
"""Updates of Adam after which fine-tuning has gone as far as the edit, if all go one way."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every edit of a study has in common."""

    model: Transformer
    tokenizer: Any
    start_ids: tuple[int, ...]
    moments: Mapping[int, Tensor]
    prefixes: tuple[str, ...]
    unrelated: Unrelated
    value: EditSettings
    seed: int

    def edit(self, fact: KnownFact, layer: int) -> Edit:
        """The edit of a fact, of the model as it is now."""
        return compute_edit(
            self.model, self.tokenizer, fact.request, layer=layer, moments=self.moments[layer],
            start_ids=self.start_ids, prefixes=self.prefixes, settings=self.value,
        )  # fmt: skip

    def queries(self, fact: KnownFact) -> list[Query]:
        """All that is asked of a fact."""
        context = self.model.config.context
        return queries_of(self.tokenizer, fact, start_ids=self.start_ids, context=context)

    def generator(self, fact: KnownFact) -> np.random.Generator:
        """Randomness of this fact's own, whatever the order of facts."""
        digest = hashlib.sha256(fact.name.encode()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big")])


def asked(bench: Bench, fact: KnownFact) -> Record:
    """What the model as it is now says: the odds of each query."""
    return {"odds": [odds.record() for odds in odds_of(bench.model, bench.queries(fact))]}


def odds_in(record: Record) -> list[Odds]:
    """The odds that a record holds; ArtifactError where it is damaged."""
    try:
        return [Odds(**entry) for entry in record["odds"]]
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"a kept record of the study is damaged ({error}): delete the folder of records"
        ) from error


def asked_and_written(bench: Bench, fact: KnownFact) -> Record:
    """As `asked`, with the fluency of a text that the model writes about the subject."""
    tokenizer = bench.tokenizer
    prompt = [*bench.start_ids, *tokenizer.encode(fact.free.replace(SLOT, fact.subject))]
    ids = written(bench.model, prompt, seed=bench.seed)
    fluency = {
        "entropy_bits": _plain(ngram_entropy(ids)),
        "repeated": _plain(repeated_share(ids)),
        "text": tokenizer.decode(ids)[:200],
    }
    return {**asked(bench, fact), **fluency}


def swept(bench: Bench, fact: KnownFact, layer: int) -> Record:
    """One layer edited, and asked."""
    edit = bench.edit(fact, layer)
    with applied(bench.model, edit):
        return {**asked(bench, fact), "updates": len(edit.optimised.trials) - 1}


def compared(bench: Bench, fact: KnownFact, layer: int) -> Record:
    """The edit with all measures, and the baselines asked: a record an arm, by its name."""
    edit = bench.edit(fact, layer)
    with applied(bench.model, edit):
        found: Record = {
            EDITED: {
                **asked_and_written(bench, fact),
                "bits_per_byte": bench.unrelated.bits_per_byte(bench.model),
                "updates": len(edit.optimised.trials) - 1,
                "change_norm": float(edit.left.norm() * edit.right.norm()),
            }
        }
    for name, other in _altered(bench, fact, edit).items():
        with applied(bench.model, other):
            found[name] = asked(bench, fact)
    budget = float(edit.left.norm() * edit.right.norm())
    query = bench.queries(fact)[0]
    with fine_tuned(bench.model, query, layer=layer, budget=budget, settings=bench.value):
        found[FINE_TUNED] = asked(bench, fact)
    return found


def _altered(bench: Bench, fact: KnownFact, edit: Edit) -> dict[str, Edit]:
    generator = bench.generator(fact)
    key, moments = edit.optimised.key, bench.moments[edit.layer]
    other_key = _like(key, generator)
    return {
        RANDOM_KEY: replace(edit, right=dual_key(other_key, moments)),
        PLAIN_MOMENTS: replace(edit, right=key / key.dot(key)),
        RANDOM_VALUE: replace(edit, left=_like(edit.left, generator)),
    }


def _like(vector: Tensor, generator: np.random.Generator) -> Tensor:
    """A vector of the same length in a random direction."""
    drawn = torch.from_numpy(generator.standard_normal(len(vector))).to(vector)
    scaled: Tensor = drawn * (vector.norm() / drawn.norm())
    return scaled


@contextmanager
def fine_tuned(
    model: Transformer, query: Query, *, layer: int, budget: float, settings: EditSettings
) -> Iterator[None]:
    """The model whose down projection in `layer` was moved by gradient, afterwards as before.

    Adam on -log p of the target after the prompt; the change is drawn back to the Frobenius norm
    `budget` (constrained fine-tuning, Zhu et al. 2020, with the edit's own norm as its bound).
    """
    weight = feedforward_of(model, layer).down.weight
    original = weight.data
    change = _descended(model, query, layer, budget, settings)
    weight.data = original + change
    try:
        yield
    finally:
        weight.data = original


def _descended(
    model: Transformer, query: Query, layer: int, budget: float, settings: EditSettings
) -> Tensor:
    down = feedforward_of(model, layer).down
    change = torch.zeros_like(down.weight, requires_grad=True)
    adam = torch.optim.Adam([change], lr=budget / change.numel() ** 0.5 / _STEPS_TO_BUDGET)
    ids = torch.tensor([[*query.ids, *query.target[:-1]]], device=change.device)
    targets = torch.tensor(query.target, device=change.device)[:, None]

    def add(_module: object, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + inputs[0] @ change.T

    with frozen(model), torch.enable_grad(), ExitStack() as stack:
        with torch.no_grad():
            stream = stream_before(model, ids, layer)
        stack.callback(down.register_forward_hook(add).remove)
        for _ in range(settings.steps):
            hidden = hidden_after(model, stream, layer)[0, len(query.ids) - 1 :]
            chances = model.unembed(hidden).float().log_softmax(-1)
            nats = -chances.gather(-1, targets).mean()
            if float(nats.detach()) < settings.enough:
                break
            (change.grad,) = torch.autograd.grad(nats, change)
            adam.step()
            with torch.no_grad():
                change *= (budget / change.norm().clamp(min=budget)).clamp(max=1)
    return change.detach()


def in_a_row(
    bench: Bench,
    facts: Sequence[KnownFact],
    before: Mapping[str, Sequence[Odds]],
    *,
    layer: int,
    stops: Sequence[int],
) -> Record:
    """Edit the facts one after the other, each on the model of the edits before it.

    At each of `stops` all facts edited so far are asked again. Neighbours that were edited
    themselves are not asked: they shall not stay. An edit that cannot be worked out ends the row.
    """
    found: Record = {"stops": [], "ended": None}
    with ExitStack() as edits:
        for number, fact in enumerate(facts[: max(stops)], start=1):
            try:
                edits.enter_context(applied(bench.model, bench.edit(fact, layer)))
                if number in stops:
                    found["stops"].append(_looked_back(bench, facts[:number], before))
            except ArtifactError as error:
                found["ended"] = {"after": number - 1, "why": str(error)}
                break
    return found


def _looked_back(
    bench: Bench, facts: Sequence[KnownFact], before: Mapping[str, Sequence[Odds]]
) -> Record:
    edited = {(fact.relation, fact.subject) for fact in facts}
    measures = []
    for fact in facts:
        kept = [
            (query, old)
            for query, old in zip(bench.queries(fact), before[fact.name], strict=True)
            if not (query.kind.startswith("neighbour") and (fact.relation, query.about) in edited)
        ]
        now = odds_of(bench.model, [query for query, _ in kept])
        kinds = [query.kind for query, _ in kept]
        measures.append(measures_of(kinds, [old for _, old in kept], now))
    return {
        "edits": len(facts),
        "facts": measures,
        "bits_per_byte": bench.unrelated.bits_per_byte(bench.model),
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
