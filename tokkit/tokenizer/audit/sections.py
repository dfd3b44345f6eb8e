"""The tables of an audit: what is measured on the text by section, on groups, on fixed items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tokkit.parallel import map_in_threads
from tokkit.results import Table
from tokkit.tokenizer.audit import fairness, faithfulness, spelling, structure
from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.distributions import frequencies_table, lengths_table
from tokkit.tokenizer.audit.efficiency import Metric, efficiency_metrics
from tokkit.tokenizer.audit.parallel import Alignment, check_alignment
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.tables import differences_table, metrics_table

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable

SECTIONS = {
    "efficiency": "Efficiency",
    "fairness": "Fairness over groups",
    "faithfulness": "Faithfulness",
    "structure": "Numbers and white space in the text",
    "spelling": "Letters that tokens hide",
}
Sections = dict[str, dict[str, list[Metric]]]
"""Metrics by section and tokenizer."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The counted text, its resamples, and the group that the others are compared with."""

    table: PretokenTable
    replicates: Replicates
    reference: str
    parallel_lines: Mapping[str, ArrayLike] | None
    generator: np.random.Generator


def corpus_tables(usages: Sequence[Usage], corpus: Corpus, base: str) -> dict[str, Table]:
    """Everything measured on the text, by section; then groups, and differences over all of it."""
    sections, faiths = _measure(usages, corpus)
    group_tables: dict[str, Table] = {}
    if len(corpus.replicates.names) > 1:
        group_tables, sections["fairness"] = _of_groups(usages, corpus)
    tables = {
        name: metrics_table(title, sections[name], corpus.replicates)
        for name, title in SECTIONS.items()
        if sections[name]
    }
    tables |= group_tables
    tables["unreachable"] = faithfulness.unreachable_table(faiths)
    tables["junk"] = faithfulness.junk_table(faiths)
    if len(usages) > 1:
        together = {
            usage.name: [m for found in sections.values() for m in found.get(usage.name, [])]
            for usage in usages
        }
        tables["differences"] = differences_table(
            together, base, corpus.replicates, corpus.generator
        )
    return tables


def _measure(
    usages: Sequence[Usage], corpus: Corpus
) -> tuple[Sections, dict[str, tuple[Usage, faithfulness.Faith]]]:
    table, replicates = corpus.table, corpus.replicates

    def measured(usage: Usage) -> tuple[faithfulness.Faith, dict[str, list[Metric]]]:
        faith = faithfulness.examine(usage, replicates)
        return faith, {
            "efficiency": efficiency_metrics(usage, table, replicates),
            "faithfulness": faith.metrics,
            "structure": structure.structure_metrics(usage, replicates),
            "spelling": spelling.spelling_metrics(usage, replicates),
        }

    sections: Sections = {name: {} for name in SECTIONS}
    faiths = {}
    for usage, (faith, of_usage) in zip(usages, map_in_threads(measured, usages), strict=True):
        faiths[usage.name] = (usage, faith)
        for section, metrics in of_usage.items():
            sections[section][usage.name] = metrics
    return sections, faiths


def _of_groups(
    usages: Sequence[Usage], corpus: Corpus
) -> tuple[dict[str, Table], dict[str, list[Metric]]]:
    """The tables of groups, and the fairness metrics of each tokenizer."""
    table, replicates = corpus.table, corpus.replicates
    aligned = _alignment(corpus)
    not_parallel: str | None = fairness.NOT_PARALLEL
    if aligned:
        not_parallel = next((a.reason for a in aligned if a.reason), None)
    lone_lines = bool(aligned) and not not_parallel and int(np.sum(table.blocks.lines)) == 0
    costs = {
        usage.name: fairness.costs(usage, table, replicates, documents_are_lines=lone_lines)
        for usage in usages
    }
    found = {usage.name: (usage, costs[usage.name]) for usage in usages}
    tables = {
        "groups": fairness.groups_table(found, table, replicates, corpus.reference, not_parallel),
        "lorenz": fairness.lorenz_table(costs, replicates.names, not_parallel),
    }
    if aligned:
        tables["alignment"] = fairness.alignment_table(aligned, corpus.reference)
    metrics = {
        name: fairness.fairness_metrics(of_groups, replicates, not_parallel)
        for name, of_groups in costs.items()
    }
    return tables, metrics


def _alignment(corpus: Corpus) -> list[Alignment]:
    if not corpus.parallel_lines:
        return []
    replicates, blocks = corpus.replicates, corpus.table.blocks
    lines = replicates.group_totals(blocks.lines)[0]
    documents = replicates.group_totals(blocks.documents)[0]
    counted = {
        name: (int(lines[group]), int(documents[group]))
        for group, name in enumerate(replicates.names)
    }
    return check_alignment(corpus.parallel_lines, corpus.reference, counted, corpus.generator)


def vocabulary_tables(
    usages: Sequence[Usage], words: Mapping[str, int] | None, generator: np.random.Generator
) -> dict[str, Table]:
    """What is measured on fixed items, whatever the text; `words` as in `audit`."""
    tables = {
        "token_lengths": lengths_table(usages),
        "frequencies": frequencies_table(usages),
        "special_cases": faithfulness.cases_table(usages),
        "special_tokens": faithfulness.special_table(usages),
        "numbers": structure.numbers_table(usages, generator),
        "indentation": structure.spaces_table(usages),
        "operators": structure.operators_table(usages),
    }
    if words is None:
        from tokkit.corpus import word_counts

        words = word_counts()
    return tables | (spelling.word_tables(usages, words) if words else {})
