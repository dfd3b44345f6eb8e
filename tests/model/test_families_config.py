"""config.json, in and out: published ones, both generations of them, and what is refused."""

from __future__ import annotations

import json

import pytest

from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.checkpoint import empty_model
from tokkit.model.config import ModelConfig
from tokkit.model.families import FAMILIES, config_from_hf, config_to_hf
from tokkit.model.families.common import shortest_pattern
from tokkit.model.families.express import effective

_TRAINING = {"initializer_range": 0.02, "use_cache": True, "torch_dtype": "bfloat16",
             "transformers_version": "4.40.1", "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip


def settings(model_type, sizes, **others):
    """sizes: vocabulary, width, hidden, layers, heads, key-value heads, context."""
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
             "num_attention_heads", "num_key_value_heads", "max_position_embeddings")  # fmt: skip
    given = dict(zip(names, sizes, strict=True))
    return {"model_type": model_type, "rms_norm_eps": 1e-5, **_TRAINING, **given, **others}


# As they lie on the hub, with the parameters that each model's card or paper tells.
PUBLISHED = {
    "gpt2": (
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257,
         "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024,
         "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1,
         "resid_pdrop": 0.1, "layer_norm_epsilon": 1e-05, "summary_type": "cls_index",
         "summary_use_proj": True, "summary_activation": None, "summary_proj_to_labels": True,
         "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}},
        124_439_808,
    ),
    "Llama 2 7B": (
        settings("llama", (32000, 4096, 11008, 32, 32, 32, 4096), hidden_act="silu",
                 pretraining_tp=1, rope_scaling=None, tie_word_embeddings=False),
        6_738_415_616,
    ),
    "Llama 3.1 8B": (
        settings("llama", (128256, 4096, 14336, 32, 32, 8, 131072), hidden_act="silu",
                 attention_bias=False, mlp_bias=False, rope_theta=500000.0,
                 rope_scaling={"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 8192, "rope_type": "llama3"}),
        8_030_261_248,
    ),
    "SmolLM2 135M": (
        settings("llama", (49152, 576, 1536, 30, 9, 3, 8192), hidden_act="silu",
                 is_llama_config=True, rope_interleaved=False, rope_theta=100000,
                 tie_word_embeddings=True, **{"transformers.js_config": {"dtype": "q4"}}),
        134_515_008,
    ),
    "Mistral 7B": (
        settings("mistral", (32000, 4096, 14336, 32, 32, 8, 32768), hidden_act="silu",
                 rope_theta=10000.0, sliding_window=4096),
        7_241_732_096,
    ),
    "Mixtral 8x7B": (
        settings("mixtral", (32000, 4096, 14336, 32, 32, 8, 32768), hidden_act="silu",
                 num_local_experts=8, num_experts_per_tok=2, output_router_logits=False,
                 router_aux_loss_coef=0.02, rope_theta=1000000.0, sliding_window=None),
        46_702_792_704,
    ),
    "Gemma 2B": (
        settings("gemma", (256000, 2048, 16384, 18, 8, 1, 8192), hidden_act="gelu",
                 hidden_activation=None, head_dim=256, rope_theta=10000.0, rope_scaling=None),
        2_506_172_416,
    ),
    "Gemma 2 2B": (
        settings("gemma2", (256000, 2304, 9216, 26, 8, 4, 8192), hidden_act="gelu_pytorch_tanh",
                 hidden_activation="gelu_pytorch_tanh", head_dim=256, query_pre_attn_scalar=256,
                 sliding_window=4096, attn_logit_softcapping=50.0, final_logit_softcapping=30.0,
                 cache_implementation="hybrid"),
        2_614_341_888,
    ),
    "Gemma 3 1B": (
        settings("gemma3_text", (262144, 1152, 6912, 26, 4, 1, 32768), head_dim=256,
                 hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=256,
                 sliding_window=512, sliding_window_pattern=6, rope_theta=1000000,
                 rope_local_base_freq=10000, rope_scaling=None, attn_logit_softcapping=None,
                 final_logit_softcapping=None, cache_implementation="hybrid"),
        999_885_952,
    ),
    "Qwen 2.5 0.5B": (
        settings("qwen2", (151936, 896, 4864, 24, 14, 2, 32768), hidden_act="silu",
                 max_window_layers=24, sliding_window=32768, use_sliding_window=False,
                 use_mrope=False, rope_theta=1000000.0, tie_word_embeddings=True),
        494_032_768,
    ),
    "Qwen 1.5 MoE A2.7B": (
        settings("qwen2_moe", (151936, 2048, 5632, 24, 16, 16, 8192), hidden_act="silu",
                 decoder_sparse_step=1, max_window_layers=21, moe_intermediate_size=1408,
                 norm_topk_prob=False, num_experts=60, num_experts_per_tok=4,
                 shared_expert_intermediate_size=5632, sliding_window=32768,
                 use_sliding_window=False, rope_theta=1000000.0, tie_word_embeddings=False),
        14_315_784_192,
    ),
    "Qwen 3 0.6B": (
        settings("qwen3", (151936, 1024, 3072, 28, 16, 8, 40960), hidden_act="silu", head_dim=128,
                 attention_bias=False, max_window_layers=28, rope_scaling=None,
                 rope_theta=1000000, sliding_window=None, use_sliding_window=False,
                 tie_word_embeddings=True),
        596_049_920,
    ),
    "Qwen 3 30B A3B": (
        settings("qwen3_moe", (151936, 2048, 6144, 48, 32, 4, 40960), hidden_act="silu",
                 head_dim=128, attention_bias=False, decoder_sparse_step=1, max_window_layers=48,
                 mlp_only_layers=[], moe_intermediate_size=768, norm_topk_prob=True,
                 num_experts=128, num_experts_per_tok=8, rope_theta=1000000.0,
                 sliding_window=None, use_sliding_window=False),
        30_532_122_624,
    ),
}  # fmt: skip
LLAMA = PUBLISHED["Llama 2 7B"][0]
GEMMA3 = PUBLISHED["Gemma 3 1B"][0]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_settings_give_the_published_number_of_parameters(name):
    values, total = PUBLISHED[name]
    config = config_from_hf(json.loads(json.dumps(values)))
    assert sum(tensor.numel() for tensor in empty_model(config).parameters()) == total


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_settings_come_back_as_they_were_written(name):
    values, _ = PUBLISHED[name]
    config = config_from_hf(values)
    family = next(f for f in FAMILIES.values() if f.model_type == values["model_type"])
    written = json.loads(json.dumps(config_to_hf(config, family.name)))
    assert written["architectures"] == [family.architectures[0]]
    assert effective(config_from_hf(written)) == effective(config)


def test_what_the_published_settings_mean():
    gemma2 = config_from_hf(PUBLISHED["Gemma 2 2B"][0])
    assert (gemma2.attention_pattern, gemma2.window) == ("sf", 4096)
    assert (gemma2.attention_softcap, gemma2.logit_softcap) == (50.0, 30.0)
    assert gemma2.attention_scale == 0.0625
    gemma3 = config_from_hf(GEMMA3)
    assert (gemma3.attention_pattern, gemma3.window) == ("sssssf", 512)
    assert (gemma3.rope_base, gemma3.rope_local_base) == (1e6, 1e4)
    assert config_from_hf(PUBLISHED["Gemma 2B"][0]).feedforward == "geglu"
    llama = config_from_hf(PUBLISHED["Llama 3.1 8B"][0])
    assert (llama.rope_scaling, llama.rope_factor, llama.rope_original_context) == (
        *("llama3", 8.0),
        8192,
    )
    mixtral = config_from_hf(PUBLISHED["Mixtral 8x7B"][0])
    assert (mixtral.experts, mixtral.experts_per_token, mixtral.balance_weight) == (8, 2, 0.02)
    assert not config_from_hf(PUBLISHED["Qwen 1.5 MoE A2.7B"][0]).routing_normalised


def newer(values, **changed):
    """The same settings in the words of transformers 5."""
    old = ("rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern")
    return {name: value for name, value in values.items() if name not in old} | changed


def test_both_forms_of_rotary_settings_mean_the_same():
    values = PUBLISHED["Llama 3.1 8B"][0]
    rope = {"rope_theta": 500000.0, **values["rope_scaling"]}
    assert config_from_hf(newer(values, rope_parameters=rope)) == config_from_hf(values)
    assert config_from_hf(values | {"rope_parameters": rope}) == config_from_hf(values)
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    older = GEMMA3 | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}
    assert config_from_hf(newer(older, rope_parameters=rope)) == config_from_hf(older)
    typed = LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}}  # before "rope_type"
    assert config_from_hf(typed).rope_factor == 2.0


