"""The values and tables that the untrained tokens are reported in."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.embeddings.untrained import BASELINES, CANDIDATE_SHARE, Untrained
from tokkit.analysis.embeddings.untrained_indicators import LABELS, PRIMARY_RULE
from tokkit.analysis.embeddings.untrained_prompts import VERIFIED_BELOW
from tokkit.analysis.embeddings.untrained_reach import WORDS
from tokkit.analysis.embeddings.untrained_truth import RARE
from tokkit.analysis.embeddings.untrained_verification import (
    CANDIDATE,
    CONTROL,
    CONTROL_REPEATED,
    REFERENCE,
    SPECIAL,
    Verification,
)
from tokkit.results import Column, Table
from tokkit.stats import wilson

Floats = NDArray[np.float64]

MOST_LISTED = 100
_HISTOGRAM_BINS = 40
_COUNT_EDGES = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 1 << 62)
_QUANTILES = (0.0, 0.001, 0.0025, 0.005, 0.01, CANDIDATE_SHARE, 1.0)


def untrained_values(found: Untrained) -> dict[str, Any]:
    """What was found as JSON values; null where it could not be, with the reason beside it."""
    indicators, reference = found.indicators, found.reference
    kinds = Counter(found.reached.kind[found.ordinary].tolist())
    return {
        "primary": indicators.primary,
        "primary_label": LABELS[indicators.primary],
        "primary_rule": PRIMARY_RULE,
        "measured_on": found.measured_on,
        "reference": {
            "rows": len(reference.ids),
            "ids": reference.ids.tolist()[:MOST_LISTED],
            "found_by": dict(reference.found_by),
            "mean_cosine": indicators.agreement,
            "mean_cosine_of_random_rows_95_percent": indicators.random_agreement,
        },
        "first_component_variance_share": indicators.component_share,
        "ordinary_tokens": int(found.ordinary.sum()),
        "candidate_share": CANDIDATE_SHARE,
        "candidates": len(found.candidates),
        "threshold": _number(found.threshold),
        "reach_is_decided": found.reached.is_decided,
        "reach": {WORDS[kind]: count for kind, count in sorted(kinds.items())},
        "verification": None if found.asked is None else _verification(found.asked),
    }


def _verification(asked: Verification) -> dict[str, Any]:
    best = {why: asked.best(why) for why in (CANDIDATE, CONTROL, REFERENCE, SPECIAL)}
    said = (
        "tokens that are not repeated are verified as under-trained"
        if asked.can_verify
        else "prompting cannot verify with this model: it does not repeat ordinary tokens either"
    )
    return {
        "can_verify": asked.can_verify,
        "says": said,
        "rule": (
            f"verified where the probability stays below {VERIFIED_BELOW} in all templates; the "
            f"model must repeat {CONTROL_REPEATED:.0%} of random ordinary tokens"
        ),
        "templates": list(asked.repeated.templates),
        **{f"{why}_tokens": len(values) for why, values in best.items()},
        **{f"{why}_not_repeated": _share(values) for why, values in best.items()},
        **{
            f"{why}_median_probability": _number(np.median(values)) if len(values) else None
            for why, values in best.items()
        },
    }


def _share(probabilities: Floats) -> dict[str, float] | None:
    """The share of tokens that are not repeated, within its interval."""
    if not len(probabilities):
        return None
    found = wilson(int((probabilities < VERIFIED_BELOW).sum()), len(probabilities))
    return {"share": found.estimate, "low": found.low, "high": found.high}


def untrained_tables(subject: Subject, found: Untrained) -> dict[str, Table]:
    """The tables by name, without those that have no rows."""
    tables = {
        "untrained_tokens": _tokens(subject, found),
        "untrained_indicators": _indicators(found),
        "untrained_histogram": _histogram(subject, found),
        "untrained_by_count": _by_count(subject, found),
        "untrained_verified": _verified(found),
    }
    return {name: table for name, table in tables.items() if table.rows}


def _tokens(subject: Subject, found: Untrained) -> Table:
    """The rows with the lowest indicator, special ones and those of the reference among them."""
    assert subject.tokens is not None
    values, counts = found.primary, subject.counts
    order = np.argsort(values, kind="stable")  # NaN comes last
    shown = [int(row) for row in order if np.isfinite(values[row])][:MOST_LISTED]
    known = set(found.reference.ids.tolist())
    best: dict[int, float] = {}
    if found.asked is not None:
        best = dict(zip(found.asked.ids.tolist(), found.asked.repeated.best.tolist(), strict=True))
    rows = tuple(
        (
            row,
            subject.tokens[row].decode("utf-8", "replace"),
            float(values[row]),
            None if counts is None else int(counts[row]),
            best.get(row),
            _verdict(best.get(row), found.asked),
            found.reached.words(row),
            "reference" if row in known else "special" if row in subject.special else "ordinary",
        )
        for row in shown
    )
    label = LABELS[found.indicators.primary]
    return Table(
        f"Rows that look least trained: the {len(rows)} of the lowest indicator",
        (
            Column("row", "Id"),
            Column("token", "Token"),
            Column("indicator", label),
            Column("count", "In the training text", "times"),
            Column("repeated", "Best probability of repeating it"),
            Column("verified", "Prompts say"),
            Column("reach", "Can a text give it?"),
            Column("kind", "Kind"),
        ),
        rows,
    )


def _verdict(probability: float | None, asked: Verification | None) -> str:
    if probability is None or asked is None:
        return "not asked"
    if not asked.can_verify:
        return "cannot verify"
    return "under-trained" if probability < VERIFIED_BELOW else "is repeated"


def _indicators(found: Untrained) -> Table:
    labels = LABELS | BASELINES
    rows = tuple(
        (
            name, labels[name], name == found.indicators.primary,
            one.never.value, one.never.low, one.never.high,
            one.never.positives, one.never.negatives,
            None if one.rare is None else one.rare.value,
            None if one.longer is None else one.longer.value,
            one.null.value, one.null.low, one.null.high,
            _number(one.counts.value), _number(one.counts.low), _number(one.counts.high),
        )
        for name, one in found.judged.items()
    )  # fmt: skip
    return Table(
        "How well each score tells tokens that were never seen",
        (
            Column("name", "Name"),
            Column("indicator", "Score"),
            Column("primary", "Named by the rule"),
            Column("area", "Area, never seen against seen"),
            Column("low", "Area, low"),
            Column("high", "Area, high"),
            Column("unseen", "Never seen", "tokens"),
            Column("seen", "Seen", "tokens"),
            Column("area_rare", f"Area, seen {RARE} times at most against more"),
            Column("area_longer", "Area, tokens of two bytes or more"),
            Column("null_area", "Area where nothing was learned"),
            Column("null_low", "Its low"),
            Column("null_high", "Its high"),
            Column("correlation", "Rank correlation with the count"),
            Column("correlation_low", "Correlation, low"),
            Column("correlation_high", "Correlation, high"),
        ),
        rows,
    )


def _histogram(subject: Subject, found: Untrained) -> Table:
    """The primary indicator's distribution, by what is known of the rows."""
    values = found.primary
    is_known = np.zeros(len(values), dtype=bool)
    is_known[found.reference.ids] = True
    there = np.isfinite(values)
    ordinary = found.ordinary & ~is_known
    groups = {"known to be untrained": is_known & there}
    if subject.counts is None:
        groups["all other tokens"] = ordinary
    else:
        groups["never seen"] = ordinary & (subject.counts == 0)
        groups["seen"] = ordinary & (subject.counts > 0)
    shown = np.logical_or.reduce(list(groups.values()))
    rows: list[tuple[Any, ...]] = []
    if shown.any():
        edges = np.histogram_bin_edges(values[shown], bins=_HISTOGRAM_BINS)
        for name, members in groups.items():
            tokens, _ = np.histogram(values[members], bins=edges)
            rows += [
                (name, float(edges[k]), float(edges[k + 1]), int(tokens[k]), int(members.sum()))
                for k in range(len(tokens))
                if members.any()
            ]
    return Table(
        f"Distribution of the indicator: {LABELS[found.indicators.primary]}",
        (
            Column("group", "Rows"),
            Column("low", "From"),
            Column("high", "To"),
            Column("tokens", "Rows here", "rows"),
            Column("of", "Rows in all", "rows"),
        ),
        tuple(rows),
    )


