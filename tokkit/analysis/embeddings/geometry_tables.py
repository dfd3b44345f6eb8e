"""Tables of the geometry of an embedding, made from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokkit.analysis.embeddings.geometry_measure import Cloud
from tokkit.analysis.embeddings.geometry_moments import Doubles
from tokkit.analysis.embeddings.geometry_norms import Band
from tokkit.analysis.embeddings.lookup import Lookup, Tie
from tokkit.analysis.embeddings.neighbours_hubness import Hubness, named_at_least
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import RowSurvey
from tokkit.results import Column, Table

_GROUPS = 20
_SHOWN_IDS = 5
_SPECTRUM_POINTS = 120
_LABELS = {
    "iso_score": ("IsoScore", ""),
    "participation_ratio": ("Participation ratio", "directions"),
    "effective_rank": ("Effective rank", "directions"),
    "stable_rank": ("Stable rank", "directions"),
    "mean_cosine": ("Mean cosine of two rows", ""),
    "mean_norm": ("Mean norm of a row", ""),
    "mean_share_of_square": ("Share of the mean row in the squared norms", "proportion"),
}


def token_text(subject: Subject, row: int) -> str:
    r"""A row's token as text, bytes that are no UTF-8 as \\x..; its number where none is known."""
    if subject.tokens is None or not subject.tokens[row]:
        return f"row {row}"
    return subject.tokens[row].decode("utf-8", "backslashreplace")


def measure_label(name: str) -> tuple[str, str]:
    """Label and unit of a measure, without its _centred or _raw."""
    if name.startswith("share_of_first_"):
        count = int(name.rpartition("_")[2])
        directions = "the first principal direction" if count == 1 else f"the first {count}"
        return f"Share of the squares along {directions}", "proportion"
    return _LABELS[name]


def measures_table(
    cloud: Cloud,
    initial: Cloud | None,
    spread: Mapping[str, float],
    spectrum: Mapping[str, float],
) -> Table:
    """Each measure of the trained rows beside those of initial and of random rows."""
    rows = []
    for name, measure in cloud.measures.items():
        plain, _, kind = name.rpartition("_")
        label, unit = measure_label(plain)
        before = initial.measures.get(name) if initial is not None else None
        rows.append(
            (
                plain,
                label,
                kind,
                unit,
                measure.value,
                measure.low,
                measure.high,
                None if before is None else before.value,
                spread.get(name),
                spectrum.get(name),
            )
        )
    columns = (
        Column("measure", "Measure"), Column("label", "What it is"),
        Column("rows", "Rows: without the mean row, or as they are"), Column("unit", "Unit"),
        Column("value", "These rows"), Column("low", "95% from"), Column("high", "to"),
        Column("initial", "Before training"),
        Column("spread", "Random, same spread"),
        Column("spectrum", "Random, same mean and covariance"),
    )  # fmt: skip
    return Table("Isotropy, dimension and length of the rows", columns, tuple(rows))


def spectrum_table(cloud: Cloud, initial: Cloud | None, spread: Doubles) -> Table:
    """Shares of the variance along principal directions, thinned evenly on a log scale."""
    width = len(cloud.values)
    points = np.unique(np.geomspace(1, width, min(width, _SPECTRUM_POINTS)).round().astype(int))
    shares = [_shares(cloud.values), _shares(cloud.raw_values), _shares(spread)]
    before = None if initial is None else _shares(initial.values)
    rows = tuple(
        (
            int(rank),
            *(float(share[rank - 1]) for share in shares[:2]),
            None if before is None else float(before[rank - 1]),
            float(shares[2][rank - 1]),
        )
        for rank in points
    )
    columns = (
        Column("rank", "Principal direction"),
        Column("centred", "Share of the variance", "proportion"),
        Column("raw", "Share of the squares, mean row left in", "proportion"),
        Column("initial", "Before training", "proportion"),
        Column("spread", "Random, same spread", "proportion"),
    )
    return Table("Spectrum: shares of the variance by principal direction", columns, rows)


def _shares(values: Doubles) -> Doubles:
    shares: Doubles = values / values.sum()
    return shares


def norms_table(bands: Sequence[Band]) -> Table:
    """Lengths of rows by how often their tokens were trained."""
    columns = (
        Column("least", "Trained from", "times"), Column("greatest", "to", "times"),
        Column("tokens", "Tokens"), Column("median", "Median norm"),
        Column("low", "95% from"), Column("high", "to"),
        Column("tenth", "A tenth is below"), Column("ninetieth", "A tenth is above"),
    )  # fmt: skip
    rows = tuple(
        (b.least, b.greatest, b.n, b.median, b.low, b.high, b.tenth, b.ninetieth) for b in bands
    )
    return Table("Norm of a row by training count of its token", columns, rows)


