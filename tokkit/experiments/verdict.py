"""The verdict of the strawberry experiment: its claim, its rule, its controls, its limits.

The question, RULE and CONTROLS were fixed before the reference run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tokkit.experiments.arms import ARMS
from tokkit.results import Claim, Control, Evidence, Table, Verdict

if TYPE_CHECKING:
    from tokkit.experiments.strawberry import StrawberryConfig

Record = Mapping[str, Any]

HIDDEN, VISIBLE = ("bpe", "opaque"), ("letters", "char")  # short, long
FACTORIAL = (*HIDDEN, *VISIBLE)
CONTROLS = {"char counts C": 0.95, "items": 0.90, "spelled C": 0.90}
ALPHA = 0.05
SEEDS_FOR_A_TEST = 5
STATEMENT = (
    "A model that can count fails to count the letters of words whose tokens hide them and were "
    "never counted or spelled in training, and counts them when they are shown: hiding is "
    "sufficient for the failure, showing for the cure."
)
RULE = (
    "On words of novel tokens (C): supported if every control holds and the 95% intervals of four "
    "differences in accuracy lie above 0: visible minus hidden letters; that effect minus the "
    "effect of sequence length; true letters minus the placebo's wrong ones; in each arm with "
    "hidden letters, the same words spelled out minus not. With "
    f"{SEEDS_FOR_A_TEST} seeds or more, the permutation p of visible minus hidden, corrected by "
    f"Holm, must also be below {ALPHA}. Contradicted if every control holds and the interval of "
    "visible minus hidden lies wholly below 0.05. Inconclusive otherwise, or if a control fails."
)
LIMITS = (
    "It does not show that every miscount of every model comes from tokenization.",
    "The models are small, trained on counting alone, and answer with 0 to 3.",
    "C holds words whose multi-letter tokens were never counted and never spelled in training; a "
    "large model has met the spelling of many of its tokens. On words of known tokens (R) hidden "
    "letters are partly learned: see the table.",
    "Letters that are tokens of their own are visible in every arm; the baseline knows of them. "
    "All rows of char were trained, the novel rows of opaque were not: of the two comparisons of "
    "visible with hidden letters, letters against bpe and placebo is the cleaner one.",
    "One division of the words and one tokenizer: the intervals speak of words and seeds, not of "
    "other tokenizers.",
    "The size of the model, its positions and the length of training were chosen in pilot runs of "
    "seeds 0 and 1 so that the controls can hold; the pilots saw these arms fail and succeed too.",
    "After the reference run, on a review, the baseline was made stricter and this claim narrower; "
    "the rule and the controls stand as they were before it.",
)
ONE_SEED_LIMIT = (
    "With {seeds} seed(s) the intervals speak mostly of words, and the rule asks for no test over "
    "seeds: the verdict is on these trained models. The full profile has six seeds."
)


def strawberry_claim(
    config: StrawberryConfig, accuracy: Table, rescue: Table, effects: Table
) -> Claim:
    """The claim with its verdict, evidence, controls and limits, from the tables of `findings`."""
    of_arm = {(row["arm"], row["measure"]): row for row in accuracy.records()}
    effect = {row["name"]: row for row in effects.records()}
    gain = {row["arm"]: row for row in rescue.records()}
    controls = tuple(
        Control(f"{arm}: {measure}", of_arm[arm, measure]["accuracy"], least,
                of_arm[arm, measure]["accuracy"] >= least)
        for arm, measure, least in _controls(config)
    )  # fmt: skip
    limits: tuple[str, ...] = LIMITS
    if config.seeds < SEEDS_FOR_A_TEST:
        limits = (ONE_SEED_LIMIT.format(seeds=config.seeds), *LIMITS)
    return Claim(
        id="counting-is-tokenization",
        statement=STATEMENT,
        verdict=_verdict(config, controls, effect, gain),
        rule=RULE,
        evidence=_evidence(of_arm, effect, gain),
        controls=controls,
        limits=limits,
    )


def _controls(config: StrawberryConfig) -> list[tuple[str, str, float]]:
    wanted = [("char", "count C", CONTROLS["char counts C"])]
    for measure in ("items", "spelled C"):
        wanted += [(arm, measure, CONTROLS[measure]) for arm in config.arms]
    return [row for row in wanted if row[0] in config.arms]


def _verdict(
    config: StrawberryConfig,
    controls: Sequence[Control],
    effect: Mapping[str, Record],
    gain: Mapping[str, Record],
) -> Verdict:
    """Apply RULE; an arm that was left out leaves the claim inconclusive."""
    if set(config.arms) != set(ARMS) or not all(control.holds for control in controls):
        return "inconclusive"
    if effect["visibility"]["high"] < 0.05:
        return "contradicted"
    lows = [effect[name]["low"] for name in
            ("visibility", "visibility_minus_length", "letters_minus_placebo")]  # fmt: skip
    lows += [gain[arm]["low"] for arm in HIDDEN]
    tested = config.seeds < SEEDS_FOR_A_TEST or effect["visibility"]["p_holm"] < ALPHA
    return "supported" if min(lows) > 0 and tested else "inconclusive"


def _evidence(
    of_arm: Mapping[tuple[str, str], Record],
    effect: Mapping[str, Record],
    gain: Mapping[str, Record],
) -> tuple[Evidence, ...]:
    found = [
        Evidence(f"{row['statement']}, C words", row["estimate"], "difference in accuracy",
                 row["low"], row["high"], row["n"],
                 row["test"] and f"{row['test']}, Holm", row["p_holm"])
        for row in effect.values()
    ]  # fmt: skip
    found += [
        Evidence(f"{arm}: spelled out minus not, C words", row["gain"], "difference in accuracy",
                 row["low"], row["high"], row["n"], "McNemar, largest p of the seeds", row["p"])
        for arm, row in gain.items()
    ]  # fmt: skip
    found += [
        Evidence(
            f"{arm}: {measure}", row["accuracy"], "accuracy", row["low"], row["high"], row["n"]
        )
        for (arm, measure), row in of_arm.items()
        if measure in ("count C", "count R")
    ]
    return tuple(found)
