"""What groups (languages, say) pay in tokens, and how unevenly.

A group's cost is its tokens a line where the lines are parallel, which compares equal content;
by bytes or characters it also holds how long a script is in bytes, so these are named apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.results import Column, Table
from tokkit.stats import gini, lorenz
from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.efficiency import Metric
from tokkit.tokenizer.audit.parallel import Alignment
from tokkit.tokenizer.audit.replicates import Replicates, divide
from tokkit.tokenizer.audit.tables import GROUP, HIGH, LOW, REASON, TOKENIZER

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable

Floats = NDArray[np.float64]

BASES = ("bytes", "characters", "lines")
_SINGLE = {"bytes": "byte", "characters": "character", "lines": "line"}
NOT_PARALLEL = "the groups are not known to be parallel line by line"


def costs(
    usage: Usage, table: PretokenTable, replicates: Replicates, *, documents_are_lines: bool = False
) -> dict[str, Floats]:
    """Tokens a byte, a character and a line of each group: (rows, groups) by basis.

    With `documents_are_lines` each document is one line, with no line feed of its own.
    """
    measured = {basis: getattr(table.blocks, basis) for basis in BASES}
    if documents_are_lines:
        measured["lines"] = table.blocks.documents
    return {
        basis: replicates.ratio_by_group(usage.of_blocks, size) for basis, size in measured.items()
    }


def fairness_metrics(
    of_groups: Mapping[str, Floats], replicates: Replicates, not_parallel: str | None
) -> list[Metric]:
    """Gini coefficient and parity over groups, on each basis.

    Parity is the lowest cost over the highest: 1 where all groups pay the same. Sources: parity
    and premium, Petrov et al. (2023), "Language model tokenizers introduce unfairness between
    languages", NeurIPS; the Gini coefficient of tokenization costs, Foroutan, Meister et al.
    (2025), "Parity-aware byte-pair encoding".
    """
    found = []
    for basis in BASES:
        cost = of_groups[basis]
        denominator = f"tokens a {_SINGLE[basis]}"
        reason = not_parallel if basis == "lines" else None
        for name, label, values in (
            ("gini", "Gini coefficient over groups", gini),
            ("parity", "Lowest cost / highest cost over groups", _parity),
        ):
            rows = None if reason else replicates.centred(values(cost))
            words = (name, label, "proportion", denominator, "groups count alike")
            found.append(Metric(*words, rows, reason=reason))
    return found


def _parity(cost: Floats) -> Floats:
    return divide(cost.min(axis=1), cost.max(axis=1))


def groups_table(
    found: Mapping[str, tuple[Usage, Mapping[str, Floats]]],
    table: PretokenTable,
    replicates: Replicates,
    reference: str,
    not_parallel: str | None,
) -> Table:
    """Cost and premium of each group, for each tokenizer and basis, with intervals.

    The premium is a group's cost over that of `reference`, both of the same resample.
    """
    base = replicates.names.index(reference)
    rows: list[tuple[Any, ...]] = []
    for name, (usage, of_groups) in found.items():
        tokens = replicates.group_totals(usage.of_blocks)[0]
        for basis in BASES:
            cost = of_groups[basis]
            premium = divide(cost, cost[:, base : base + 1])
            for group, of_group in enumerate(replicates.names):
                start = (name, of_group, basis, int(tokens[group]))
                reason = not_parallel if basis == "lines" else None
                rows.append(
                    (*start, *_cost_and_premium(cost, premium, replicates, group, base, reason))
                )
    columns = (
        TOKENIZER,
        GROUP,
        Column("basis", "By"),
        Column("tokens", "Tokens", "tokens"),
        Column("cost", "Tokens a unit of the basis", "tokens/unit"),
        Column("cost_low", "Cost 95% low", "tokens/unit"),
        Column("cost_high", "Cost 95% high", "tokens/unit"),
        Column("premium", f"Premium over {reference}", "ratio"),
        LOW,
        HIGH,
        Column("blocks", "Blocks of documents", "blocks"),
        REASON,
    )
    return Table(f"What each group pays, and its premium over {reference}", columns, tuple(rows))


def _cost_and_premium(
    cost: Floats,
    premium: Floats,
    replicates: Replicates,
    group: int,
    base: int,
    reason: str | None,
) -> tuple[Any, ...]:
    blocks = int((replicates.groups == group).sum())
    paid = replicates.estimate(cost[:, group], group)
    own = (paid.value, paid.low, paid.high)
    if reason:
        return (*own, None, None, None, blocks, reason)
    more = replicates.estimate(premium[:, group], group)
    if group != base and more.low is not None:
        # A premium rests on the blocks of both groups.
        more = replicates.estimate(premium[:, group], base)
    return (*own, more.value, more.low, more.high, blocks, paid.reason or more.reason)


def lorenz_table(
    found: Mapping[str, Mapping[str, Floats]], names: Sequence[str], not_parallel: str | None
) -> Table:
    """Points of the Lorenz curve of costs over groups, cheapest group first, for each basis."""
    rows: list[tuple[Any, ...]] = []
    for name, of_groups in found.items():
        for basis in BASES:
            cost = of_groups[basis][0]
            if (basis == "lines" and not_parallel) or not np.isfinite(cost).all() or not cost.any():
                continue
            order = ["", *(names[group] for group in np.argsort(cost, kind="stable"))]
            for group, share, borne in zip(order, *lorenz(cost), strict=True):
                rows.append((name, basis, group, float(share), float(borne)))
    columns = (
        TOKENIZER,
        Column("basis", "By"),
        Column("group", "Group added last"),
        Column("share_of_groups", "Share of groups", "proportion"),
        Column("share_of_cost", "Share of the cost", "proportion"),
    )
    return Table("Lorenz curve of what groups pay", columns, tuple(rows))


def alignment_table(found: Sequence[Alignment], reference: str) -> Table:
    """What the check for parallel lines found."""
    rows = [
        (a.group, a.lines, a.correlation, a.shifted, a.p, a.reason is None, a.reason) for a in found
    ]
    columns = (
        GROUP,
        Column("lines", "Lines", "lines"),
        Column("correlation", f"Rank correlation of line lengths with {reference}"),
        Column("shifted", "The same with lines moved by 1 to 3, the highest"),
        Column("p", "p against shuffled lines"),
        Column("parallel", "Taken as parallel"),
        REASON,
    )
    return Table("Whether lines are parallel", columns, tuple(rows))
