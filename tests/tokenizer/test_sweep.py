"""Vocabulary sizes times pre-tokenizers: prefixes, traces, held-out blocks, fronts."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.errors import ConfigError
from tokkit.tokenizer import assemble, train
from tokkit.tokenizer.audit import token_counts
from tokkit.tokenizer.counting import count, count_texts
from tokkit.tokenizer.holdout import divide_blocks
from tokkit.tokenizer.learning import LearningOptions, learn
from tokkit.tokenizer.sweep import steps_at, sweep, tokens_left_at
from tokkit.tokenizer.sweep_record import pareto_front

SIZES = (257, 300, 401, 5000)


def some_texts(number=239):
    rng = random.Random(5)
    stems = ["straw", "berry", "black", "cran", "goose", "water", "pine", "12", "345", "é的"]
    words = ["".join(rng.choices(stems, k=2)) for _ in range(40)]
    return [" ".join(rng.choices(words, k=50)) + "\n" for _ in range(number)]


TEXTS = some_texts()


@pytest.fixture(scope="module")
def table():
    return count_texts(TEXTS, by_blocks=True)


def rows_of(result):
    return result.tables["sweep"].records()


def test_every_size_is_what_training_to_it_gives(table):
    result = sweep(table, sizes=SIZES, pretokenizers=["gpt2", "o200k"], held_out=0, resamples=20)
    total = sum(len(text.encode()) for text in TEXTS)
    for row in rows_of(result):
        alone = train(
            TEXTS, vocab_size=row["vocab_size"], pretokenizer=row["pretokenizer"], special_tokens=()
        )
        tokens = sum(map(len, alone.encode_batch(TEXTS)))
        assert row["tokens"] == alone.vocab_size
        assert row["bytes_per_token"] == pytest.approx(total / tokens)
        assert row["vocabulary_used"] == pytest.approx(
            len({i for ids in alone.encode_batch(TEXTS) for i in ids}) / alone.vocab_size
        )


def test_the_trace_tells_compression_without_encoding(table):
    result = sweep(table, sizes=SIZES, pretokenizers=["gpt2", "cl100k"], held_out=0, resamples=20)
    for row in rows_of(result):
        assert row["trained_bytes_per_token"] == pytest.approx(row["bytes_per_token"])


@pytest.mark.parametrize("texts", [["aaaaaaaaa aaaa aa"], ["abababab ab aba"], TEXTS[:31]])
def test_tokens_left_are_those_of_encoding(texts):
    units = count_texts(texts, "gpt2")
    learned = learn(units.data, units.offsets, units.totals, LearningOptions(400))
    for size in (256, 257, 260, 300, 400):
        made = assemble(learned.merges_at(size), pretokenizer="gpt2", special_tokens=())
        assert tokens_left_at(learned, size) == token_counts(made, units).sum()
        assert len(learned.merges_at(size)) <= steps_at(learned, size)


def test_a_vocabulary_that_ran_out_says_so(table):
    row = rows_of(sweep(table, sizes=[5000], pretokenizers=["gpt2"], resamples=20))[0]
    assert row["tokens"] < 5000
    assert f"training ran out of pairs at {row['tokens']} tokens" in row["reason"]
    assert row["input_parameters"] == 768 * row["tokens"]
    assert row["both_parameters"] == 2 * 768 * row["tokens"]


def test_held_out_text_is_not_trained_on(table):
    result = sweep(table, sizes=[300], pretokenizers=["gpt2"], held_out=0.25, resamples=20, seed=3)
    division = divide_blocks(table, 0.25, np.random.default_rng(3))
    units = table.split("gpt2")
    counts = np.asarray(units.block_counts[division.trained].sum(axis=0)).ravel()
    learned = learn(units.data, units.offsets, counts, LearningOptions(300))
    made = assemble(learned.merges, pretokenizer="gpt2", special_tokens=())
    tokens = token_counts(made, table)[division.measured].sum()
    measured = table.blocks.bytes[division.measured].sum()
    assert rows_of(result)[0]["bytes_per_token"] == pytest.approx(measured / tokens)
    corpus = result.values["corpus"]
    assert corpus["measured_on"] == "held-out blocks"
    assert corpus["bytes_measured"] + corpus["bytes_trained_on"] == corpus["bytes"]


def test_differences_are_paired_and_from_the_first(table):
    result = sweep(table, sizes=[300, 401], pretokenizers=["gpt2", "chars"], resamples=50)
    found = {(row["pretokenizer"], row["vocab_size"]): row for row in rows_of(result)}
    for size in (300, 401):
        base, row = found["gpt2", size], found["chars", size]
        assert base["difference"] is None
        difference = row["bytes_per_token"] - base["bytes_per_token"]
        assert row["difference"] == pytest.approx(difference)
        assert row["difference_low"] <= difference <= row["difference_high"] < 0


def grouped(tmp_path):
    path = tmp_path / "corpus.jsonl"
    with path.open("w") as file:
        for number, text in enumerate(TEXTS):
            group = "berries" if number % 2 else "upper"
            shown = text if number % 2 else text.upper()
            file.write(json.dumps({"text": shown, "group": group}) + "\n")
    return path


def test_groups_get_premiums_and_a_gini(tmp_path):
    table = count([grouped(tmp_path)], group_field="group")
    result = sweep(table, sizes=[300], pretokenizers=["gpt2"], reference="berries", resamples=50)
    row = rows_of(result)[0]
    premiums = {r["group"]: r["premium"] for r in result.tables["premiums"].records()}
    assert premiums["berries"] == 1.0
    assert row["worst_group"] == max(premiums, key=premiums.get)
    # Two costs a and b have the Gini coefficient |a - b| / (2 (a + b)).
    other = premiums["upper"]
    assert row["gini"] == pytest.approx(abs(other - 1) / (2 * (other + 1)))


def test_fairness_without_groups_is_null_with_a_reason(table):
    row = rows_of(sweep(table, sizes=[300], pretokenizers=["gpt2"], resamples=20))[0]
    assert row["gini"] is None
    assert "the corpus has one group" in row["reason"]


def test_a_pretokenizer_of_no_atoms_has_a_table_of_its_own(table):
    with pytest.raises(ConfigError, match="cannot be cut as 'whitespace'"):
        sweep(table, sizes=[300], pretokenizers=["whitespace"], resamples=20)
    own = count_texts(TEXTS, "whitespace", by_blocks=True)
    names = ["gpt2", "whitespace"]
    result = sweep(
        table, sizes=[300], pretokenizers=names, others={"whitespace": own}, resamples=20
    )
    assert [row["pretokenizer"] for row in rows_of(result)] == names
    assert rows_of(result)[1]["difference"] is None


# Holding out -------------------------------------------------------------------------------------


def test_blocks_are_held_out_within_each_group(tmp_path):
    table = count([grouped(tmp_path)], group_field="group")
    division = divide_blocks(table, 0.25, np.random.default_rng(1))
    assert sorted([*division.trained, *division.measured]) == list(range(len(table.blocks)))
    for group in range(2):
        members = np.flatnonzero(table.blocks.group == group)
        assert np.isin(members, division.measured).sum() == round(0.25 * len(members))


def test_too_little_text_is_measured_where_it_was_trained():
    table = count_texts(["a few words"], by_blocks=True)
    division = divide_blocks(table, None, np.random.default_rng(1))
    assert not division.held_out
    assert division.reason == "the corpus has 1 blocks of documents, too few to hold some out"
    assert division.trained.tolist() == division.measured.tolist() == [0]
    with pytest.raises(ConfigError, match=r"cannot hold out 0\.2 of the text: the corpus has 1"):
        divide_blocks(table, 0.2, np.random.default_rng(1))


def test_few_held_out_blocks_are_none():
    table = count_texts(TEXTS[:79], by_blocks=True)
    assert 8 < len(table.blocks) < 50
    division = divide_blocks(table, None, np.random.default_rng(1))
    assert division.reason == "that would leave fewer than 10 blocks to measure on"


# The front ---------------------------------------------------------------------------------------

Objective = st.none() | st.integers(0, 4)


@given(st.lists(st.tuples(Objective, Objective, Objective), max_size=12))
def test_the_front_is_that_of_all_comparisons(points):
    def beats(one, other):
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    known = [point for point in points if None not in point]
    expected = [
        None not in point and not any(beats(other, point) for other in known) for point in points
    ]
    assert pareto_front(points) == expected


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sizes": [255]}, "sizes are 256 or more, for the bytes, got 255"),
        ({"sizes": []}, "sizes are 256 or more, for the bytes, got none"),
        ({"pretokenizers": []}, "needs 1 or more pre-tokenizers, got none"),
        ({"pretokenizers": ["gtp2"]}, "unknown pre-tokenizer 'gtp2': did you mean 'gpt2'"),
        ({"held_out": 1.0}, r"lies in 0 to below 1, got 1\.0"),
        ({"model_width": 0}, "width must be 1 or more, got 0"),
        ({"reference": "fr"}, "unknown reference group 'fr'"),
    ],
)
def test_settings_that_make_no_sense(table, options, said):
    with pytest.raises(ConfigError, match=said):
        sweep(table, **options)


def test_a_table_without_text():
    with pytest.raises(ConfigError, match="needs text, but the table holds none"):
        sweep(count_texts([]))
