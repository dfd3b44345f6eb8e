"""The same random weights in transformers' Llama and GPT-2, and in torch's encoder layer."""

from __future__ import annotations

import pytest
import torch
from tiny_models import some_ids, tiny_model
from torch import Tensor, nn

from tokkit.model.positions import sinusoidal_table
from tokkit.model.transformer import Transformer

transformers = pytest.importorskip("transformers")


def assert_same_logits(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1, "logits without a spread would prove nothing"
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.std()


def as_llama(model: Transformer) -> nn.Module:
    config = model.config
    llama = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.hidden_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.query_heads,
            num_key_value_heads=config.key_value_heads,
            max_position_embeddings=config.context,
            rms_norm_eps=config.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_base},
            attention_bias=config.linear_bias,
            mlp_bias=config.linear_bias,
            tie_word_embeddings=config.tied,
        )
    )
    renamed = {
        "blocks": "model.layers",
        "attention_norm": "input_layernorm",
        "feedforward_norm": "post_attention_layernorm",
        "attention": "self_attn",
        "feedforward": "mlp",
        "final_norm": "model.norm",
        "query": "q_proj",
        "key": "k_proj",
        "value": "v_proj",
        "output": "o_proj",
        "gate": "gate_proj",
        "up": "up_proj",
        "down": "down_proj",
        "embedding": "model.embed_tokens.weight",
        "unembedding": "lm_head.weight",
    }
    weights = {
        ".".join(renamed.get(part, part) for part in name.split(".")): tensor
        for name, tensor in model.state_dict().items()
    }
    if config.tied:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    llama.load_state_dict(weights, strict=True)
    return llama.eval()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"query_heads": 6, "width": 60, "key_value_heads": 2},
        {"query_heads": 5, "key_value_heads": 1, "rope_base": 500.0},
        {"linear_bias": True, "tied": True, "norm_epsilon": 0.3},
    ],
    ids=["multi-head", "grouped", "multi-query", "biases-tied"],
)
@torch.no_grad()
def test_llama_gives_the_same_logits(changed):
    model, ids = tiny_model(**changed), some_ids()
    assert_same_logits(model(ids), as_llama(model)(ids).logits)


def as_gpt2(model: Transformer) -> nn.Module:
    config = model.config
    gpt2 = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_embd=config.width,
            n_inner=config.hidden_width,
            n_layer=config.layers,
            n_head=config.query_heads,
            n_positions=config.context,
            layer_norm_epsilon=config.norm_epsilon,
        )
    )
    ours = model.state_dict()
    weights = {"transformer.wte.weight": ours["embedding"], "lm_head.weight": ours["embedding"]}
    weights["transformer.wpe.weight"] = ours["position_embedding"]
    for kind in ("weight", "bias"):
        weights[f"transformer.ln_f.{kind}"] = ours[f"final_norm.{kind}"]
        for layer in range(config.layers):
            here, there = f"blocks.{layer}.", f"transformer.h.{layer}."
            maps = {
                "attn.c_attn": ("attention.query", "attention.key", "attention.value"),
                "attn.c_proj": ("attention.output",),
                "mlp.c_fc": ("feedforward.up",),
                "mlp.c_proj": ("feedforward.down",),
            }
            for name, parts in maps.items():  # GPT-2 keeps its matrices as (in, out)
                joined = torch.cat([ours[f"{here}{part}.{kind}"] for part in parts])
                weights[f"{there}{name}.{kind}"] = joined.T if kind == "weight" else joined
            weights[f"{there}ln_1.{kind}"] = ours[f"{here}attention_norm.{kind}"]
            weights[f"{there}ln_2.{kind}"] = ours[f"{here}feedforward_norm.{kind}"]
    gpt2.load_state_dict(weights, strict=True)
    return gpt2.eval()


@torch.no_grad()
def test_gpt2_gives_the_same_logits():
    model = tiny_model(
        positions="learned", norm="layernorm", feedforward="gelu", linear_bias=True, tied=True
    )
    ids = some_ids()
    assert_same_logits(model(ids), as_gpt2(model)(ids).logits)


@torch.no_grad()
def test_torch_post_norm_encoder_gives_the_same_logits():
    model = tiny_model(
        positions="sinusoidal",
        norm="layernorm",
        norm_place="post",
        feedforward="relu",
        linear_bias=True,
    )
    config, ours, ids = model.config, model.state_dict(), some_ids()
    x = ours["embedding"][ids] + sinusoidal_table(config.context, config.width)[: ids.shape[1]]
    mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
    for layer in range(config.layers):
        peer = nn.TransformerEncoderLayer(
            config.width, config.query_heads, config.hidden_width, dropout=0.0, batch_first=True
        )
        here = f"blocks.{layer}."
        weights = {}
        for kind in ("weight", "bias"):
            parts = [ours[f"{here}attention.{part}.{kind}"] for part in ("query", "key", "value")]
            weights[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
            weights[f"self_attn.out_proj.{kind}"] = ours[f"{here}attention.output.{kind}"]
            weights[f"linear1.{kind}"] = ours[f"{here}feedforward.up.{kind}"]
            weights[f"linear2.{kind}"] = ours[f"{here}feedforward.down.{kind}"]
            weights[f"norm1.{kind}"] = ours[f"{here}attention_norm.{kind}"]
            weights[f"norm2.{kind}"] = ours[f"{here}feedforward_norm.{kind}"]
        peer.load_state_dict(weights, strict=True)
        x = peer(x, src_mask=mask, is_causal=True)
    assert_same_logits(model(ids), x @ ours["unembedding"].T)


@torch.no_grad()
def test_alibi_slopes_are_those_of_bloom():
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    from tokkit.model.positions import alibi_slopes

    for heads in (1, 2, 3, 5, 7, 8, 11, 16, 23):
        bias = bloom.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)
        assert torch.allclose(alibi_slopes(heads), bias.reshape(heads, 2)[:, 1], rtol=1e-6)
