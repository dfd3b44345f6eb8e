"""What an edit did, in numbers: efficacy, paraphrase, neighbourhood, fluency, unrelated text.

Each of the first three is had in two forms. By probability (Meng et al. 2022): the target is more
probable than the true answer, however improbable both are. By token: greedy decoding says it, the
stricter form. Shares are of a fact's prompts; intervals draw facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.editing.known_facts import KnownFact
from tokkit.analysis.editing.moments import packed_rows
from tokkit.analysis.editing.odds import Odds, Query
from tokkit.analysis.editing.request import SLOT, answer_ids
from tokkit.analysis.positions.losses import nats_of
from tokkit.errors import InputError
from tokkit.model.generation import generate_ids
from tokkit.model.sampling import SamplingConfig
from tokkit.model.transformer import Transformer
from tokkit.stats import wilson

MEASURES = ("efficacy", "paraphrase", "neighbourhood")
BASES = ("token", "probability")
RESAMPLES = 2000
LEVEL = 0.95
NEW_TOKENS = 48
_GRAMS = {2: 1 / 3, 3: 2 / 3}  # order and weight: those of Meng et al. 2022
Floats = NDArray[np.float64]


def queries_of(
    tokenizer: Any,
    fact: KnownFact,
    *,
    start_ids: Sequence[int] = (),
    context: int | None = None,
) -> list[Query]:
    """All that is asked of a fact, the edited prompt first; what has no room is left out.

    Raises InputError where the edited prompt itself cannot be asked.
    """

    def query(kind: str, prompt: str, subject: str, answer: str) -> Query:
        text = prompt.replace(SLOT, subject)
        ids, right = answer_ids(tokenizer, text, answer, start_ids, context=context)
        _, target = answer_ids(tokenizer, text, fact.target, start_ids, context=context)
        return Query(kind, ids, right, target, subject)

    found = [query("prompt", fact.prompt, fact.subject, fact.answer)]
    more = []
    for one in fact.paraphrases:
        kind = "unseen paraphrase" if one.trained is False else "paraphrase"
        more.append((kind, one.prompt, fact.subject, fact.answer))
    for other in fact.neighbours:
        kind = "same answer" if other.answer == fact.answer else "other answer"
        more.append((f"neighbour, {kind}", fact.prompt, other.subject, other.answer))
    for parts in more:
        try:
            found.append(query(*parts))
        except InputError:
            continue
    return found


def measures_of(
    kinds: Sequence[str], before: Sequence[Odds], after: Sequence[Odds]
) -> dict[str, float | None]:
    """Of one fact: each of MEASURES by each of BASES, named as "efficacy_token"; None unasked.

    A neighbour is kept by token where the likeliest token stays what it was, by probability where
    its true answer is still more probable than the target.
    """
    held: dict[str, list[bool]] = {f"{m}_{basis}": [] for m in MEASURES for basis in BASES}
    for kind, old, new in zip(kinds, before, after, strict=True):
        if kind.startswith("neighbour"):
            held["neighbourhood_token"].append(new.said == old.said)
            held["neighbourhood_probability"].append(new.answer_nats > new.target_nats)
        else:
            measure = "efficacy" if kind == "prompt" else "paraphrase"
            held[f"{measure}_token"].append(new.target_said)
            held[f"{measure}_probability"].append(new.prefers_target)
    return {name: sum(asked) / len(asked) if asked else None for name, asked in held.items()}


def harmonic_mean(parts: Sequence[float]) -> float:
    """Their harmonic mean; 0 where one of them is 0, NaN where one is missing.

    >>> harmonic_mean([1.0, 0.5, 0.25])
    0.42857142857142855
    """
    if any(np.isnan(part) for part in parts):
        return float("nan")
    return len(parts) / sum(1 / part for part in parts) if min(parts) > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over facts with the bounds of its bootstrap interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def mean_over_facts(values: Sequence[float | None], generator: np.random.Generator) -> Estimate:
    """The mean over the facts that have a value, and a percentile interval that draws facts."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if not known.size:
        return Estimate(None, None, None, 0)
    drawn = known[_draws(known.size, generator)].mean(1)
    return Estimate(float(known.mean()), *_bounds(drawn), int(known.size))


def share_of_facts(values: Sequence[float | None]) -> Estimate:
    """A share of facts that do or do not, with Wilson's interval: all of few is not certainty."""
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(None, None, None, 0)
    found = wilson(round(sum(known)), len(known))
    return Estimate(found.estimate, found.low, found.high, len(known))