def hubness_table(found: Mapping[str, Hubness]) -> Table:
    """Hubness of each cloud."""
    columns = (
        Column("cloud", "Rows"), Column("n", "Rows compared"), Column("k", "Neighbours"),
        Column("skewness", "Skewness of N_k"), Column("low", "95% from"), Column("high", "to"),
        Column("never", "Nobody's neighbour", "proportion"),
        Column("never_low", "95% from", "proportion"), Column("never_high", "to", "proportion"),
        Column("largest", "Largest N_k", "times"),
    )  # fmt: skip
    rows = tuple(
        (
            name,
            h.n,
            h.k,
            h.skewness.value,
            h.skewness.low,
            h.skewness.high,
            h.never_named.value,
            h.never_named.low,
            h.never_named.high,
            h.largest,
        )
        for name, h in found.items()
    )
    return Table("Hubness: how unevenly rows are neighbours of others", columns, rows)


def occurrences_table(found: Mapping[str, Hubness]) -> Table:
    """How many rows are named at least so often."""
    columns = (
        Column("cloud", "Rows"),
        Column("times", "Neighbour of at least", "rows"),
        Column("share", "Share of the rows", "proportion"),
    )
    rows = [
        (name, times, share)
        for name, one in found.items()
        for times, share in named_at_least(one.counts)
    ]
    return Table("How often a row is a neighbour", columns, tuple(rows))


def hubs_table(subject: Subject, rows: Sequence[tuple[int, int, float]]) -> Table:
    """The rows that are neighbours of most: (id, N_k, norm)."""
    columns = (
        Column("token", "Token"), Column("id", "Id"),
        Column("named", "Neighbour of", "rows"), Column("norm", "Norm"),
        Column("count", "Trained", "times"),
    )  # fmt: skip
    counts = subject.counts
    filled = tuple(
        (
            token_text(subject, row),
            row,
            named,
            norm,
            None if counts is None else int(counts[row]),
        )
        for row, named, norm in rows
    )
    return Table("The largest hubs, of all rows without the mean row", columns, filled)


def neighbours_table(
    subject: Subject, rows: Sequence[tuple[int, int, int, float, float | None]]
) -> Table:
    """Neighbours of named tokens: (id, rank, neighbour's id, cosine, cosine with the mean)."""
    columns = (
        Column("token", "Token"), Column("id", "Id"), Column("rank", "Rank"),
        Column("neighbour", "Neighbour"), Column("neighbour_id", "Its id"),
        Column("cosine", "Cosine without the mean row"), Column("cosine_raw", "Cosine as they are"),
    )  # fmt: skip
    filled = tuple(
        (token_text(subject, row), row, rank, token_text(subject, other), other, centred, raw)
        for row, rank, other, centred, raw in rows
    )
    return Table("Nearest neighbours, exact", columns, filled)


def faults_table(survey: RowSurvey) -> Table:
    """What was found in the rows that keeps them out, or that repeats."""
    columns = (Column("reason", "Found"), Column("rows", "Rows"))
    return Table("Rows that cannot be measured, or repeat", columns, tuple(survey.counts.items()))


def repeated_table(subject: Subject, survey: RowSurvey) -> Table:
    """The largest groups of equal rows, with the tokens of the first of each."""
    columns = (Column("size", "Equal rows"), Column("ids", "First ids"), Column("tokens", "Tokens"))
    rows = tuple(
        (
            len(group),
            ", ".join(str(row) for row in group[:_SHOWN_IDS]),
            " ".join(repr(token_text(subject, int(row))) for row in group[:_SHOWN_IDS]),
        )
        for group in survey.groups[:_GROUPS]
    )
    return Table("Rows that are equal, number for number", columns, rows)


def lookup_table(found: Lookup | None, tie: Tie | None, *, tied: bool | None) -> Table | None:
    """What the lookup showed, one line a comparison; None where there was none."""
    rows: list[tuple[Any, ...]] = []
    if found is not None:
        places = found.ids * found.contexts
        what = "row times scale" + (
            ", plus the vector of the place" if found.position_added else ""
        )
        rows.append((f"What enters the first layer, and {what}", places, found.bit_equal,
                     found.largest_deviation))  # fmt: skip
        rows.append(("One id among other ids", places, found.same_in_context, None))
        if found.position_deviation is not None:
            rows.append(("What is added at one place, between tokens", places, None,
                         found.position_deviation))  # fmt: skip
    if tie is not None:
        rows.append(
            (
                "Rows of the output and of the input",
                tie.rows,
                tie.equal == tie.rows,
                tie.largest_deviation,
            )
        )
    elif tied:
        rows.append(("Rows of the output and of the input: one matrix, tied", None, True, 0.0))
    columns = (
        Column("compared", "Compared"), Column("vectors", "Vectors"),
        Column("bit_equal", "Equal in every bit"), Column("deviation", "Largest deviation"),
    )  # fmt: skip
    return (
        Table("Lookup: the embedding layer beside its table", columns, tuple(rows))
        if rows
        else None
    )
