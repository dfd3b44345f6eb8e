"""The tables of one edit: what was asked, the search, the sweep, the trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student
from torch import Tensor

from tokkit.analysis.editing.asked import Asked, Reply
from tokkit.analysis.editing.rank_one import Edit
from tokkit.analysis.editing.request import Located
from tokkit.analysis.editing.sweep import Swept
from tokkit.analysis.editing.tracing import KINDS, Traced
from tokkit.results import Column, Table

LEVEL = 0.95
_PROBABILITY = "probability"


def prompts(
    tokenizer: Any, asked: Sequence[Asked], before: Sequence[Reply], after: Sequence[Reply]
) -> Table:
    """What the model says after each prompt before and after, and how probable it finds it.

    `answer` is the likeliest next token before the edit.
    """
    rows = []
    for one, old, new in zip(asked, before, after, strict=True):
        answer = old.answer
        chances = (float(reply.following[answer].exp()) for reply in (old, new))
        rows.append(
            (
                one.kind, one.text, old.target_probability, new.target_probability,
                tokenizer.decode([answer]), *chances, old.divergence(new), old.text, new.text,
            )
        )  # fmt: skip
    columns = (
        Column("kind", "Kind"),
        Column("text", "Prompt"),
        Column("target_before", "Target before", _PROBABILITY),
        Column("target_after", "Target after", _PROBABILITY),
        Column("answer", "Answer before"),
        Column("answer_before", "Answer before", _PROBABILITY),
        Column("answer_after", "Answer after", _PROBABILITY),
        Column("divergence", "Divergence of the next token", "nats"),
        Column("said_before", "Says before"),
        Column("said_after", "Says after"),
    )
    return Table("What the model says, before and after", columns, tuple(rows))


def trials(edit: Edit) -> Table:
    """The search for the value, an update a row."""
    rows = tuple(
        (number, one.loss, one.target_nats, one.essence_nats, one.length)
        for number, one in enumerate(edit.optimised.trials)
    )
    columns = (
        Column("update", "Updates"),
        Column("loss", "Loss", "nats"),
        Column("target_nats", "Target, a token", "nats"),
        Column("essence_nats", "Divergence of what the subject is", "nats"),
        Column("length", "Length of the change over that of the value"),
    )
    return Table("The search for the value", columns, rows)


def sweep(swept: Sequence[Swept], chosen: Swept) -> Table:
    """Each layer that was edited by itself."""
    rows = tuple(
        (
            one.edit.layer, one.efficacy, one.paraphrase, one.neighbourhood, one.score,
            len(one.edit.optimised.trials) - 1, one is chosen,
        )
        for one in swept
    )  # fmt: skip
    columns = (
        Column("layer", "Layer"),
        Column("efficacy", "Target after the prompt", _PROBABILITY),
        Column("paraphrase", "Target after paraphrases", _PROBABILITY),
        Column("neighbourhood", "Neighbours kept", "exp(-nats)"),
        Column("score", "Harmonic mean"),
        Column("updates", "Updates"),
        Column("chosen", "Chosen"),
    )
    return Table("The sweep over layers", columns, rows)


def trace(traced: Traced, place: Located) -> Table:
    """A row a cell: what is restored, at which layer and token, and what that brings back.

    Intervals are over draws. Tokens before the subject are left out: both runs are the same there.
    """
    chances = _with_interval(traced.restored, most=1.0)
    differences = _with_interval(traced.restored_difference)
    first = place.subject[0]
    rows = tuple(
        (kind, layer, token, *chances[at, layer, token], *differences[at, layer, token])
        for at, kind in enumerate(KINDS)
        for layer in range(traced.restored.shape[1])
        for token in range(first, traced.restored.shape[2])
    )
    columns = (
        Column("kind", "Restored"),
        Column("layer", "Layer"),
        Column("position", "Token"),
        Column("probability", "Answer", _PROBABILITY),
        Column("probability_low", "Low", _PROBABILITY),
        Column("probability_high", "High", _PROBABILITY),
        Column("difference", "Answer less alternative", "logits"),
        Column("difference_low", "Low", "logits"),
        Column("difference_high", "High", "logits"),
    )
    return Table("Causal tracing", columns, rows)


def trace_tokens(tokenizer: Any, place: Located) -> Table:
    """The tokens of the prompt, and which are the subject's."""
    rows = tuple(
        (at, tokenizer.decode([token]), at in place.subject) for at, token in enumerate(place.ids)
    )
    columns = (
        Column("position", "Token"), Column("text", "Text"), Column("subject", "Of the subject"),
    )  # fmt: skip
    return Table("Tokens of the prompt", columns, rows)


def trace_values(traced: Traced) -> dict[str, Any]:
    """The clean and the spoilt run, with intervals over draws of noise."""
    found: dict[str, Any] = {
        "trace_clean_probability": traced.clean,
        "trace_clean_difference_logits": traced.clean_difference,
    }
    for name, values, most in (
        ("probability", traced.corrupted, 1.0),
        ("difference_logits", traced.corrupted_difference, None),
    ):
        mean, low, high = _with_interval(values[None], most=most)[(0,)]
        found[f"trace_corrupted_{name}"] = mean
        found[f"trace_corrupted_{name}_low"] = low
        found[f"trace_corrupted_{name}_high"] = high
    return found


def _with_interval(
    values: Tensor, *, most: float | None = None
) -> dict[tuple[int, ...], tuple[float | None, ...]]:
    """Mean over the last axis, low and high (Student's), by place; no bounds of a single draw.

    With `most` the values are of 0..most, and the bounds end there.
    """
    drawn = values.double().numpy()
    draws, means = drawn.shape[-1], drawn.mean(-1)
    if draws == 1:
        return {at: (float(mean), None, None) for at, mean in np.ndenumerate(means)}
    half = float(student.ppf((1 + LEVEL) / 2, draws - 1)) * drawn.std(-1, ddof=1) / draws**0.5
    low, high = means - half, means + half
    if most is not None:
        low, high = low.clip(0, most), high.clip(0, most)
    return {
        at: (float(mean), float(low[at]), float(high[at])) for at, mean in np.ndenumerate(means)
    }
