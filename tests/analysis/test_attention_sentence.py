"""Patterns of a sentence: planted heads, the arithmetic of one weight, transformers as oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_planted import CONTEXT, Letters, copier
from tokenizer.foreign_files import learned

from tokkit.analysis.attention.one_weight import ROUNDING, weigh, weight_section
from tokkit.analysis.attention.sentence import (
    DEFAULT_SENTENCE,
    Sentence,
    check_head,
    read_sentence,
    sentence_patterns,
    sentence_tables,
    shown_head,
    world_sentence,
)
from tokkit.analysis.world import world_of
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=31, width=24, layers=2, query_heads=6, key_value_heads=2, context=20
)
KINDS = [
    {},
    {"positions": "alibi"},
    {"positions": "learned", "attention_softcap": 2.0, "attention_scale": 0.7},
    {"attention_pattern": "sf", "window": 3, "qk_norm": True},
]


def read(text="3 4 5 6 7", start=()):
    return read_sentence(Letters(), text, copier().config, start)


def test_a_planted_head_attends_to_the_token_before_and_an_even_one_to_all():
    weights = sentence_patterns(copier(), read())
    np.testing.assert_allclose(weights[0, 0, 1:, :-1].diagonal(), 1, atol=1e-3)
    for query in range(5):
        np.testing.assert_allclose(weights[0, 1, query, : query + 1], 1 / (query + 1), rtol=1e-5)
    assert shown_head(weights, None, None) == (0, 0)
    assert shown_head(weights, 1, None)[0] == 1
    assert shown_head(weights, None, 1)[1] == 1
    assert shown_head(weights, 1, 1) == (1, 1)


def test_a_planted_head_attends_to_the_first_token():
    model = copier()
    with torch.no_grad():
        query = model.blocks[0].attention.query.weight
        query.zero_()
        query[0, 62:78] = 12.0  # whatever the place, the key of place 0 is asked for
    weights = sentence_patterns(model, read())
    np.testing.assert_allclose(weights[0, 0, :, 0], 1, atol=1e-3)


def test_one_weight_by_hand():
    """One number a vector: q = 1 and k = 0, ln 3 give the weights 1/4 and 3/4."""
    config = ModelConfig(
        vocab_size=3, width=2, layers=1, query_heads=1, key_value_heads=1, head_width=1,
        context=4, positions="none", hidden_width=1,
    )  # fmt: skip
    model = Transformer(config, seed=0).eval()
    root = 2**0.5  # a one-hot row of two has this size after its norm
    with torch.no_grad():
        model.embedding.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0]]))
        attention = model.blocks[0].attention
        attention.query.weight.copy_(torch.tensor([[0, 1 / root]]))
        attention.key.weight.copy_(torch.tensor([[0, np.log(3) / root]]))
        attention.value.weight.copy_(torch.tensor([[4 / root, 8 / root]]))
    sentence = Sentence("a b", torch.tensor([[0, 1]]), ("a", "b"), 0)
    found = weigh(model, sentence, 0, 0, 1)
    np.testing.assert_allclose(found.products, [0, np.log(3)], atol=1e-4)
    np.testing.assert_allclose(found.weights, [0.25, 0.75], atol=1e-4)
    np.testing.assert_allclose(found.output, [7], rtol=1e-4)  # 4 / 4 + 8 x 3 / 4
    assert found.weights_apart < 1e-6


@pytest.mark.parametrize("changed", KINDS)
def test_the_arithmetic_gives_the_models_weights(changed):
    model = Transformer(replace(CONFIG, **changed), seed=1).eval()
    sentence = read_sentence(Letters(), "3 4 5 6 7 8 9", CONFIG)
    for layer, head in np.ndindex(2, 6):
        section = weight_section(model, sentence, layer, head)
        assert section.values["weight_arithmetic_holds"], (layer, head)
        own = sentence_patterns(model, sentence)[layer, head, -1]
        rows = section.tables["scores"].records()
        np.testing.assert_allclose([row["weight"] for row in rows], own, atol=ROUNDING)
        products = [row["product"] for row in section.tables["vectors"].records()]
        place = section.values["weight_key_place"]
        assert sum(products) == pytest.approx(rows[place]["product"], abs=1e-9)


def test_the_arithmetic_shows_a_model_that_does_something_else():
    model = Transformer(CONFIG, seed=1).eval()
    model.blocks[1].attention.tap_pattern.register_forward_hook(lambda _m, _i, x: x.roll(1, -1))
    section = weight_section(model, read(), 1, 0)
    assert not section.values["weight_arithmetic_holds"]


@pytest.mark.parametrize("case", ["llama", "gpt2", "gemma2", "mistral", "qwen3"])
def test_patterns_are_those_of_transformers_with_eager_attention(case, tmp_path):
    pytest.importorskip("transformers")
    from model.hf_models import hf_model, some_text

    from tokkit.model.families import load_hf

    theirs, ids = hf_model(case), some_text(batch=1)
    with torch.no_grad():
        expected = theirs(ids, use_cache=False, output_attentions=True).attentions
    theirs.save_pretrained(tmp_path / "theirs")
    model = load_hf(tmp_path / "theirs")
    sentence = Sentence("", ids, tuple(map(str, ids[0].tolist())), 0)
    weights = sentence_patterns(model, sentence)
    assert len(expected) == len(weights)
    for own, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(own, other[0].numpy(), atol=2e-5)


def test_the_default_sentence_is_of_the_world_where_there_is_one():
    assert world_sentence(None) == DEFAULT_SENTENCE
    world = world_of({"world": {"seed": 0, "megabytes": 1}})
    found = world_sentence(world)
    item = next(i for i in world.agreement_items("train") if found == f"{i.prefix} {i.right}")
    assert item.n_attractors == 1
    assert item.attractor_numbers[0] != item.number
    assert item.adverb


def test_tables_hold_the_weights():
    sentence = read(start=(1, 2))
    assert sentence.given == 2
    weights = sentence_patterns(copier(), sentence)
    tables = sentence_tables(sentence, weights, (0, 1))
    last = tables["patterns"].records()[1]["thousandths"].split("; ")[-1]
    assert [int(word) for word in last.split()] == [143] * 7
    assert [row["token"] for row in tables["sentence"].records()][:3] == ["1 ", "2 ", "3 "]
    assert len(tables["shown_pattern"].rows) == 7 * 8 // 2


def test_too_many_weights_are_left_out(monkeypatch):
    monkeypatch.setattr("tokkit.analysis.attention.sentence.MOST_WEIGHTS", 10)
    tables = sentence_tables(read(), sentence_patterns(copier(), read()), (0, 0))
    assert set(tables) == {"sentence", "shown_pattern"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "must not be empty"),
        (" \n", "must not be empty"),
        ("3", "at least 2 tokens, got 1"),
        (" ".join(["3"] * (CONTEXT + 1)), "17 tokens long, but the model's context is 16"),
    ],
)
def test_bad_sentences(text, fault):
    with pytest.raises(InputError, match=fault):
        read(text)


@pytest.mark.parametrize(
    ("layer", "head", "fault"),
    [
        (2, None, r"layer must lie in 0\.\.1, got 2"),
        (-1, 0, r"layer must lie in 0\.\.1, got -1"),
        (0, 7, r"head must lie in 0\.\.1, got 7"),
    ],
)
def test_unknown_heads(layer, head, fault):
    with pytest.raises(ConfigError, match=fault):
        check_head(copier().config, layer, head)


def test_tokens_that_are_no_characters_are_shown_as_escapes():
    tokenizer = learned("gpt2")
    config = replace(CONFIG, vocab_size=tokenizer.vocab_size)
    sentence = read_sentence(tokenizer, "a🦜b", config)
    assert any("\\x" in word for word in sentence.words)


def test_damaged_weights_are_refused():
    model = copier()
    with torch.no_grad():
        model.blocks[1].attention.key.weight[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="must be finite"):
        sentence_patterns(model, read())