def _by_count(subject: Subject, found: Untrained) -> Table:
    """Quartiles of the primary indicator by how often the token was seen."""
    rows: list[tuple[Any, ...]] = []
    if subject.counts is not None:
        for low, high in itertools.pairwise(_COUNT_EDGES):
            here = found.ordinary & (subject.counts >= low) & (subject.counts < high)
            here[found.reference.ids] = False
            if here.any():
                quartiles = np.quantile(found.primary[here], [0.05, 0.25, 0.5, 0.75, 0.95])
                last = int(min(high - 1, subject.counts[here].max()))
                rows.append((low, last, int(here.sum()), *map(float, quartiles)))
    return Table(
        "The indicator by how often the token stood in the training text",
        (
            Column("count_low", "From", "times"),
            Column("count_high", "To", "times"),
            Column("tokens", "Tokens", "tokens"),
            Column("p5", "5% quantile"),
            Column("p25", "Lower quartile"),
            Column("median", "Median"),
            Column("p75", "Upper quartile"),
            Column("p95", "95% quantile"),
        ),
        tuple(rows),
    )


def _verified(found: Untrained) -> Table:
    """The share of tokens that are not repeated, by the rank of their indicator."""
    rows: list[tuple[Any, ...]] = []
    if found.asked is not None:
        ids = np.setdiff1d(np.flatnonzero(found.ordinary), found.reference.ids)
        rank = np.full(len(found.ordinary), np.nan)
        order = np.argsort(found.primary[ids], kind="stable")
        rank[ids[order]] = (np.arange(len(ids)) + 0.5) / len(ids)
        of_asked, best = rank[found.asked.ids], found.asked.repeated.best
        for low, high in itertools.pairwise(_QUANTILES):
            here = (of_asked >= low) & (of_asked < high)
            if here.any():
                share = wilson(int((best[here] < VERIFIED_BELOW).sum()), int(here.sum()))
                rows.append(
                    (low, high, int(here.sum()), share.estimate, share.low, share.high,
                     float(np.median(best[here])), found.asked.can_verify)
                )  # fmt: skip
    return Table(
        "Tokens that the model does not repeat, by the rank of their indicator",
        (
            Column("rank_low", "Rank from", "proportion"),
            Column("rank_high", "Rank to", "proportion"),
            Column("asked", "Asked", "tokens"),
            Column("not_repeated", "Not repeated", "proportion"),
            Column("low", "Low", "proportion"),
            Column("high", "High", "proportion"),
            Column("median", "Median probability of repeating"),
            Column("can_verify", "The model repeats ordinary tokens"),
        ),
        tuple(rows),
    )


def _number(value: Any) -> float | None:
    """A float, or None for what is not finite: JSON has no word for it."""
    return float(value) if math.isfinite(value) else None
