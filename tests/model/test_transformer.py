"""Numbers worked out by hand, and what the transformer promises of its inputs and its start."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import BATCH, TIME, VOCAB, some_ids, tiny_config, tiny_model
from torch import tensor

from tokkit.errors import ConfigError, InputError
from tokkit.model.attention import Attention
from tokkit.model.config import NORM_PLACES, POSITIONS, ModelConfig
from tokkit.model.feedforward import FeedForward
from tokkit.model.layers import Norm
from tokkit.model.positions import alibi_slopes, rotary_tables, rotate, sinusoidal_table
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer, initialise


def test_one_head_attends_to_two_tokens_as_worked_by_hand():
    attention = Attention(
        ModelConfig(vocab_size=2, width=2, layers=1, query_heads=1, positions="none")
    )
    with torch.no_grad():
        for part in (attention.query, attention.key, attention.value):
            part.weight.copy_(torch.eye(2))
        attention.output.weight.copy_(tensor([[0.0, 1.0], [2.0, 0.0]]))
    # The second query (0, 2) scores 0 and 4 / sqrt 2 = 2.828427; e^2.828427 = 16.918829, so the
    # weights are 1 / 17.918829 = .055807 and .944193, the mix (.055807, 1.888386); the output
    # map swaps the two and doubles what was first.
    mixed = attention(tensor([[[1.0, 0.0], [0.0, 2.0]]]))
    assert torch.allclose(mixed, tensor([[[0.0, 2.0], [1.888386, 0.111614]]]), atol=1e-6)


def test_sinusoidal_rows():
    table = sinusoidal_table(4, 4)
    # Sines stand on even places, cosines on odd ones; the frequencies are 1 and 1/100.
    assert table[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert torch.allclose(table[1], tensor([0.841471, 0.540302, 0.0099998, 0.99995]), atol=1e-6)
    assert torch.allclose(table[3], tensor([0.141120, -0.989992, 0.0299955, 0.99955]), atol=1e-6)


def test_rotary_angles_and_turn():
    cosines, sines = rotary_tables(tensor([1.0, 0.01]), 5)
    assert cosines.shape == sines.shape == (5, 2)
    angles = torch.atan2(sines, cosines)[3]
    assert torch.allclose(angles, tensor([3.0, 0.03]), atol=1e-6)
    # A quarter turn of the pairs (1, 3) and (2, 4) gives (-3, 1) and (-4, 2).
    quarter = rotate(tensor([1.0, 2.0, 3.0, 4.0]), torch.zeros(2), torch.ones(2))
    assert quarter.tolist() == [-3.0, -4.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (6, [2, 4, 6, 8, 1, 3]),  # the series of 4 heads, then every second one of 8
        (1, [8]),
        (3, [4, 8, 2]),
    ],
)
def test_alibi_slopes_as_published(heads, exponents):
    assert alibi_slopes(heads).tolist() == [2.0**-e for e in exponents]


def norm_of(kind: str, epsilon: float) -> Norm:
    config = ModelConfig(
        vocab_size=2, width=2, layers=1, query_heads=1, norm=kind, norm_epsilon=epsilon
    )
    norm = Norm(config)
    with torch.no_grad():
        norm.weight.copy_(tensor([2.0, 10.0]))
        if norm.bias is not None:
            norm.bias.copy_(tensor([1.0, -1.0]))
    return norm


def test_norms_by_hand_with_an_epsilon_that_shows():
    # (3, 4): mean square 12.5, with epsilon 25, whose root is 5. (1, 5): mean 3, variance 4,
    # with epsilon 9, whose root is 3.
    rms = norm_of("rmsnorm", 12.5)(tensor([3.0, 4.0]))
    assert torch.allclose(rms, tensor([0.6 * 2, 0.8 * 10]))
    layer = norm_of("layernorm", 5.0)(tensor([1.0, 5.0]))
    assert torch.allclose(layer, tensor([-4 / 3 + 1, 20 / 3 - 1]))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("relu", [2.0, 0.0]),
        ("gelu", [1.954598, -0.158808]),  # by tanh: 2 x .977299 and -1 x .158808
        ("swiglu", [2 * 0.731059, -1 * 2.857722]),  # gates 1 and 3: 1/(1 + e^-1), 3/(1 + e^-3)
    ],
)
def test_feedforward_kinds_by_hand(kind, expected):
    config = ModelConfig(
        vocab_size=2, width=2, layers=1, query_heads=1, hidden_width=2, feedforward=kind
    )
    layer = FeedForward(config)
    with torch.no_grad():
        layer.up.weight.copy_(torch.eye(2))
        layer.down.weight.copy_(torch.eye(2))
        if layer.gate is not None:
            layer.gate.weight.copy_(tensor([[0.5, 0.0], [0.0, -3.0]]))
    assert torch.allclose(layer(tensor([2.0, -1.0])), tensor(expected), atol=1e-6)


def test_parameters_counted_on_paper():
    plain = ModelConfig(
        vocab_size=7, width=6, layers=2, query_heads=3, key_value_heads=1, hidden_width=5
    )
    assert Transformer(plain).parameter_count() == {
        "embedding": 42,  # 7 x 6
        "unembedding": 42,
        "attention": 192,  # 2 x (36 + 12 + 12 + 36)
        "feedforward": 180,  # 2 x 3 x 30
        "norms": 30,  # 5 x 6
        "total": 486,
    }
    rich = ModelConfig(
        vocab_size=7,
        width=6,
        layers=2,
        query_heads=3,
        key_value_heads=1,
        hidden_width=5,
        context=11,
        norm="layernorm",
        positions="learned",
        feedforward="gelu",
        linear_bias=True,
        tied=True,
        token_features=3,
    )
    assert Transformer(rich, token_features=torch.ones(7, 3)).parameter_count() == {
        "embedding": 42,
        "position_embedding": 66,  # 11 x 6
        "feature_embedding": 18,  # 3 x 6
        "attention": 224,  # 2 x (96 + 6 + 2 + 2 + 6)
        "feedforward": 142,  # 2 x (30 + 5 + 30 + 6)
        "norms": 60,  # 5 x 2 x 6
        "total": 552,
    }


@pytest.mark.parametrize("norm_place", NORM_PLACES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("key_value_heads", [3, 1])
def test_logits_at_places_are_those_of_the_whole(positions, norm_place, key_value_heads):
    model = tiny_model(positions=positions, norm_place=norm_place, key_value_heads=key_value_heads)
    ids = some_ids()
    places = tensor([1, 0, 1, 1, 0]), tensor([6, 2, 0, 6, 6])
    whole = model(ids)
    assert whole.shape == (BATCH, TIME, VOCAB)
    assert whole.dtype == torch.float32
    chosen = model(ids, at=places)
    assert chosen.shape == (5, VOCAB)
    assert (chosen - whole[places]).abs().max() <= 1e-5 * whole.std()
    with trace(model, ["blocks.1.attention.pattern", "blocks.1.residual", "final"]) as seen:
        explicit = model(ids, at=places)
    assert (explicit - chosen).abs().max() <= 1e-5 * whole.std()
    pattern = seen["blocks.1.attention.pattern"][:, :, 0]
    assert pattern.shape == (5, 3, TIME)
    for row, position in zip(pattern, places[1].tolist(), strict=True):
        assert bool((row[:, position + 1 :] == 0).all())
        assert torch.allclose(row.sum(-1), torch.ones(3))
    # The gradients, too, are those of the whole.
    directions = torch.randn(5, VOCAB, generator=torch.Generator().manual_seed(2))
    parameters = list(model.parameters())
    ours = torch.autograd.grad((chosen * directions).sum(), parameters, allow_unused=True)
    theirs = torch.autograd.grad((whole[places] * directions).sum(), parameters)
    for gradient, expected in zip(ours, theirs, strict=True):
        assert (gradient - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.no_grad()
def test_a_later_token_changes_no_logit_at_an_earlier_place():
    for positions in POSITIONS:
        model, ids = tiny_model(positions=positions), some_ids()
        places = tensor([0, 1]), tensor([3, 2])
        before = model(ids, at=places)
        changed = ids.clone()
        changed[:, 4:] = (changed[:, 4:] + 1) % VOCAB
        assert torch.equal(model(changed, at=places), before)


@pytest.mark.parametrize("position", [-1, TIME, 12, 13])
def test_places_outside_of_the_text(position):
    with pytest.raises(InputError, match=rf"positions must lie in 0\.\.6, got {position}"):
        tiny_model()(some_ids(), at=(tensor([0, 1]), tensor([2, position])))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (tensor([[0, 23]]), r"ids must lie in 0\.\.22, got 23: the tokenizer does not belong"),
        (tensor([[-1, 22]]), r"ids must lie in 0\.\.22, got -1"),
        (torch.zeros(1, 14, dtype=torch.long), r"14 tokens long, .* context is 13: shorten"),
        (tensor([1, 2]), r"ids must be \(batch, time\) and not empty, got \(2,\)"),
        (torch.zeros(2, 0, dtype=torch.long), r"not empty, got \(2, 0\)"),
    ],
)
def test_ids_that_cannot_be(ids, message):
    with pytest.raises(InputError, match=message):
        tiny_model()(ids)


# Token features ---------------------------------------------------------------------------------


def known_of_tokens() -> torch.Tensor:
    return torch.rand(VOCAB, 5, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_features_add_their_learned_sum_to_the_row():
    features = known_of_tokens()
    model = Transformer(tiny_config(token_features=5), token_features=features)
    ids = some_ids()
    added = torch.einsum("btf,fd->btd", features[ids], model.feature_embedding)
    assert added.abs().max() > 0.01
    assert torch.allclose(model.embed(ids), model.embedding[ids] + added, atol=1e-6)
    without = Transformer(tiny_config())
    assert torch.equal(without.embed(ids), model.embedding[ids])


def test_features_are_copied_kept_out_of_training_and_saved():
    features = known_of_tokens()
    model = Transformer(tiny_config(token_features=5), token_features=features)
    features.zero_()
    assert torch.equal(model.token_features, known_of_tokens())
    assert "token_features" in model.state_dict()
    assert "token_features" not in dict(model.named_parameters())


def test_features_that_do_not_fit():
    config = tiny_config(token_features=5)
    for wrong in (torch.ones(VOCAB, 3), torch.ones(5, VOCAB), torch.ones(VOCAB)):
        with pytest.raises(ConfigError, match=r"\(vocab_size, token_features\) = \(23, 5\), got"):
            Transformer(config, token_features=wrong)
    with pytest.raises(ConfigError, match=r"= \(23, 5\), got None"):
        Transformer(config)
    with pytest.raises(ConfigError, match=r"config\.token_features is 0: set it"):
        Transformer(tiny_config(), token_features=torch.ones(VOCAB, 5))


# Initial values ---------------------------------------------------------------------------------


def test_a_parameter_starts_the_same_whatever_else_differs():
    one = Transformer(tiny_config(), seed=3)
    other = Transformer(
        tiny_config(
            vocab_size=29, token_features=5, positions="learned", hidden_width=19, query_heads=5
        ),
        seed=3,
        token_features=torch.ones(29, 5),
    )
    parameters = dict(other.named_parameters())
    shared = [n for n, p in one.named_parameters() if parameters[n].shape == p.shape]
    assert {"embedding", "blocks.0.feedforward.up.weight"}.isdisjoint(shared)
    assert {"blocks.1.attention.query.weight", "blocks.0.attention.output.weight"} <= set(shared)
    for name in shared:
        assert torch.equal(dict(one.named_parameters())[name], parameters[name]), name


def test_seeds_and_names_make_values_differ():
    one, same, other = (Transformer(tiny_config(), seed=seed) for seed in (3, 3, 4))
    parts = [model.blocks[0].attention.query.weight for model in (one, same, other)]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])
    assert not torch.equal(parts[0], one.blocks[1].attention.query.weight)
    assert not torch.equal(parts[0], one.blocks[0].attention.output.weight)


def test_every_parameter_is_filled_with_the_spread_of_its_group():
    config = ModelConfig(
        vocab_size=307,
        width=64,
        layers=3,
        query_heads=4,
        hidden_width=131,
        norm="layernorm",
        positions="learned",
        linear_bias=True,
        token_features=53,
    )
    model = Transformer(config, seed=None, token_features=torch.ones(307, 53))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    initialise(model, seed=11)
    unmeasured = set(dict(model.named_parameters()))

    def spread(names, expected):
        for name in names:
            values = model.get_parameter(name)
            unmeasured.discard(name)
            # Seven standard errors of a standard deviation, and of a mean.
            assert abs(values.std() / expected - 1) < 7 / math.sqrt(2 * values.numel()), name
            assert abs(values.mean()) < 7 * expected / math.sqrt(values.numel()), name

    spread(["embedding", "unembedding", "position_embedding", "feature_embedding"], 64**-0.5)
    for layer in range(3):
        at = f"blocks.{layer}."
        spread([f"{at}attention.{part}.weight" for part in ("query", "key", "value")], 64**-0.5)
        spread([f"{at}feedforward.{part}.weight" for part in ("gate", "up")], 64**-0.5)
        spread([f"{at}attention.output.weight"], (64 * 6) ** -0.5)
        spread([f"{at}feedforward.down.weight"], (131 * 6) ** -0.5)
    for name in unmeasured:
        constant = 1.0 if name.endswith("norm.weight") else 0.0
        assert bool((model.get_parameter(name) == constant).all()), name
        assert name.endswith(("norm.weight", "bias")), name
