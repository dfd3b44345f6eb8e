"""How far a tokenizer shortens text, and how evenly it uses its vocabulary.

Ratios are pooled over all blocks (micro) or means of the ratios of blocks or groups (macro). An
efficiency names its denominator: the vocabulary observed in this text, or the one declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.replicates import Replicates, divide

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from tokkit.tokenizer.table import PretokenTable

Floats = NDArray[np.float64]

RENYI_ALPHA = 2.5
"""The order that Zouhar et al. (2023) found to go best with translation quality."""
AT_LEAST = 10
"""A token met less often than this is called rare."""
_MIN_TAIL = 50
_TAIL_STARTS = 60


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a corpus with its replicates (rows,); `reason` says why it has none.

    A `fixed` number is one of the vocabulary, which no sample of documents would change.
    """

    name: str
    label: str
    unit: str
    denominator: str
    average: str
    rows: Floats | None
    method: str = "bootstrap"
    reason: str | None = None
    fixed: float | None = None


def efficiency_metrics(usage: Usage, table: PretokenTable, replicates: Replicates) -> list[Metric]:
    """All efficiency metrics of one tokenizer: ratios, then those of the frequency distribution."""
    return [
        *_ratio_metrics(usage, table, replicates),
        *_distribution_metrics(usage, table, replicates),
    ]


def _ratio_metrics(usage: Usage, table: PretokenTable, replicates: Replicates) -> list[Metric]:
    blocks, tokens = table.blocks, usage.of_blocks
    bits_an_id = np.log2(max(2, usage.declared))
    sized = (
        ("bytes_per_token", "Bytes a token", "bytes/token", "tokens", blocks.bytes, tokens),
        ("characters_per_token", "Characters a token", "characters/token", "tokens",
         blocks.characters, tokens),
        ("words_per_token", "Words a token", "words/token", "tokens", blocks.words, tokens),
        ("tokens_per_word", "Tokens a word (fertility)", "tokens/word", "words", tokens,
         blocks.words),
        ("tokens_per_byte", "Tokens a byte", "tokens/byte", "bytes", tokens, blocks.bytes),
        ("tokens_per_line", "Tokens a line", "tokens/line", "lines", tokens, blocks.lines),
        ("tokens_per_document", "Tokens a document", "tokens/document", "documents", tokens,
         blocks.documents),
        ("compression", "Bits of text for each bit of ids", "bits/bit",
         "tokens x log2(declared vocabulary)", 8 * blocks.bytes, tokens * bits_an_id),
    )  # fmt: skip
    found = []
    for name, label, unit, denominator, above, below in sized:
        found += averaged(replicates, name, label, unit, denominator, above, below)
    return found


def averaged(
    replicates: Replicates,
    name: str,
    label: str,
    unit: str,
    denominator: str,
    above: ArrayLike,
    below: ArrayLike,
) -> list[Metric]:
    """A ratio as micro average, as mean over blocks and, with several groups, over groups."""
    found = [
        Metric(name, label, unit, denominator, "micro", replicates.ratio(above, below)),
        Metric(
            name, label, unit, denominator, "macro over blocks",
            replicates.mean_over_blocks(above, below),
        ),
    ]  # fmt: skip
    if len(replicates.names) > 1:
        by_group = replicates.ratio_by_group(above, below).mean(axis=1)
        found.append(Metric(name, label, unit, denominator, "macro over groups", by_group))
    return found


# The frequency distribution ----------------------------------------------------------------------

_OF_FREQUENCIES = (
    ("vocabulary_used", "Vocabulary used", "proportion", "declared ids"),
    ("vocabulary_used_often", f"Vocabulary used {AT_LEAST} times or more", "proportion",
     "declared ids"),
    ("shannon_entropy", "Shannon entropy of the tokens", "bits/token", "tokens"),
    ("shannon_efficiency", "Shannon efficiency", "proportion", "log2(observed vocabulary)"),
    ("shannon_efficiency", "Shannon efficiency", "proportion", "log2(declared vocabulary)"),
    ("renyi_efficiency", f"Rényi efficiency of order {RENYI_ALPHA}", "proportion",
     "log2(observed vocabulary)"),
    ("renyi_efficiency", f"Rényi efficiency of order {RENYI_ALPHA}", "proportion",
     "log2(declared vocabulary)"),
    ("unigram_bits_per_byte", "Bits a byte under the text's own token frequencies", "bits/byte",
     "bytes"),
)  # fmt: skip


def _distribution_metrics(
    usage: Usage, table: PretokenTable, replicates: Replicates
) -> list[Metric]:
    declared = usage.declared
    start, alone = tail_start(usage.of_tokens)
    sums = frequency_sums(usage.counts, minimum=start or 1)
    values = frequency_values(sums, table.blocks.bytes, declared)
    found = [
        Metric(*words, "micro", replicates.from_left_out(values[:, k]), "jackknife")
        for k, words in enumerate(_OF_FREQUENCIES)
    ]
    if len(replicates.names) > 1:
        mean = _mean_over_groups(usage, table, replicates)
        found += [
            Metric(*words, "macro over groups", replicates.from_left_out(mean[:, k]), "jackknife")
            for k, words in enumerate(_OF_FREQUENCIES)
        ]
    return [*found, *_zipf_metrics(sums, start, alone, replicates)]


