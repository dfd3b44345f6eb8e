"""How many letters a token hides: what a model has to know of its spelling by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.parallel import map_in_threads
from tokkit.results import Column, Table
from tokkit.tokenizer.audit.characters import LETTER, count_kind
from tokkit.tokenizer.audit.counts import Usage, join
from tokkit.tokenizer.audit.efficiency import Metric, averaged
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.tables import TOKENIZER

Ints = NDArray[np.int64]

TOP_WORDS = 50
FORMS = {"alone": "", "after a space": " "}


def spelling_metrics(usage: Usage, replicates: Replicates) -> list[Metric]:
    """Letters a token, letters that stand in tokens with others, and words that are one token."""
    letters = count_kind(usage.tokens.data, usage.tokens.offsets, LETTER)
    counted = usage.counts
    in_tokens, lettered = counted @ letters, counted @ (letters > 0).astype(np.int64)
    hidden = counted @ np.where(letters > 1, letters, 0)
    by_type = letters[letters > 0].mean() if (letters > 0).any() else None
    found = [
        *averaged(
            replicates, "letters_per_token", "Letters a token, of tokens with a letter",
            "letters/token", "tokens with a letter", in_tokens, lettered,
        ),
        Metric(
            "letters_per_token", "Letters a token, of tokens with a letter", "letters/token",
            "declared ids with a letter", "by type", None,
            reason=None if by_type else "no token holds a letter",
            fixed=None if by_type is None else float(by_type),
        ),
    ]  # fmt: skip
    return [*found, *_of_units(usage, hidden, in_tokens, replicates)]


def _of_units(usage: Usage, hidden: Ints, in_tokens: Ints, replicates: Replicates) -> list[Metric]:
    hidden_words = ("hidden_letters", "Letters in tokens of two letters or more", "proportion")
    whole_words = ("single_token_words", "Words that are one token", "proportion")
    denominator = "pretokens with a letter"
    if usage.units is None or usage.id_offsets is None:
        reason = "its tokens were counted by the caller, without the words"
        return [
            *averaged(replicates, *hidden_words, "letters in tokens", hidden, in_tokens),
            *_no_averages(replicates, *whole_words, denominator, reason=reason),
        ]
    units = usage.units
    of_unit = count_kind(units.data, units.offsets, LETTER)
    rows = units.block_counts
    word = of_unit > 0
    single = word & (np.diff(usage.id_offsets) == 1)
    return [
        *averaged(replicates, *hidden_words, "letters of the text", hidden, rows @ of_unit),
        *averaged(
            replicates, *whole_words, denominator,
            rows @ single.astype(np.int64), rows @ word.astype(np.int64),
        ),
    ]  # fmt: skip


def _no_averages(
    replicates: Replicates, name: str, label: str, unit: str, denominator: str, *, reason: str
) -> list[Metric]:
    averages = ["micro", "macro over blocks"]
    if len(replicates.names) > 1:
        averages.append("macro over groups")
    return [Metric(name, label, unit, denominator, a, None, reason=reason) for a in averages]


# The word list -----------------------------------------------------------------------------------


def word_tables(usages: Sequence[Usage], words: Mapping[str, int]) -> dict[str, Table]:
    """Tables "words" (means over the word list) and "hidden_words" (the 50 most hidden).

    `words` maps a word to how often it was counted. A word's letters are the more hidden, the
    fewer tokens it has for each letter; ties go to the more frequent word. Each word is encoded
    as a text of its own, alone and after a space.
    """
    spelled = [word for word in words if word]
    letters = count_kind(*join([word.encode() for word in spelled]), LETTER)
    often = np.array([words[word] for word in spelled], dtype=np.float64)
    summary: list[tuple[Any, ...]] = []
    top: list[tuple[Any, ...]] = []
    texts = {
        form: join([(before + word).encode() for word in spelled]) for form, before in FORMS.items()
    }
    jobs = [(usage, form) for usage in usages for form in texts]
    counted = map_in_threads(lambda job: _tokens_of_texts(job[0], *texts[job[1]]), jobs)
    for (usage, form), tokens in zip(jobs, counted, strict=True):
        summary.append((usage.name, form, len(spelled), *_means(letters, tokens, often)))
        per_token = letters / np.maximum(tokens, 1)
        order = np.lexsort((-often, -per_token))[:TOP_WORDS]
        top += [
            (usage.name, form, rank, spelled[k], int(letters[k]), int(tokens[k]),
             float(per_token[k]), int(often[k]))
            for rank, k in enumerate(order, start=1)
        ]  # fmt: skip
    return {"words": _summary_table(summary), "hidden_words": _top_table(top)}


def _means(letters: Ints, tokens: Ints, often: NDArray[np.float64]) -> tuple[float, ...]:
    one = tokens == 1
    return (
        float(letters.sum() / tokens.sum()),
        float((letters * often).sum() / (tokens * often).sum()),
        float(one.mean()),
        float((one * often).sum() / often.sum()),
    )


def _tokens_of_texts(usage: Usage, data: NDArray[np.uint8], starts: Ints) -> Ints:
    """Tokens of each text: (texts,)."""
    if usage.encoder.engine == "library":
        return np.asarray(np.diff(usage.encoder.encode_pieces(data, starts)[1]))
    from tokkit.tokenizer.splitting import pretoken_ends

    # All texts differ, so the encoder's cache of pretokens would only cost time.
    ends = pretoken_ends(data, starts, usage.tokenizer.pretokenizer)
    units = np.concatenate([[0], ends]).astype(np.int64)
    _, offsets = usage.encoder.encode_units(data, units)
    return np.asarray(np.diff(offsets[np.searchsorted(units, starts)]))


def _summary_table(rows: Sequence[tuple[Any, ...]]) -> Table:
    columns = (
        TOKENIZER,
        Column("form", "Form"),
        Column("words", "Words", "words"),
        Column("letters_per_token", "Letters a token, each word once", "letters/token"),
        Column("letters_per_token_weighted", "Letters a token, by word frequency", "letters/token"),
        Column("single", "Words of one token", "proportion"),
        Column("single_weighted", "Words of one token, by word frequency", "proportion"),
    )
    return Table("Letters hidden in the words of the word list", columns, tuple(rows))


def _top_table(rows: Sequence[tuple[Any, ...]]) -> Table:
    columns = (
        TOKENIZER,
        Column("form", "Form"),
        Column("rank", "Rank"),
        Column("word", "Word"),
        Column("letters", "Letters", "letters"),
        Column("tokens", "Tokens", "tokens"),
        Column("letters_per_token", "Letters a token", "letters/token"),
        Column("count", "Times in the word list's source", "words"),
    )
    return Table("Words whose letters are most hidden", columns, tuple(rows))
