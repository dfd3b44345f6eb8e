"""What a result record says of written text and of scores: rows of tables, JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tokkit.model.generation import Step
from tokkit.model.scoring import Score
from tokkit.probes.continuation import Continuation
from tokkit.probes.one_at_a_time import Recomputed
from tokkit.results import Column, Table
from tokkit.tokenizer.streaming import Codec, TextStream


def token_text(codec: Codec, token: int) -> str:
    """The text of one token alone, U+FFFD for bytes that are no character."""
    stream = TextStream(codec)
    return stream.feed(token) + stream.finish()


def text_record(prompt: str, found: Continuation) -> dict[str, Any]:
    """One continuation; `log_probability` in nats, of all its tokens together."""
    return {
        "prompt": prompt,
        "prompt_ids": list(found.prompt_ids),
        "text": found.text,
        "ids": list(found.ids),
        "ended": found.ended,
        "log_probability": math.fsum(_log(step.probability) for step in found.steps),
    }


def _log(probability: float) -> float:
    """The natural logarithm; of what has rounded to 0, that of the least float32."""
    return math.log(max(probability, 2.0**-149))


def texts_table(texts: Sequence[Mapping[str, Any]]) -> Table:
    """Each prompt with the text that follows it, from their records."""
    columns = tuple(Column(name, name) for name in ("prompt", "text", "ended"))
    rows = tuple((one["prompt"], one["text"], one["ended"]) for one in texts)
    return Table("What was written", columns, rows)


def steps_table(
    codec: Codec, found: Sequence[Continuation], again: Sequence[Sequence[Recomputed]]
) -> Table:
    """Each step of each continuation, beside what `recompute` made of it where that was asked."""
    columns = [
        Column("prompt", "prompt"),
        Column("step", "step"),
        Column("id", "id"),
        Column("token", "token"),
        Column("probability", "p", "probability"),
        Column("likeliest", "likeliest"),
    ]
    if again:
        columns += [
            Column("again_id", "chosen again"),
            Column("again_probability", "p again", "probability"),
        ]
    rows = []
    for prompt, one in enumerate(found):
        for number, step in enumerate(one.steps):
            made = [prompt + 1, number + 1, step.id, token_text(codec, step.id), step.probability]
            made.append(_likeliest(codec, step))
            if again:
                made += [again[prompt][number].id, again[prompt][number].probability]
            rows.append(tuple(made))
    return Table("Every step, and what was likeliest there", tuple(columns), tuple(rows))


def _likeliest(codec: Codec, step: Step) -> str:
    return ", ".join(
        f"{token_text(codec, one.id)!r} {one.probability:.3f}" for one in step.candidates
    )


def score_record(
    codec: Codec, prompt: str, continuation: str, ids: Sequence[int], found: Score
) -> dict[str, Any]:
    """One scored continuation, its tokens beside their log-probabilities in nats."""
    return {
        "prompt": prompt,
        "continuation": continuation,
        "log_probability": found.total,
        "tokens": [
            {"id": token, "text": token_text(codec, token), "log_probability": value}
            for token, value in zip(ids, found.log_probabilities, strict=True)
        ],
    }


def scores_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The sums of scored continuations, a row each."""
    columns = (
        Column("prompt", "prompt"),
        Column("continuation", "continuation"),
        Column("tokens", "tokens"),
        Column("log_probability", "log p", "nats"),
        Column("probability", "p", "probability"),
    )
    rows = tuple(
        (
            record["prompt"],
            record["continuation"],
            len(record["tokens"]),
            record["log_probability"],
            math.exp(record["log_probability"]),
        )
        for record in records
    )
    return Table("How probable each continuation is", columns, rows)
