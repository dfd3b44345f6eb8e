"""What a sweep found: points, the front they make, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokkit.results import Column, Table

Bounds = tuple[float | None, float | None, float | None]
"""A value, and the ends of its interval."""


@dataclass(frozen=True, slots=True)
class Point:
    """One vocabulary: what was asked for, what came of it, and what it measures.

    `difference` is from the first pre-tokenizer at the same size, paired by blocks, in bytes a
    token; `trained_bytes_per_token` is that of the text trained on, by the trace of learning.
    `premiums` holds the group and its tokens a byte over those of the reference.
    """

    pretokenizer: str
    asked: int
    tokens: int
    bytes_per_token: Bounds
    why_no_interval: str | None
    difference: Bounds
    trained_bytes_per_token: float | None
    gini: Bounds
    why_no_fairness: str | None
    premiums: tuple[tuple[str, Bounds], ...]
    vocabulary_used: Bounds
    renyi_efficiency: Bounds
    width: int

    @property
    def parameters(self) -> int:
        """Parameters of the input embedding; an output of its own has as many again."""
        return self.tokens * self.width

    @property
    def worst_premium(self) -> tuple[str | None, float | None]:
        """The group with the highest premium."""
        known = [(b[0], name) for name, b in self.premiums if b[0] is not None]
        if not known:
            return None, None
        premium, name = max(known)
        return name, premium

    def objectives(self) -> tuple[float | None, ...]:
        """Compression, fairness, use and parameters, each the better the larger."""
        unfair = self.gini[0]
        fairness = 0.0 if unfair is None else -unfair
        return self.bytes_per_token[0], fairness, self.vocabulary_used[0], -self.parameters


def pareto_front(points: Sequence[Sequence[float | None]]) -> list[bool]:
    """Whether no other point is as good in every objective and better in one.

    The larger an objective, the better. A point without one of them is on no front, and beats
    none; equal points are on it together. Method: Pareto (1906).

    >>> pareto_front([(1, 2), (2, 1), (1, 1), (None, 9)])
    [True, True, False, False]
    """
    known = [(k, p) for k, p in enumerate(points) if all(value is not None for value in p)]
    values = np.array([p for _, p in known], dtype=np.float64)
    front = [False] * len(points)
    for row, (k, _) in enumerate(known):
        no_worse = (values >= values[row]).all(axis=1)
        better = (values > values[row]).any(axis=1)
        front[k] = not (no_worse & better).any()
    return front


def sweep_table(points: Sequence[Point], *, held_out: bool) -> Table:
    """One row for each point, with the fronts that it is on."""
    best = pareto_front([(p.bytes_per_token[0], -p.parameters) for p in points])
    best_of_all = pareto_front([p.objectives() for p in points])
    where = "held-out text" if held_out else "the text trained on"
    columns = (
        Column("pretokenizer", "Pre-tokenizer"),
        Column("vocab_size", "Size asked for", "tokens"),
        Column("tokens", "Tokens", "tokens"),
        Column("bytes_per_token", f"Bytes a token, {where}", "bytes/token"),
        Column("low", "95% low", "bytes/token"),
        Column("high", "95% high", "bytes/token"),
        Column("difference", "Bytes a token more than the first", "bytes/token"),
        Column("difference_low", "Difference 95% low", "bytes/token"),
        Column("difference_high", "Difference 95% high", "bytes/token"),
        Column("trained_bytes_per_token", "Bytes a token, trained on", "bytes/token"),
        Column("gini", "Gini over groups, tokens a byte", "proportion"),
        Column("gini_low", "Gini 95% low", "proportion"),
        Column("gini_high", "Gini 95% high", "proportion"),
        Column("worst_group", "Group that pays most"),
        Column("worst_premium", "Its premium", "ratio"),
        Column("vocabulary_used", "Vocabulary used", "proportion"),
        Column("vocabulary_used_low", "Used 95% low", "proportion"),
        Column("vocabulary_used_high", "Used 95% high", "proportion"),
        Column("renyi_efficiency", "Rényi efficiency, log2(vocabulary)", "proportion"),
        Column("renyi_efficiency_low", "Rényi 95% low", "proportion"),
        Column("renyi_efficiency_high", "Rényi 95% high", "proportion"),
        Column("input_parameters", "Input embedding", "parameters"),
        Column("both_parameters", "Input and output embedding", "parameters"),
        Column("pareto", "No other compresses better with fewer parameters"),
        Column("pareto_all", "No other is better in fairness and use too"),
        Column("reason", "Why something is missing"),
    )
    rows = tuple(
        (
            p.pretokenizer, p.asked, p.tokens, *p.bytes_per_token, *p.difference,
            p.trained_bytes_per_token,
            *p.gini, *p.worst_premium, *p.vocabulary_used, *p.renyi_efficiency,
            p.parameters, 2 * p.parameters, front, front_of_all, _missing(p),
        )
        for p, front, front_of_all in zip(points, best, best_of_all, strict=True)
    )  # fmt: skip
    return Table(f"Vocabulary sizes and pre-tokenizers, measured on {where}", columns, rows)


def _missing(point: Point) -> str | None:
    said = [point.why_no_interval, point.why_no_fairness and f"fairness: {point.why_no_fairness}"]
    if point.tokens < point.asked:
        said.append(f"training ran out of pairs at {point.tokens} tokens")
    return "; ".join(part for part in said if part) or None


def premium_table(points: Sequence[Point]) -> Table:
    """One row for each point and group."""
    rows = tuple(
        (p.pretokenizer, p.asked, group, *bounds) for p in points for group, bounds in p.premiums
    )
    columns = (
        Column("pretokenizer", "Pre-tokenizer"),
        Column("vocab_size", "Size asked for", "tokens"),
        Column("group", "Group"),
        Column("premium", "Tokens a byte over those of the reference", "ratio"),
        Column("low", "95% low", "ratio"),
        Column("high", "95% high", "ratio"),
    )
    return Table("Premium of each group", columns, rows)
