"""The verdicts of the positions experiment: claims, rules, controls and limits.

The questions, rules, margins and controls were fixed before the reference run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.experiments.position_schemes import BEYOND, BLIND, SCHEMES, WITH_POSITIONS
from tokkit.experiments.position_tasks import CONTROL_TASK
from tokkit.results import Claim, Control, Evidence, Table, Verdict

Record = Mapping[str, Any]

ALPHA = 0.05
SEEDS_FOR_A_TEST = 8
"""With fewer no exact test over seeds can stay below ALPHA when six pairs are corrected for."""
LEAST_GAIN = 0.05  # in accuracy: a smaller one would not be worth a layer
ALIKE = 0.05  # in accuracy: the control task may differ by so much
LEAST_CHANGE = 0.02  # in bits per byte
CONTROLS = {"present": 0.90, "below unigram": 0.15, "blind": 0.999}
ORDER = "all order tasks"

ADDED = (
    "Order has to be added to attention: with positions a model answers questions of order better "
    "than the same model without them, and questions that need no order alike."
)
ADDED_RULE = (
    "At the trained length: supported if every control holds, each scheme with positions beats "
    "none on the order tasks (95% interval of the paired difference in accuracy above 0) and "
    f"differs from none on the control task by an interval within ±{ALIKE}. With "
    f"{SEEDS_FOR_A_TEST} seeds or more each sign-flip p over seeds, corrected by Holm over the "
    f"schemes, must also be below {ALPHA}. Contradicted if every control holds and the interval of "
    f"each scheme's gain lies wholly below {LEAST_GAIN}. Inconclusive otherwise."
)
ADDED_LIMITS = (
    "None is not blind: with two layers and the causal mask a model can learn to count what came "
    "before, and does so given time. The claim is about the same training, not about what could "
    "ever be learned; the one-layer model without positions is blind by construction.",
    "Small models, lists of 16 symbols, one answer token.",
    "The mean over four order tasks weighs tasks alike that schemes find unequally hard: see each.",
)
RELATIVE = (
    "How a model fares past its trained length depends on how positions come in: at twice the "
    "length, on the same target tokens, the schemes' losses change unequally."
)
RELATIVE_RULE = (
    "Of the schemes that can be asked beyond their trained length, all pairs are compared in how "
    "their bits per byte change from 1 to 2 trained lengths, on the same targets. Supported if "
    "every control holds and at least one pair differs by an interval that excludes 0 and an "
    f"estimate of at least {LEAST_CHANGE} bits per byte, and, with {SEEDS_FOR_A_TEST} seeds or "
    f"more, a sign-flip p over seeds below {ALPHA} after Holm over the pairs. Contradicted if "
    f"every control holds and the intervals of all pairs lie within ±{LEAST_CHANGE}. "
    "Inconclusive otherwise."
)
RELATIVE_LIMITS = (
    "It is the half of the claim that is about behaviour; that rotary and ALiBi scores depend on "
    "the offset alone is shown exactly by `tokkit analyze positions`.",
    "A learned table has no rows beyond its length: it cannot be asked, and takes no part.",
    "Text within a window may cross from one document to the next, and most documents are shorter "
    "than the longest windows: a longer context helps less than it would in long texts.",
    "Scaled rotary forms share the trained weights and were not trained further.",
)
SHARED_LIMITS = (
    "The sizes, rates and steps were chosen in pilot runs of none and rotary with seeds 0 and 1, "
    "for time and so that the controls can hold; the pilots saw how well these two answer. In a "
    "first quick run (seed 0) sinusoidal failed its control: the rows were not yet multiplied by "
    "the root of the width, which now all schemes' are. Rules and margins stand as they were.",
    "One text, one tokenizer, one set of questions: the intervals speak of seeds and of questions "
    "or windows.",
)
FEW_SEEDS = (
    "With {seeds} seed(s) the intervals speak mostly of questions and windows, and the rule asks "
    "for no test over seeds: the verdict is on these trained models. The full profile has "
    f"{SEEDS_FOR_A_TEST}."
)


@dataclass(frozen=True, slots=True)
class Found:
    """The tables that the verdicts rest on, and the share of the blind model's same answers."""

    trained: Table
    order: Table
    gains: Table
    changes: Table
    pairs: Table
    unchanged: float
    seeds: int


def position_claims(found: Found) -> tuple[Claim, ...]:
    """Both claims, with verdicts, evidence, controls and limits."""
    return _added(found), _relative(found)


