"""The claim on the mechanism of miscounting, with the rule that was fixed before any reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokkit.analysis.probing_scores import Bounds
from tokkit.results import Claim, Control, Evidence, Verdict

HIDDEN = ("bpe", "opaque")
MARGIN = 0.05
"""Of balanced accuracy: less than this counts as nothing."""
READABLE = 0.9
STATEMENT = (
    "Where tokens hide their letters, training puts no letters into the rows of tokens it never "
    "counted, and a model counts right where its rows know the letters: what a row does not know "
    "is not counted."
)
RULE = (
    "Knowledge is the balanced accuracy of letters present or not, read off rows by a logistic "
    "probe that never saw the token. Supported if every control holds and (a) in the arms with "
    f"hidden letters ({' and '.join(HIDDEN)}) the 95% interval of the gain by training on novel "
    f"tokens lies below {MARGIN}; (b) that of letters minus bpe, novel tokens after training, "
    f"lies above {MARGIN}; (c) on words of known tokens (R), in the hidden arms together, the "
    "interval of the slope of right answers on knowledge lies above 0, within true counts and "
    "numbers of tokens. Contradicted if every control holds and one of these intervals lies "
    f"wholly on the other side: (a) above {MARGIN}, (b) below {MARGIN}, (c) below 0. Inconclusive "
    "otherwise, or if a control fails or an arm is missing."
)
LIMITS = (
    "That knowing goes with counting is a correlation within arms: a token seen more often in "
    "training may be known better and counted better for one reason. The arms themselves, which "
    "differ by what is shown, are the intervention.",
    "A linear probe reads what lies on a straight line; a row may hold letters in another way.",
    "For opaque and char a token is the sum of the rows of its ids, without their places.",
    "The rule, its margins and controls stand as they were before any reading. After the first one "
    "the score was changed: pooled over letters, shuffled letters scored 0.53, not 0.5; it is now "
    "taken within letters.",
    "Small models, trained on counting alone; one division of the words and one tokenizer.",
)
Numbers = Mapping[str, Bounds]


def mechanism_claim(numbers: Numbers, *, arms: Sequence[str], words: int, tokens: int) -> Claim:
    """The claim with its verdict, from `numbers`: the intervals by name.

    gain_hidden, letters_minus_bpe, slope: the three of RULE; slope_before, shuffled, char: the
    controls.
    """
    complete = {*HIDDEN, "letters", "char"} <= set(arms)
    controls = _controls(numbers) if complete else ()
    return Claim(
        id="counting-is-tokenization",
        statement=STATEMENT,
        verdict=_verdict(numbers, controls) if complete else "inconclusive",
        rule=RULE,
        evidence=_evidence(numbers, words, tokens),
        controls=controls,
        limits=LIMITS,
    )


def _controls(numbers: Numbers) -> tuple[Control, ...]:
    before, shuffled, char = (numbers[name] for name in ("slope_before", "shuffled", "char"))
    spans = before.low is not None and before.high is not None and before.low <= 0 <= before.high
    far = None if shuffled.estimate is None else abs(shuffled.estimate - 0.5)
    room = None if far is None else MARGIN - far
    return (
        Control(
            f"probes of shuffled letters are within {MARGIN} of chance (what is left of it)",
            room,
            0.0,
            room is not None and room >= 0,
        ),
        Control(
            "char, whose rows are letters: known after training",
            char.estimate,
            READABLE,
            char.estimate is not None and char.estimate >= READABLE,
        ),
        Control(
            "hidden arms: rows before training do not predict counting (1: the interval holds 0)",
            float(spans),
            1.0,
            spans,
        ),
    )


def _verdict(numbers: Numbers, controls: Sequence[Control]) -> Verdict:
    gain, shown, slope = (numbers[n] for n in ("gain_hidden", "letters_minus_bpe", "slope"))
    ends = [gain.low, gain.high, shown.low, shown.high, slope.low, slope.high]
    if not all(control.holds for control in controls) or any(end is None for end in ends):
        return "inconclusive"
    gain_low, gain_high, shown_low, shown_high, slope_low, slope_high = (
        float(e or 0) for e in ends
    )
    if gain_low > MARGIN or shown_high < MARGIN or slope_high < 0:
        return "contradicted"
    if gain_high < MARGIN and shown_low > MARGIN and slope_low > 0:
        return "supported"
    return "inconclusive"


def _evidence(numbers: Numbers, words: int, tokens: int) -> tuple[Evidence, ...]:
    said = {
        "gain_hidden": ("hidden arms: gain by training, novel tokens", "balanced accuracy"),
        "letters_minus_bpe": (
            "letters minus bpe after training, novel tokens",
            "balanced accuracy",
        ),
        "slope": (
            "hidden arms: right answers on knowledge, R words",
            "accuracy from knowledge 0 to 1",
        ),
        "slope_before": (
            "hidden arms: right answers on what rows knew before training, R words",
            "accuracy from knowledge 0 to 1",
        ),
    }
    return tuple(
        Evidence(
            name,
            numbers[key].estimate,
            unit,
            numbers[key].low,
            numbers[key].high,
            words if key.startswith("slope") else tokens,
        )
        for key, (name, unit) in said.items()
        if key in numbers
    )
