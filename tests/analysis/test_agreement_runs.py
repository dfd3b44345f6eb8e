"""Climbs through the layers against whole passes, weight surgery and texts without the token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokkit.analysis.attention import agreement_runs as runs
from tokkit.analysis.attention.agreement_runs import Trial, cutting, plain_run, putting, tried
from tokkit.model.config import ModelConfig
from tokkit.model.intervention import intervene
from tokkit.model.transformer import Transformer

IDS, OTHER, VERBS = (3, 7, 1, 19, 4, 4, 12, 9), (3, 8, 1, 19, 4, 4, 12, 9), (5, 6)
LAST = len(IDS) - 1
KINDS = [
    {},
    {"positions": "learned", "norm_place": "post", "feedforward": "gelu"},
    {"positions": "alibi", "norm_place": "sandwich", "key_value_heads": 1},
    {"attention_softcap": 2.0, "logit_softcap": 3.0, "positions": "none"},
    {"attention_pattern": "sf", "window": 4},
    {"experts": 3, "experts_per_token": 2, "tied": True, "norm": "layernorm"},
]


def model_of(changed):
    """Three layers, every parameter with noise on it."""
    config = ModelConfig(
        **{"vocab_size": 23, "width": 30, "layers": 3, "query_heads": 3, "hidden_width": 17,
           "context": 13} | changed
    )  # fmt: skip
    model, generator = Transformer(config, seed=1).eval(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model


def whole(model, ids=IDS, changes=None):
    """The logit difference by an ordinary pass."""
    with torch.inference_mode(), intervene(model, changes or {}):
        logits = model(torch.tensor([ids]))[0, -1]
    return float(logits[VERBS[0]] - logits[VERBS[1]])


@pytest.fixture(params=KINDS, ids=str)
def model(request):
    with torch.inference_mode():
        yield model_of(request.param)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_a_plain_run_is_an_ordinary_pass(model):
    close(runs.clean_difference(model, plain_run(model, IDS), VERBS), whole(model))


def test_patches_are_those_of_whole_passes(model):
    own, other = plain_run(model, IDS), plain_run(model, OTHER)
    cases = [
        (layer, part, columns, head)
        for layer in range(3)
        for part, head in (("residual", None), ("attention", None), ("feedforward", None),
                           ("attention.heads", 2))
        for columns in ([1, 2], [LAST])
    ]  # fmt: skip
    found = tried(model, own, [putting(other, *case) for case in cases], VERBS)
    for value, (layer, part, columns, head) in zip(found, cases, strict=True):
        name = f"blocks.{layer}.{part}"
        donor = other.activations[name]

        def change(values, at=columns, donor=donor, head=head):
            values = values.clone()
            if head is None:
                values[0, at] = donor[at]
            else:
                values[0, head, at] = donor[head, at]
            return values

        close(value, whole(model, changes={name: change}))


def test_everything_patched_is_the_other_sentence(model):
    own, other = plain_run(model, IDS), plain_run(model, OTHER)
    trials = [putting(other, layer, "residual", range(len(IDS))) for layer in range(3)]
    close(tried(model, own, trials, VERBS), [whole(model, OTHER)] * 3)


def test_zeroing_a_head_is_zeroing_its_output_weights(model):
    """Wang et al. 2022 ablate heads by what they add; the weights that add it are here taken."""
    width = model.config.head_width
    for layer, head in ((0, 1), (2, 2)):

        def zero(values, first, head=head):
            values[head] = 0

        (found,) = tried(
            model, plain_run(model, IDS), [Trial({(layer, "attention.heads"): zero}, 0)], VERBS
        )
        weight = model.blocks[layer].attention.output.weight
        kept = weight.clone()
        weight[:, head * width : (head + 1) * width] = 0
        close(found, whole(model))
        weight.copy_(kept)


def masked(columns, head=None, *, everywhere):
    def change(pattern):
        hidden = torch.zeros_like(pattern, dtype=torch.bool)
        heads = slice(None) if head is None else head
        for column in columns:
            first = column + 1 if everywhere else LAST
            hidden[:, heads, first:, column] = True
        # A softmax of logarithms gives the weights back: this is the -inf before the softmax.
        return pattern.log().masked_fill(hidden, -torch.inf).softmax(-1)

    return change


def test_cuts_are_scores_of_minus_infinity(model):
    cases = [
        (layers, columns, head, everywhere)
        for layers in ([0], [2], [0, 1, 2])
        for columns, head in (((1,), None), ((1, 4), 2), ((LAST,), None))
        for everywhere in (False, True)
        if not (everywhere and LAST in columns)
    ]
    trials = [
        cutting(n, columns, LAST, head, everywhere=every) for n, columns, head, every in cases
    ]
    found = tried(model, plain_run(model, IDS), trials, VERBS)
    for value, (layers, columns, head, every) in zip(found, cases, strict=True):
        change = masked(columns, head, everywhere=every)
        names = [f"blocks.{n}.attention.pattern" for n in layers]
        close(value, whole(model, changes=dict.fromkeys(names, change)))


def test_a_token_that_nobody_sees_is_as_if_it_were_not_there():
    """Without positions a token out of sight in all layers can be left out of the text."""
    model = model_of({"positions": "none"})
    with torch.inference_mode():
        run = plain_run(model, IDS)
        for column in range(LAST):
            (found,) = tried(
                model, run, [cutting(range(3), [column], LAST, everywhere=True)], VERBS
            )
            close(found, whole(model, IDS[:column] + IDS[column + 1 :]))


def test_the_last_column_cut_from_every_later_one_changes_nothing():
    model = model_of({})
    with torch.inference_mode():
        run = plain_run(model, IDS)
        (found,) = tried(model, run, [cutting([1], [LAST], LAST, everywhere=True)], VERBS)
    close(found, whole(model))


def test_chunks_do_not_matter(model, monkeypatch):
    own, other = plain_run(model, IDS), plain_run(model, OTHER)
    trials = [putting(other, n, "attention.heads", [LAST], h) for n in (2, 0, 1) for h in range(3)]
    at_once = tried(model, own, trials, VERBS)
    monkeypatch.setattr(runs, "_ROW_FLOATS", 1)
    close(tried(model, own, trials, VERBS), at_once)


def test_a_sentence_of_one_token():
    model = model_of({})
    with torch.inference_mode():
        run, other = plain_run(model, (3,)), plain_run(model, (4,))
        (found,) = tried(model, run, [putting(other, 2, "residual", [0])], VERBS)
    close(found, whole(model, (4,)))
    assert tried(model, run, [], VERBS).shape == (0,)
