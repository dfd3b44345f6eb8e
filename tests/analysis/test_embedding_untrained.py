"""Untrained tokens of whole models: references, prompts, and tokens unseen by construction."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from tokkit.analysis.embeddings import untrained_verification as verification
from tokkit.analysis.embeddings.opening import model_subject
from tokkit.analysis.embeddings.token_counts import token_counts
from tokkit.analysis.embeddings.untrained import (
    find_untrained,
    initial_output,
    lowest,
    untrained_section,
)
from tokkit.analysis.embeddings.untrained_prompts import (
    TEMPLATES,
    Repeated,
    _prompt,
    repeat_probabilities,
)
from tokkit.analysis.embeddings.untrained_reach import reach_of
from tokkit.analysis.embeddings.untrained_reference import (
    ALIKE,
    GIVEN,
    NAMED_UNUSED,
    NEVER_ENCODED,
    NO_TOKEN,
    find_reference,
    given_reference,
    moved_as_one,
)
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.probes.models import open_model
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.train import train
from tokkit.training.config import TrainingConfig
from tokkit.training.presets import training_preset
from tokkit.training.text import train_on_text
from tokkit.training.text_data import TextConfig

SPECIAL = ("<|end|>", "<|reserved_7|>", "<|a|>", "<|b|>", "<|c|>")
VOCAB = 700


def invented(count, seed):
    """Words of three syllables."""
    draw = random.Random(seed)
    return ["".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(3))
            for _ in range(count)]  # fmt: skip


SEEN, UNSEEN = invented(150, 1), invented(60, 2)


def lines(words, count, seed):
    generator = random.Random(seed)
    return [" ".join(generator.choices(words, k=generator.randint(4, 20))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    texts = lines(SEEN, 250, 0) + lines(UNSEEN, 100, 1)
    return train(texts, vocab_size=VOCAB, pretokenizer="gpt2", special_tokens=SPECIAL)


def tiny_model(**changed):
    settings = {
        "vocab_size": VOCAB,
        "width": 20,
        "layers": 2,
        "query_heads": 2,
        "context": 128,
        "tied": True,
    }
    return Transformer(ModelConfig(**(settings | changed)), seed=3).eval()


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def learned(request, tokenizer, tmp_path_factory):
    """A model of which the tokenizer knows more words than it was trained on, as a subject."""
    place = tmp_path_factory.mktemp("run")
    text = place / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines(SEEN, 400, 2)))
    size = tokenizer.vocab_size
    model = training_preset("llama", vocab_size=size, width=32, layers=2, heads=2, context=32)
    config = TextConfig(
        model=replace(model, tied=request.param),
        training=TrainingConfig(steps=150, learning_rate=0.01, warmup_steps=10),
        sequences=8,
    )
    train_on_text(tokenizer, [text], config, place / "run", device="cpu")
    opened = open_model(place / "run")
    counts = token_counts(place / "run", opened.tokenizer, size)
    return model_subject(opened.model, opened.tokenizer, about=opened.about, counts=counts)


# References ---------------------------------------------------------------------------------------


def test_a_reference_is_found_by_each_rule(tokenizer):
    model = tiny_model(vocab_size=VOCAB + 7)
    special = [tokenizer.token_id(name) for name in SPECIAL]
    with torch.no_grad():
        model.embedding[special[2:]] = torch.ones(3, 20) + 0.001 * torch.randn(
            3, 20, generator=torch.Generator().manual_seed(0)
        )
    subject = model_subject(model, tokenizer)
    found = find_reference(subject, reach_of(tokenizer, VOCAB + 7), subject.usable)
    # 0xC0, 0xC1 and 0xF5 to 0xFF stand in no UTF-8.
    assert found.found_by == {NO_TOKEN: 7, NEVER_ENCODED: 13, NAMED_UNUSED: 1, ALIKE: 3}
    assert set(range(VOCAB, VOCAB + 7)) <= set(found.ids.tolist())
    assert special[0] not in found.ids


def test_rows_of_one_direction_are_found_among_others():
    rows = np.eye(7) + 0.01
    rows[[1, 4, 6]] = [2.0] * 7, [1.0] * 7, [3.0] * 7
    assert moved_as_one(matrix_of(rows), np.arange(7)).tolist() == [1, 4, 6]
    assert moved_as_one(matrix_of(rows), np.array([0, 1, 4, 5])).tolist() == []
    assert moved_as_one(matrix_of(rows), np.array([1, 4])).tolist() == []


def test_given_references_are_checked():
    usable = np.array([True] * 6 + [False])
    assert given_reference([5, 1, 2, 1], usable).ids.tolist() == [1, 2, 5]
    assert given_reference([5, 1, 2], usable).found_by == {GIVEN: 3}
    with pytest.raises(ConfigError, match=r"3 or more different rows .* got 1: name more"):
        given_reference([1, 1], usable)
    with pytest.raises(ConfigError, match="got 0: name more"):
        given_reference([], usable)
    with pytest.raises(ConfigError, match=r"must lie in 0\.\.6, got 7"):
        given_reference([1, 2, 7], usable)
    with pytest.raises(ConfigError, match=r"must lie in 0\.\.6, got -1"):
        given_reference([-1, 2, 3], usable)
    with pytest.raises(ConfigError, match="row 6 of the reference cannot be measured"):
        given_reference([1, 2, 6], usable)


def test_what_a_tokenizer_of_another_kind_proves_is_what_utf8_proves(tokenizer):
    library = LibraryTokenizer.from_json(tokenizer.to_json())
    exact, weak = reach_of(tokenizer, VOCAB), reach_of(library, VOCAB)
    proved = [row for row in range(VOCAB) if exact.words(row).startswith("its bytes stand in no")]
    assert len(proved) == 13
    assert all(weak.words(row) == exact.words(row) for row in proved)
    assert all(weak.can_come(row) in (None, exact.can_come(row)) for row in range(VOCAB))
    assert not reach_of(None, 5).is_decided


# Prompts ------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_whole_prompt_read_at_once(tokenizer):
    model, ids, examples = tiny_model(), np.array([70, 80, 90]), np.arange(100, 118)
    found = repeat_probabilities(model, tokenizer, ids, examples, start_ids=[7], shots=3)
    assert found.templates == tuple(template.name for template in TEMPLATES)
    for column, template in enumerate(TEMPLATES):
        shown = np.roll(examples, -3 * column)[:3]
        prefix, question, holes = _prompt(template, tokenizer, shown, [7], 128)
        for row, token in enumerate(ids):
            for hole in holes:
                question[hole] = int(token)
            with torch.no_grad():
                odds = model(torch.tensor([[*prefix, *question]]))[0, -1].softmax(-1)
            assert found.by_template[row, column] == pytest.approx(float(odds[token]), rel=1e-4)
    assert found.best.tolist() == found.by_template.max(axis=1).tolist()


def test_shots_and_templates_are_left_out_where_the_context_is_short(tokenizer):
    shown = np.arange(100, 106)
    long, *_ = _prompt(TEMPLATES[0], tokenizer, shown, [], 128)
    short, question, _ = _prompt(TEMPLATES[0], tokenizer, shown, [], 32)
    assert len(short) < len(long)
    assert len(short) + len(question) <= 32
    assert _prompt(TEMPLATES[0], tokenizer, shown, [], 5) is None
    nothing = repeat_probabilities(tiny_model(context=4), tokenizer, np.array([9]), shown)
    assert nothing.templates == ()


@pytest.mark.parametrize(("repeated", "can"), [(58, True), (57, False)])
def test_prompts_verify_only_where_nine_in_ten_ordinary_tokens_are_repeated(repeated, can):
    best = np.full((65, 2), 0.001)
    best[:repeated, 1] = 0.01  # at least 1%: is repeated
    why = (verification.CONTROL,) * 64 + (verification.CANDIDATE,)
    asked = verification.Verification(np.arange(65), why, Repeated(np.arange(65), best, ("a", "b")))
    assert asked.can_verify is can
    assert asked.best(verification.CANDIDATE).tolist() == [0.001]


def test_of_many_candidates_the_lowest_and_evenly_spaced_ones_are_asked():
    assert verification.some(np.arange(5), 8).tolist() == [0, 1, 2, 3, 4]
    assert verification.some(np.arange(100), 8).tolist() == [0, 1, 2, 3, 4, 35, 67, 99]


# The whole ----------------------------------------------------------------------------------------


def test_the_lowest_share_by_hand():
    values = np.array([5.0, 1.0, 3.0, 1.0, 0.0, 9.0])
    among = np.array([True, True, True, True, False, True])
    ids, threshold = lowest(values, among, 0.6)
    assert (ids.tolist(), threshold) == ([1, 3, 2], 3)
    assert lowest(values, among, 0.0)[0].tolist() == [1]
    assert lowest(values, np.zeros(6, dtype=bool), 0.5)[0].tolist() == []


def test_tokens_unseen_by_construction_are_found(learned):
    found = find_untrained(learned, seed=0, verify=False)
    assert found.indicators.primary == "output_cosine"
    judged = found.judged["output_cosine"]
    assert judged.never.positives > 100
    assert judged.longer.positives >= 20
    assert judged.never.low >= 0.95
    assert judged.longer.value >= 0.95
    # Before training, the same indicator tells nothing.
    assert abs(judged.null.value - 0.5) < 0.1
    assert judged.counts.value > 0.5


def test_a_section_of_a_trained_model_says_what_it_found(learned):
    section = untrained_section(learned, seed=0)
    json.dumps(dict(section.values), allow_nan=False)
    claim = section.claims[0]
    assert (claim.id, claim.verdict) == ("unseen-tokens-found", "supported")
    assert section.values["reference"]["found_by"][NEVER_ENCODED] == 13
    tokens = section.tables["untrained_tokens"].records()
    assert [row["indicator"] for row in tokens] == sorted(row["indicator"] for row in tokens)
    assert sum(row["count"] == 0 for row in tokens) > 90
    assert {row["kind"] for row in tokens} <= {"ordinary", "special", "reference"}
    histogram = section.tables["untrained_histogram"].records()
    never = [row for row in histogram if row["group"] == "never seen"]
    assert sum(row["tokens"] for row in never) == never[0]["of"]
    counted = section.tables["untrained_by_count"].records()
    assert [row["count_low"] for row in counted][:2] == [0, 1]
    again = untrained_section(learned, seed=0)
    assert again == section


def test_a_model_that_learned_nothing_gives_no_support(tokenizer):
    model = tiny_model()
    counts = np.where(np.arange(VOCAB) % 3, 7, 0)
    subject = model_subject(model, tokenizer, about={"seed": 3}, counts=counts)
    section = untrained_section(subject, seed=0)
    assert section.claims[0].verdict == "inconclusive"
    assert not section.claims[0].controls[0].holds
    asked = section.values["verification"]
    assert asked["can_verify"] is False
    assert "cannot verify with this model" in asked["says"]
    said = {row["verified"] for row in section.tables["untrained_tokens"].records()}
    assert said == {"cannot verify", "not asked"}


def test_without_counts_nothing_is_judged_and_without_a_model_nothing_asked(tokenizer):
    subject = model_subject(tiny_model(tied=False), tokenizer)
    bare = replace(subject, model=None)
    section = untrained_section(bare, seed=0)
    assert section.claims == ()
    assert section.values["verification"] is None
    assert set(section.tables) == {"untrained_tokens", "untrained_histogram"}
    assert untrained_section(replace(bare, tokens=None), seed=0) is None


def test_a_given_reference_is_the_one_that_is_used(tokenizer):
    model = tiny_model()
    with torch.no_grad():
        model.embedding[200:260] += 5.0
    subject = model_subject(model, tokenizer)
    section = untrained_section(subject, seed=0, reference=[200, 201, 202], verify=False)
    assert section.values["primary"] == "output_cosine"
    listed = [row["row"] for row in section.tables["untrained_tokens"].records()][:60]
    assert sorted(listed) == list(range(200, 260))


def test_rows_that_cannot_be_measured_are_named(tokenizer):
    model = tiny_model()
    with torch.no_grad():
        model.embedding[50] = float("nan")
        model.embedding[60] = 0.0
    section = untrained_section(model_subject(model, tokenizer), seed=0, verify=False)
    assert section.left_out["rows that cannot be measured"] == 2
    listed = {row["row"] for row in section.tables["untrained_tokens"].records()}
    assert not listed & {50, 60}


def test_the_unembedding_before_training_is_made_again(tokenizer):
    model = tiny_model(tied=False)
    subject = model_subject(model, tokenizer, about={"seed": 3})
    assert torch.equal(torch.from_numpy(initial_output(subject).whole()), model.unembedding.data)
    assert initial_output(replace(subject, about={"seed": True})) is None
    assert initial_output(replace(subject, about={})) is None
