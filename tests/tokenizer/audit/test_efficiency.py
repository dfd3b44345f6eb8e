"""Efficiency: by hand, against encoding in plain Python, and against a published example."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_array
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges, trained

from tokkit.corpus import english_documents
from tokkit.tokenizer.audit.counts import count_usage
from tokkit.tokenizer.audit.efficiency import (
    AT_LEAST,
    RENYI_ALPHA,
    efficiency_metrics,
    frequency_sums,
    frequency_values,
    tail_start,
)
from tokkit.tokenizer.audit.replicates import Replicates


def measure(tokenizer, table, resamples=5):
    groups = table.blocks.group
    made = Replicates(
        groups, table.group_names, resamples=resamples, generator=np.random.default_rng(0)
    )
    metrics = efficiency_metrics(count_usage("t", tokenizer, table), table, made)
    return {(m.name, m.denominator, m.average): None if m.rows is None else m.rows for m in metrics}


def test_a_corpus_by_hand() -> None:
    # "ab" is one token: ab ab c | c c. Pretokens: "ab", " ab", "\n" and "c c".
    tokenizer = from_merges("a|b")
    table = tiny_table([["ab ab\n"], ["c c"]])
    found = measure(tokenizer, table)
    # Block 0: ab, " ", ab, \n: 4 tokens of 6 bytes; block 1: c, " ", c: 3 tokens of 3 bytes.
    assert found["bytes_per_token", "tokens", "micro"][:3] == pytest.approx([9 / 7, 3 / 3, 6 / 4])
    assert found["bytes_per_token", "tokens", "macro over blocks"][0] == pytest.approx(1.25)
    assert found["tokens_per_word", "words", "micro"][0] == pytest.approx(7 / 4)
    assert found["tokens_per_line", "lines", "micro"][0] == 7
    assert found["vocabulary_used", "declared ids", "micro"][0] == pytest.approx(4 / 257)
    # Counts: ab 2, " " 2, \n 1, c 2.
    entropy = -(3 * 2 / 7 * math.log2(2 / 7) + 1 / 7 * math.log2(1 / 7))
    assert found["shannon_entropy", "tokens", "micro"][0] == pytest.approx(entropy)
    observed = "log2(observed vocabulary)"
    assert found["shannon_efficiency", observed, "micro"][0] == pytest.approx(entropy / 2)
    # Without block 1: ab 2, " " 1, \n 1.
    assert found["shannon_efficiency", observed, "micro"][2] == pytest.approx(1.5 / math.log2(3))
    bits = 8 * 9 / (7 * math.log2(257))
    assert found["compression", "tokens x log2(declared vocabulary)", "micro"][0] == pytest.approx(
        bits
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pick @@ed pick @@l @@ed pick @@les", 0.8265064834225245),
        ("pick @@e @@d pick @@l @@e @@d pick @@l @@e @@s", 0.9204840242168808),
    ],
)
def test_renyi_efficiency_is_that_of_the_authors_own_package(text: str, expected: float) -> None:
    """The numbers of the tests of zouharvi/tokenization-scorer (its README's are of order 3).

    Its denominator is the observed vocabulary.
    """
    counts = np.array(list(Counter(text.split()).values()))
    values = frequency_values(frequency_sums(csr_array(counts[None])), np.array([1]), 1000)
    assert values[0, 5] == pytest.approx(expected)


def plain(texts, tokenizer):
    """Every metric from the token sequences themselves, without a table or an array."""
    ids = [token for text in texts for token in tokenizer.encode(text)]
    counts, n = Counter(ids), len(ids)
    size = sum(len(text.encode()) for text in texts)
    shares = [count / n for count in counts.values()]
    shannon = -sum(p * math.log2(p) for p in shares)
    renyi = math.log2(sum(p**RENYI_ALPHA for p in shares)) / (1 - RENYI_ALPHA)
    declared = tokenizer.vocab_size
    return {
        ("bytes_per_token", "tokens"): size / n,
        ("characters_per_token", "tokens"): sum(map(len, texts)) / n,
        ("words_per_token", "tokens"): sum(len(text.split()) for text in texts) / n,
        ("tokens_per_byte", "bytes"): n / size,
        ("tokens_per_line", "lines"): n / sum(text.count("\n") for text in texts),
        ("tokens_per_document", "documents"): n / len(texts),
        ("vocabulary_used", "declared ids"): len(counts) / declared,
        ("vocabulary_used_often", "declared ids"): sum(c >= AT_LEAST for c in counts.values())
        / declared,
        ("shannon_entropy", "tokens"): shannon,
        ("shannon_efficiency", "log2(observed vocabulary)"): shannon / math.log2(len(counts)),
        ("shannon_efficiency", "log2(declared vocabulary)"): shannon / math.log2(declared),
        ("renyi_efficiency", "log2(observed vocabulary)"): renyi / math.log2(len(counts)),
        ("renyi_efficiency", "log2(declared vocabulary)"): renyi / math.log2(declared),
        ("unigram_bits_per_byte", "bytes"): shannon * n / size,
    }


def test_every_metric_is_that_of_encoding_the_text() -> None:
    documents = [document.text for document in english_documents()][:60]
    blocks = [documents[k::6] for k in range(6)]
    tokenizer = trained(documents, 700)
    table = tiny_table(blocks, groups=["x", "y", "x", "y", "x", "x"])
    found = measure(tokenizer, table)
    for key, expected in plain(documents, tokenizer).items():
        assert found[*key, "micro"][0] == pytest.approx(expected, rel=1e-12), key
    # And without block 2, which is the third of the values left out.
    rest = [text for k, block in enumerate(blocks) if k != 2 for text in block]
    for key, expected in plain(rest, tokenizer).items():
        assert found[*key, "micro"][3] == pytest.approx(expected, rel=1e-9), key
    group = lambda name: [t for g, b in zip("xyxyxx", blocks, strict=True) if g == name for t in b]  # noqa: E731
    of_x, of_y = plain(group("x"), tokenizer), plain(group("y"), tokenizer)
    for key, expected in of_x.items():
        mean = (expected + of_y[key]) / 2
        assert found[*key, "macro over groups"][0] == pytest.approx(mean, rel=1e-9), key


def test_the_fit_finds_a_planted_exponent_and_its_start() -> None:
    rng = np.random.default_rng(2)
    # Counts of a discrete power law with exponent 2.2 from 20 on, by rounding (Clauset, D.6).
    tail = np.floor(19.5 * (1 - rng.random(4000)) ** (-1 / 1.2) + 0.5).astype(int)
    bulk = rng.integers(1, 20, 3000)
    start, why_not = tail_start(np.concatenate([tail, bulk]))
    assert why_not is None
    assert 15 <= start <= 40
    counts = np.concatenate([tail, bulk])
    sums = frequency_sums(csr_array(counts[None]), minimum=start)[0]
    exponent = 1 + sums[5] / (sums[6] - sums[5] * np.log(start - 0.5))
    assert exponent == pytest.approx(2.2, abs=0.07)


def test_a_fit_needs_tokens_that_vary() -> None:
    assert tail_start(np.ones(49, int)) == (None, "49 distinct tokens, and a fit needs 50")
    assert tail_start(np.full(200, 7)) == (None, "its counts do not vary enough for a fit")
