"""The tables of spelling: readings beside what they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.spelling import (
    CODE_PRECISIONS,
    Bench,
    Found,
)
from tokkit.analysis.embeddings.spelling_labels import STEM_LETTERS, Spelled
from tokkit.analysis.embeddings.spelling_reading import METRICS, PENALTIES, majority
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.probing import PREPROCESSING
from tokkit.analysis.probing_mdl import CodeLength
from tokkit.analysis.probing_scores import (
    LEAST_OF_CLASS,
    LEVEL,
    Scores,
    average_precision,
    balanced_accuracy,
    bounds,
    decisions,
    stratified_balanced_accuracy,
    usable_heads,
)
from tokkit.analysis.section import Section
from tokkit.results import Column, Table
from tokkit.tokenizer.letters import LETTERS

LEAST_IN_GROUP = 30
LIMITS = (
    "Words of one family (play, player) can lie on both sides of the split by word; the split "
    f"by the first {STEM_LETTERS} letters keeps most of them together.",
    "A probe shows what can be read off a row, not that the model reads it.",
    "Intervals are of the test words; each probe was fitted once, on one split.",
    "The online code is of one order of the words: it has no interval.",
)


def three(name: str, label: str, unit: str = "proportion") -> tuple[Column, Column, Column]:
    """An estimate and its interval as columns."""
    percent = f"{LEVEL:.0%}"
    return (
        Column(name, label, unit),
        Column(f"{name}_low", f"{label}, {percent} low", unit),
        Column(f"{name}_high", f"{label}, {percent} high", unit),
    )


def numbers(values: Scores) -> tuple[float | None, float | None, float | None]:
    """Estimate, low and high."""
    found = bounds(values)
    return found.estimate, found.low, found.high


def section_of(
    subject: Subject,
    every: Spelled,
    bench: Bench,
    found: Sequence[Found],
    codes: Mapping[str, Mapping[str, CodeLength]],
    variants: Mapping[str, Mapping[str, Scores]],
) -> Section:
    """All of it as a section."""
    presence = next(one for one in found if one.kind == "presence" and one.probe == "logistic")
    count = next(one for one in found if one.kind == "count" and one.probe == "logistic")
    known, amount = frequency(subject, bench.spelled)
    lengths = np.minimum(bench.spelled.lengths, 12)
    return Section(
        values={
            "tokens_of_letters": len(every),
            "tokens_looked_at": len(bench.spelled),
            "words_looked_at": len(np.unique(bench.spelled.groups)),
            "tokens_trained_on": len(bench.split.train),
            "tokens_chosen_on": len(bench.split.validation),
            "tokens_tested_on": len(bench.split.test),
            "baseline_rows": bench.baseline,
            "preprocessing": PREPROCESSING,
            "penalties": list(PENALTIES),
            "code_precisions": list(CODE_PRECISIONS),
            "resamples": len(bench.weights) - 1,
            "frequency_known_by": known,
            "limits": list(LIMITS),
        },
        tables={
            "spelling_tasks": tasks_table(bench, found),
            "spelling_letters": letters_table(bench, presence, count),
            "spelling_mdl": code_table(codes),
            "spelling_splits": splits_table(presence, found, variants),
            "spelling_by_count": groups_table(
                bench, presence, quartiles(amount), f"Letters known, by quarters of {known}"
            ),
            "spelling_by_length": groups_table(
                bench,
                presence,
                {f"{k}" if k < 12 else "12 or more": lengths == k for k in range(1, 13)},
                "Letters known, by letters in the token",
            ),
        },
        left_out=every.left_out,
    )


def tasks_table(bench: Bench, found: Sequence[Found]) -> Table:
    """One row a task, probe and metric."""
    rows = []
    for one in found:
        common = majority(one.kind, one.task, bench.split)
        for metric in METRICS[one.kind]:
            of = {name: scores[metric] for name, scores in one.scores.items()}
            rows.append(
                (
                    one.kind,
                    one.probe,
                    metric,
                    *numbers(of["rows"]),
                    *numbers(of["rows"] - of["control"]),
                    *numbers(of["rows"] - of["initial"]),
                    *numbers(of["control"]),
                    *numbers(of["initial"]),
                    *numbers(of["shuffled"]),
                    _finite(common[metric]),
                    *(_only(of.get(name)) for name in ("surface", "length")),
                    *(_only(of[name]) for name in ("training words", "control on training words")),
                    len(bench.split.test),
                    one.readings["rows"].chosen,
                )
            )
    columns = (
        Column("task", "Task"),
        Column("probe", "Probe"),
        Column("metric", "Metric"),
        *three("value", "Rows", ""),
        *three("selectivity", "Rows less control task", ""),
        *three("gain", "Rows less baseline rows", ""),
        *three("control", "Control task, held-out words", ""),
        *three("initial", "Baseline rows", ""),
        *three("shuffled", "Shuffled labels", ""),
        Column("majority", "Commonest class"),
        Column("surface", "Norm, id, count, space and capital alone"),
        Column("length_alone", "Length alone"),
        Column("training", "Rows, words trained on"),
        Column("memorised", "Control task, words trained on"),
        Column("n", "Test tokens", "tokens"),
        Column("chosen", "Penalty, or epochs"),
    )
    return Table("What the rows know of letters, on words never trained on", columns, tuple(rows))


def _only(values: Scores | None) -> float | None:
    return None if values is None else _finite(float(values[0]))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def letters_table(bench: Bench, presence: Found, count: Found) -> Table:
    """One row a letter that enough test tokens have."""
    test, weights = bench.split.test, bench.weights
    labels, counts = presence.task.of(test), count.task.of(test)
    of = {
        name: decisions(presence.readings[name].predicted, presence.readings[name].prior)
        for name in ("rows", "initial", "length")
    }
    counted = decisions(count.readings["rows"].predicted, count.readings["rows"].prior)
    score = {name: balanced_accuracy(chosen, labels, 2, weights) for name, chosen in of.items()}
    precision = average_precision(presence.readings["rows"].predicted[:, :, 1], labels, weights)
    of_counts = balanced_accuracy(counted, counts, count.task.classes, weights)
    enough, enough_counts = usable_heads(labels, 2), usable_heads(counts, count.task.classes)
    rows = [
        (
            letter,
            int(labels[:, at].sum()),
            float(labels[:, at].mean()),
            *numbers(score["rows"][:, at]),
            *numbers(score["initial"][:, at]),
            _only(score["length"][:, at]),
            *numbers(precision[:, at]),
            *(numbers(of_counts[:, at]) if enough_counts[at] else (None, None, None)),
        )
        for at, letter in enumerate(LETTERS)
        if enough[at]
    ]
    columns = (
        Column("letter", "Letter"),
        Column("n", "Test tokens that have it", "tokens"),
        Column("share", "Share of test tokens", "proportion"),
        *three("value", "Balanced accuracy, present or not", ""),
        *three("initial", "Baseline rows", ""),
        Column("length_alone", "Length alone"),
        *three("precision", "Average precision", ""),
        *three("count", "Balanced accuracy, 0, 1 or more", ""),
    )
    title = f"Each letter that {LEAST_OF_CLASS} or more test tokens have, logistic probe"
    return Table(title, columns, tuple(rows))


def code_table(codes: Mapping[str, Mapping[str, CodeLength]]) -> Table:
    """One row a task and what was coded by."""
    names = {"rows": "rows", "initial": "baseline rows", "control": "rows, control task"}
    rows = [
        (
            kind,
            names[name],
            code.labels,
            code.bits,
            code.bits / code.labels,
            code.uniform_bits,
            code.prior_bits,
            code.compression,
            code.compression_of_prior,
        )
        for kind, of_kind in codes.items()
        for name, code in of_kind.items()
    ]
    columns = (
        Column("task", "Task"),
        Column("by", "Coded by"),
        Column("labels", "Labels", "labels"),
        Column("bits", "Online code", "bits"),
        Column("bits_per_label", "Online code", "bits a label"),
        Column("uniform_bits", "Uniform code", "bits"),
        Column("prior_bits", "Code that knows the classes' shares", "bits"),
        Column("compression", "Uniform over online code"),
        Column("compression_of_prior", "Shares' code over online code"),
    )
    return Table("Bits that the labels take (online code)", columns, tuple(rows))


def splits_table(
    presence: Found, found: Sequence[Found], variants: Mapping[str, Mapping[str, Scores]]
) -> Table:
    """The split by word beside the stricter one, and beside words that were seen."""
    said = {
        "stems": f"no first {STEM_LETTERS} letters shared",
        "variants": "other writings of words trained on",
        "variants, control": "other writings of words trained on, control task",
    }
    rows: list[tuple[Any, ...]] = []
    for one in found:
        if one.probe == "logistic" and one.kind in variants:
            metric = METRICS[one.kind][0]
            rows.append((one.kind, metric, "by word", *numbers(one.scores["rows"][metric])))
            rows += [
                (one.kind, metric, said[name], *numbers(values))
                for name, values in variants[one.kind].items()
            ]
    columns = (
        Column("task", "Task"),
        Column("metric", "Metric"),
        Column("split", "Tested on"),
        *three("value", "Value", ""),
    )
    return Table("Other ways to split, logistic probe", columns, tuple(rows))


def frequency(subject: Subject, spelled: Spelled) -> tuple[str, NDArray[np.float64]]:
    """How often each token stood in training; where unknown, its id stands in, early is often."""
    if subject.counts is not None:
        return "training count", subject.counts[spelled.ids].astype(np.float64)
    return "token id, latest first (a stand-in for the count)", -spelled.ids.astype(np.float64)


def quartiles(amount: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Tokens (N,) of each quarter, from rare to frequent; equal amounts stay together."""
    bound = np.quantile(amount, [0.25, 0.5, 0.75])
    quarter = np.searchsorted(bound, amount, side="left")
    names = ("rarest quarter", "second quarter", "third quarter", "most frequent quarter")
    return {name: quarter == at for at, name in enumerate(names)}


def groups_table(
    bench: Bench, presence: Found, members: Mapping[str, NDArray[np.bool_]], title: str
) -> Table:
    """Balanced accuracy within letters, over the test tokens of each group."""
    test = bench.split.test
    labels = presence.task.of(test)
    rows = []
    for name, of in members.items():
        here = of[test]
        if here.sum() < LEAST_IN_GROUP:
            continue
        scores = {
            by: stratified_balanced_accuracy(
                decisions(reading.predicted, reading.prior)[here],
                labels[here],
                bench.weights[:, here],
            )
            for by, reading in presence.readings.items()
            if by in ("rows", "initial", "length", "surface")
        }
        rows.append(
            (
                name,
                int(here.sum()),
                *numbers(scores["rows"]),
                *numbers(scores["initial"]),
                _only(scores["surface"]),
                _only(scores["length"]),
            )
        )
    columns = (
        Column("group", "Tokens"),
        Column("n", "Test tokens", "tokens"),
        *three("value", "Balanced accuracy, present or not", ""),
        *three("initial", "Baseline rows", ""),
        Column("surface", "Norm, id, count, space and capital alone"),
        Column("length_alone", "Length alone"),
    )
    return Table(title, columns, tuple(rows))
