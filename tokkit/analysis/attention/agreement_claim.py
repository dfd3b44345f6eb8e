"""The claim that what the verb looks at is what decides it: rule, controls, limits.

The rule was fixed before any outcome was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit import stats
from tokkit.analysis.attention.agreement_data import Measured, Weights, means, shares
from tokkit.analysis.attention.agreement_items import ADVERB, ATTRACTORS, SUBJECT
from tokkit.analysis.attention.agreement_measures import (
    CONTROL,
    CUT_ROLES,
    PATCH_ROLES,
    WEIGHT_ROLES,
)
from tokkit.analysis.intervals import Ratios, plain, resampling
from tokkit.results import Claim, Control, Evidence, Verdict

Floats = NDArray[np.float64]
LEVEL = 0.05
FEWEST_ITEMS = 2 * stats.MIN_BLOCKS
RULE = (
    "Sentences with an adverb between the nouns and the verb. (a) The head with the most weight on "
    "the subject over that on the adverb, from the last token before the verb, is chosen on every "
    "second sentence; on the others the mean difference has an interval above 0, over all and over "
    "those with attractors. (b) Cutting the last token's edges to the subject, in all layers, "
    "lowers the logit difference of right and wrong verb more than cutting those to the adverb; "
    "and putting the subject's states, mean over the layers looked at, into the sentence with the "
    "other number restores more than putting the adverb's. Supported where all four differences, "
    "paired by sentence, have intervals above 0 and sign-flip p, Holm-corrected over the four, "
    f"below {LEVEL}. Contradicted where an interval lies below 0. Else, or where a control fails, "
    "inconclusive. The rule was fixed before outcomes were seen."
)
LIMITS = (
    "It is of number agreement in short sentences of a few patterns. That weights tell what "
    "decides here does not say that they do elsewhere: the table of heads has where they do not.",
    "The head of (a) is chosen by its weight alone: it need not be the head that decides.",
    "Where the adverb is the last token before the verb, weight on it is weight on the place that "
    "predicts: its state is not patched as an adverb's, and cutting it cuts that place off itself.",
    "The subject alone differs within a pair, so its own early states restore everything by "
    "design; what is told is how long they do and that the adverb's never come near.",
    "Cut edges leave weights that the model never gave; other heads may step in for one that is "
    "cut or patched (self-repair), which makes single heads look less needed than they are.",
    "Only the last token's edges are in the rule: number that travels by way of other tokens is "
    "seen in the cuts from every later token, which are reported and not judged.",
)


@dataclass(frozen=True, slots=True)
class Tested:
    """One difference, paired by sentence: (N,), NaN where a sentence lacks what is compared."""

    name: str
    unit: str
    values: Floats


def chosen_head(weights: Weights, chooses: NDArray[np.bool_]) -> tuple[int, int]:
    """The head that gives the subject most over the adverb, in the choosing sentences."""
    margin = np.nanmean(_margin(weights, ADVERB)[chooses], axis=0)
    layer, head = np.unravel_index(int(np.nanargmax(margin)), margin.shape)
    return int(layer), int(head)


def choosing(n: int) -> NDArray[np.bool_]:
    """Which of n items choose: every second one."""
    found: NDArray[np.bool_] = np.arange(n) % 2 == 0
    return found


def _margin(weights: Weights, against: str) -> Floats:
    """Weight on the subject over that on another role, from the last token: (N, L, H)."""
    at = weights.mass[:, 0]
    found: Floats = at[..., WEIGHT_ROLES.index(SUBJECT)] - at[..., WEIGHT_ROLES.index(against)]
    return found


def _head_margin(weights: Weights, against: str = ADVERB) -> Floats:
    """That of the chosen head in the sentences that did not choose it; NaN of the others: (N,)."""
    chooses = choosing(len(weights.mass))
    layer, head = chosen_head(weights, chooses)
    return np.where(chooses, np.nan, _margin(weights, against)[:, layer, head])


def cut_drops(measured: Measured, *, everywhere: bool = False) -> Floats:
    """Loss of logit difference with each role cut in all layers: (N, roles)."""
    knocked = [found.knocked for found in measured.caused]
    return np.stack(
        [of.clean - (of.everywhere if everywhere else of.at_last)[-1] for of in knocked]
    )


def _state_moves(measured: Measured, direction: str) -> Floats:
    """Subject's less adverb's way moved, mean over layers: (N,)."""
    moved = measured.moved(direction, "states").mean(1)
    return _between(moved, PATCH_ROLES, ADVERB)


def _between(values: Floats, roles: Sequence[str], against: str) -> Floats:
    found: Floats = values[:, roles.index(SUBJECT)] - values[:, roles.index(against)]
    return found


def required(measured: Measured) -> list[Tested]:
    """The four differences that the rule asks for."""
    margin = _head_margin(measured.weights)
    some = np.where(measured.attractors > 0, margin, np.nan)
    return [
        Tested("weight on the subject over the adverb, chosen head", "proportion", margin),
        Tested("... of sentences with attractors", "proportion", some),
        Tested("knock-out of the subject over that of the adverb", "logits",
               _between(cut_drops(measured), CUT_ROLES, ADVERB)),
        Tested("restored by the subject's states over the adverb's", "logits",
               _state_moves(measured, "restoring")),
    ]  # fmt: skip


def reported(measured: Measured) -> list[Tested]:
    """Differences that are told and not judged."""
    everywhere = cut_drops(measured, everywhere=True)
    return [
        Tested("weight on the subject over the attractors, chosen head", "proportion",
               _head_margin(measured.weights, ATTRACTORS)),
        Tested("knock-out from every later token, subject over adverb", "logits",
               _between(everywhere, CUT_ROLES, ADVERB)),
        Tested("... subject over attractors", "logits",
               _between(everywhere, CUT_ROLES, ATTRACTORS)),
        Tested("broken by the twin's states, subject over adverb", "logits",
               _state_moves(measured, "breaking")),
    ]  # fmt: skip


def _judged(tested: Tested, generator: np.random.Generator) -> tuple[Ratios, float | None, int]:
    """The mean with its interval, sign-flip p, and the number of sentences."""
    values = tested.values[np.isfinite(tested.values)]
    if not values.size:
        nothing = np.array(np.nan)
        return Ratios(nothing, nothing, nothing), None, 0
    found = means(resampling(np.arange(len(values)), generator), values)
    return found, float(stats.sign_flip_p(values[:, None], generator)[0]), len(values)


def attention_claim(name: str, measured: Measured, seed: int) -> Claim:
    """Judge the claim by RULE."""
    generator = np.random.default_rng([seed, 13])
    tests, extra = required(measured), reported(measured)
    judged = [_judged(test, generator) for test in tests]
    corrected = stats.holm([p for _, p, _ in judged])
    evidence = [
        _evidence(test, found, n, f"sign flips, Holm over {len(tests)}", p)
        for test, (found, _, n), p in zip(tests, judged, corrected, strict=True)
    ]
    for test in extra:
        found, _, n = _judged(test, generator)
        evidence.append(_evidence(test, found, n, None, None))
    drawn = resampling(np.arange(len(measured.items)), generator)
    restored = shares(drawn, measured.moved("restoring", "states"), measured.apart)
    for role in (SUBJECT, ADVERB):
        at = PATCH_ROLES.index(role)
        evidence.append(
            Evidence(f"share restored by the {role}'s states, mean over layers",
                     plain(restored.estimate[:, at].mean()), "proportion")
        )  # fmt: skip
    controls = _controls(measured, generator)
    return Claim(
        id="attention-matches",
        statement=_statement(name, judged),
        verdict=_verdict(controls, [found for found, _, _ in judged], corrected),
        rule=RULE,
        evidence=tuple(evidence),
        controls=controls,
        limits=LIMITS,
    )


def _evidence(tested: Tested, found: Ratios, n: int, test: str | None, p: float | None) -> Evidence:
    return Evidence(
        tested.name, plain(found.estimate), tested.unit, plain(found.low), plain(found.high), n,
        test, p,
    )  # fmt: skip


def _controls(measured: Measured, generator: np.random.Generator) -> tuple[Control, ...]:
    right = sum(found.knocked.clean > 0 for found in measured.caused)
    accuracy = stats.wilson(right, len(measured.caused)).low
    drops = cut_drops(measured)
    fresh = np.stack([found.clean - found.at_last[-1] for found in measured.fresh_knocked])
    cut = _between(drops, CUT_ROLES, ADVERB) - _between(fresh, CUT_ROLES, ADVERB)
    weight = _head_margin(measured.weights) - _head_margin(measured.fresh_weights)
    found = [Control("accuracy on these sentences, lower bound", accuracy, 0.5, accuracy > 0.5)]
    for label, values in (
        ("knock-out of the subject over that of another token, lower bound",
         _between(drops, CUT_ROLES, CONTROL)),
        ("... over the adverb, more than in a freshly initialised model, lower bound", cut),
        ("weight on the subject over the adverb, more than in a freshly initialised model, "
         "lower bound", weight),
    ):  # fmt: skip
        low = plain(_judged(Tested(label, "", values), generator)[0].low)
        found.append(Control(label, low, 0.0, low is not None and low > 0))
    return tuple(found)


def _verdict(
    controls: Sequence[Control], found: Sequence[Ratios], corrected: Sequence[float | None]
) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    if any(each.high < 0 for each in found):
        return "contradicted"
    passes = [
        bool(each.low > 0) and p is not None and p < LEVEL
        for each, p in zip(found, corrected, strict=True)
    ]
    return "supported" if all(passes) else "inconclusive"


def _statement(name: str, judged: Sequence[tuple[Ratios, float | None, int]]) -> str:
    weight, _, cut, _ = (found.estimate for found, _, _ in judged)
    return (
        f"Before a verb {name} looks back at the subject, not at the adverb, and the subject is "
        f"what decides the verb: the head found gives the subject {100 * float(weight):.0f} points "
        f"more of its weight, and losing sight of the subject costs {float(cut):.1f} logits more."
    )
