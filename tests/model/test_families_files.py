"""Folders: older layouts, what does not fit, and what is written."""

from __future__ import annotations

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import some_ids, tiny_model

from tokkit.errors import ArtifactError, ConfigError, OutputError
from tokkit.model.families import export_hf, load_hf

FAMILY_SETTINGS = {
    "gpt2": {
        "positions": "learned",
        "norm": "layernorm",
        "feedforward": "gelu",
        "linear_bias": True,
        "tied": True,
    },
    "llama": {"key_value_heads": 1},
    "mixtral": {"experts": 5, "experts_per_token": 2, "expert_width": 11},
    "qwen3_moe": {
        "experts": 5,
        "experts_per_token": 2,
        "expert_width": 11,
        "expert_pattern": "de",
        "qk_norm": True,
    },
}


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return tmp_path / "model"


def exported(family, folder, **changed):
    model = tiny_model(**(FAMILY_SETTINGS[family] | changed))
    export_hf(model, folder, family=family)
    return model


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(change(tensors) or tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_config(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def assert_equal(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # Not bit for bit: sums are ordered by where in memory the numbers lie.
    assert torch.allclose(model(some_ids()), other(some_ids()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", list(FAMILY_SETTINGS))
def test_files_of_the_model_without_its_prefix_are_read(family, folder):
    model = exported(family, folder)
    drop = re.compile(r"^(model|transformer)\.")
    rewrite(folder, lambda tensors: {drop.sub("", name): t for name, t in tensors.items()})
    assert_equal(model, load_hf(folder))


def test_first_published_gpt2_layout_is_read(folder):
    """openai-community/gpt2: no prefix, and each layer's causal mask among the weights."""
    model = exported("gpt2", folder)

    def old(tensors):
        made = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        for layer in range(model.config.layers):
            made[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 13, 13)
            made[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        return made

    rewrite(folder, old)
    assert_equal(model, load_hf(folder))


def test_tables_of_frequencies_in_old_llama_files_are_passed_over(folder):
    model = exported("llama", folder)
    name = "model.layers.1.self_attn.rotary_emb.inv_freq"
    rewrite(folder, lambda tensors: tensors | {name: torch.ones(5)})
    assert_equal(model, load_hf(folder))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_experts_in_one_tensor_a_layer_are_read(family, folder):
    """The layout that transformers 5 has in memory: (E, 2M, D) with the gate above, (E, D, M)."""
    model = exported(family, folder)

    def fused(tensors):
        made = {
            name.replace(".block_sparse_moe.", ".mlp."): t
            for name, t in tensors.items()
            if ".experts." not in name
        }
        for layer, block in enumerate(model.blocks):
            if model.config.has_experts(layer):
                experts, at = block.feedforward, f"model.layers.{layer}.mlp.experts."
                made[at + "gate_up_proj"] = torch.cat(
                    [experts.gate.weight.detach(), experts.up.weight.detach()], dim=1
                )
                made[at + "down_proj"] = experts.down.weight.detach().clone()
        return made

    rewrite(folder, fused)
    assert_equal(model, load_hf(folder))


def test_a_tied_matrix_may_be_stored_twice_if_both_are_alike(folder):
    model = exported("llama", folder, tied=True)
    name = "lm_head.weight"
    rewrite(folder, lambda tensors: {name: tensors["model.embed_tokens.weight"] + 0, **tensors})
    assert_equal(model, load_hf(folder))
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": torch.zeros(23, 30)})
    with pytest.raises(ArtifactError, match=r"ties lm_head.weight to model.embed_tokens.weight"):
        load_hf(folder)


def test_an_untied_model_needs_its_output_matrix(folder):
    exported("llama", folder, tied=True)
    set_config(folder, tie_word_embeddings=False)
    with pytest.raises(ArtifactError, match=r"1 faults: 'lm_head.weight' is missing"):
        load_hf(folder)


def test_every_kind_of_misfit_is_listed_with_a_count(folder):
    exported("llama", folder)

    def spoil(tensors):
        del tensors["model.norm.weight"]
        tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(30, 17)
        tensors["model.layers.0.mlp.down_proj.weight"] = torch.zeros(30, 17, dtype=torch.int8)
        tensors["model.layers.7.mlp.up_proj.weight"] = torch.zeros(17, 30)
        return tensors

    rewrite(folder, spoil)
    with pytest.raises(ArtifactError) as told:
        load_hf(folder)
    for message in (
        "4 faults",
        "'model.norm.weight' is missing",
        "'model.layers.0.mlp.up_proj.weight' is (30, 17), not (17, 30)",
        "'model.layers.0.mlp.down_proj.weight' is of type I8, not a plain float",
        "'model.layers.7.mlp.up_proj.weight' is left over",
    ):
        assert message in str(told.value)


def test_many_misfits_are_counted_and_the_first_shown(folder):
    exported("llama", folder)
    set_config(folder, hidden_size=36, head_dim=10)
    with pytest.raises(ArtifactError, match=r"21 faults: .*; and 16 more\. Get the whole model"):
        load_hf(folder)


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("llama", {"num_hidden_layers": 1 << 20}),
        ("mixtral", {"num_local_experts": 1 << 20}),
        ("qwen3_moe", {"num_experts": 1 << 20, "num_experts_per_tok": 3}),
    ],
)
def test_counts_that_no_file_vouches_for_cost_nothing(family, changed, folder):
    exported(family, folder)
    set_config(folder, **changed)
    with pytest.raises(ArtifactError, match="tensors, too few for"):
        load_hf(folder)


@pytest.mark.parametrize("change", [{"vocab_size": 1 << 20}, {"intermediate_size": 1 << 20}])
def test_sizes_that_no_file_vouches_for_cost_nothing(change, folder):
    exported("llama", folder)
    set_config(folder, **change)
    with pytest.raises(ArtifactError, match=r"does not fit its config.json"):
        load_hf(folder)


def test_folders_that_are_no_models_are_told(tmp_path, folder):
    with pytest.raises(ArtifactError, match="is not a folder"):
        load_hf(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"model settings .* is missing"):
        load_hf(tmp_path)
    exported("llama", folder)
    for text in ("[]", "{", '{"model_type": NaN}', '"llama"'):
        (folder / "config.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"config.json"):
            load_hf(folder)


def test_export_writes_the_files_given_and_nothing_else(folder):
    model = tiny_model()
    files = {"tokenizer.json": "{}", "chat_template.jinja": "été\n"}
    export_hf(model, folder, files=files)
    names = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert {entry.name for entry in folder.iterdir()} == names
    assert (folder / "chat_template.jinja").read_bytes() == "été\n".encode()
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert_equal(model, load_hf(folder))


@pytest.mark.parametrize(
    "name",
    ["config.json", "a/b", "../x", ".x", "", "x.safetensors", "model.safetensors.index.json"],
)
def test_files_with_other_names_are_refused(name, folder):
    with pytest.raises(ConfigError, match="files must have plain names"):
        export_hf(tiny_model(), folder, files={name: ""})
    assert not folder.exists()


def test_export_that_fails_leaves_what_was_there(folder, monkeypatch):
    model = exported("llama", folder)
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}

    def full_disk(*_args, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokkit.model.families.files.write_json", full_disk)
    with pytest.raises(OutputError, match=r"cannot write .*: no space left on device"):
        export_hf(tiny_model(width=36), folder)
    monkeypatch.undo()
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"it holds 'notes\.txt'"):
        export_hf(model, folder)


def test_export_names_what_a_family_cannot_hold(folder):
    model = tiny_model(qk_norm=True, window=3, attention_pattern="fs", embedding_scale=2.0)
    with pytest.raises(ConfigError, match="family 'llama' cannot hold: ") as told:
        export_hf(model, folder, family="llama")
    for setting in ("qk_norm True", "window 3", "attention_pattern 'fs'", "embedding_scale 2.0"):
        assert setting in str(told.value)
    with pytest.raises(ConfigError, match="no family can express the model; the nearest, 'qwen3'"):
        export_hf(model, folder)
    with pytest.raises(ConfigError, match="unknown family 'lama': did you mean 'llama'"):
        export_hf(model, folder, family="lama")
    assert not folder.exists()


def test_loaded_weights_are_views_and_can_be_trained(folder):
    exported("llama", folder)
    before = (folder / "model.safetensors").read_bytes()
    model = load_hf(folder)
    model(some_ids()).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= parameter.grad
    assert (folder / "model.safetensors").read_bytes() == before
