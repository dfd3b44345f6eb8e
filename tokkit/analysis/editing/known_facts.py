"""Facts to edit in numbers: ours for models of real text, and those of a generated world.

Each comes with other wordings, and with neighbours: the same wording about other subjects, whose
answers shall stay (the neighbourhood of CounterFact, Meng et al. 2022, has those of one answer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from tokkit.analysis.editing.odds import Query, odds_of
from tokkit.analysis.editing.request import SLOT, EditRequest, answer_ids
from tokkit.corpus.world import Fact, World
from tokkit.corpus.world.stock import package_data
from tokkit.errors import ConfigError, InputError
from tokkit.model.scoring import score
from tokkit.model.transformer import Transformer

FILE = "known_facts.toml"
MIN_PARAPHRASES = 5
NEIGHBOURS = 5
"""At most so many neighbours with the same answer, and as many with others."""
KNOWN_RULE = (
    "a fact counts as known where the true answer is the most probable of all the relation's "
    "answers after the prompt and after more than half of the paraphrases, and, of a generated "
    "world, where the model says it after the prompt of itself"
)
_WORLD_ENDING = " {object}."
Told = Callable[[str, str, int, int], None]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """Another wording with one "{}".

    `trained` is whether training had it of this subject, None where that is not known.
    """

    prompt: str
    trained: bool | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another subject of the relation and its answer, asked in the wording that is edited."""

    subject: str
    answer: str


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact, another answer of its kind to be written in its place, and what is asked besides.

    `free` is a template after which a model goes on as it likes; `objects` are all answers of the
    relation. Raises InputError where a template has not one place for the subject, where target
    and answer are the same, and where there are too few paraphrases.
    """

    relation: str
    subject: str
    answer: str
    target: str
    prompt: str
    paraphrases: tuple[Paraphrase, ...]
    neighbours: tuple[Neighbour, ...]
    free: str
    objects: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check templates, target and the number of paraphrases."""
        EditRequest(self.subject, self.prompt, self.target)
        for template in (*(one.prompt for one in self.paraphrases), self.free):
            EditRequest(self.subject, template, self.target)
        if self.target == self.answer:
            raise InputError(
                f"the target must differ from the answer, got {self.answer!r} twice for "
                f"{self.subject!r}: give another target"
            )
        if len(self.paraphrases) < MIN_PARAPHRASES:
            raise InputError(
                f"a fact needs {MIN_PARAPHRASES} paraphrases or more, got "
                f"{len(self.paraphrases)} of {self.relation!r}: write more"
            )

    @property
    def request(self) -> EditRequest:
        """What is written into the model."""
        return EditRequest(self.subject, self.prompt, self.target)

    @property
    def name(self) -> str:
        """Relation and subject: no two facts of a study share it."""
        return f"{self.relation}: {self.subject}"


def read_known_facts(seed: int) -> tuple[KnownFact, ...]:
    """The facts of corpora/known_facts.toml in its order; targets and neighbours by the seed."""
    return parse_known_facts(package_data(FILE), seed)


def parse_known_facts(record: Mapping[str, Any], seed: int) -> tuple[KnownFact, ...]:
    """The facts of such a file as it was read; InputError where it is not one."""
    try:
        relations = [
            (name, entry["prompt"], tuple(entry["paraphrases"]), entry["free"], entry["objects"])
            for name, entry in record["relation"].items()
        ]
        pairs = {
            name: [
                (subject, answer) for answer, subjects in objects.items() for subject in subjects
            ]
            for name, _, _, _, objects in relations
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"known facts must be relations of prompt, paraphrases, free and objects ({error}): "
            f"see corpora/{FILE}"
        ) from error
    found: list[KnownFact] = []
    for name, prompt, paraphrases, free, _ in relations:
        subjects = [subject for subject, _ in pairs[name]]
        if len(set(subjects)) < len(subjects):
            raise InputError(f"relation {name!r} has a subject twice: keep it once")
        for place, (subject, answer) in enumerate(pairs[name]):
            generator = np.random.default_rng([seed, len(found), place])
            target = _target(pairs[name], answer, generator)
            found.append(
                KnownFact(
                    name, subject, answer, target, prompt,
                    tuple(Paraphrase(text) for text in paraphrases),
                    _neighbours(pairs[name], subject, answer, target, generator),
                    free, tuple(sorted({known for _, known in pairs[name]})),
                )
            )  # fmt: skip
    return tuple(found)


def world_facts(world: World, seed: int) -> tuple[KnownFact, ...]:
    """The facts of a world that its text states, each to be edited in a wording that it states."""
    stated = [fact for fact in world.facts if fact.wordings_trained]
    pairs: dict[str, list[tuple[str, str]]] = {}
    for fact in stated:
        pairs.setdefault(fact.relation, []).append((fact.subject, fact.object))
    found = []
    for place, fact in enumerate(stated):
        generator = np.random.default_rng([seed, place])
        wording = int(generator.choice(fact.wordings_trained))
        prompt = _template(world, fact, wording)
        target = _target(pairs[fact.relation], fact.object, generator)
        others = [n for n in range(len(world.wordings[fact.relation])) if n != wording]
        found.append(
            KnownFact(
                fact.relation, fact.subject, fact.object, target, prompt,
                tuple(
                    Paraphrase(_template(world, fact, n), n in fact.wordings_trained)
                    for n in others
                ),
                _neighbours(pairs[fact.relation], fact.subject, fact.object, target, generator),
                prompt[: prompt.index(SLOT) + len(SLOT)],
                world.objects(fact.relation),
            )
        )  # fmt: skip
    return tuple(found)


