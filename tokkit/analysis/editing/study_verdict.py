"""Which layer is edited, and whether facts can be edited: rules fixed before a study was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tokkit.analysis.editing.metrics import (
    BASES,
    MEASURES,
    Estimate,
    mean_over_facts,
    share_of_facts,
)
from tokkit.results import Claim, Control, Evidence, Verdict
from tokkit.stats import sign_flip_p

CLAIM = "facts-can-be-edited"
STATEMENT = (
    "One fact of a model can be changed by one rank-one change of one matrix: it holds in other "
    "wordings, leaves neighbouring facts as they were, and costs unrelated text nothing"
)
LAYER_RULE = (
    "the layer with the largest harmonic mean of efficacy, paraphrase and neighbourhood by token "
    "over the choosing half of the facts; of equal ones the lowest"
)
LEAST_EFFICACY = 0.8
LEAST_PARAPHRASE = 0.5
LEAST_NEIGHBOURHOOD = 0.8
MOST_RISE = 0.01  # bits per byte of unrelated text
LEAST_FACTS = 20  # in the test half: with 15 no efficacy, even of all, has a bound above .8
LEAST_PREFERENCE = 0.95  # share of test facts whose true answer the unedited model prefers
RULE = (
    "On the half of the facts that did not choose the layer, by token, 95% intervals over facts "
    "(Wilson's for efficacy, else bootstrap): supported where each lies with its whole interval on "
    f"the right side: efficacy above {LEAST_EFFICACY:.0%}, paraphrase above "
    f"{LEAST_PARAPHRASE:.0%} and above the unedited model's, neighbours that stay above "
    f"{LEAST_NEIGHBOURHOOD:.0%}, the rise of unrelated text below {MOST_RISE} bits per byte; "
    "contradicted where one lies on the other side with its whole interval; else inconclusive, as "
    "where a control fails"
)
LIMITS = (
    "A rank-one edit of one layer; editing many layers at once was not tried.",
    "What is asked are single prompts and their next words; what follows from a changed fact by "
    "reasoning, and longer conversations, were not asked.",
    "Facts that the model is not shown to know were left out: of those nothing is said.",
    "A neighbour counts as kept where the likeliest next token stays, whether or not it was right.",
    "The interval of the rise draws facts; the unrelated text is one sample, the same for all.",
    "One model and one seed of targets, neighbours and prefixes.",
)


@dataclass(frozen=True, slots=True)
class TestFacts:
    """What the test half found, a value a fact and all in one order.

    `edited`, `unedited` and `random_key` hold measures by name, as `measures_of` gives them;
    `preferred` is whether the unedited model finds the true answer more probable than the target;
    `rises` are bits per byte of unrelated text after the edit less before.
    """

    __test__ = False  # pytest would collect a class of this name

    edited: Sequence[Mapping[str, float | None]]
    unedited: Sequence[Mapping[str, float | None]]
    random_key: Sequence[Mapping[str, float | None]]
    preferred: Sequence[bool]
    rises: Sequence[float]


def choose_layer(harmonic: Mapping[int, float | None]) -> int:
    """By LAYER_RULE, from the harmonic mean of each layer; None counts as nothing."""
    return max(sorted(harmonic), key=lambda layer: harmonic[layer] or 0.0)


def judge(found: TestFacts, seed: int) -> Claim:
    """The claim facts-can-be-edited, by RULE."""
    generator = np.random.default_rng([seed, 7])

    def column(facts: Sequence[Mapping[str, float | None]], name: str) -> list[float | None]:
        return [fact[name] for fact in facts]

    efficacy = share_of_facts(column(found.edited, "efficacy_token"))
    paraphrase, neighbourhood = (
        mean_over_facts(column(found.edited, f"{measure}_token"), generator)
        for measure in ("paraphrase", "neighbourhood")
    )
    more, more_p = _difference(found.edited, found.unedited, "paraphrase_token", generator)
    keyed, keyed_p = _difference(found.edited, found.random_key, "efficacy_token", generator)
    rise = mean_over_facts(list(found.rises), generator)
    sides = (
        _side(efficacy, LEAST_EFFICACY), _side(paraphrase, LEAST_PARAPHRASE), _side(more, 0.0),
        _side(neighbourhood, LEAST_NEIGHBOURHOOD), -_side(rise, MOST_RISE),
    )  # fmt: skip
    controls = _controls(found, keyed)
    evidence = (
        _evidence("efficacy: the target is said", efficacy, "proportion"),
        _evidence("paraphrase: it is said in other wordings", paraphrase, "proportion"),
        replace(
            _evidence("paraphrase, edited less unedited", more, "proportion difference"),
            test="sign flips over facts", p=more_p,
        ),
        _evidence("neighbourhood: neighbours say what they said", neighbourhood, "proportion"),
        _evidence("unrelated text, rise after one edit", rise, "bits per byte"),
        replace(
            _evidence("efficacy, edit less random key", keyed, "proportion difference"),
            test="sign flips over facts", p=keyed_p,
        ),
        *_by_probability(found, generator),
    )  # fmt: skip
    verdict = _verdict(sides, all(control.holds for control in controls))
    return Claim(CLAIM, STATEMENT, verdict, RULE, evidence, controls, LIMITS)


def _by_probability(found: TestFacts, generator: np.random.Generator) -> list[Evidence]:
    basis = BASES[1]
    evidence = []
    for measure in MEASURES:
        values = [fact[f"{measure}_{basis}"] for fact in found.edited]
        shared = measure == "efficacy"  # a fact does it or not
        mean = share_of_facts(values) if shared else mean_over_facts(values, generator)
        evidence.append(_evidence(f"{measure} by {basis}", mean, "proportion"))
    return evidence


def _difference(
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    name: str,
    generator: np.random.Generator,
) -> tuple[Estimate, float | None]:
    """The mean of paired differences with its interval, and its p-value."""
    pairs = [
        one[name] - other[name]
        for one, other in zip(first, second, strict=True)
        if one[name] is not None and other[name] is not None
    ]
    if not pairs:
        return mean_over_facts([], generator), None
    (p,) = sign_flip_p(np.array(pairs)[:, None], generator)
    return mean_over_facts(pairs, generator), float(p)


def _side(found: Estimate, threshold: float) -> int:
    """1 where the whole interval lies above, -1 where it lies below, 0 where neither."""
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > threshold else -1 if found.high < threshold else 0


def _verdict(sides: Sequence[int], controls_hold: bool) -> Verdict:
    if not controls_hold:
        return "inconclusive"
    if min(sides) < 0:
        return "contradicted"
    return "supported" if min(sides) > 0 else "inconclusive"


def _controls(found: TestFacts, keyed: Estimate) -> tuple[Control, ...]:
    facts = len(found.preferred)
    preference = sum(found.preferred) / facts if facts else None
    return (
        Control("facts in the test half", facts, LEAST_FACTS, facts >= LEAST_FACTS),
        Control(
            "share of facts whose true answer the unedited model prefers to the target",
            preference, LEAST_PREFERENCE, preference is not None and preference >= LEAST_PREFERENCE,
        ),
        Control(
            "efficacy, edit less random key: lower bound (must lie above)",
            keyed.low, 0.0, keyed.low is not None and keyed.low > 0,
        ),
    )  # fmt: skip


def _evidence(name: str, found: Estimate, unit: str) -> Evidence:
    return Evidence(name, found.value, unit, found.low, found.high, found.n)
