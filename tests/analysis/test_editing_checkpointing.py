"""An edited model on disk: whole or not there, and taken back bit for bit."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizer.foreign_files import learned

from tokkit.analysis.editing.checkpointing import (
    EDIT_FILE,
    check_place,
    folder_of_edit,
    save_edited,
    take_back,
    without_last_edit,
)
from tokkit.analysis.editing.moments import weights_digest
from tokkit.analysis.editing.rank_one import Edit
from tokkit.analysis.editing.request import EditRequest
from tokkit.analysis.editing.value import Optimised
from tokkit.errors import ArtifactError, ConfigError, OutputError
from tokkit.model.checkpoint import load_checkpoint, save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

TOKENIZER = learned("gpt2")
REQUEST = EditRequest("Anu", "the {} is in", "Paris")


def model(seed=3):
    config = ModelConfig(vocab_size=TOKENIZER.vocab_size, width=16, layers=3, query_heads=2,
                         context=32, hidden_width=29)  # fmt: skip
    return Transformer(config, seed=seed).eval()


def edit(layer=1, seed=5):
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(16, generator=generator), torch.randn(29, generator=generator)
    return Edit(layer, left, right, REQUEST, Optimised(right, left, ()), ())


def saved(folder, source=None, change=None, earlier=()):
    source = source or model()

    def write(place, more):
        save_checkpoint(place, source, TOKENIZER.to_json(), {"seed": 3, **more})

    return save_edited(folder, source, change or edit(), write, earlier=earlier)


def test_it_is_a_checkpoint_that_says_what_was_changed(tmp_path):
    source = model()
    before = weights_digest(source)
    digest = saved(tmp_path / "model", source)
    assert weights_digest(source) == before
    opened = load_checkpoint(tmp_path / "model")
    assert weights_digest(opened.model) == digest != before
    (record,) = opened.about["edits"]
    assert record["subject"] == "Anu"
    assert (record["layer"], record["weights_before"], record["weights_after"]) == (
        1, before, digest,
    )  # fmt: skip
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", EDIT_FILE}


def test_it_is_taken_back_bit_for_bit(tmp_path):
    source = model()
    saved(tmp_path / "model", source)
    opened = load_checkpoint(tmp_path / "model").model
    kept = take_back(opened, folder_of_edit(tmp_path))
    assert kept.layer == 1
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, opened.state_dict()[name]), name


def test_taking_the_factors_away_would_not_be_exact():
    weight = model().blocks[1].feedforward.down.weight.detach()
    change = torch.outer(edit().left, edit().right)
    assert not torch.equal((weight + change) - change, weight)


def test_a_second_edit_is_the_one_that_is_taken_back(tmp_path):
    saved(tmp_path / "one")
    first = load_checkpoint(tmp_path / "one")
    saved(tmp_path / "two", first.model, edit(0, 7), earlier=first.about["edits"])
    second = load_checkpoint(tmp_path / "two")
    assert [record["layer"] for record in second.about["edits"]] == [1, 0]
    take_back(second.model, tmp_path / "two")
    assert weights_digest(second.model) == weights_digest(first.model)
    assert without_last_edit(second.about) == first.about
    assert without_last_edit(first.about) == {"seed": 3}


def test_an_edit_of_another_model_is_refused(tmp_path):
    saved(tmp_path / "model")
    other = model(seed=4)
    with pytest.raises(ArtifactError, match="does not belong to the model beside it"):
        take_back(other, tmp_path / "model")
    assert weights_digest(other) == weights_digest(model(seed=4))


def test_a_damaged_edit_is_refused(tmp_path):
    saved(tmp_path / "model")
    path = tmp_path / "model" / EDIT_FILE
    tensors = load_file(path)
    content = path.read_bytes()
    opened = load_checkpoint(tmp_path / "model").model
    path.write_bytes(content[:-9])
    with pytest.raises(ArtifactError, match="is not a whole edit"):
        take_back(opened, tmp_path / "model")
    for wrong, said in (
        ({**tensors, "left": torch.zeros(2)}, "is no edit, it holds"),
        ({"left": tensors["left"]}, "is no edit, it holds"),
        (tensors, "is no edit"),  # without its record
    ):
        save_file(wrong, path)
        with pytest.raises(ArtifactError, match=said):
            take_back(opened, tmp_path / "model")
    record = {"layer": 1, "weights_before": "0", "weights_after": weights_digest(opened)}
    metadata = {"schema": "tokkit-edit/1", "edit": json.dumps(record)}
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ArtifactError, match="does not give the model of before"):
        take_back(opened, tmp_path / "model")
    metadata["edit"] = json.dumps({**record, "layer": "1"})
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ArtifactError, match="its record is not one of an edit"):
        take_back(opened, tmp_path / "model")


def test_places_where_an_edit_must_not_be_written(tmp_path):
    save_checkpoint(tmp_path / "run" / "model", model(), TOKENIZER.to_json(), {})
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        with pytest.raises(ConfigError, match="the original is not touched"):
            check_place(tmp_path / "run", source)
    with pytest.raises(ConfigError, match="the original is not touched"):
        check_place(tmp_path / "run" / "model", tmp_path / "run" / "model")
    with pytest.raises(OutputError, match="something that is no edited model"):
        check_place(tmp_path / "run", "smollm2")
    assert check_place(tmp_path / "new", tmp_path / "run") == tmp_path / "new" / "model"
    saved(tmp_path / "new" / "model")
    assert check_place(tmp_path / "new", tmp_path / "run")  # an edit may be made anew
    with pytest.raises(ArtifactError, match=r"holds no edit\.safetensors"):
        folder_of_edit(tmp_path / "run")


def test_a_process_killed_while_it_writes_leaves_no_half_model(tmp_path):
    program = f"""
import os, signal, sys
sys.path[:0] = {[os.path.dirname(os.path.dirname(__file__))]!r}
from analysis import test_editing_checkpointing as own
from tokkit.analysis.editing import checkpointing
checkpointing.write_tensors = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
own.saved({str(tmp_path / "model")!r})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr.decode()
    assert not (tmp_path / "model").exists()
    assert all(path.name.startswith(".tokkit-") for path in tmp_path.iterdir())
