"""Counts of tokens from counts of pretokens, against encoding the text itself."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges, trained

from tokkit.errors import ConfigError
from tokkit.tokenizer.audit import token_counts
from tokkit.tokenizer.audit.counts import count_usage, given_usage, token_table

BLOCKS = [
    ["the cat sat on the mat", "a cat\n  and 12345 hats"],
    ["naïve café 日本語 é", ""],
    ["don't! x = y  #  odd\t\tspaces\n\n\n"],
    [],
    ["the cat and the mat and the hat", "👩‍👧 \u200b end"],
]


@pytest.mark.parametrize("rule", ["gpt2", "chars", "bytes"])
def test_counts_are_those_of_encoding_each_block(rule: str) -> None:
    tokenizer = trained([text for block in BLOCKS for text in block], 330, rule)
    found = token_counts(tokenizer, tiny_table(BLOCKS, pretokenizer=rule)).toarray()
    assert found.shape == (5, tokenizer.vocab_size)
    for row, texts in zip(found, BLOCKS, strict=True):
        expected = Counter(token for ids in tokenizer.encode_batch(texts) for token in ids)
        assert {t: n for t, n in enumerate(row.tolist()) if n} == dict(expected)


def test_a_table_of_another_rule_is_split_first() -> None:
    tokenizer = from_merges("c|a", "ca|t", pretokenizer="chars")
    found = token_counts(tokenizer, tiny_table(BLOCKS, pretokenizer="gpt2"))
    assert found.sum() == sum(len(text.encode()) for block in BLOCKS for text in block)


def test_rows_are_sorted_and_sum_to_tokens_of_blocks() -> None:
    tokenizer = from_merges("t|h", "th|e")
    usage = count_usage("tiny", tokenizer, tiny_table(BLOCKS))
    assert usage.counts.dtype == np.int64
    assert usage.counts.has_sorted_indices
    assert usage.of_blocks.tolist()[3] == 0
    assert usage.of_tokens[tokenizer.token_id("the")] == 5


def test_added_tokens_are_named_as_unheeded() -> None:
    tokenizer = from_merges("t|h", added_tokens=("<tool>",))
    usage = count_usage("tiny", tokenizer, tiny_table(BLOCKS))
    assert usage.notes == (
        "added tokens are counted as plain text, not matched before it is split: '<tool>'",
    )


def test_a_rule_that_the_table_cannot_follow_needs_counts() -> None:
    odd = SimpleNamespace(pretokenizer=None, vocab_size=3)
    with pytest.raises(ConfigError, match=r"'odd' splits text in a way .* pass them as counted="):
        count_usage("odd", odd, tiny_table(BLOCKS))


def test_given_counts_are_taken_as_they_are() -> None:
    tokenizer = from_merges("t|h", "th|e")
    table = tiny_table(BLOCKS)
    counted = token_counts(tokenizer, table)
    usage = given_usage("given", tokenizer, counted.toarray(), table)
    assert (usage.counts != counted).nnz == 0
    assert usage.units is None


@pytest.mark.parametrize(
    "bad", [np.zeros((5, 3), int), np.zeros((4, 258), int), np.zeros((5, 258))]
)
def test_given_counts_must_fit(bad: np.ndarray) -> None:
    tokenizer = from_merges("t|h", "th|e")
    with pytest.raises(ConfigError, match=r"one column for each id, \(5, 258\), not"):
        given_usage("given", tokenizer, bad, tiny_table(BLOCKS))
    with pytest.raises(ConfigError, match="whole numbers of 0 or more"):
        given_usage("given", tokenizer, np.full((5, 258), -1), tiny_table(BLOCKS))


def test_the_bytes_of_every_token() -> None:
    tokenizer = from_merges("a|b", special_tokens=("<|end|>",))
    tokens = token_table(tokenizer)
    assert [tokens[t] for t in range(len(tokens))] == [
        tokenizer.token_bytes(t) for t in range(tokenizer.vocab_size)
    ]
    assert tokens.lengths[0] == 7
