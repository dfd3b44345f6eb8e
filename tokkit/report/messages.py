"""Sentences that say what the numbers say: each is computed from the record, none is written out.

A message that its numbers are missing for falls back to a plain title.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokkit.report.arms import (
    FOCUS,
    LETTERS,
    Arm,
    Record,
    by_letters,
    focus_of,
    mean_curve,
    measure_label,
    numbers,
)
from tokkit.report.formatting import (
    as_number,
    estimate,
    interval,
    listing,
    number,
    percent_range,
    quantity,
)

PASS_ACCURACY = 0.9


def found(arms: Sequence[Arm], accuracy: Sequence[Record], rescue: Sequence[Record]) -> str:
    """What was found, with intervals: accuracy on C by what the arms see, and the rescue."""
    focus = [row for row in accuracy if row["measure"] == FOCUS]
    parts = []
    for letters, members in by_letters(arms).items():
        shown = [text for arm in members if (text := _arm_accuracy(arm, focus))]
        if shown:
            parts.append(f"{listing(shown)} with {LETTERS.get(letters, letters or 'other input')}")
    if not parts:
        return ""
    text = (
        "On words made of tokens that were never counted in training (C), the share of right "
        f"answers was {'; '.join(parts)}"
    )
    spelled = [share for row in rescue if (share := spelled_share(row)) is not None]
    if spelled:
        reached = percent_range(spelled)
        text += f"; the same weights, given the same words spelled out, reached {reached}"
    return f"{text}. Brackets hold intervals."


def _arm_accuracy(arm: Arm, rows: Iterable[Record]) -> str:
    for row in rows:
        if row["arm"] == arm.name and as_number(row["accuracy"]) is not None:
            shown = estimate(row["accuracy"], row.get("low"), row.get("high"), "proportion")
            return f"{shown} ({arm.label})"
    return ""


def accuracy(arms: Sequence[Arm], rows: Sequence[Record]) -> str:
    """The main figure's message: the range of accuracies on C by what the arms see."""
    parts = _ranges(arms, [row for row in rows if row["measure"] == FOCUS], "accuracy")
    if not parts:
        return "Share of right answers by arm and task"
    return f"On words of novel tokens, right answers are {listing(parts)}"


def _ranges(arms: Sequence[Arm], rows: Sequence[Record], column: str) -> list[str]:
    parts = []
    for letters, members in by_letters(arms).items():
        names = {arm.name for arm in members}
        values = numbers((row for row in rows if row["arm"] in names), column)
        if values:
            parts.append(
                f"{percent_range(values)} with {LETTERS.get(letters, letters or 'other input')}"
            )
    return parts


def word_share(row: Record) -> float | None:
    """The share answered right when asked about the word itself."""
    return _share(row, "only_word")


def spelled_share(row: Record) -> float | None:
    """The share answered right when the word is spelled out."""
    return _share(row, "only_spelled")


def _share(row: Record, alone: str) -> float | None:
    n, both, only = (as_number(row.get(name)) for name in ("n", "both", alone))
    return None if not n or both is None or only is None else (both + only) / n


def rescue(arms: Sequence[Arm], rows: Sequence[Record]) -> str:
    """The rescue's message: from the word to the word spelled out, by what the arms see."""
    parts = []
    for letters, members in by_letters(arms).items():
        own = [row for row in rows if row["arm"] in {arm.name for arm in members}]
        before = [share for row in own if (share := word_share(row)) is not None]
        after = [share for row in own if (share := spelled_share(row)) is not None]
        if before and after:
            words = LETTERS.get(letters, letters or "other input")
            parts.append(f"from {percent_range(before)} to {percent_range(after)} with {words}")
    if not parts:
        return "The same words, asked as words and spelled out"
    return f"Spelling the same words out takes the same weights {listing(parts)}"


