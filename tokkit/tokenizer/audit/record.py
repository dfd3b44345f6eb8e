"""The audit of tokenizers on a counted corpus, as one result record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tokkit.errors import ConfigError, unknown_choice
from tokkit.parallel import map_in_threads
from tokkit.results import Result, collect_provenance
from tokkit.tokenizer.audit.counts import Usage, count_usage, given_usage, split_for
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.sections import Corpus, corpus_tables, vocabulary_tables

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable


def audit(
    tokenizers: Mapping[str, Any],
    table: PretokenTable,
    *,
    reference: str | None = None,
    base: str | None = None,
    counted: Mapping[str, Any] | None = None,
    parallel_lines: Mapping[str, ArrayLike] | None = None,
    words: Mapping[str, int] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Result:
    """Measure tokenizers on a counted corpus; every number of the corpus with its interval.

    `tokenizers` maps a name to a Tokenizer or LibraryTokenizer; `table` holds the corpus as atoms
    or pretokens, by block of documents. `reference` is the group that others are compared with
    (default: that with most bytes), `base` the tokenizer (default: the first). `counted` holds,
    for tokenizers whose splitting the table cannot follow, how often each token stands in each
    block: integers (blocks, vocab_size). `parallel_lines` maps each group to the lengths of its
    lines in order, where they are thought to be translations of each other; that is checked.
    `words` maps words to counts (default: the built-in list; {} for none). The same `seed` gives
    the same numbers.

    Returns a Result of kind "tokenizer.audit". Raises ConfigError without tokenizers or text, for
    an unknown reference or base, and for a tokenizer that needs `counted` and has none.
    """
    base, reference = _require(tokenizers, table, reference, base, resamples)
    started = time.perf_counter()
    usages = count_all(tokenizers, table, counted or {})
    counting = time.perf_counter() - started
    generator = np.random.default_rng(seed)
    replicates = replicates_of(table, resamples=resamples, generator=generator, level=level)
    corpus = Corpus(table, replicates, reference, parallel_lines, generator)
    tables = corpus_tables(usages, corpus, base)
    tables |= vocabulary_tables(usages, words, generator)
    wall = {"counting": counting, "measuring": time.perf_counter() - started - counting}
    return Result(
        kind="tokenizer.audit",
        title="Audit of " + ", ".join(tokenizers),
        settings={
            "tokenizers": list(tokenizers),
            "reference": reference,
            "base": base,
            "seed": seed,
            "resamples": resamples,
            "level": level,
        },
        values=_values(usages, table),
        tables=tables,
        claims=(),
        provenance=_provenance(tokenizers, table, seed, wall),
    )


def replicates_of(
    table: PretokenTable,
    *,
    resamples: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Replicates:
    """The replicates that fit the blocks and groups of a table."""
    return Replicates(
        np.asarray(table.blocks.group, dtype=np.int64),
        tuple(table.group_names) or ("",),
        resamples=resamples,
        generator=generator,
        level=level,
    )


def count_all(
    tokenizers: Mapping[str, Any], table: PretokenTable, counted: Mapping[str, Any]
) -> list[Usage]:
    """The usage of each tokenizer; the table is split once for each rule."""
    own = [tokenizer for name, tokenizer in tokenizers.items() if name not in counted]
    by_rule = {tokenizer.pretokenizer: tokenizer for tokenizer in own if tokenizer.pretokenizer}
    tables = map_in_threads(lambda tokenizer: split_for(tokenizer, table), by_rule.values())
    split = dict(zip(by_rule, tables, strict=True))

    def usage_of(item: tuple[str, Any]) -> Usage:
        name, tokenizer = item
        if name in counted:
            return given_usage(name, tokenizer, counted[name], table)
        return count_usage(name, tokenizer, table, split=split)

    return list(map_in_threads(usage_of, tokenizers.items()))


def _values(usages: Sequence[Usage], table: PretokenTable) -> dict[str, Any]:
    blocks = table.blocks
    measures = ("documents", "bytes", "characters", "words", "lines")
    corpus = {
        "blocks": len(blocks.bytes),
        "groups": list(table.group_names),
        "distinct_pretokens": len(table),
        "unit": table.unit,
        **{measure: int(np.sum(getattr(blocks, measure))) for measure in measures},
        "removed_texts": list(table.origin.removed_texts),
        "replaced": table.origin.replaced,
        "skipped": table.origin.skipped,
    }
    return {
        "corpus": corpus,
        "vocabulary": {usage.name: usage.declared for usage in usages},
        "notes": {usage.name: list(usage.notes) for usage in usages},
    }


def _provenance(
    tokenizers: Mapping[str, Any], table: PretokenTable, seed: int, wall: Mapping[str, float]
) -> dict[str, Any]:
    texts = table.origin.corpus_sha256
    names = ["corpus"] if len(texts) == 1 else [f"corpus {n}" for n in range(1, len(texts) + 1)]
    inputs = dict(zip(names, texts, strict=True))
    inputs |= {name: tokenizer.digest for name, tokenizer in tokenizers.items()}
    return collect_provenance(seeds=[seed], inputs=inputs, wall_seconds=wall)


def _require(
    tokenizers: Mapping[str, Any],
    table: PretokenTable,
    reference: str | None,
    base: str | None,
    resamples: int,
) -> tuple[str, str]:
    """The names of the base and of the reference, once all that was asked for is known to exist."""
    if not tokenizers:
        raise ConfigError("an audit needs 1 or more tokenizers, got none; name one")
    if not len(table.blocks.bytes) or not np.sum(table.blocks.bytes):
        raise ConfigError("an audit needs text, but the table holds none; count some text")
    if resamples < 1:
        raise ConfigError(f"resamples must be 1 or more, not {resamples}; 1000 is usual")
    if base is not None and base not in tokenizers:
        raise ConfigError(unknown_choice("base tokenizer", base, tokenizers))
    names = tuple(table.group_names) or ("",)
    if reference is not None and reference not in names:
        raise ConfigError(unknown_choice("reference group", reference, names))
    largest = np.bincount(table.blocks.group, table.blocks.bytes, minlength=len(names)).argmax()
    return (
        base if base is not None else next(iter(tokenizers)),
        reference if reference is not None else names[int(largest)],
    )
