"""The claim that feed-forward units stand for concepts: its rule, controls and limits."""

from __future__ import annotations

from dataclasses import dataclass

from tokkit.analysis.feedforward import clamping, concepts
from tokkit.analysis.feedforward.clamping import Clamped
from tokkit.analysis.feedforward.concepts import Found
from tokkit.analysis.feedforward.words import ConceptWords
from tokkit.analysis.intervals import plain
from tokkit.results import Claim, Control, Evidence, Verdict

FEWEST_CATEGORIES = 3
FEWEST_WORDS_SHARE = 0.5  # of the listed words that must be tokens
FEWEST_SILENT = 18  # of the draws of permuted labels that must find nothing

RULE = (
    "Words of categories, one token each, all in the same contexts. A unit answers to a category "
    f"where its area under the curve on one half of the words is {concepts.CHOSEN_AREA} or more "
    f"(or {1 - concepts.CHOSEN_AREA:.1f} or less) and that on the other half, on the same side, "
    f"is familywise significant at {concepts.LEVEL} over all units and categories "
    f"({concepts.PERMUTATIONS} permutations of words' labels, min-p). Supported where at least "
    f"{FEWEST_CATEGORIES} categories have such a unit, and setting up to {clamping.MOST_UNITS} of "
    "each category's units to the farthest value that a word of the choosing half gives them moves "
    "the log-probability of the category's held-out words, against the other categories', more "
    "than control units do: the mean over categories of |effect| minus the controls' has an "
    "interval above 0. Contradicted where no category has such a unit, or the interval lies below "
    "0. Else, or where a control fails, inconclusive."
)
LIMITS = (
    "A unit that answers to a category may answer to much else: only these categories' words were "
    "compared, not all text.",
    "Categories differ in more than meaning: part of speech, capital letters, frequency. A unit "
    "may follow those.",
    "The tokens of running text that excite such a unit most are often no words of its category "
    "(table of categories; seen after the first runs): the unit may have another job.",
    "Units are chosen as the best of many, and concepts may be spread over many units that no "
    "test of single units finds.",
    "Effects of setting units say that they can move the words, not that the model uses them so.",
)


@dataclass(frozen=True, slots=True)
class Concepts:
    """All that the claim is judged by; `clamped` is None where no unit passes."""

    words: ConceptWords
    found: Found
    initial: Found
    clamped: Clamped | None


def concept_claim(name: str, of: Concepts) -> Claim:
    """Judge the claim by RULE."""
    passing = [c for c in range(len(of.words.categories)) if of.found.passes[:, c].any()]
    controls = _controls(of)
    beyond = low = high = None
    evidence = [
        Evidence("pairs of a unit and a category that it answers to", float(of.found.passes.sum()),
                 "", n=of.found.passes.size,
                 test=f"min-p over {concepts.PERMUTATIONS} permutations"),
        Evidence("... at initial weights", float(of.initial.passes.sum()), ""),
        Evidence("... with labels permuted, mean",
                 float(of.found.by_chance.sum((1, 2)).mean()), "", n=concepts.NULL_DRAWS),
        Evidence("categories with such a unit", len(passing), "", n=len(of.words.categories)),
    ]  # fmt: skip
    if of.clamped is not None and passing:
        for dose in clamping.DOSES:
            found = of.clamped.beyond_controls(passing, dose)
            bounds = plain(found.estimate), plain(found.low), plain(found.high)
            if dose == clamping.MAIN_DOSE:
                beyond, low, high = bounds
            evidence.append(
                Evidence(
                    f"units set to {dose}: |effect| beyond the controls'", bounds[0], "nats",
                    bounds[1], bounds[2], n=len(of.clamped.drawn),
                )
            )  # fmt: skip
    return Claim(
        id="ffn-concepts",
        statement=_statement(name, of, passing, beyond),
        verdict=_verdict(controls, len(passing), low, high),
        rule=RULE,
        evidence=tuple(evidence),
        controls=controls,
        limits=LIMITS,
    )


def _controls(of: Concepts) -> tuple[Control, ...]:
    silent = int((of.found.by_chance.sum((1, 2)) == 0).sum())
    initial = int(of.initial.passes.sum())
    share = len(of.words.words) / max(1, of.words.listed)
    return (
        Control(
            f"draws of permuted labels, of {concepts.NULL_DRAWS}, that find no unit", silent,
            FEWEST_SILENT, silent >= FEWEST_SILENT,
        ),
        Control(
            "initial weights find no unit (1: none found)", float(initial == 0), 1, initial == 0,
        ),
        Control(
            "share of the words that are tokens of their own", share, FEWEST_WORDS_SHARE,
            share >= FEWEST_WORDS_SHARE,
        ),
    )  # fmt: skip


def _verdict(
    controls: tuple[Control, ...], categories: int, low: float | None, high: float | None
) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    if categories == 0 or (high is not None and high < 0):
        return "contradicted"
    if categories >= FEWEST_CATEGORIES and low is not None and low > 0:
        return "supported"
    return "inconclusive"


def _statement(name: str, of: Concepts, passing: list[int], beyond: float | None) -> str:
    units = int(of.found.passes.any(1).sum())
    said = (
        f"Units of the feed-forward layers of {name} answer to concepts: {units:,} of "
        f"{len(of.found.passes):,}, to {len(passing)} of {len(of.words.categories)} categories"
    )
    if beyond is None:
        return f"{said}."
    return (
        f"{said}; setting them moves the category's words by {beyond:.2f} nats more than setting "
        "control units does."
    )
