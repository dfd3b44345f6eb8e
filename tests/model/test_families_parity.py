"""The same random weights in transformers and in tokkit, for every family, in and out again."""

from __future__ import annotations

from functools import cache

import pytest
import torch

pytest.importorskip("transformers")

from hf_models import (
    LIMIT,
    MODELS,
    difference,
    family_name,
    hf_logits,
    hf_model,
    hf_read,
    some_text,
    wrong_configs,
)

from tokkit.model.checkpoint import load_weights
from tokkit.model.families import FAMILIES, export_hf, load_hf

CASES = list(MODELS)


@cache
def made(case):
    """A model of transformers, a text, and its logits."""
    model, ids = hf_model(case), some_text()
    return model, ids, hf_logits(model, ids)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Models this small are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return tmp_path / "theirs"


def imported(case, folder):
    made(case)[0].save_pretrained(folder)
    return load_hf(folder)


def test_every_family_has_a_case():
    assert {family_name(case) for case in CASES} == set(FAMILIES)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_imported_and_exported_models_give_the_logits_of_transformers(case, folder, tmp_path):
    _, ids, wanted = made(case)
    ours = imported(case, folder)
    assert not ours.training
    assert difference(ours(ids), wanted) <= LIMIT
    back = tmp_path / "back"
    export_hf(ours, back, family=family_name(case), max_shard_bytes=30_000)
    assert len(list(back.glob("model-*.safetensors"))) > 1
    assert difference(hf_logits(hf_read(back), ids), wanted) <= LIMIT
    again = load_hf(back)
    assert again.config == ours.config
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_each_setting_told_wrong_shows_in_the_logits(case, folder):
    _, ids, wanted = made(case)
    ours = imported(case, folder)
    weights = ours.state_dict()
    for name, config in wrong_configs(ours.config).items():
        wrong = load_weights(config, weights.__getitem__)
        assert difference(wrong(ids), wanted) > 100 * LIMIT, name


@pytest.mark.parametrize("case", ["gpt2", "mixtral", "gemma3", "qwen2_moe"])
@torch.no_grad()
def test_a_family_that_is_not_named_is_found(case, folder, tmp_path):
    _, ids, wanted = made(case)
    export_hf(imported(case, folder), tmp_path / "back")
    assert difference(hf_logits(hf_read(tmp_path / "back"), ids), wanted) <= LIMIT


@pytest.mark.parametrize("case", ["gpt2", "llama", "gemma2", "mixtral"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
@torch.no_grad()
def test_other_stored_types_are_read_as_float32(case, kind, folder):
    hf_model(case, seed=3).to(kind).save_pretrained(folder)
    wanted = hf_logits(hf_read(folder), some_text())  # in float32 from the file on, as ours
    ours = load_hf(folder)
    assert {tensor.dtype for tensor in ours.state_dict().values()} == {torch.float32}
    assert difference(ours(some_text()), wanted) <= LIMIT
