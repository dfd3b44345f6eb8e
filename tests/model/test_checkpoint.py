"""A checkpoint comes back bit for bit; whatever is wrong with one is told in one line."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import VOCAB, some_ids, tiny_config, tiny_model

from tokkit.errors import ArtifactError, OutputError
from tokkit.files import sha256
from tokkit.model.checkpoint import is_checkpoint, load_checkpoint, save_checkpoint
from tokkit.model.config import NORM_PLACES, POSITIONS
from tokkit.model.transformer import Transformer

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    save_checkpoint(folder, tiny_model(), '{"a": "ä"}', {"arm": "bpe"})
    return folder


def refused(folder: Path, *words: str) -> None:
    """Loading `folder` fails in one line that holds `words`."""
    with pytest.raises(ArtifactError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def rewrite_config(folder: Path, **model_settings: object) -> None:
    record = json.loads((folder / CONFIG).read_text())
    record["model"] |= model_settings
    record["sha256"] = {name: sha256(folder / name) for name in (WEIGHTS, TOKENIZER)}
    (folder / CONFIG).write_text(json.dumps(record))


@contextlib.contextmanager
def little_memory(megabytes: int):
    """Let this process take `megabytes` more than it has, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("norm_place", NORM_PLACES)
@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_round_trip_to_the_last_bit(tmp_path, positions, norm_place):
    model = tiny_model(
        positions=positions,
        norm_place=norm_place,
        norm="layernorm" if norm_place == "post" else "rmsnorm",
        tied=positions == "learned",
        linear_bias=positions == "alibi",
    )
    save_checkpoint(tmp_path / "deep" / "model", model, '{"a": "ä"}', {"seed": 3})
    found = load_checkpoint(tmp_path / "deep" / "model")
    assert found.model.config == model.config
    assert not found.model.training
    assert found.about == {"seed": 3}
    assert found.tokenizer_path.read_text(encoding="utf-8") == '{"a": "ä"}'
    assert torch.equal(found.model(some_ids()), model(some_ids()))
    assert [p.requires_grad for p in found.model.parameters()] == [True] * len(
        list(model.parameters())
    )


@torch.no_grad()
def test_token_features_come_back(tmp_path):
    features = torch.rand(VOCAB, 5, generator=torch.Generator().manual_seed(3))
    model = Transformer(tiny_config(token_features=5), token_features=features)
    save_checkpoint(tmp_path / "model", model, "{}", {})
    found = load_checkpoint(tmp_path / "model").model
    assert torch.equal(found.token_features, features)
    assert torch.equal(found(some_ids()), model(some_ids()))


def test_a_second_save_replaces_the_first_and_leaves_nothing(saved):
    save_checkpoint(saved, tiny_model(seed=9), "{}", {})
    load_checkpoint(saved)
    assert sorted(path.name for path in saved.iterdir()) == [CONFIG, WEIGHTS, TOKENIZER]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_is_checkpoint(saved, tmp_path):
    assert is_checkpoint(saved)
    assert not is_checkpoint(tmp_path)
    assert not is_checkpoint(tmp_path / "nowhere")


# Faults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, TOKENIZER])
def test_a_missing_file(saved, name):
    (saved / name).unlink()
    refused(saved, str(saved / name))


