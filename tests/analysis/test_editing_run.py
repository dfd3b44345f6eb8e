"""One fact, from the request to the record: what is swept, asked and measured."""

import pytest
from analysis.planted_facts import FACTS, WORDINGS, WORDS, sentences, taught

from tokkit.analysis.editing.moments import weights_digest
from tokkit.analysis.editing.request import EditRequest
from tokkit.analysis.editing.run import Plan, edit_fact
from tokkit.analysis.editing.sweep import layers_to_try
from tokkit.analysis.editing.tracing import TraceSettings
from tokkit.errors import ConfigError, InputError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

REQUEST = EditRequest("Tower Anu", WORDINGS[0], "Paris")
TEXTS = [f"{text}. {text}. {text}" for text in sentences()] * 3


def edited(texts=TEXTS, model=None, request=REQUEST, **plan):
    plan = {"tokens": 400, "trace": None, **plan}
    return edit_fact(model or taught(), WORDS, request, texts, Plan(**plan))


def test_the_sweep_finds_the_layer_and_the_record_says_what_changed():
    before = weights_digest(taught())
    found = edited(
        paraphrases=(WORDINGS[1],), neighbours=("the Tower Cor is in",), answer="Rome",
        trace=TraceSettings(draws=3, window=1),
    ).result  # fmt: skip
    assert weights_digest(taught()) == before
    assert found.values["layer"] == 0
    assert found.values["layers_tried"] == 3
    assert [row["chosen"] for row in found.tables["sweep"].records()] == [True, False, False]
    prompt, paraphrase, neighbour = found.tables["prompts"].records()
    assert prompt["said_before"].startswith(" Rome")
    assert prompt["said_after"].startswith(" Paris")
    assert paraphrase["text"] == WORDINGS[1].format("Tower Anu")
    assert paraphrase["target_after"] > 0.8 > 0.1 > paraphrase["target_before"]
    assert neighbour["answer"] == f" {FACTS['Tower Cor']}"
    assert neighbour["divergence"] < 1e-3
    assert found.values["present_answer"] == " Rome"
    trace = found.tables["trace"].records()
    assert len(trace) == 3 * 4 * 4
    best = max(trace, key=lambda row: row["probability"] * (row["kind"] == "feedforward"))
    assert (best["layer"], best["position"]) == (0, 2)
    assert best["probability_low"] <= best["probability"] <= best["probability_high"] <= 1
    assert found.claims == ()


def test_unrelated_text_is_measured_and_never_names_the_subject():
    values = edited(layer=0).result.values
    assert values["bits_per_byte_before"] > 0
    assert values["bits_per_byte_difference"] == pytest.approx(
        values["bits_per_byte_after"] - values["bits_per_byte_before"]
    )
    assert abs(values["bits_per_byte_difference"]) < 0.02
    assert values["moment_tokens"] <= 400
    named = [text for text in TEXTS if "Tower Anu" in text]
    with pytest.raises(InputError, match="every text names 'Tower Anu'"):
        edited(texts=named)


def test_a_given_layer_is_not_swept():
    found = edited(layer=1).result
    assert "sweep" not in found.tables
    assert found.values["layer_rule"] == "given"
    assert found.tables["prompts"].records()[0]["said_after"].startswith(" Rome")  # it fails here


def test_layers_that_are_tried():
    assert layers_to_try(taught(), layer=None, every=2) == (0, 2)
    assert layers_to_try(taught(), layer=None, every=None) == (0, 1, 2)
    config = ModelConfig(vocab_size=19, width=8, layers=30, query_heads=2, context=8)
    assert layers_to_try(Transformer(config), layer=None, every=None) == (2, 7, 12, 16, 21, 26)
    single = Transformer(ModelConfig(vocab_size=19, width=8, layers=1, query_heads=2, context=8))
    with pytest.raises(ConfigError, match="no layer of this model can be edited"):
        layers_to_try(single, layer=None, every=None)


def test_what_is_refused_is_refused_before_anything_is_read():
    def never():
        raise AssertionError("texts were read")
        yield

    for wrong, error in (
        ({"layer": 7}, ConfigError),
        ({"answer": "Oslo"}, InputError),
        ({"request": EditRequest("Tower Anu", WORDINGS[0], "Rome")}, InputError),
        ({"request": EditRequest("Tower Anu", "the " * 30 + "{} is in", "Rome")}, InputError),
        ({"neighbours": ("",)}, InputError),
    ):
        with pytest.raises(error):
            edited(texts=never(), **wrong)
