"""The whole audit: one record, the same from the same seed, with what is not known left null."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges, trained

from tokkit.corpus import english_documents
from tokkit.errors import ConfigError
from tokkit.results import read_result, write_result
from tokkit.tokenizer.audit import audit, token_counts
from tokkit.tokenizer.counting import count_texts

DOCUMENTS = [document.text[:1500] for document in english_documents()][:120]
BLOCKS = [DOCUMENTS[k::24] for k in range(24)]
GROUPS = ["x", "y"] * 12
WORDS = {"strawberry": 7, "letters": 5}


@pytest.fixture(scope="module")
def small():
    return trained(DOCUMENTS, 500)


@pytest.fixture(scope="module")
def large():
    return trained(DOCUMENTS, 900)


@pytest.fixture(scope="module")
def result(small, large):
    table = tiny_table(BLOCKS, groups=GROUPS)
    return audit({"small": small, "large": large}, table, words=WORDS, seed=3, resamples=200)


def test_the_record_can_be_written_and_read(result, tmp_path: Path) -> None:
    write_result(result, tmp_path)
    read = read_result(tmp_path)
    assert read.kind == "tokenizer.audit"
    assert list(read.tables) == [
        *("efficiency", "fairness", "faithfulness", "structure", "spelling", "groups", "lorenz"),
        *("unreachable", "junk", "differences", "token_lengths", "frequencies", "special_cases"),
        *("special_tokens", "numbers", "indentation", "operators", "words", "hidden_words"),
    ]
    assert read.settings["reference"] in ("x", "y")
    assert read.values["corpus"]["blocks"] == 24
    assert read.values["vocabulary"] == {"small": 500, "large": 900}


def test_a_value_is_null_only_with_a_reason_and_lies_in_its_interval(result) -> None:
    for name in ("efficiency", "fairness", "faithfulness", "structure", "spelling"):
        for row in result.tables[name].records():
            assert (row["value"] is None) <= bool(row["reason"]), row
            if row["low"] is not None:
                assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9, row
            if row["average"] != "by type" and row["value"] is not None:
                assert row["blocks"] == 24
                assert row["interval"] in ("bootstrap", "jackknife")


def test_the_same_seed_gives_the_same_tables(result, small, large) -> None:
    table = tiny_table(BLOCKS, groups=GROUPS)
    again = audit({"small": small, "large": large}, table, words=WORDS, seed=3, resamples=200)
    assert again.tables == result.tables
    other = audit({"small": small, "large": large}, table, words=WORDS, seed=4, resamples=200)
    first = lambda found: [row[6] for row in found.tables["efficiency"].rows]  # noqa: E731
    assert first(other) == first(result)
    assert other.tables["efficiency"] != result.tables["efficiency"]


def test_a_larger_vocabulary_compresses_more_beyond_chance(result) -> None:
    rows = {(r["metric"], r["average"]): r for r in result.tables["differences"].records()}
    row = rows["bytes_per_token", "micro"]
    assert (row["tokenizer"], row["base"]) == ("large", "small")
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert row["p"] == pytest.approx(1 / 20_001)
    assert row["p"] < row["p_holm"] < 0.05
    values = {
        (r["tokenizer"], r["metric"], r["average"]): r["value"]
        for r in result.tables["efficiency"].records()
    }
    base = values["small", "bytes_per_token", "micro"]
    assert row["relative"] == pytest.approx(row["difference"] / base)
    # Paired, the difference is far surer than either value.
    assert rows["bytes_per_token", "macro over blocks"]["p"] is None
    assert rows["round_trip_failures", "micro"]["p"] == 1.0


def test_holm_spans_every_test_of_the_table(result) -> None:
    table = result.tables["differences"]
    tested = [row for row in table.records() if row["p"] is not None]
    assert table.title.endswith(f"Holm over {len(tested)} tests")
    least = min(tested, key=lambda row: row["p"])
    assert least["p_holm"] == pytest.approx(min(1, least["p"] * len(tested)))


def test_a_tokenizer_against_itself_differs_by_nothing(small) -> None:
    table = tiny_table(BLOCKS)
    found = audit({"one": small, "two": small}, table, words={}, resamples=50)
    for row in found.tables["differences"].records():
        assert row["difference"] in (0, None)
        assert (row["low"], row["high"]) in ((0, 0), (None, None))
        assert row["p"] in (1.0, None)


def test_few_blocks_give_values_without_intervals(small) -> None:
    found = audit({"one": small}, tiny_table(BLOCKS[:4]), words={}, resamples=50)
    for row in found.tables["efficiency"].records():
        assert row["value"] is not None or row["reason"]
        assert (row["low"], row["high"]) == (None, None)
        assert row["reason"]
    assert "differences" not in found.tables
    assert "fairness" not in found.tables


def test_given_counts_stand_for_a_tokenizer_that_the_table_cannot_follow(small) -> None:
    table = tiny_table(BLOCKS)
    own = audit({"one": small}, table, words={}, resamples=50)
    given = audit(
        {"one": small}, table, counted={"one": token_counts(small, table)}, words={}, resamples=50
    )
    assert given.tables["efficiency"] == own.tables["efficiency"]
    row = next(r for r in given.tables["spelling"].records() if r["metric"] == "single_token_words")
    assert row["value"] is None
    assert row["reason"] == "its tokens were counted by the caller, without the words"


def test_lines_compare_groups_only_where_they_are_parallel(small) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 240)
    texts = {
        "x": ["".join("ab " * n + "\n" for n in sizes[k::12]) for k in range(12)],
        "y": ["".join("abcd " * n + "\n" for n in sizes[k::12]) for k in range(12)],
    }
    table = tiny_table(
        [[text] for group in texts.values() for text in group], groups=["x"] * 12 + ["y"] * 12
    )
    lines = {
        name: [len(line) for text in group for line in text.splitlines()]
        for name, group in texts.items()
    }
    tokenizer = from_merges("a|b", " |ab", "c|d")
    tokenizers = {"t": tokenizer}
    found = audit(tokenizers, table, reference="x", parallel_lines=lines, words={}, resamples=50)
    rows = {(r["group"], r["basis"]): r for r in found.tables["groups"].records()}
    tokens = {g: sum(len(tokenizer.encode(t)) for t in group) for g, group in texts.items()}
    assert rows["y", "lines"]["premium"] == pytest.approx(tokens["y"] / tokens["x"])
    assert rows["y", "lines"]["low"] is not None
    assert all(row["parallel"] for row in found.tables["alignment"].records())
    lines["y"] = rng.permutation(lines["y"])
    found = audit(tokenizers, table, reference="x", parallel_lines=lines, words={}, resamples=50)
    rows = {(r["group"], r["basis"]): r for r in found.tables["groups"].records()}
    assert rows["y", "lines"]["premium"] is None
    assert "hardly go together" in rows["y", "lines"]["reason"]
    assert rows["y", "bytes"]["premium"] is not None


def test_premiums_of_groups_of_few_blocks_have_no_interval(small) -> None:
    groups = ["x"] * 20 + ["y"] * 4
    found = audit({"one": small}, tiny_table(BLOCKS, groups=groups), words={}, resamples=50)
    rows = {(r["group"], r["basis"]): r for r in found.tables["groups"].records()}
    assert rows["y", "bytes"]["premium"] > 0
    assert rows["y", "bytes"]["low"] is None
    assert rows["y", "bytes"]["reason"] == "no interval: 4 blocks, and an interval needs 10"
    assert math.isfinite(rows["x", "bytes"]["cost_low"])


@pytest.mark.parametrize("rule", ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek-v3"])
def test_from_one_table_of_atoms_every_rule_is_counted_as_if_it_encoded(rule: str) -> None:
    documents = [*DOCUMENTS[:40], "日本語 12345  don't\n\n\tx += 1;\r\n", "naïve  café — “x”"]
    table = count_texts(documents, by_blocks=True)
    tokenizer = trained(documents, 500, rule)
    expected = np.bincount(
        np.concatenate(tokenizer.encode_batch(documents)).astype(int), minlength=500
    )
    found = token_counts(tokenizer, table)
    assert found.toarray().sum(axis=0).tolist() == expected.tolist()


def test_a_real_table_is_audited_and_its_origin_kept(small) -> None:
    table = count_texts(DOCUMENTS * 3, by_blocks=True)
    found = audit({"one": small}, table, words={}, resamples=50)
    ids = small.encode_batch(DOCUMENTS)
    size = sum(len(text.encode()) for text in DOCUMENTS)
    row = found.tables["efficiency"].records()[0]
    assert row["value"] == pytest.approx(size / sum(map(len, ids)))
    assert found.provenance["input_sha256"]["corpus"] == table.origin.corpus_sha256[0]
    assert found.values["corpus"]["documents"] == 360


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizers": {}}, "needs 1 or more tokenizers, got none"),
        ({"base": "on"}, "unknown base tokenizer 'on': did you mean 'one'"),
        ({"reference": "z"}, "unknown reference group 'z'"),
        ({"resamples": 0}, "resamples must be 1 or more, not 0"),
        ({"table": tiny_table([[""], []])}, "needs text, but the table holds none"),
    ],
)
def test_what_cannot_be_audited(small, options: dict, message: str) -> None:
    asked = {"tokenizers": {"one": small}, "table": tiny_table(BLOCKS[:2]), **options}
    with pytest.raises(ConfigError, match=message):
        audit(asked.pop("tokenizers"), asked.pop("table"), **asked)
