"""Two tokenizers side by side: their vocabularies, and how they cut the same words."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError
from tokkit.results import Column, Result, Table, collect_provenance
from tokkit.tokenizer.inputs import input_digests
from tokkit.tokenizer.overlap import Overlap, RankedToken, only_in, ordinary_tokens, overlap

if TYPE_CHECKING:
    from tokkit.tokenizer.audit.counts import Usage
    from tokkit.tokenizer.audit.replicates import Replicates
    from tokkit.tokenizer.boundaries import Agreement, Cuts
    from tokkit.tokenizer.table import PretokenTable

KIND = "tokenizer.compare"
JOINER = "|"
"""Stands between the tokens of a word where they are written in one cell."""
_TOKEN_ROWS = 200
_WORD_ROWS = 100
_CHIP_WORDS = 12
_NO_CORPUS = "no corpus was given"
_TOKEN_COLUMNS = (
    Column("token", "Token"),
    Column("bytes", "Its bytes (hexadecimal)"),
    Column("id", "Id"),
    Column("rank", "Rank"),
    Column("occurrences", "Occurrences in the corpus", "tokens"),
)


def compare(
    tokenizers: Mapping[str, Any],
    table: PretokenTable | None = None,
    *,
    text: str | None = None,
    counted: Mapping[str, Any] | None = None,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Result:
    """Compare two tokenizers; with a counted corpus, how they cut its words.

    `tokenizers` maps two names to a Tokenizer or LibraryTokenizer each, the first being what the
    second is held against. `table` holds the corpus, best as atoms. `text` is a text to lay side
    by side. `counted` is as in `tokkit.tokenizer.audit.audit`.

    Returns a Result of kind "tokenizer.compare"; what cannot be compared is null with a reason.
    Raises ConfigError unless two tokenizers are given, or for one that needs `counted`.
    """
    if len(tokenizers) != 2:
        raise ConfigError(f"a comparison takes two tokenizers, got {len(tokenizers)}; name two")
    clock = time.perf_counter()
    names = tuple(tokenizers)
    ranked = [ordinary_tokens(tokenizer) for tokenizer in tokenizers.values()]
    shared = overlap(*ranked)
    corpus = _OnCorpus.measure(tokenizers, table, counted or {}, (seed, resamples, level))
    values: dict[str, Any] = {
        "vocabulary": _vocabulary(names, shared),
        "corpus": corpus.described,
        "words": corpus.chips,
        "text": _side_by_side(tokenizers, text),
    }
    tables = {"at_rank": _at_rank_table(shared), **corpus.tables}
    for name, own, other, used in (
        ("lost", ranked[0], ranked[1], corpus.of_tokens[0]),
        ("gained", ranked[1], ranked[0], corpus.of_tokens[1]),
    ):
        owner = names[0] if name == "lost" else names[1]
        tables[name] = _token_table(f"Tokens of {owner} alone", only_in(own, other), used)
    return Result(
        kind=KIND,
        title=f"{names[1]} compared with {names[0]}",
        settings={
            "first": names[0],
            "second": names[1],
            "seed": seed,
            "resamples": resamples,
            "level": level,
        },
        values=values,
        tables=tables,
        claims=(),
        provenance=collect_provenance(
            seeds=[seed],
            inputs=input_digests(tokenizers, table),
            wall_seconds={"comparing": time.perf_counter() - clock},
        ),
    )


# The vocabularies --------------------------------------------------------------------------------


def _vocabulary(names: Sequence[str], found: Overlap) -> dict[str, Any]:
    return {
        "tokens": {names[0]: found.first, names[1]: found.second},
        "shared": found.shared,
        "jaccard": found.jaccard,
        "lost": found.first - found.shared,
        "gained": found.second - found.shared,
    }


def _at_rank_table(found: Overlap) -> Table:
    columns = (
        Column("k", "First tokens of each"),
        Column("shared", "Shared", "tokens"),
        Column("jaccard", "Shared / all of both", "proportion"),
    )
    return Table("Overlap of the first tokens", columns, found.at_rank)


def _token_table(
    title: str, tokens: Sequence[RankedToken], used: NDArray[np.int64] | None
) -> Table:
    """The most used of the tokens, or the first where no corpus tells."""
    ordered = list(tokens)
    if used is not None:
        ordered.sort(key=lambda token: (-int(used[token.id]), token.rank))
    rows = tuple(
        (
            shown(token.bytes),
            token.bytes.hex(),
            token.id,
            token.rank,
            None if used is None else int(used[token.id]),
        )
        for token in ordered[:_TOKEN_ROWS]
    )
    more = f", the first {_TOKEN_ROWS} of {len(ordered):,}" if len(ordered) > _TOKEN_ROWS else ""
    return Table(title + more, _TOKEN_COLUMNS, rows)


def shown(data: bytes) -> str:
    r"""Bytes as text, \xNN for those that are none.

    >>> shown(b"caf\xc3\xa9\xc3")
    'café\\xc3'
    """
    return data.decode("utf-8", errors="backslashreplace")


def _side_by_side(tokenizers: Mapping[str, Any], text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    cut = {
        name: [{"id": p.id, "text": p.text, "bytes": p.bytes.hex()} for p in tokenizer.pieces(text)]
        for name, tokenizer in tokenizers.items()
    }
    return {"text": text, "tokens": cut}


# On a corpus -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _OnCorpus:
    """What a corpus adds: tables, facts, words as chips, and how often each token stands."""

    tables: dict[str, Table]
    described: dict[str, Any]
    chips: list[dict[str, Any]]
    of_tokens: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]

    @classmethod
    def measure(
        cls,
        tokenizers: Mapping[str, Any],
        table: PretokenTable | None,
        counted: Mapping[str, Any],
        drawing: tuple[int, int, float],
    ) -> _OnCorpus:
        if table is None:
            return cls({}, {"words": None, "reason": _NO_CORPUS}, [], (None, None))
        from tokkit.tokenizer.audit.record import count_all

        usages = count_all(tokenizers, table, counted)
        replicates, generator = _replicates(table, drawing)
        tables = _efficiency(usages, table, replicates, generator)
        described: dict[str, Any] = {
            "documents": int(table.blocks.documents.sum()),
            "bytes": int(table.blocks.bytes.sum()),
            "blocks": len(table.blocks),
            "notes": {usage.name: list(usage.notes) for usage in usages},
        }
        of_tokens = (usages[0].of_tokens, usages[1].of_tokens)
        more, about, chips = _on_words(tokenizers, table, replicates)
        return cls(tables | more, described | about, chips, of_tokens)


def _replicates(
    table: PretokenTable, drawing: tuple[int, int, float]
) -> tuple[Replicates, np.random.Generator]:
    from tokkit.tokenizer.audit.replicates import Replicates

    seed, resamples, level = drawing
    generator = np.random.default_rng(seed)
    made = Replicates(
        np.asarray(table.blocks.group, dtype=np.int64),
        tuple(table.group_names) or ("",),
        resamples=resamples,
        generator=generator,
        level=level,
    )
    return made, generator


def _efficiency(
    usages: Sequence[Usage],
    table: PretokenTable,
    replicates: Replicates,
    generator: np.random.Generator,
) -> dict[str, Table]:
    from tokkit.tokenizer.audit.efficiency import Metric
    from tokkit.tokenizer.audit.tables import differences_table, metrics_table

    blocks = table.blocks
    metrics = {
        usage.name: [
            Metric(
                "bytes_per_token",
                "Bytes a token",
                "bytes/token",
                "tokens",
                "micro",
                replicates.ratio(blocks.bytes, usage.of_blocks),
            ),
            Metric(
                "tokens_per_word",
                "Tokens a word (fertility)",
                "tokens/word",
                "words",
                "micro",
                replicates.ratio(usage.of_blocks, blocks.words),
            ),
        ]
        for usage in usages
    }
    return {
        "efficiency": metrics_table("Compression of the corpus", metrics, replicates),
        "differences": differences_table(metrics, usages[0].name, replicates, generator),
    }


def _on_words(
    tokenizers: Mapping[str, Any], table: PretokenTable, replicates: Replicates
) -> tuple[dict[str, Table], dict[str, Any], list[dict[str, Any]]]:
    from tokkit.tokenizer.boundaries import agreement, common_words, cut_words

    first, second = tokenizers.values()
    try:
        words = common_words(first, second, table)
    except ConfigError as error:
        return {}, {"words": None, "reason": str(error)}, []
    cuts = (cut_words(first, words), cut_words(second, words))
    found = agreement(cuts[0], cuts[1], words)
    order = differing_words(cuts[0], cuts[1], words)
    about = {
        "words": "pretokens" if words.pretokenizer else "atoms",
        "distinct_words": len(words),
        "distinct_words_cut_differently": int((found.same == 0).sum()),
    }
    tables = {
        "agreement": _agreement_table(tuple(tokenizers), found, words, replicates),
        "words": _words_table(tokenizers, cuts, words, order[:_WORD_ROWS]),
    }
    chips = [_word_chips(tokenizers, cuts, words, int(word)) for word in order[:_CHIP_WORDS]]
    return tables, about, chips


def differing_words(first: Cuts, second: Cuts, words: PretokenTable) -> NDArray[np.int64]:
    """The words whose numbers of tokens differ, those that cost most first.

    Cost is occurrences times the difference of token numbers; ties keep the order of appearance.
    """
    cost = np.abs(first.tokens - second.tokens) * words.totals
    order = np.argsort(-cost, kind="stable")
    return np.asarray(order[cost[order] > 0])


def _agreement_table(
    names: tuple[str, ...], found: Agreement, words: PretokenTable, replicates: Replicates
) -> Table:
    from tokkit.tokenizer.audit.efficiency import Metric
    from tokkit.tokenizer.audit.tables import metrics_table

    counts = words.block_counts
    one, two, shared = (counts @ points for points in (found.first, found.second, found.shared))
    # A word of one byte can be cut in one way only.
    several = (words.lengths > 1).astype(np.int64)
    of_words, same = counts @ several, counts @ (found.same * several)
    first, second = names
    described = (
        ("same_words", "Words cut identically", "words of 2 bytes or more", same, of_words),
        ("precision", f"Split points of {second} that {first} has too",
         f"split points of {second}", shared, two),
        ("recall", f"Split points of {first} that {second} has too",
         f"split points of {first}", shared, one),
        ("f1", "F1 of the split points", "mean of both split points", 2 * shared, one + two),
        ("jaccard", "Shared / all split points", "split points of either", shared,
         one + two - shared),
    )  # fmt: skip
    metrics = [
        Metric(name, label, "proportion", below, "micro", replicates.ratio(top, bottom))
        for name, label, below, top, bottom in described
    ]
    title = "How alike words are cut, each as often as it stands in the corpus"
    return metrics_table(title, {f"{second} and {first}": metrics}, replicates)


def _words_table(
    tokenizers: Mapping[str, Any], cuts: Sequence[Cuts], words: PretokenTable, order: Any
) -> Table:
    rows: list[tuple[Any, ...]] = []
    for word in map(int, order):
        numbers = [int(cut.tokens[word]) for cut in cuts]
        parts = [
            JOINER.join(shown(tokenizer.token_bytes(token)) for token in cut.of(word))
            for tokenizer, cut in zip(tokenizers.values(), cuts, strict=True)
        ]
        times = int(words.totals[word])
        rows.append(
            (
                shown(words.pretoken(word)),
                times,
                *numbers,
                times * (numbers[1] - numbers[0]),
                *parts,
            )
        )
    first, second = tokenizers
    columns = (
        Column("word", "Word"),
        Column("occurrences", "Occurrences", "words"),
        Column("tokens_first", f"Tokens of {first}"),
        Column("tokens_second", f"Tokens of {second}"),
        Column("more_tokens", f"Tokens that {second} needs more in all", "tokens"),
        Column("cut_first", f"Cut by {first}"),
        Column("cut_second", f"Cut by {second}"),
    )
    return Table("Words on which they differ most", columns, tuple(rows))


def _word_chips(
    tokenizers: Mapping[str, Any], cuts: Sequence[Cuts], words: PretokenTable, word: int
) -> dict[str, Any]:
    return {
        "word": shown(words.pretoken(word)),
        "occurrences": int(words.totals[word]),
        "tokens": {
            name: [
                {"id": token, "text": shown(tokenizer.token_bytes(token))} for token in cut.of(word)
            ]
            for (name, tokenizer), cut in zip(tokenizers.items(), cuts, strict=True)
        },
    }
