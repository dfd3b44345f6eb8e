"""What each arm is shown, and that nothing else differs between them."""

import numpy as np
import pytest
from experiments.conftest import TINY

from tokkit.errors import ConfigError
from tokkit.experiments.arms import (
    ARMS,
    QUESTION_TOKENS,
    arm_codec,
    chips,
    embedding_rows,
    single_letter_ids,
    token_features,
)
from tokkit.experiments.strawberry import (
    StrawberryConfig,
    load_prepared,
    load_tokenizer,
    profile,
)
from tokkit.probes.tasks import ITEMS, LETTERS, item_questions, word_question


@pytest.fixture(scope="module")
def tokenizers(prepared_folder):
    return {name: load_tokenizer(prepared_folder, arm) for name, arm in ARMS.items()}


def test_the_factors_are_crossed():
    assert {(a.letters, a.length) for a in ARMS.values()} == {
        ("hidden", "short"),
        ("hidden", "long"),
        ("visible", "short"),
        ("visible", "long"),
        ("wrong", "short"),
    }


def test_the_words_around_the_asked_word_are_the_same_ids_in_every_arm(tokenizers):
    question = word_question("r", "strawberry")
    for asked in (question, question.spelled(), *item_questions(20, np.random.default_rng(0))):
        found = {
            name: arm_codec(ARMS[name], t).encode(asked.text) for name, t in tokenizers.items()
        }
        if asked.task == "word":
            found = {name: (tuple(ids[:3]), ids[-1]) for name, ids in found.items()}
        else:
            found = {name: tuple(ids) for name, ids in found.items()}
        assert len(set(found.values())) == 1


def test_each_item_and_each_letter_set_apart_is_one_token(tokenizers):
    bpe = tokenizers["bpe"]
    spelled = word_question("r", "strawberry").spelled()
    assert len(bpe.encode(spelled.text)) == 3 + 10 + 1
    assert all(len(bpe.encode(f" {item}")) == 1 for item in ITEMS)
    assert set(QUESTION_TOKENS) <= {bpe.decode([token]) for token in bpe.added_ids}


def test_lengths_are_as_the_arms_say(tokenizers):
    word = "strawberry"
    lengths = {n: len(arm_codec(ARMS[n], t).encode(word)) for n, t in tokenizers.items()}
    assert lengths["char"] == lengths["opaque"] == len(word)
    assert lengths["bpe"] == lengths["letters"] == lengths["placebo"] < len(word)


def test_opaque_ids_of_a_token_belong_to_it_alone(tokenizers):
    codec = arm_codec(ARMS["opaque"], tokenizers["opaque"])
    ids = codec.encode("strawberry")
    assert codec.decode(ids) == "strawberry"
    assert max(ids) < codec.size == embedding_rows(tokenizers["bpe"])


def test_letters_told_are_true_and_the_placebos_are_not(tokenizers):
    bpe = tokenizers["bpe"]
    rows = embedding_rows(bpe)
    told = token_features(ARMS["letters"], bpe, rows=rows, seed=0)
    wrong = token_features(ARMS["placebo"], bpe, rows=rows, seed=0)
    assert told.shape == wrong.shape == (rows, 26)
    for token in range(bpe.vocab_size):
        if bpe.kind(token) != "token":
            assert not told[token].any()
            continue
        letters = bpe.token_bytes(token).lower()
        assert told[token].tolist() == [letters.count(c.encode()) for c in LETTERS]
        if told[token].any():
            assert wrong[token].sum() == told[token].sum()
            assert (wrong[token] != told[token]).any()
    assert token_features(ARMS["bpe"], bpe, rows=rows, seed=0) is None
    other = token_features(ARMS["placebo"], bpe, rows=rows, seed=1)
    assert (other != wrong).any()


def test_chips_tell_what_reaches_the_model(tokenizers):
    bpe = tokenizers["bpe"]
    wrong = token_features(ARMS["placebo"], bpe, rows=embedding_rows(bpe), seed=0)
    shown = {n: chips(ARMS[n], tokenizers[n], "strawberry", None) for n in ("bpe", "char")}
    assert "".join(chip["text"] for chip in shown["bpe"]) == "strawberry"
    assert all(chip["shown"] == chip["text"] for chip in shown["char"])
    for chip in shown["bpe"]:
        assert chip["letters"] == ("visible" if len(chip["text"]) == 1 else "hidden")
    placebo = chips(ARMS["placebo"], bpe, "strawberry", wrong)
    assert all(sorted(chip["shown"]) != sorted(chip["text"]) for chip in placebo)


def test_strawberry_and_its_tokens_are_never_trained_on(prepared_folder, tokenizers):
    prepared = load_prepared(prepared_folder)
    bpe = tokenizers["bpe"]
    single = single_letter_ids(bpe)
    assert "strawberry" in prepared.splits["C"]
    trained = set().union(*(set(ids) for ids in bpe.encode_batch(list(prepared.splits["A"]))))
    for name in ("C",):
        novel = set().union(*(set(i) for i in bpe.encode_batch(list(prepared.splits[name]))))
        assert not (novel - single) & trained
    fresh = set().union(*(set(ids) for ids in bpe.encode_batch(list(prepared.splits["R"]))))
    assert fresh - single <= trained
    assert not set(prepared.splits["R"]) & set(prepared.splits["A"])
    assert TINY.min_letters <= min(map(len, prepared.splits["A"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arms": ("bpe", "carh")}, "unknown arm 'carh': did you mean 'char'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"batch_questions": 2}, "batch_questions must be at least 3, got 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        StrawberryConfig(**settings)


def test_an_unknown_profile_names_the_near_one():
    with pytest.raises(ConfigError, match="did you mean 'quick'"):
        profile("quik")
