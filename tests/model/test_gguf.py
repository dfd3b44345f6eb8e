"""GGUF files: every type bit for bit, every architecture logit for logit, every lie an error.

Oracles: the gguf package's dequantisation and transformers' models.
"""

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Q
from model.gguf_models import (
    CASES,
    add_tensor,
    finish,
    reference,
    rope_factors,
    tensors_of,
    write_model,
)
from model.hf_models import LIMIT, difference, hf_logits, some_text

from tokkit.errors import ArtifactError
from tokkit.model.gguf import (
    config_from_gguf,
    config_of_gguf,
    load_gguf,
    read_gguf,
    read_tensor,
)
from tokkit.model.gguf.loading import _pairs_apart
from tokkit.model.gguf.rope import llama3_settings
from tokkit.model.gguf.types import TYPES

TYPE_NAMES = {kind.name: number for number, kind in TYPES.items()}


@pytest.mark.parametrize("name", TYPE_NAMES)
def test_any_bytes_become_the_numbers_that_the_gguf_package_makes_of_them(name, tmp_path):
    kind = Q(TYPE_NAMES[name])
    block, size = gguf.GGML_QUANT_SIZES[kind]
    columns = 3 * max(block, 96)
    rows = (1 << 17) // columns * 2 + 5  # more than one chunk of numbers, and not whole chunks
    generator = np.random.default_rng(TYPE_NAMES[name])
    packed = generator.integers(0, 256, (rows, columns // block * size)).astype(np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("before", np.ones(5, np.float32))
    writer.add_tensor("given", packed, raw_dtype=kind)
    file = read_gguf(finish(writer, tmp_path / "a.gguf"))
    assert file.tensors["given"].shape == (rows, columns)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(packed, kind)
    found = read_tensor(file, "given")
    assert found.dtype == np.float32
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))
    assert np.array_equal(read_tensor(file, "before"), np.ones(5))


def test_a_block_of_q4_1_by_hand():
    """Scale 0.5, least -1; the byte 0x2F holds 15 in its low nibble and 2 in its high one."""
    block = np.zeros(1, TYPES[3].structure)
    block["scale"], block["least"] = 0.5, -1
    block["packed"][0, 3] = 0x2F
    numbers = np.empty((1, 32), np.float32)
    TYPES[3].decode(block, numbers)
    expected = np.full(32, -1.0)
    expected[3], expected[3 + 16] = 0.5 * 15 - 1, 0.5 * 2 - 1
    assert numbers[0].tolist() == expected.tolist()


@pytest.mark.parametrize("case", CASES)
def test_every_architecture_has_the_logits_of_transformers(case, tmp_path):
    model = reference(case)
    path = write_model(tmp_path / "m.gguf", model, CASES[case][1])
    ours, ids = load_gguf(path), some_text()
    with torch.no_grad():
        assert difference(ours(ids), hf_logits(model, ids)) <= LIMIT
    assert not ours.training
    assert ours.config.norm_offset is False


@pytest.mark.parametrize("kind", [Q.F16, Q.BF16])
def test_halves_load_as_the_numbers_they_stand_for(kind, tmp_path):
    model = reference("qwen3")
    path = write_model(tmp_path / "m.gguf", model, "qwen3", kind=kind)
    half = torch.float16 if kind == Q.F16 else torch.bfloat16
    expected = model.state_dict()["model.layers.1.mlp.up_proj.weight"].to(half).float()
    assert torch.equal(load_gguf(path).state_dict()["blocks.1.feedforward.up.weight"], expected)


def test_the_keys_of_the_largest_gemma_scale_scores_by_width_and_heads(tmp_path):
    model = reference("gemma2")
    path = write_model(tmp_path / "m.gguf", model, "gemma2", extra={"block_count": 46})
    file = read_gguf(path)
    values = {k: v for k, v in file.metadata.items() if k != "gemma2.attention.scale"}
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    assert config_from_gguf(values, shapes).attention_scale == pytest.approx((60 / 6) ** -0.5)
    values["gemma2.block_count"] = 42
    assert config_from_gguf(values, shapes).attention_scale == 0