def frequency_sums(counts: csr_array, *, minimum: int = 1) -> Floats:
    """Sums over tokens of functions of their counts, whole and without each block.

    `counts` is (blocks, vocabulary); the result (1 + blocks, 7) is that of `left_out_sums`.
    """
    from tokkit.tokenizer.audit.counts_kernels import left_out_sums

    totals = np.asarray(counts.sum(axis=0), dtype=np.int64).ravel()
    sums: Floats = left_out_sums(
        counts.indptr.astype(np.int64),
        counts.indices.astype(np.int64),
        counts.data,
        totals,
        RENYI_ALPHA,
        AT_LEAST,
        minimum,
    )
    return sums


def frequency_values(sums: Floats, block_bytes: NDArray[np.int64], declared: int) -> Floats:
    """The metrics of `_OF_FREQUENCIES` from the sums of `frequency_sums`: (1 + blocks, 8).

    Shannon entropy H1 = log2 N - sum x log2 x / N, Rényi entropy
    Ha = (log2 sum x^a - a log2 N) / (1 - a), for counts x that sum to N; an efficiency is the
    entropy divided by the largest that the vocabulary allows. Source: Zouhar et al. (2023),
    "Tokenization and the noiseless channel", ACL, definitions 3.5 to 3.7.
    """
    size, x_log_x, powers, used, often = (sums[:, k] for k in range(5))
    total = block_bytes.sum()
    bytes_left = np.concatenate([[total], total - block_bytes])
    with np.errstate(divide="ignore", invalid="ignore"):
        shannon = np.log2(size) - x_log_x / size
        renyi = (np.log2(powers) - RENYI_ALPHA * np.log2(size)) / (1 - RENYI_ALPHA)
        observed, possible = np.log2(used), np.full(len(used), np.log2(max(1, declared)))
    columns = (
        used / max(1, declared),
        often / max(1, declared),
        shannon,
        divide(shannon, observed),
        divide(shannon, possible),
        divide(renyi, observed),
        divide(renyi, possible),
        divide(shannon * size, bytes_left),
    )
    return np.stack(columns, axis=1)


def _mean_over_groups(usage: Usage, table: PretokenTable, replicates: Replicates) -> Floats:
    """The mean over groups of their own values, whole and without each block."""
    declared = usage.declared
    total = np.zeros((1 + replicates.blocks, len(_OF_FREQUENCIES)))
    for group in range(len(replicates.names)):
        members = np.flatnonzero(replicates.groups == group)
        sums = frequency_sums(usage.counts[members])
        values = frequency_values(sums, table.blocks.bytes[members], declared)
        of_group = np.repeat(values[:1], 1 + replicates.blocks, axis=0)
        of_group[1 + members] = values[1:]
        total += of_group
    return total / len(replicates.names)


# Zipf --------------------------------------------------------------------------------------------


def tail_start(totals: NDArray[np.int64]) -> tuple[int | None, str | None]:
    """The least count from which on the counts of tokens follow a power law best, or None and why.

    Of up to 60 candidates, that with the least Kolmogorov-Smirnov distance between the counts
    from there on and the law fitted to them, among those that leave 50 tokens or more. Source:
    Clauset, Shalizi and Newman (2009), "Power-law distributions in empirical data", SIAM Review
    51(4), section 3.3.
    """
    counts = np.sort(totals[totals > 0]).astype(np.float64)
    if len(counts) < _MIN_TAIL:
        return None, f"{len(counts)} distinct tokens, and a fit needs {_MIN_TAIL}"
    highest = counts[len(counts) - _MIN_TAIL]
    candidates = np.unique(np.geomspace(1, max(1, highest), _TAIL_STARTS).astype(np.int64))
    best, distance = None, np.inf
    for start in candidates:
        tail = counts[np.searchsorted(counts, start) :]
        spread = np.log(tail / (start - 0.5)).sum()
        if len(tail) < _MIN_TAIL or tail[0] == tail[-1] or spread <= 0:
            continue
        exponent = 1 + len(tail) / spread
        levels, first = np.unique(tail, return_index=True)
        seen = 1 - first / len(tail)
        fitted = ((levels - 0.5) / (start - 0.5)) ** (1 - exponent)
        far = float(np.abs(seen - fitted).max())
        if far < distance:
            best, distance = int(start), far
    return best, None if best else "its counts do not vary enough for a fit"


def _zipf_metrics(
    sums: Floats, start: int | None, why_not: str | None, replicates: Replicates
) -> list[Metric]:
    words = ("exponent", f"tokens that stand {start} times or more", "micro")
    names = (
        ("frequency_exponent", "Exponent of the distribution of counts"),
        ("zipf_exponent", "Zipf exponent, of counts against ranks"),
    )
    if start is None:
        words = ("exponent", "tokens of the tail", "micro")
        return [Metric(*name, *words, None, "jackknife", why_not) for name in names]
    tail, logs = sums[:, 5], sums[:, 6]
    exponent = 1 + divide(tail, logs - tail * np.log(start - 0.5))
    zipf = divide(1.0, exponent - 1)
    return [
        Metric(*name, *words, replicates.from_left_out(values), "jackknife")
        for name, values in zip(names, (exponent, zipf), strict=True)
    ]