def test_no_folder(saved):
    refused(saved / "nowhere", str(saved / "nowhere"), "give the folder of a trained model")
    refused(saved / CONFIG, str(saved / CONFIG), "is not a folder")


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_a_cut_file(saved, name):
    content = (saved / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (saved / name).write_bytes(content[:length])
        refused(saved, str(saved / name), "cut, altered or", "copy the whole folder again")


@pytest.mark.parametrize("name", [WEIGHTS, TOKENIZER])
def test_a_flipped_bit(saved, name):
    content = bytearray((saved / name).read_bytes())
    for place in (0, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[place] ^= 1
        (saved / name).write_bytes(flipped)
        refused(saved, str(saved / name), "cut, altered or")


def test_files_of_another_model(saved, tmp_path):
    other = tmp_path / "other"
    save_checkpoint(other, tiny_model(seed=4), '{"b": 1}', {})
    for name in (WEIGHTS, TOKENIZER):
        kept = (saved / name).read_bytes()
        shutil.copy(other / name, saved / name)
        refused(saved, str(saved / name), "from another model", sha256(other / name)[:12])
        (saved / name).write_bytes(kept)
    load_checkpoint(saved)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layers": 3}, ["blocks.2.attention.key.weight is missing", "; ..."]),
        ({"layers": 1}, ["blocks.1.attention.key.weight is left over"]),
        ({"layers": 2**20}, ["holds 21 tensors, too few for 1048576 layers"]),
        ({"width": 36}, ["is F32 (30,), not F32 (36,)"]),
        ({"vocab_size": 24}, ["embedding is F32 (23, 30), not F32 (24, 30)"]),
        ({"vocab_size": 2**20}, ["embedding is F32 (23, 30), not F32 (1048576, 30)"]),
        ({"hidden_width": 2**20}, ["not F32 (1048576, 30)"]),
        ({"tied": True}, ["unembedding is left over"]),
        ({"norm": "layernorm"}, ["attention_norm.bias is missing"]),
        ({"token_features": 2**20}, ["feature_embedding is missing; token_features is missing"]),
        ({"positions": "learned", "context": 2**20}, ["position_embedding is missing"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_the_weights(saved, settings, words):
    rewrite_config(saved, **settings)
    started = time.perf_counter()
    with little_memory(200):
        refused(saved, str(saved / WEIGHTS), "does not fit" * ("layers" not in words[0]), *words)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vocab_size": 10**30}, ["vocab_size must lie in 1..1048576, got 0xc9f2"]),
        ({"context": 2**40}, ["context must lie in 1..1048576"]),
        ({"rope_base": 10**400}, ["rope_base must be above 0 and finite, got 0x"]),
        ({"layers": "two"}, ["layers must be of type int, got 'two'"]),
        ({"layer": 2}, ["unknown model setting 'layer': did you mean 'layers'"]),
        ({"positions": ["rope"]}, ["positions must be of type str, got ['rope']"]),
        ({"head_width": 0, "width": 31}, ["width must be a multiple of query_heads"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be(saved, settings, words):
    rewrite_config(saved, **settings)
    with little_memory(200):
        refused(saved, str(saved / CONFIG), "cannot be used", *words)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(schema="tokkit-checkpoint/2"),
        lambda record: record.pop("schema"),
        lambda record: record.pop("model"),
        lambda record: record.pop("sha256"),
        lambda record: record.update(model=[]),
        lambda record: record.update(model=7),
        lambda record: record.update(about=3),
        lambda record: record.update(sha256="abc"),
        lambda record: record["model"].pop("width"),
    ],
)
def test_records_that_are_no_checkpoint(saved, change):
    record = json.loads((saved / CONFIG).read_text())
    change(record)
    (saved / CONFIG).write_text(json.dumps(record))
    refused(saved, str(saved / CONFIG))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": NaN}', "[" * 100_000, "\ud800"])
def test_a_config_that_is_no_record(saved, text):
    (saved / CONFIG).write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(saved, str(saved / CONFIG))


def with_header(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def lying_files(good: bytes):
    (length,) = struct.unpack("<Q", good[:8])
    header, data = json.loads(good[8 : 8 + length]), good[8 + length :]
    first, second = list(header)[:2]

    def changed(name: str, **entry: object) -> bytes:
        return with_header(header | {name: header[name] | entry}, data)

    start, end = header[first]["data_offsets"]
    yield "a header longer than the file", struct.pack("<Q", 2**62) + good[8:]
    yield "offsets beyond the end", changed(first, data_offsets=[start, end + 10**9])
    yield "negative offsets", changed(first, data_offsets=[-4, end])
    yield "offsets turned round", changed(first, data_offsets=[end, start])
    yield "offsets of another tensor", changed(second, data_offsets=[start, end])
    yield "a shape larger than its bytes", changed(first, shape=[10**9, 10**9])
    yield "another type", changed(first, dtype="F64")
    yield "an unknown type", changed(first, dtype="PICKLE")
    yield "no JSON", with_header(b"{" * 64, data)
    yield "no UTF-8", with_header(b'{"\xff\xfe": 1}', data)
    yield "a list", with_header([], data)
    yield "nothing", b""
    yield "no tensors", with_header({}, b"")
    yield "the data cut", good[:-1000]
    yield "more data", good + b"\0" * 8


def test_weights_that_lie_about_themselves(saved):
    """With digests made to fit, so that the file's own check is what must catch it."""
    for fault, content in lying_files((saved / WEIGHTS).read_bytes()):
        (saved / WEIGHTS).write_bytes(content)
        rewrite_config(saved)
        with little_memory(200):
            try:
                refused(saved, str(saved / WEIGHTS))
            except BaseException as error:
                error.add_note(fault)
                raise


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.int32, torch.bool, torch.complex64]
)
def test_weights_of_another_type_are_refused(saved, dtype):
    tensors = load_file(saved / WEIGHTS)
    tensors["final_norm.weight"] = tensors["final_norm.weight"].to(dtype)
    save_file(tensors, saved / WEIGHTS)
    rewrite_config(saved)
    refused(saved, str(saved / WEIGHTS), "final_norm.weight is ", ", not F32 (30,)")


# Writing ----------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_one(saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=re.escape(f"cannot write {saved}: ")) as caught:
            save_checkpoint(saved, tiny_model(seed=2), "{}", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "file too large" in str(caught.value)
    assert "choose another place" in str(caught.value)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(OutputError, match="cannot write"):
            save_checkpoint(place, tiny_model(), "{}", {})
    assert (tmp_path / "file").read_text() == ""


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"it holds 'thesis\.tex', which would be lost"):
        save_checkpoint(tmp_path, tiny_model(), "{}", {})
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one-step exchange is Linux's")
def test_killed_while_saving_there_is_always_a_whole_one(tmp_path):
    kills = 25
    outcome = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("killed_saves.py"),
            tmp_path / "model",
            str(kills),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    different, leftovers = map(int, outcome.stdout.split())
    assert different == kills, "each round must have got a save done, or nothing is shown"
    assert leftovers > 0, "some kills must fall into the midst of a save"
    load_checkpoint(tmp_path / "model")