def _added(found: Found) -> Claim:
    order = {(r["arm"], r["task"], r["length"]): r for r in found.order.records()}
    gains = {(r["scheme"], r["task"]): r for r in found.gains.records()}
    controls = [
        _control(f"{scheme}: {CONTROL_TASK}", order[scheme, CONTROL_TASK, 1.0]["accuracy"],
                 CONTROLS["present"])
        for scheme in SCHEMES
    ]  # fmt: skip
    controls.append(
        _control(f"{BLIND}: answers that stay when lists are shuffled (share)", found.unchanged,
                 CONTROLS["blind"])
    )  # fmt: skip
    evidence = [
        _difference(f"{scheme} minus none, {task}", gains[scheme, task], "difference in accuracy")
        for task in (ORDER, CONTROL_TASK)
        for scheme in WITH_POSITIONS
    ]
    evidence += [
        _evidence(f"{arm}: {ORDER}", order[arm, ORDER, 1.0], "accuracy", "accuracy")
        for arm in (*SCHEMES, BLIND)
    ]
    verdict = _verdict_added(found.seeds, controls, gains)
    return _claim("position-is-added", ADDED, ADDED_RULE, ADDED_LIMITS, verdict, evidence, controls,
                  found.seeds)  # fmt: skip


def _verdict_added(
    seeds: int, controls: Sequence[Control], gains: Mapping[tuple[str, str], Record]
) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    of_order = [gains[scheme, ORDER] for scheme in WITH_POSITIONS]
    if all(row["high"] < LEAST_GAIN for row in of_order):
        return "contradicted"
    alike = all(
        -ALIKE < gains[scheme, CONTROL_TASK]["low"] <= gains[scheme, CONTROL_TASK]["high"] < ALIKE
        for scheme in WITH_POSITIONS
    )
    better = all(row["low"] > 0 and _significant(row, seeds) for row in of_order)
    return "supported" if alike and better else "inconclusive"


def _relative(found: Found) -> Claim:
    controls = [
        _control(f"{row['scheme']}: bits per byte below the unigram's (share)", row["saved"],
                 CONTROLS["below unigram"])
        for row in found.trained.records()
    ]  # fmt: skip
    pairs = found.pairs.records()
    evidence = [
        _evidence(f"{row['arm']}: change at {row['length']:g} x", row, "change", "bits per byte")
        for row in found.changes.records()
        if row["length"] == 2 and row["change"] is not None
    ]
    evidence += [
        _difference(f"{r['first']} minus {r['second']}: change at 2 x", r, "bits per byte")
        for r in pairs
    ]
    verdict = _verdict_relative(found.seeds, controls, pairs)
    return _claim("rope-is-relative", RELATIVE, RELATIVE_RULE, RELATIVE_LIMITS, verdict, evidence,
                  controls, found.seeds)  # fmt: skip


def _verdict_relative(seeds: int, controls: Sequence[Control], pairs: Iterable[Record]) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    rows = list(pairs)
    if any(
        (row["low"] > 0 or row["high"] < 0)
        and abs(row["difference"]) >= LEAST_CHANGE
        and _significant(row, seeds)
        for row in rows
    ):
        return "supported"
    within = all(row["low"] > -LEAST_CHANGE and row["high"] < LEAST_CHANGE for row in rows)
    return "contradicted" if within else "inconclusive"


def _significant(row: Record, seeds: int) -> bool:
    return bool(seeds < SEEDS_FOR_A_TEST or row["p_holm"] < ALPHA)


def _control(name: str, value: float, least: float) -> Control:
    return Control(name, value, least, value >= least)


def _evidence(name: str, row: Record, column: str, unit: str) -> Evidence:
    return Evidence(name, row[column], unit, row["low"], row["high"], row["n"])


def _difference(name: str, row: Record, unit: str) -> Evidence:
    test = None if row["p_holm"] is None else f"{row['test']}, Holm"
    return Evidence(name, row["difference"], unit, row["low"], row["high"], row["n"], test,
                    row["p_holm"])  # fmt: skip


def _claim(
    name: str,
    statement: str,
    rule: str,
    limits: Sequence[str],
    verdict: Verdict,
    evidence: Sequence[Evidence],
    controls: Sequence[Control],
    seeds: int,
) -> Claim:
    few = (FEW_SEEDS.format(seeds=seeds),) if seeds < SEEDS_FOR_A_TEST else ()
    return Claim(
        id=name,
        statement=statement,
        verdict=verdict,
        rule=rule,
        evidence=tuple(evidence),
        controls=tuple(controls),
        limits=(*few, *limits, *SHARED_LIMITS),
    )


COMPARED = tuple(
    (first, second) for place, first in enumerate(BEYOND) for second in BEYOND[place + 1 :]
)
"""The pairs of schemes that are compared beyond the trained length."""