def harmonic_over_facts(
    facts: Sequence[Mapping[str, float | None]], basis: str, generator: np.random.Generator
) -> Estimate:
    """The harmonic mean of the means of MEASURES by a basis; each resample draws whole facts."""
    cells = np.array(
        [[np.nan if (v := fact[f"{m}_{basis}"]) is None else v for m in MEASURES] for fact in facts]
    )
    if not cells.size or np.isnan(cells).all(0).any():
        return Estimate(None, None, None, len(facts))
    means = _means(cells[_draws(len(cells), generator)])
    drawn = np.array([harmonic_mean(row) for row in means])
    value = harmonic_mean(_means(cells[None])[0].tolist())
    return Estimate(value, *_bounds(drawn[~np.isnan(drawn)]), len(facts))


def _draws(facts: int, generator: np.random.Generator) -> NDArray[np.int64]:
    return generator.integers(0, facts, size=(RESAMPLES, facts))


def _means(cells: Floats) -> Floats:
    """Means over facts, (..., facts, measures) -> (..., measures); NaN where none has a value."""
    there = ~np.isnan(cells)
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(there, cells, 0).sum(-2) / there.sum(-2)
    return found


def _bounds(drawn: Floats) -> tuple[float, float]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def ngram_entropy(ids: Sequence[int]) -> float:
    """A third of the entropy (bits) of bigrams and two thirds of that of trigrams.

    The fluency of Meng et al. 2022 (after Zhang et al. 2018), over tokens: low where a model
    repeats itself. Comparable among texts of one length only. NaN of fewer than three tokens.

    >>> ngram_entropy([1, 2, 1, 2])  # bigrams 2/3, 1/3; trigrams 1/2, 1/2
    0.9727652780181631
    """
    if len(ids) < max(_GRAMS):
        return float("nan")
    return sum(weight * _entropy(_grams(ids, n)) for n, weight in _GRAMS.items())


def repeated_share(ids: Sequence[int], n: int = 3) -> float:
    """The share of n-grams that stood in the text before; NaN where there are none.

    >>> repeated_share([1, 2, 1, 2, 1])
    0.3333333333333333
    """
    counts = _grams(ids, n)
    total = sum(counts.values())
    return (total - len(counts)) / total if total else float("nan")


def _grams(ids: Sequence[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(ids[start : start + n]) for start in range(len(ids) - n + 1))


def _entropy(counts: Counter[tuple[int, ...]]) -> float:
    total = sum(counts.values())
    return -sum(count / total * log2(count / total) for count in counts.values())


def written(model: Transformer, prompt: Sequence[int], *, seed: int) -> list[int]:
    """NEW_TOKENS tokens drawn after a prompt at temperature 1, fewer where the context ends.

    An end of text does not end it: texts of one length are compared.
    """
    room = min(NEW_TOKENS, model.config.context + 1 - len(prompt))
    (ids,) = generate_ids(
        model, [prompt], max_new_tokens=room, sampling=SamplingConfig(temperature=1.0), seed=seed
    )
    return ids


@dataclass(frozen=True, slots=True)
class Unrelated:
    """Rows of text (N, S + T) that name no subject, S tokens given, and the bytes of the others."""

    rows: NDArray[np.int64]
    given: int
    text_bytes: int

    def bits_per_byte(self, model: Transformer) -> float:
        """What the model as it is now pays for them."""
        nats = nats_of(model, self.rows, given=self.given)
        return float(nats.sum() / np.log(2) / self.text_bytes)


def unrelated_text(
    tokenizer: Any,
    texts: Sequence[str],
    subjects: Sequence[str],
    *,
    tokens: int,
    length: int,
    start_ids: Sequence[int] = (),
) -> Unrelated:
    """Rows of about `tokens` tokens in all, of the texts that name none of the subjects.

    Raises InputError where those do not fill a row.
    """
    clean = [text for text in texts if not any(subject in text for subject in subjects)]
    rows = packed_rows(tokenizer, clean, tokens=tokens, length=length, start_ids=start_ids)
    given = max(1, len(start_ids))
    counted = rows[:, given:].ravel().tolist()
    sizes = sum(len(tokenizer.token_bytes(token)) for token in counted)
    return Unrelated(rows, given, sizes)
