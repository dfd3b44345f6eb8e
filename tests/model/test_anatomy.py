"""What a model holds, keeps and computes: the formulas against tensors, caches and a counter."""

from __future__ import annotations

import pytest
import torch
from tiny_models import tiny_config
from torch.utils.flop_counter import FlopCounterMode

from tokkit.errors import ConfigError
from tokkit.model import anatomy
from tokkit.model.cache import Cache
from tokkit.model.checkpoint import empty_model
from tokkit.model.transformer import Transformer

GROUPED = {"query_heads": 6, "key_value_heads": 2, "head_width": 10}
MIXTURE = {"experts": 5, "experts_per_token": 2, "expert_width": 11}
VARIANTS = {
    "plain": {},
    "gpt2": {"norm": "layernorm", "positions": "learned", "feedforward": "gelu",
             "linear_bias": True, "tied": True},
    "post": {"norm_place": "post", "norm": "layernorm"},
    "grouped": GROUPED,
    "biased": GROUPED | {"attention_bias": "query_key_value"},
    "all biased": GROUPED | {"attention_bias": "all"},
    "gated with biases": {"linear_bias": True},
    "sandwich": GROUPED | {"norm_place": "sandwich", "norm_offset": True, "tied": True,
                           "feedforward": "geglu"},
    "query-key norm": GROUPED | {"qk_norm": True},
    "mixture": MIXTURE,
    "mixture and dense": MIXTURE | {"layers": 3, "expert_pattern": "de"},
    "shared expert": MIXTURE | {"shared_expert_width": 13},
    "token features": {"token_features": 4},
    "alibi": {"positions": "alibi", "feedforward": "relu"},
}  # fmt: skip


def part_of(name):
    """The part that a parameter belongs to, by its name alone."""
    words = name.split(".")
    if words[0] in ("embedding", "unembedding"):
        return words[0]
    if words[0] in ("position_embedding", "feature_embedding"):
        return {"position_embedding": "positions", "feature_embedding": "features"}[words[0]]
    if any(word.endswith("norm") for word in words):
        return "norms"
    if "attention" in words:
        return "attention"
    if "router" in words:
        return "router"
    # One tensor (E, out, in) holds a map of all experts.
    return "feedforward" if "shared" in name else "feedforward or experts"


def counted(config):
    parts = {}
    for name, tensor in empty_model(config).named_parameters():
        part = part_of(name)
        if part == "feedforward or experts":
            part = "experts" if tensor.ndim == 3 else "feedforward"
        parts[part] = parts.get(part, 0) + tensor.numel()
    return parts


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_tensors(name):
    config = tiny_config(**VARIANTS[name])
    assert anatomy.parameters(config) == counted(config)
    assert anatomy.total(config) == Transformer.parameter_count(empty_model(config))["total"]


def test_parameters_by_hand():
    config = tiny_config(layers=1, query_heads=4, key_value_heads=2, head_width=6, width=10,
                         vocab_size=7, hidden_width=3)  # fmt: skip
    assert anatomy.parameters(config) == {
        "embedding": 70,
        "attention": 10 * 24 + 10 * 12 + 10 * 12 + 24 * 10,
        "feedforward": 90,
        "norms": 30,
        "unembedding": 70,
    }
    assert anatomy.outside_tables(config) == 720 + 90 + 30
    assert anatomy.feedforward_parameters(config) == 90


def test_one_token_uses_its_experts_alone():
    config = tiny_config(**MIXTURE | {"layers": 3, "expert_pattern": "de"})
    expert = 3 * config.width * 11
    # Of layers d e d only one is a mixture; three of its five experts are idle.
    assert anatomy.total(config) - anatomy.active(config) == 3 * expert
    dense = tiny_config()
    assert anatomy.active(dense) == anatomy.total(dense)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 4, 5, 6, 13])
@pytest.mark.parametrize("pattern", ["f", "s", "sf"])
def test_cache_bytes_are_those_of_a_cache(pattern, length, dtype):
    window = {"window": 5} if "s" in pattern else {}
    config = tiny_config(**GROUPED, layers=3, attention_pattern=pattern, **window)
    word = str(dtype).removeprefix("torch.")
    assert anatomy.cache_bytes(config, length, word) == Cache(config, 1, length, dtype=dtype).bytes
    assert anatomy.cache_bytes(config, length, multi_head=True) == 3 * anatomy.cache_bytes(
        config, length
    )


def test_llama_2_70b_keeps_an_eighth():
    # 2 x 80 layers x 8 heads x 128 numbers x 2 bytes.
    config = tiny_config(
        layers=80, query_heads=64, key_value_heads=8, head_width=128, width=8192, context=4096
    )
    assert anatomy.cache_bytes_a_token(config) == 327_680
    assert anatomy.cache_bytes_a_token(config, multi_head=True) == 8 * 327_680
    assert anatomy.cache_bytes(config, 4096) == 4096 * 327_680


def test_an_unknown_dtype_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        anatomy.cache_bytes(tiny_config(), 3, "bflot16")


def torch_flops(config, time):
    """What torch counts of a whole pass; softcapping makes it take every score as a product."""
    features = torch.ones(config.vocab_size, config.token_features)
    given = {"token_features": features} if config.token_features else {}
    model = Transformer(config, **given).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.arange(time)[None] % config.vocab_size)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", VARIANTS)
def test_operations_are_those_that_torch_counts(name):
    config = tiny_config(**VARIANTS[name], attention_softcap=9.0)
    time = 7
    ours = anatomy.text_flops(config, time)
    # Torch computes the masked scores too: all pairs, not the causal half.
    pairs = time * (time + 1) // 2
    masked = ours["scores"] // pairs * (time * time - pairs)
    assert sum(ours.values()) + masked == torch_flops(config, time)


@pytest.mark.parametrize("pattern", ["f", "s", "sf"])
def test_a_text_costs_what_its_tokens_cost(pattern):
    window = {"window": 5} if "s" in pattern else {}
    config = tiny_config(**GROUPED, layers=3, attention_pattern=pattern, **window)
    for length in (1, 5, 6, 13):
        tokens = [anatomy.forward_flops(config, place) for place in range(1, length + 1)]
        summed = {part: sum(token[part] for token in tokens) for part in tokens[0]}
        assert anatomy.text_flops(config, length) == summed
        thrice = 3 * sum(summed.values()) / length
        assert anatomy.training_flops_a_token(config, length) == thrice


def test_training_nears_six_operations_a_parameter():
    # Kaplan et al. 2020: 6 N, where the width outweighs the context.
    config = tiny_config(width=4096, layers=40, query_heads=32, hidden_width=16384, vocab_size=9)
    ratio = anatomy.training_flops_a_token(config, 2) / anatomy.outside_tables(config)
    assert ratio == pytest.approx(6, rel=1e-3)