LLAMA3 = {
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize("change", [
    {}, {"factor": 32.0}, {"high_freq_factor": 3.0}, {"original_max_position_embeddings": 6000},
])  # fmt: skip
def test_llama_3s_scaling_is_found_in_its_factors(change):
    rope = LLAMA3 | change
    found = llama3_settings(rope_factors(rope, 128), rope["rope_theta"], 128)
    assert found == {
        "rope_scaling": "llama3",
        "rope_factor": rope["factor"],
        "rope_low_frequency": 1.0,
        "rope_high_frequency": rope["high_freq_factor"],
        "rope_original_context": rope["original_max_position_embeddings"],
    }


def test_another_low_frequency_gives_the_same_scaling_in_other_words():
    """Original context, low and high frequency can all be doubled: nothing changes."""
    rope = LLAMA3 | {"low_freq_factor": 2.0, "high_freq_factor": 8.0,
                     "original_max_position_embeddings": 16384}  # fmt: skip
    found = llama3_settings(rope_factors(rope, 128), rope["rope_theta"], 128)
    assert found["rope_original_context"] == 8192
    assert found["rope_high_frequency"] == 4.0


def test_factors_of_another_kind_are_refused():
    with pytest.raises(ArtifactError, match="in another way than Llama 3's"):
        llama3_settings(np.linspace(1, 8, 64, dtype=np.float32), 1e4, 128)
    with pytest.raises(ArtifactError, match="must hold 64 factors of 1 or above"):
        llama3_settings(np.ones(63, np.float32), 1e4, 128)


@pytest.mark.parametrize(("extra", "message"), [
    ({":general.architecture": "mamba"}, "unknown architecture 'mamba'"),
    ({"rope.scaling.type": "longrope"}, "must be none, linear or yarn, got 'longrope'"),
    ({"attention.head_count": 0}, "head_count must be 1 or more, got 0"),
    ({"attention.value_length": 5}, "value_length must be 10, as the keys', got 5"),
    ({"rope.dimension_count": 6}, "dimension_count must be 10, all of a head, got 6"),
    ({"logit_scale": 3.0}, "'llama.logit_scale' is set to 3.0, which tokkit cannot express"),
    ({"something.new": 1}, "'llama.something.new' is set to 1"),
    ({"block_count": 1000}, "too few for 1000 layers"),
    ({"block_count": 0}, "layers must lie in 1"),
    ({"context_length": "long"}, "context_length must be one whole number"),
    ({":split.count": 3}, "one of 3 parts of a model"),
    ({"attention.head_count_kv": [1, 2, 1]}, "for all layers"),
    ({"attention.layer_norm_rms_epsilon": float("nan")}, "must be a number, 0 or above, got nan"),
])  # fmt: skip
def test_settings_that_cannot_be_expressed_are_named(extra, message, tmp_path):
    path = write_model(tmp_path / "m.gguf", reference("llama"), "llama", extra=extra)
    with pytest.raises(ArtifactError) as error:
        load_gguf(path)
    assert message in str(error.value)
    if "mamba" in message:
        assert "llama, gpt2, gemma, gemma2, gemma3, qwen2, qwen3, qwen2moe" in str(error.value)


def test_tensors_that_are_missing_left_over_or_of_the_wrong_shape_are_listed(tmp_path):
    tensors = {
        "blk.1.attn_k.weight": None,
        "blk.0.ffn_norm.weight": np.ones(59, np.float32),
        "blk.9.attn_q.weight": np.ones((3, 5), np.float32),
    }
    path = write_model(tmp_path / "m.gguf", reference("llama"), "llama", tensors=tensors)
    with pytest.raises(ArtifactError) as error:
        load_gguf(path)
    assert "blk.1.attn_k.weight is missing" in str(error.value)
    assert "blk.0.ffn_norm.weight is (59,), not (60,)" in str(error.value)
    assert "'blk.9.attn_q.weight' is left over" in str(error.value)


def test_quantised_rows_are_put_back_like_plain_ones(tmp_path):
    """The same tensor of queries, dequantised by the gguf package and permuted here."""
    rows = np.random.default_rng(1).normal(size=(8, 64)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    add_tensor(writer, "q", rows, Q.Q8_0)
    file = read_gguf(finish(writer, tmp_path / "a.gguf"))
    plain = read_tensor(file, "q")
    back = _pairs_apart(plain, heads=2).reshape(8, 64)
    assert np.array_equal(back, plain[[0, 2, 1, 3, 4, 6, 5, 7]])


def test_a_type_that_is_not_read_is_named_beside_those_that_are(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("odd", np.zeros((2, 22), np.uint8), raw_dtype=Q.Q5_0)
    path = finish(writer, tmp_path / "a.gguf")
    with pytest.raises(ArtifactError, match=r"'odd' is stored as Q5_0, and tokkit reads F32, F16"):
        read_gguf(path)


def test_the_settings_alone_need_no_weights(tmp_path):
    model = reference("mixtral")
    config = config_of_gguf(read_gguf(write_model(tmp_path / "m.gguf", model, "llama")))
    assert (config.experts, config.experts_per_token, config.expert_width) == (7, 3, 17)
    assert set(tensors_of(model, "llama")) >= {"blk.0.ffn_gate_exps.weight", "output.weight"}
