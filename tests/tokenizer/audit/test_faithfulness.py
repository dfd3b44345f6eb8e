"""Round trips, junk, duplicates and special tokens, on tokenizers with planted faults."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges

from tokkit.tokenizer.audit.counts import count_usage, token_counts
from tokkit.tokenizer.audit.faithfulness import (
    SPECIAL_CASES,
    cases_table,
    examine,
    special_table,
    unreachable_table,
)
from tokkit.tokenizer.audit.replicates import Replicates

BLOCKS = [["the The\x01 é"], ["é the"], [" the  é é"]]


def examined(tokenizer, blocks=BLOCKS):
    table = tiny_table(blocks)
    usage = count_usage("t", tokenizer, table)
    made = Replicates(table.blocks.group, ("",), resamples=3, generator=np.random.default_rng(0))
    faith = examine(usage, made)
    values = {(m.name, m.average): m.fixed if m.rows is None else m.rows[0] for m in faith.metrics}
    return usage, faith, values


def test_a_byte_level_bpe_gives_everything_back() -> None:
    usage, _, values = examined(from_merges("t|h", "th|e"))
    assert values["round_trip_failures", "micro"] == 0
    assert values["unknown_tokens", "micro"] == 0
    rows = cases_table([usage]).records()
    assert {row["case"] for row in rows} == set(SPECIAL_CASES)
    assert all(row["same"] for row in rows)


def test_a_token_with_other_bytes_than_it_stands_for_is_a_failure() -> None:
    tokenizer = from_merges("t|h", "th|e")
    table = tiny_table(BLOCKS)
    usage = count_usage("t", tokenizer, table)
    the = tokenizer.token_id("the")
    # "the" now claims the bytes of another token of three.
    usage.tokens.data[usage.tokens.offsets[the]] = ord("X")
    made = Replicates(table.blocks.group, ("",), resamples=3, generator=np.random.default_rng(0))
    rate = examine(usage, made).metrics[0]
    # Pretokens: the, " The", \x01, " é" | "é", " the" | " the", " ", " é", " é".
    assert rate.name == "round_trip_failures"
    assert rate.rows[0] == pytest.approx(3 / 10)


def test_broken_characters_count_by_type_and_by_occurrence() -> None:
    _, faith, values = examined(from_merges("t|h", "th|e"))
    # The 128 bytes from 0x80 on are no text alone; é is two of them. 258 ids in all.
    assert values["not_utf8_alone", "by type"] == pytest.approx(128 / 258)
    tokens = 0
    for text in (t for block in BLOCKS for t in block):
        tokens += len(from_merges("t|h", "th|e").encode(text))
    assert values["not_utf8_alone", "micro"] == pytest.approx(8 / tokens)
    assert faith.marks["not_utf8_alone"].sum() == 128


def test_junk_is_marked() -> None:
    tokenizer = from_merges(
        (b"\x01", b"a"), "-|-", "--|--", "----|----", "--------|--------", (b"\xee", b"\x80"),
        (b"\xee\x80", b"\x80"), pretokenizer="none", special_tokens=("<\x02>",),
    )  # fmt: skip
    _, faith, values = examined(tokenizer)
    marks = {name: set(np.flatnonzero(flags).tolist()) for name, flags in faith.marks.items()}
    ids = tokenizer.token_id
    assert ids(b"\x01a") in marks["control_tokens"]
    assert ids("\t") not in marks["control_tokens"]
    assert 0 not in marks["control_tokens"], "a special token is no junk"
    assert marks["run_tokens"] == {ids("-" * 16)}
    assert marks["unassigned_tokens"] == {ids("\ue000")}
    assert values["control_tokens", "by type"] == pytest.approx((32 - 3 + 1 + 1) / 264)


def test_duplicates_but_for_case_or_space() -> None:
    tokenizer = from_merges("t|h", "T|h", " |th", "x|1")
    _, _, values = examined(tokenizer)
    # By case: 26 letters twice, th and Th. By space: th and " th". Either: th, Th and " th".
    assert values["duplicates_by_case", "by type"] == pytest.approx((52 + 2) / 260)
    assert values["duplicates_by_space", "by type"] == pytest.approx(2 / 260)
    assert values["duplicates", "by type"] == pytest.approx((52 + 3) / 260)


def test_special_tokens_are_not_injected() -> None:
    usage, _, _ = examined(from_merges("t|h", special_tokens=("<|end|>", "<s>")))
    rows = special_table([usage]).records()
    assert [(r["token"], r["injected"]) for r in rows] == [("<|end|>", False), ("<s>", False)]


def test_unreachable_tokens_are_listed_with_their_reason() -> None:
    usage, faith, values = examined(from_merges("a|b", "b|c", "a|bc", "b| "))
    assert values["unreachable_by_merges", "by type"] == 1
    assert values["unreachable_by_pretokenizer", "by type"] == 1
    assert values["unreachable_not_utf8", "by type"] == 13
    rows = unreachable_table({"t": (usage, faith)}).records()
    listed = {row["token"]: row["class"] for row in rows}
    assert listed["abc"] == "its merges do not build it"
    assert listed["b "] == "the pre-tokenizer cuts it in every context tried"
    assert listed["\\xff"] == "its bytes stand in no valid UTF-8"


class Forgetful:
    """A tokenizer of another kind: lower-cases, has an unknown token, turns text into <s>."""

    vocab_size = 258
    special_ids = frozenset([0])
    added_ids = frozenset()
    unk_id = 1
    pretokenizer = None
    notes = ("lower-cases the text",)

    def token_bytes(self, token):
        return (b"<s>", b"")[token] if token < 2 else bytes([token - 2])

    def encode(self, text):
        ids = []
        for part in text.lower().replace("<s>", "\0<\0").split("\0"):
            ids += [0] if part == "<" else [b + 2 if b < 128 else 1 for b in part.encode()]
        return ids

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def decode_bytes(self, ids):
        return b"".join(self.token_bytes(token) for token in ids)


def test_what_another_kind_of_tokenizer_loses_is_told() -> None:
    from tokkit.tokenizer.audit.counts import given_usage

    table = tiny_table(BLOCKS)
    counts = np.zeros((3, 258), int)
    for row, texts in zip(counts, BLOCKS, strict=True):
        for token in Forgetful().encode(texts[0]):
            row[token] += 1
    usage = given_usage("odd", Forgetful(), counts, table)
    made = Replicates(table.blocks.group, ("",), resamples=3, generator=np.random.default_rng(0))
    faith = examine(usage, made)
    by_name = {(m.name, m.average): m for m in faith.metrics}
    assert by_name["unknown_tokens", "micro"].rows[0] == pytest.approx(8 / counts.sum())
    assert by_name["round_trip_failures", "micro"].rows is None
    assert "counted by the caller" in by_name["round_trip_failures", "micro"].reason
    assert by_name["unreachable_by_merges", "by type"].fixed is None
    assert "no byte-level BPE" in by_name["unreachable_by_merges", "by type"].reason
    cases = {row["case"]: row for row in cases_table([usage]).records()}
    assert cases["apostrophes"]["same"] is False
    assert cases["apostrophes"]["decoded"].startswith("don't i'll")
    assert special_table([usage]).records()[0]["injected"] is True


def test_counts_of_a_given_usage_give_the_same_metrics() -> None:
    from tokkit.tokenizer.audit.counts import given_usage

    tokenizer, table = from_merges("t|h", "th|e"), tiny_table(BLOCKS)
    usage = given_usage("t", tokenizer, token_counts(tokenizer, table), table)
    made = Replicates(table.blocks.group, ("",), resamples=3, generator=np.random.default_rng(0))
    own = {(m.name, m.average): m for m in examine(usage, made).metrics}
    _, _, values = examined(tokenizer)
    assert own["not_utf8_alone", "micro"].rows[0] == values["not_utf8_alone", "micro"]