def test_forms_that_contradict_each_other_are_told():
    for changed in (
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e5}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 1e4}},
    ):
        with pytest.raises(ArtifactError, match="rope_parameters contradicts"):
            config_from_hf(LLAMA | changed)
    rope = {"full_attention": {"rope_theta": 5.0}}
    with pytest.raises(ArtifactError, match="rope_parameters contradicts"):
        config_from_hf(GEMMA3 | {"rope_scaling": {"type": "linear", "factor": 2.0},
                                 "rope_parameters": rope})  # fmt: skip
    both = {"type": "linear", "rope_type": "yarn", "factor": 2.0}
    with pytest.raises(ArtifactError, match="rope_type and type contradict"):
        config_from_hf(LLAMA | {"rope_scaling": both})


REFUSED = {
    "hidden_act": ({"hidden_act": "relu2"}, "'hidden_act' must be one of silu.*got 'relu2'"),
    "exact gelu": ({"hidden_act": "gelu"}, "'hidden_act' must be one of"),
    "dynamic": ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "one of default, linear"),
    "longrope": ({"rope_scaling": {"rope_type": "longrope"}}, "'rope_type' must be one of"),
    "by layer": ({"rope_parameters": {"full_attention": {}}}, "which only Gemma 3 can|sets 'full"),
    "in yarn": (
        {"rope_scaling": {"type": "yarn", "factor": 2.0, "short_factor": [1.0]}},
        "rope_scaling sets 'short_factor'",
    ),
    "linear without factor": ({"rope_scaling": {"type": "linear"}}, "lacks 'factor'"),
    "factor below 1": ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "at least 1"),
    "yarn's turns": (
        {"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 1e308}},
        "'beta_fast' must be in 1e-6..1e6",
    ),
    "yarn's base": (
        {"rope_theta": 1.0, "rope_scaling": {"type": "yarn", "factor": 2.0}},
        "yarn needs a rope_theta above 1",
    ),
    "rope a list": ({"rope_scaling": [2.0]}, "'rope_scaling' must be an object"),
    "partial": ({"partial_rotary_factor": 0.5}, "'partial_rotary_factor' must be 1"),
    "interleaved": ({"rope_interleaved": True}, "sets 'rope_interleaved' to True"),
    "mlp_bias": ({"mlp_bias": True}, "'mlp_bias' must be false where attention_bias is"),
    "quantised": ({"quantization_config": {"bits": 4}}, "sets 'quantization_config'"),
    "code": ({"auto_map": {"AutoModel": "modeling.Mine"}}, "sets 'auto_map'"),
    "unheard of": ({"use_magic": 3}, "sets 'use_magic' to 3, which tokkit cannot express"),
    "encoder": ({"is_encoder_decoder": True}, "sets 'is_encoder_decoder'"),
    "pruned": ({"pruned_heads": {"0": [1]}}, "sets 'pruned_heads'"),
    "window": ({"sliding_window": 512}, "sets 'sliding_window'"),
    "missing": ({"hidden_size": None}, "config.json lacks 'hidden_size'"),
    "word for a count": ({"hidden_size": "4096"}, "'hidden_size' must be a whole number in 1"),
    "float for a count": ({"hidden_size": 4096.0}, "'hidden_size' must be a whole number"),
    "bool for a count": ({"num_hidden_layers": True}, "'num_hidden_layers' must be a whole"),
    "0": ({"vocab_size": 0}, "'vocab_size' must be a whole number"),
    "absurd": ({"vocab_size": 10**5000}, "'vocab_size' must be a whole number.*got 0x"),
    "epsilon": ({"rms_norm_eps": 0.0}, "'rms_norm_eps' must be a finite number above 0"),
    "word for a number": ({"rope_theta": "big"}, "'rope_theta' must be a finite number"),
    "huge number": ({"rope_theta": 10**400}, "'rope_theta' must be a finite number"),
    "word for a flag": ({"attention_bias": "no"}, "'attention_bias' must be true or false"),
    "heads": ({"num_key_value_heads": 5}, "cannot be used: query_heads must be a multiple"),
    "odd heads": ({"head_dim": 7}, "cannot be used: rope rotates pairs"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_expressed_is_named(case):
    changed, message = REFUSED[case]
    with pytest.raises(ArtifactError, match=message):
        config_from_hf(LLAMA | changed)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "sets 'scale_attn_by_inverse"),
        ("gpt2", {"add_cross_attention": True}, "sets 'add_cross_attention'"),
        ("gpt2", {"activation_function": "gelu"}, "'activation_function' must be one of gelu_new"),
        ("gpt2", {"n_head": 7}, "cannot be used: width must be a multiple"),
        ("Gemma 2B", {"use_bidirectional_attention": True}, "sets 'use_bidirectional_attention'"),
        ("Gemma 2B", {"hidden_activation": "silu"}, "'hidden_act' must be what hidden_activation"),
        ("Gemma 2 2B", {"hidden_act": "gelu"}, "'hidden_act' must be one of"),
        ("Gemma 2 2B", {"layer_types": ["full_attention"]}, "'layer_types' must be 26 words"),
        ("Gemma 2 2B", {"layer_types": ["chunked"] * 26}, "'layer_types' must be 26 words"),
        ("Gemma 2 2B", {"layer_types": "full_attention"}, "'layer_types' must be a list"),
        ("Gemma 3 1B", {"attn_logit_softcapping": 50.0}, "must be null in Gemma 3"),
        (
            "Gemma 3 1B",
            {"rope_parameters": {"sliding_attention": {"type": "linear", "factor": 2.0}}},
            "sliding layers may turn as the full ones do",
        ),
        ("Gemma 3 1B", {"rope_parameters": {"rope_theta": 5.0}}, "sets 'rope_theta' to 5.0"),
        (
            "Qwen 2.5 0.5B",
            {"layer_types": ["sliding_attention"] * 24},
            "'sliding_window' must be 1 or more where a layer slides",
        ),
        ("Qwen 2.5 0.5B", {"use_mrope": True}, "sets 'use_mrope'"),
        ("Qwen 3 30B A3B", {"mlp_only_layers": ["0"]}, "'mlp_only_layers' must be a list of"),
        ("Qwen 3 30B A3B", {"num_local_experts": 64}, "'num_experts' must be num_local_experts"),
        ("Qwen 3 30B A3B", {"num_experts": None}, "lacks 'num_experts'"),
        ("Mixtral 8x7B", {"num_experts_per_tok": 9}, "experts_per_token must lie in 1..experts"),
        ("Mixtral 8x7B", {"router_aux_loss_coef": -1}, "'router_aux_loss_coef' must be"),
    ],
)
def test_what_a_family_cannot_express_is_named(name, changed, message):
    with pytest.raises(ArtifactError, match=message):
        config_from_hf(PUBLISHED[name][0] | changed)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, "a 'MambaForCausalLM'"),
        ({"model_type": "bert"}, "a 'bert'"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "ForSequenceClassification'"),
        ({"model_type": "llama", "architectures": ["MistralForCausalLM"]}, "a 'MistralForCausal"),
        ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
         "a 'Gemma3ForConditionalGeneration'"),
    ],
)  # fmt: skip
def test_another_architecture_is_named_and_the_supported_ones_listed(named, told):
    with pytest.raises(ArtifactError, match=told) as error:
        config_from_hf(LLAMA | named)
    for family in FAMILIES.values():
        assert family.architectures[0] in str(error.value)


