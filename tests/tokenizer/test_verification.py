"""The proof of a training: it passes what is right and finds what is planted wrong."""

from dataclasses import replace
from pydoc_data.topics import topics

import numpy as np
import pytest
import slow_bpe
from library_trainer import counted

from tokkit.errors import TokkitError
from tokkit.tokenizer import from_files, learning, verification
from tokkit.tokenizer.alphabet import byte_characters
from tokkit.tokenizer.counting import count_texts
from tokkit.tokenizer.from_files import TrainingOptions, train_on_table
from tokkit.tokenizer.verification import slow_merges, verify_training

TEXTS = [topics[name] for name in sorted(topics)[:12]]
ORDER = sorted(range(256), key=lambda byte: byte_characters()[byte])


def trained(texts=TEXTS, pretokenizer="gpt2", vocab_size=600, **options):
    table = count_texts(texts, pretokenizer, removed_texts=["<|end|>"])
    return train_on_table(table, TrainingOptions(vocab_size, pretokenizer, **options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_frequency": 9},
        {"min_gain": 0.001},
        {"min_count": 3},
        {"limit_alphabet": 20},
        {"pretokenizer": "none"},
        {"pretokenizer": "bytes"},
        {"texts": []},
        {"texts": [""]},
        {"texts": ["aaaaaaa aaaaa"], "pretokenizer": "none"},
    ],
    ids=str,
)
def test_a_sound_training_passes(options):
    training = trained(**options)
    proof = verify_training(training)
    assert proof["reason"] is None
    if len(training.learned.steps):
        assert {0, len(training.learned.steps) - 1} <= set(proof["checked_steps"])
    else:
        assert proof["checked_steps"] == []


def test_the_proof_covers_a_sample_and_steps_of_the_whole():
    proof = verify_training(trained())
    assert proof["sampled_merges"] == verification.SAMPLED_MERGES
    assert len(proof["checked_steps"]) >= verification.CHECKED_STEPS
    assert proof["checked_steps"] == sorted(proof["checked_steps"])


@pytest.mark.parametrize(
    "options", [{"veto": "e"}, {"max_token_length": 5}, {"extend": "base.json"}], ids=str
)
def test_a_restricted_training_says_why_it_is_not_proved(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    trained(vocab_size=270).tokenizer().save("base.json")
    proof = verify_training(trained(vocab_size=300, **options))
    assert proof == {"sampled_merges": 0, "checked_steps": [], "reason": "merges are restricted"}


def with_swapped(learned, first, second):
    """Merges of single bytes in another order, with tokens and counts that go with it."""
    order = np.arange(len(learned.steps))
    order[[first, second]] = second, first
    tokens = list(learned.tokens)
    base = learned.alphabet_size
    tokens[base + first], tokens[base + second] = tokens[base + second], tokens[base + first]
    number = {token: place for place, token in enumerate(tokens)}
    spelled = [[learned.tokens[part] for part in step] for step in learned.steps[order].tolist()]
    steps = np.array([[number[part] for part in step] for step in spelled], dtype=np.int32)
    return replace(learned, tokens=tuple(tokens), steps=steps, counts=learned.counts[order])


def planted(monkeypatch, module, change):
    def learn(*arguments, **options):
        return change(learning.learn(*arguments, **options))

    monkeypatch.setattr(module, "learn", learn)


def test_merges_in_the_wrong_order_fail_the_proof_on_the_whole_text(monkeypatch):
    planted(monkeypatch, from_files, lambda learned: with_swapped(learned, 0, 1))
    training = trained()
    with pytest.raises(
        TokkitError, match=r"fail their proof: merge 0 joins tokens .* but .* stood"
    ):
        verify_training(training)


def test_a_last_merge_that_is_not_the_most_frequent_fails(monkeypatch):
    def worse(learned):
        steps = learned.steps.copy()
        steps[-1, :2] = ORDER.index(ord("q")), ORDER.index(ord("u"))
        return replace(learned, steps=steps)

    planted(monkeypatch, from_files, worse)
    with pytest.raises(TokkitError, match=r"merge 342 joins tokens .*; please report it"):
        verify_training(trained())


def test_a_wrong_count_fails(monkeypatch):
    planted(monkeypatch, from_files, lambda got: replace(got, counts=got.counts + 1))
    with pytest.raises(TokkitError, match="fail their proof: merge 0 "):
        verify_training(trained())


def test_wrong_merges_of_the_sample_fail(monkeypatch):
    training = trained()
    planted(monkeypatch, verification, lambda learned: with_swapped(learned, 1, 2))
    with pytest.raises(TokkitError, match="fail their proof: merge 1 of a sample of 400 pretokens"):
        verify_training(training)


def test_merges_that_a_longer_learner_would_have_made_fail_too(monkeypatch):
    """The compiled learner goes on below the minimum frequency, the slow one does not."""
    training = trained(min_frequency=50)

    def eager(data, offsets, counts, options):
        return learning.learn(data, offsets, counts, replace(options, min_frequency=1))

    monkeypatch.setattr(verification, "learn", eager)
    with pytest.raises(TokkitError, match=r"by the slow method \[\]; please report it"):
        verify_training(training)


def test_long_pretokens_are_left_out_of_the_sample():
    """By the slow method a megabyte would take minutes."""
    texts = ["".join(TEXTS)[:40_000] * 10, "abcd" * 20, "abcd" * 30]
    proof = verify_training(trained(texts, "none", 300))
    assert 0 < proof["sampled_merges"] <= 7, "abcd doubles: ab, cd, then powers of two"
    assert proof["checked_steps"]


def test_a_table_is_encoded_in_parts(monkeypatch):
    training = trained()
    wanted = verify_training(training)
    monkeypatch.setattr(verification, "_ENCODED_AT_ONCE", 7)
    assert verify_training(training) == wanted


def test_the_slow_method_is_that_of_the_tests():
    words = dict(list(counted(TEXTS, "gpt2").items())[:80])
    age = {bytes([byte]): place for place, byte in enumerate(ORDER)}
    pieces = [word for word, count in words.items() for _ in range(count)]
    assert slow_merges(words, age, 40, 2) == slow_bpe.learn(pieces, 40, ORDER)


def test_the_slow_method_by_hand():
    """Gage's example; a byte without an age is left out: abxab counts as abab."""
    age = {b"a": 0, b"b": 1, b"c": 2, b"d": 3}
    merges = slow_merges({b"aaabdaaabac": 1}, age, 9, 2)
    assert merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert slow_merges({b"axab": 1, b"ab": 1}, age, 9, 2) == [(b"a", b"b")]
    assert slow_merges({b"abxab": 1, b"ab": 2}, age, 9, 1) == [(b"a", b"b"), (b"ab", b"ab")]
