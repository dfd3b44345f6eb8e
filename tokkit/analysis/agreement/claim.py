"""The claim attention-matches: where the verb looks, and whether that is what decides it.

RULE, margins and controls were fixed before the first run on any model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.results import Claim, Control, Evidence, Verdict
from tokkit.stats import hierarchical_bootstrap, holm, sign_flip_p

Floats = NDArray[np.float64]

ALPHA = 0.05
LEAST_WEIGHT = 0.05  # of attention, between subject and adverb
LEAST_NATS = 0.1  # of logit difference, between cutting one and the other
LEAST_SHARE = 0.1  # of the way between the two of a pair, between patching one and the other
FEWEST_ITEMS = 10

STATEMENT = (
    'Attention is learned matching: where "was" comes next, the model looks back at the subject '
    '("cat") rather than at the adverb ("yesterday"), and that look decides the verb.'
)
RULE = (
    "On sentences with an adverb before the verb. Supported if all controls hold and, each with "
    f"its 95% interval above the margin and a sign-flip p below {ALPHA} (Holm over the four): the "
    "head that looks most at the subject rather than the adverb on one half of the sentences gives "
    f"the subject more weight than the adverb on the other half ({LEAST_WEIGHT}), also where there "
    "are attractors; cutting the last token's edges to the subject lowers the logit difference of "
    f"right and wrong verb more than cutting those to the adverb ({LEAST_NATS} nats); and putting "
    "the subject's states into the twin sentence restores more of the difference than putting the "
    f"adverb's ({LEAST_SHARE} of it, a mean over layers). Contradicted if all controls hold and "
    "the interval of the weights, or that of the cuts, lies below 0. Inconclusive otherwise."
)
LIMITS = (
    "The verb is one of two forms whose number is the subject's, and sentences are of one kind: it "
    "does not say that weights explain other answers.",
    "Weights and causes are two measurements: a head can look at the subject and not matter. The "
    "claim asks for both, of the model as a whole; the table of heads tells them apart.",
    "The adverb stands right before the verb, so it is the very token that predicts: its weight "
    "is what a head keeps to itself, and its states end up holding the answer. That works against "
    "the claim, not for it.",
    "States hold what earlier layers read: to patch the subject's is to change what was gathered "
    "there, and in the first layers it is the subject itself.",
    "What is cut is the edge from the token before the verb; what earlier tokens gathered of the "
    "subject stays, and can take its place.",
)


@dataclass(frozen=True, slots=True)
class Differences:
    """Paired differences by sentence, NaN-free: what the four tests are of.

    weight       subject minus adverb, of the chosen head, on the sentences that did not choose it
    weight_far   the same, of those with attractors
    cut          drop after cutting the subject's edges minus that of the adverb's, nats
    state        share restored by the subject's states minus that by the adverb's
    control      drop after cutting the subject's edges minus that of another token's
    right        whether the model prefers the right verb
    """

    weight: Floats
    weight_far: Floats
    cut: Floats
    state: Floats
    control: Floats
    right: Floats


def claim_of(tests: Differences, untrained: Differences, seed: int) -> Claim | None:
    """The claim; None where too few sentences can be asked."""
    if min(len(tests.weight), len(tests.weight_far), len(tests.cut)) < FEWEST_ITEMS:
        return None
    generator = np.random.default_rng([seed, 21])
    named = (
        ("weight on subject minus adverb, chosen head", tests.weight, "share of attention"),
        ("the same where there are attractors", tests.weight_far, "share of attention"),
        ("cutting the subject's edges minus the adverb's", tests.cut, "nats"),
        ("patching the subject's states minus the adverb's", tests.state, "share restored"),
    )
    p = [float(sign_flip_p(values[:, None], generator)[0]) for _, values, _ in named]
    corrected = holm(p)
    evidence = [
        _evidence(name, values, unit, generator, corrected[place])
        for place, (name, values, unit) in enumerate(named)
    ]
    controls = _controls(tests, untrained, generator)
    margins = (LEAST_WEIGHT, LEAST_WEIGHT, LEAST_NATS, LEAST_SHARE)
    return Claim(
        id="attention-matches",
        statement=STATEMENT,
        verdict=_verdict(evidence, margins, controls),
        rule=RULE,
        evidence=(
            *evidence,
            _evidence("cutting the subject's edges minus another token's", tests.control, "nats",
                      generator, None),
            _evidence("right verb preferred", tests.right, "share", generator, None),
        ),
        controls=controls,
        limits=LIMITS,
    )  # fmt: skip


def _evidence(
    name: str, values: Floats, unit: str, generator: np.random.Generator, p: float | None
) -> Evidence:
    if not len(values):
        return Evidence(name, None, unit, n=0)
    found = hierarchical_bootstrap(values[None], generator)
    test = None if p is None else "bootstrap; sign flips over sentences, Holm"
    return Evidence(name, found.estimate, unit, found.low, found.high, len(values), test, p)


def _controls(
    tests: Differences, untrained: Differences, generator: np.random.Generator
) -> tuple[Control, ...]:
    right = _evidence("", tests.right, "", generator, None)
    cut = _evidence("", tests.control, "", generator, None)
    weight = _evidence("", untrained.weight, "", generator, None)
    before = _evidence("", untrained.cut, "", generator, None)
    return (
        _control("right verb preferred, lower bound", right.low, 0.5),
        _control("cutting the subject's edges minus another token's, lower bound (nats)",
                 cut.low, 0.0),
        _control("before training: margin minus the lower bound of the weights",
                 None if weight.low is None else LEAST_WEIGHT - weight.low, 0.0),
        _control("before training: margin minus the lower bound of the cuts (nats)",
                 None if before.low is None else LEAST_NATS - before.low, 0.0),
    )  # fmt: skip


def _control(name: str, value: float | None, minimum: float) -> Control:
    return Control(name, value, minimum, value is not None and value > minimum)


def _verdict(
    evidence: Sequence[Evidence], margins: Sequence[float], controls: Sequence[Control]
) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    lows = [-np.inf if item.low is None else item.low for item in evidence]
    significant = all(item.p is not None and item.p < ALPHA for item in evidence)
    if significant and all(low > margin for low, margin in zip(lows, margins, strict=True)):
        return "supported"
    against = any(item.high is not None and item.high < 0 for item in (evidence[0], evidence[2]))
    return "contradicted" if against else "inconclusive"