@pytest.mark.parametrize(
    "wrong", [[], "llama", None, {}, {"vocab_size": 3}, {"model_type": 3}, {"architectures": "x"}]
)
def test_what_is_no_object_is_told(wrong):
    with pytest.raises(ArtifactError, match=r"config\.json"):
        config_from_hf(wrong)


def test_every_single_value_of_a_wrong_type_ends_in_an_artifact_error_or_a_config():
    for values, _ in PUBLISHED.values():
        for name in values:
            for wrong in (None, True, -1, 0, 3.5, "x", [], {}, [None], {"a": 1}, 10**30, 1e308):
                try:
                    config = config_from_hf(values | {name: wrong})
                except ArtifactError:
                    continue
                assert isinstance(config, ModelConfig)


@pytest.mark.parametrize(
    ("family", "changed", "told"),
    [
        ("llama", {"feedforward": "relu"}, ["feedforward 'relu'"]),
        ("llama", {"norm_place": "post"}, ["norm_place 'post'"]),
        ("llama", {"attention_bias": "query_key_value"}, ["attention_bias 'query_key_value'"]),
        ("llama", {"head_width": 10, "width": 31}, ["width 31, no multiple of query_heads 3"]),
        ("llama", {"token_features": 2}, ["token_features 2"]),
        ("llama", {"rope_share": 0.6}, ["rope_share 0.6"]),
        ("llama", {"experts": 2, "experts_per_token": 1}, ["experts 2"]),
        ("gpt2", {}, ["positions 'rope'", "norm 'rmsnorm'", "linear_bias False"]),
        ("gemma", {}, ["embedding_scale 1.0", "norm_offset False"]),
        ("gemma2", {"attention_scale": 1e-300}, ["attention_scale 1e-300"]),
        ("gemma2", {"attention_scale": 1e300}, ["attention_scale 1e+300"]),
        ("gemma2", {"attention_scale": 0.3}, ["attention_scale 0.3", "norm_place 'pre'"]),
        ("mixtral", {}, ["experts 0"]),
        (
            "qwen2_moe",
            {"experts": 2, "experts_per_token": 1},
            ["shared_expert_width 0"],
        ),
        (
            "mixtral",
            {"experts": 2, "experts_per_token": 1, "expert_pattern": "de"},
            ["expert_pattern 'de'"],
        ),
        (
            "qwen3_moe",
            {"experts": 2, "experts_per_token": 1, "qk_norm": True, "window": 3,
             "attention_pattern": "sf"},
            ["attention_pattern 'sf'"],
        ),
    ],
)  # fmt: skip
def test_what_a_family_cannot_hold_is_listed(family, changed, told):
    plain = {"vocab_size": 23, "width": 30, "layers": 2, "query_heads": 3}
    with pytest.raises(ConfigError, match=f"family '{family}' cannot hold: ") as error:
        config_to_hf(ModelConfig(**(plain | changed)), family)
    for setting in told:
        assert setting in str(error.value)


def test_settings_without_a_part_do_not_stand_in_the_way():
    plain = {"vocab_size": 23, "width": 30, "layers": 2, "query_heads": 3}
    config = ModelConfig(**plain, attention_pattern="ff", attention_scale=10**-0.5,
                         rope_local_base=3.0, rope_factor=2.0, balance_weight=0.3)  # fmt: skip
    assert config_to_hf(config)["model_type"] == "llama"


def test_shortest_pattern_repeats_to_the_letters():
    assert shortest_pattern("sssssf" * 4 + "ss") == "sssssf"
    assert shortest_pattern("s" * 9) == "s"
    assert shortest_pattern("ffss") == "ffss"
    assert shortest_pattern("f") == "f"