def curves(arms: Sequence[Arm], rows: Sequence[Record]) -> str:
    """The learning curves' message: when the mean over seeds passes PASS_ACCURACY, if ever."""
    focus = focus_of(row for row in rows if row["measure"] != "loss")
    passed, never = [], []
    for arm in arms:
        points = mean_curve(
            row for row in rows if row["arm"] == arm.name and row["measure"] == focus
        )
        steps = [step for step, value in points if value >= PASS_ACCURACY]
        if steps:
            passed.append(f"{arm.label} at step {number(int(steps[0]))}")
        elif points:
            never.append(arm.label)
    if not passed and not never:
        return "Accuracy while training"
    threshold = quantity(PASS_ACCURACY, "proportion").replace(".0", "")
    reached = f"{listing(passed)} first pass{'es' if len(passed) == 1 else ''} {threshold}"
    missed = f"{listing(never)} {'does' if len(never) == 1 else 'do'} not reach {threshold}"
    clauses = ([reached] if passed else []) + ([missed] if never else [])
    return f"{measure_label(focus or '')}: {'; '.join(clauses)}"


def loss(arms: Sequence[Arm], rows: Sequence[Record]) -> str:
    """The loss figure's message: where the mean training loss of the arms ends."""
    ends = {}
    for arm in arms:
        points = mean_curve(row for row in rows if row["arm"] == arm.name)
        if points:
            ends[arm.label] = points[-1][1]
    if not ends:
        return "Loss while training"
    best, worst = min(ends, key=lambda name: ends[name]), max(ends, key=lambda name: ends[name])
    if best == worst:
        return f"The loss of {best} ends at {ends[best]:.3f} nats"
    return (
        f"The loss ends lowest in {best} ({ends[best]:.3f} nats), "
        f"highest in {worst} ({ends[worst]:.3f} nats)"
    )


def confusion(rows: Sequence[Record]) -> str:
    """The confusion figure's message: how far off wrong answers are."""
    wrong = near = other = 0.0
    for row in rows:
        n = as_number(row["n"]) or 0.0
        truth, answer = str(row["truth"]), str(row["answer"])
        if truth == answer:
            continue
        wrong += n
        if answer.isdecimal() and truth.isdecimal():
            near += n * (abs(int(answer) - int(truth)) == 1)
        else:
            other += n
    if not wrong:
        return "No answer on words of novel tokens is wrong"
    return (
        f"Of all wrong answers on words of novel tokens, {quantity(near / wrong, 'proportion')} "
        f"are off by one and {quantity(other / wrong, 'proportion')} are no possible count"
    )


def breakdown(arms: Sequence[Arm], rows: Sequence[Record], column: str, label: str) -> str:
    """What happens from the smallest to the largest value of `column`, by what the arms see."""
    places = numbers(rows, column)
    if not places or min(places) == max(places):
        return ""
    first, last = min(places), max(places)
    parts = []
    for letters, members in by_letters(arms).items():
        names = {arm.name for arm in members}
        ends = [_pooled(rows, names, column, place) for place in (first, last)]
        if None not in ends:
            low, high = (quantity(end, "proportion") for end in ends)
            parts.append(f"{low} to {high} ({LETTERS.get(letters, letters or 'other input')})")
    return f"{label}, from {first:g} to {last:g}: {', '.join(parts)}." if parts else ""


def _pooled(rows: Sequence[Record], names: set[str], column: str, place: float) -> float | None:
    total = right = 0.0
    for row in rows:
        n, share = as_number(row.get("n")), as_number(row.get("accuracy"))
        if row["arm"] in names and as_number(row[column]) == place and n and share is not None:
            total, right = total + n, right + n * share
    return right / total if total else None


def strawberry(question: str, arms: Sequence[Arm], rows: Sequence[Record]) -> str:
    """How many models answer one wording of the question right, by what they see."""
    parts = []
    for letters, members in by_letters(arms).items():
        names = {arm.name for arm in members}
        given = [row for row in rows if row["arm"] in names]
        if given:
            right = sum(row.get("correct") is True for row in given)
            words = LETTERS.get(letters, letters or "other input")
            parts.append(f"{right} of {len(given)} with {words}")
    return f"{question} Right answers: {listing(parts)}." if parts else ""


def gain(row: Record) -> str:
    """A rescue's gain in percentage points with its interval: `+45.8 [43.1, 48.4]`."""
    value = as_number(row.get("gain"))
    if value is None:
        return ""
    sign = "+" if value > 0 else ""
    bounds = interval(row.get("low"), row.get("high"), "proportion")
    return f"{sign}{number(value, 'proportion')} {bounds}".removesuffix(" –")