def _template(world: World, fact: Fact, wording: int) -> str:
    text = world.relations[fact.relation].wordings[wording]
    return text.removesuffix(_WORLD_ENDING).replace("{subject}", SLOT)


def _target(pairs: Sequence[tuple[str, str]], answer: str, generator: np.random.Generator) -> str:
    others = sorted({known for _, known in pairs} - {answer})
    if not others:
        raise InputError(f"a relation needs two answers or more, got {answer!r} alone: write more")
    return others[int(generator.integers(len(others)))]


def _neighbours(
    pairs: Sequence[tuple[str, str]], subject: str, answer: str, target: str,
    generator: np.random.Generator,
) -> tuple[Neighbour, ...]:  # fmt: skip
    """Those of the same answer first; none whose answer is the target: it may become likelier."""
    order = generator.permutation(len(pairs))
    others = [pairs[int(n)] for n in order if pairs[int(n)][0] != subject]
    same = [pair for pair in others if pair[1] == answer]
    rest = [pair for pair in others if pair[1] not in (answer, target)]
    return tuple(Neighbour(*pair) for pair in (*same[:NEIGHBOURS], *rest[:NEIGHBOURS]))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a model knows of facts: those known, and how many of each relation were asked."""

    known: tuple[KnownFact, ...]
    asked: Mapping[str, int]
    unanswerable: int
    """Facts whose prompt and answer share a token in this tokenizer, or are too long."""

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of each relation, how many facts are known and how many were asked."""
        known = [fact.relation for fact in self.known]
        return {name: (known.count(name), asked) for name, asked in self.asked.items()}


def shown_to_know(
    model: Transformer,
    tokenizer: Any,
    facts: Sequence[KnownFact],
    *,
    start_ids: Sequence[int] = (),
    says: bool = False,
    told: Told = _silent,
) -> Knowledge:
    """Which facts the model knows by KNOWN_RULE; with `says` it must say the answer of itself.

    That is asked of the whole answer among the relation's answers, by the sum of its tokens'
    log-probabilities. Raises ConfigError where no facts are given.
    """
    if not facts:
        raise ConfigError("there are no facts to ask for: give some")
    by_relation: dict[str, list[KnownFact]] = {}
    for fact in facts:
        by_relation.setdefault(fact.relation, []).append(fact)
    known: list[KnownFact] = []
    unanswerable = 0
    for done, (relation, own) in enumerate(by_relation.items()):
        told(f"asking for {relation}", "relations", done, len(by_relation))
        answerable = [fact for fact in own if _has_room(tokenizer, fact, start_ids, model)]
        unanswerable += len(own) - len(answerable)
        known += _known(model, tokenizer, answerable, start_ids, says=says)
    asked = {relation: len(own) for relation, own in by_relation.items()}
    return Knowledge(tuple(known), asked, unanswerable)


def _known(
    model: Transformer,
    tokenizer: Any,
    facts: Sequence[KnownFact],
    start_ids: Sequence[int],
    *,
    says: bool,
) -> list[KnownFact]:
    """Paraphrases are asked only of facts whose prompt was answered: most time goes there."""
    shares = _right(model, tokenizer, facts, start_ids, prompts=True)
    found = [
        fact
        for fact, right in zip(facts, shares, strict=True)
        if right == 1 and (not says or _says(model, tokenizer, fact, start_ids))
    ]
    shares = _right(model, tokenizer, found, start_ids, prompts=False)
    return [fact for fact, right in zip(found, shares, strict=True) if right > 0.5]


def knows(nats: Sequence[float], answer: int) -> bool:
    """Whether the answer is more probable than every other: log-probabilities, and its place."""
    best_other = max((value for n, value in enumerate(nats) if n != answer), default=-inf)
    return nats[answer] > best_other


def _right(
    model: Transformer,
    tokenizer: Any,
    facts: Sequence[KnownFact],
    start_ids: Sequence[int],
    *,
    prompts: bool,
) -> list[float]:
    """Of each fact the share of its prompts, or of its paraphrases, that are answered rightly."""
    asked = [_pairs(tokenizer, fact, start_ids, prompts=prompts) for fact in facts]
    scores = iter(score(model, [pair for pairs in asked for pair in pairs]))
    shares = []
    for fact, pairs in zip(facts, asked, strict=True):
        nats = np.array([next(scores).total for _ in pairs]).reshape(-1, len(fact.objects))
        answer = fact.objects.index(fact.answer)
        shares.append(float(np.mean([knows(row, answer) for row in nats.tolist()])))
    return shares


def _pairs(
    tokenizer: Any,
    fact: KnownFact,
    start_ids: Sequence[int],
    *,
    prompts: bool,
    context: int | None = None,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Prompt ids and answer ids: of each wording, of each answer of the relation."""
    templates = [fact.prompt] if prompts else [one.prompt for one in fact.paraphrases]
    return [
        answer_ids(tokenizer, text.replace(SLOT, fact.subject), known, start_ids, context=context)
        for text in templates
        for known in fact.objects
    ]


def _has_room(
    tokenizer: Any, fact: KnownFact, start_ids: Sequence[int], model: Transformer
) -> bool:
    try:
        for prompts in (True, False):
            _pairs(tokenizer, fact, start_ids, prompts=prompts, context=model.config.context)
    except InputError:
        return False
    return True


def _says(model: Transformer, tokenizer: Any, fact: KnownFact, start_ids: Sequence[int]) -> bool:
    ids, answer = answer_ids(tokenizer, fact.request.filled, fact.answer, start_ids)
    (odds,) = odds_of(model, [Query("prompt", ids, answer, answer)])
    return odds.answer_said
