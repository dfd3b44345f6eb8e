"""The claim "lookup": a token becomes a vector by a row lookup, and training gives rows meaning.

The rule and its constants were written before any trained rows were looked at.
"""

from __future__ import annotations

from tokkit.analysis.embeddings.meaning_measures import (
    INITIAL,
    PURITY,
    SEPARABILITY,
    UNITS,
    Structure,
)
from tokkit.results import Claim, Control, Evidence, Verdict
from tokkit.stats import Interval

STATEMENT = "A token becomes a vector by a row lookup, and meaning comes into the rows by training."
MIN_WORDS = 40
NO_EFFECT = 0.05
"""A gain of less than this share is none."""
CHANCE_MARGIN = 0.05
MIN_BASELINE_P = 0.01
DECIDING = (PURITY, SEPARABILITY)

RULE = (
    "Supported where every row that the model looks up is bit-equal to the row of its table, and "
    "both neighbour purity and linear separability of words in categories are higher on the "
    "trained rows than on the same model's initial rows, the 95% intervals of the differences "
    "(paired by word) above 0. Contradicted where a looked-up row differs, or where the interval "
    f"of either difference reaches 0 or below and stays below {NO_EFFECT}. Inconclusive otherwise, "
    "where lookup or initial rows are not known, or where a control fails."
)
LIMITS = (
    "Category structure is one sign of meaning; what else a row means is not asked.",
    "The intervals are over words of one training run; other seeds of training are not covered.",
    "Words of several tokens have no row of their own and are left out.",
    "The initial rows are random, so that any structure they have is chance: the claim is about "
    "where structure comes from, not how much of it a larger model would have.",
)


def meaning_claim(
    bit_equal: bool | None, largest_deviation: float | None, structure: Structure | None
) -> Claim:
    """Judge the claim "lookup" by RULE.

    `bit_equal` says whether the vectors that the model gives its first block are the rows of its
    table to the bit, `largest_deviation` by how much they differ at most; None where no model was
    at hand. `structure` is None where no words could be measured.
    """
    controls = _controls(structure)
    return Claim(
        id="lookup",
        statement=STATEMENT,
        verdict=_verdict(bit_equal, structure, all(control.holds for control in controls)),
        rule=RULE,
        evidence=(_lookup(bit_equal, largest_deviation), *_evidence(structure)),
        controls=controls,
        limits=LIMITS,
    )


def _verdict(bit_equal: bool | None, structure: Structure | None, controlled: bool) -> Verdict:
    if bit_equal is False:
        return "contradicted"
    if bit_equal is None or structure is None or not controlled or structure.baseline != INITIAL:
        return "inconclusive"
    gains = [structure.measure(name).gain for name in DECIDING]
    if all(gain.low > 0 for gain in gains):
        return "supported"
    if any(gain.low <= 0 and gain.high < NO_EFFECT for gain in gains):
        return "contradicted"
    return "inconclusive"


def _lookup(bit_equal: bool | None, largest_deviation: float | None) -> Evidence:
    said = {True: "bit-equal", False: "not bit-equal", None: "not compared: no model at hand"}
    return Evidence(
        "largest deviation of a looked-up row from the row of the table",
        largest_deviation,
        "",
        test=said[bit_equal],
    )


def _controls(structure: Structure | None) -> tuple[Control, ...]:
    words = 0 if structure is None else structure.words
    controls = [Control("words in categories", float(words), MIN_WORDS, words >= MIN_WORDS)]
    if structure is None:
        return tuple(controls)
    # Guessing the largest category is the most that labels without meaning can give.
    room = structure.largest_share + CHANCE_MARGIN - structure.measure(SEPARABILITY).shuffled
    controls.append(
        Control("room below guessing: separability of shuffled labels", room, 0.0, room >= 0)
    )
    p = structure.measure(PURITY).baseline_p
    if structure.baseline == INITIAL and p is not None:
        controls.append(
            Control(
                "initial rows against shuffled labels: p of neighbour purity",
                p,
                MIN_BASELINE_P,
                p >= MIN_BASELINE_P,
            )
        )
    beyond = structure.measure(PURITY).beyond
    if beyond is not None:
        controls.append(
            Control(
                "neighbour purity beyond that of word frequency alone, lower bound",
                beyond.low,
                0.0,
                beyond.low > 0,
            )
        )
    return tuple(controls)


def _evidence(structure: Structure | None) -> list[Evidence]:
    if structure is None:
        return []
    found = []
    for measure in structure.measures:
        name, unit = measure.measure, UNITS[measure.measure]
        found.append(
            _number(
                f"{name} of trained rows (shuffled labels {measure.shuffled:.3f})",
                measure.trained,
                unit,
                f"one-sided permutation of labels, Holm over {len(structure.measures)}",
                measure.p_holm,
            )
        )
        found.append(
            _number(
                f"{name}: trained rows less {structure.baseline}",
                measure.gain,
                "proportion difference" if unit else "",
                f"sign flips by word, Holm over {len(structure.measures)}",
                measure.gain_p_holm,
            )
        )
        if measure.beyond is not None:
            found.append(
                _number(
                    f"{name}: trained rows less log count alone",
                    measure.beyond,
                    "proportion difference" if unit else "",
                )
            )
    return found


def _number(
    name: str, interval: Interval, unit: str, test: str | None = None, p: float | None = None
) -> Evidence:
    return Evidence(
        name, interval.estimate, unit, interval.low, interval.high, interval.n_items, test, p
    )
