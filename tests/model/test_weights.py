"""Safetensors files: what a header may say, and every kind of lie that it may not."""

from __future__ import annotations

import json
import random
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.weights import LARGEST_HEADER, open_weights
from tokkit.model.weights_writing import write_weights

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([1.5, -2.0, 3.25, 0.0, 7.0], dtype=torch.bfloat16),
    "c": torch.tensor(4.5, dtype=torch.float64),
    "d": torch.tensor([[0.5], [-1.0]], dtype=torch.float16),
    "empty": torch.empty(0, 7),
}


@pytest.fixture(name="path")
def _path(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    return path


def parts_of(path):
    content = path.read_bytes()
    (count,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + count]), content[8 + count :]


def write_parts(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_reads_what_the_library_writes(path):
    weights = open_weights(path)
    assert set(weights.names) == set(TENSORS)
    assert weights.shape("a") == (2, 3)
    assert weights.dtype("b") == "BF16"
    for name, tensor in TENSORS.items():
        assert weights.tensor(name).dtype == torch.float32
        assert torch.equal(weights.tensor(name), tensor.float())


def test_float32_is_a_view_over_the_file_and_writing_leaves_the_file_alone(path):
    before = path.read_bytes()
    weights = open_weights(path)
    view = weights.tensor("a")
    assert view.data_ptr() == weights.tensor("a").data_ptr()
    view += 1
    assert path.read_bytes() == before
    assert torch.equal(open_weights(path).tensor("a"), TENSORS["a"])


def test_pages_that_are_released_are_read_anew(tmp_path):
    tensors = {"x": torch.randn(70, 101), "y": torch.randn(11), "z": torch.randn(70, 101)}
    save_file(tensors, tmp_path / "w.safetensors")
    weights = open_weights(tmp_path / "w.safetensors")
    neighbour = weights.tensor("y")
    neighbour += 1  # on a page that the others share
    for name in ("x", "z", "x"):
        weights.release(name)
        assert torch.equal(weights.tensor(name), tensors[name])
    assert torch.equal(neighbour, tensors["y"] + 1)


def test_the_library_reads_what_is_written_here(tmp_path):
    tensors = {"x": torch.randn(3, 5), "y": torch.randn(7), "z": torch.randn(2, 2, 3)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    write_weights(tmp_path, shapes, tensors.__getitem__, max_shard_bytes=1 << 20)
    read = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert (tmp_path / "model.safetensors").stat().st_size % 4 == 0


def test_shards_hold_no_more_than_the_limit_but_for_a_larger_tensor(tmp_path):
    shapes = {"p": (3,), "q": (2,), "r": (11,), "s": (1,)}  # 12, 8, 44 and 4 bytes
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    write_weights(tmp_path, shapes, tensors.__getitem__, max_shard_bytes=20)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 68
    assert index["weight_map"] == {
        "p": "model-00001-of-00003.safetensors",
        "q": "model-00001-of-00003.safetensors",
        "r": "model-00002-of-00003.safetensors",
        "s": "model-00003-of-00003.safetensors",
    }
    weights = open_weights(tmp_path)
    assert all(torch.equal(weights.tensor(name), tensors[name]) for name in shapes)
    with pytest.raises(ConfigError, match="max_shard_bytes must be 1 or more, got 0"):
        write_weights(tmp_path, shapes, tensors.__getitem__, max_shard_bytes=0)


def changed(name, **fields):
    def change(header, data):
        header[name].update(fields)
        return header, data

    return change


def extra(name, entry):
    def change(header, data):
        header[name] = entry
        return header, data

    return change


LIES = {
    "unknown type": (changed("a", dtype="F31"), "must be of a type among .*got 'F31'"),
    "type no word": (changed("a", dtype=["F32"]), "must be of a type among"),
    "shape too large for its bytes": (changed("a", shape=[2, 4]), "takes 32 bytes, got 24"),
    "absurd shape": (changed("a", shape=[1 << 47, 1 << 47, 1 << 47]), "takes 0x.* bytes, got 24"),
    "size beyond all": (changed("a", shape=[10**30]), "must have a shape of at most 8 sizes"),
    "size below 0": (changed("a", shape=[-2, -3]), "must have a shape"),
    "size no int": (changed("a", shape=[2.0, 3]), "must have a shape"),
    "size a bool": (changed("a", shape=[True, 6]), "must have a shape"),
    "too many axes": (changed("a", shape=[1] * 9), "must have a shape of at most 8"),
    "shape no list": (changed("a", shape=6), "must have a shape"),
    "end beyond the file": (changed("a", data_offsets=[8, 1 << 40]), "begin and end within"),
    "begin after end": (changed("a", data_offsets=[32, 8]), "begin and end within"),
    "begin below 0": (changed("a", data_offsets=[-8, 16]), "begin and end within"),
    "three offsets": (changed("a", data_offsets=[0, 8, 24]), "begin and end within"),
    "a field too many": (changed("a", more=1), "must have dtype, shape and data_offsets"),
    "no object": (extra("a", [1, 2]), "must have dtype, shape and data_offsets"),
    "overlap": (
        extra("e", {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}), "overlaps the one"
    ),
    "metadata no words": (extra("__metadata__", {"format": 3}), "must map words to words"),
    "metadata a list": (extra("__metadata__", [1]), "must map words to words"),
    "a hole": (lambda h, d: ({n: e for n, e in h.items() if n != "c"}, d), "leaves a hole|speaks"),
    "bytes added": (lambda h, d: (h, d + b"\0" * 8), "cut or has been added to"),
    "bytes cut": (lambda h, d: (h, d[:-3]), "begin and end within"),
    "no JSON": (lambda h, d: (b"{" * 50, d), "not valid JSON"),
    "NaN": (lambda h, d: (b'{"a": NaN}', d), "NaN is not JSON"),
    "not UTF-8": (lambda h, d: (b'{"\xff": 1}', d), "not valid JSON"),
    "no object at all": (lambda h, d: (b"[1, 2]", d), "not a JSON object"),
    "a name twice": (lambda h, d: (b'{"a": 1, "a": 2}', d), "'a' is given twice"),
    "endless digits": (lambda h, d: (b'{"a": ' + b"9" * 9999 + b"}", d), "not valid JSON"),
    "nested without end": (lambda h, d: (b"[" * 100_000, d), "not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(LIES))
def test_a_header_that_lies_is_told(kind, path):
    change, message = LIES[kind]
    write_parts(path, *change(*parts_of(path)))
    with pytest.raises(ArtifactError, match=message):
        open_weights(path)


@pytest.mark.parametrize("count", [0, 1, LARGEST_HEADER + 1, 1 << 40, (1 << 64) - 1])
def test_a_length_that_lies_is_told(count, path):
    path.write_bytes(struct.pack("<Q", count) + path.read_bytes()[8:])
    with pytest.raises(ArtifactError, match=f"its header must have 2 to .* says {count}"):
        open_weights(path)


def test_a_file_cut_anywhere_is_told(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=r"model.safetensors"):
            open_weights(path)


def test_bytes_changed_at_random_end_in_an_error_or_in_tensors(path):
    content, generator = path.read_bytes(), random.Random(7)
    told = 0
    for _ in range(400):
        spoilt = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            spoilt[generator.randrange(len(content) - 60)] = generator.randrange(256)
        path.write_bytes(spoilt)
        try:
            weights = open_weights(path)
            for name in weights.names:
                weights.tensor(name)
        except ArtifactError:
            told += 1
    assert told > 300


def test_a_quantised_tensor_is_refused_by_name(tmp_path):
    save_file({"q": torch.ones(3, dtype=torch.int8)}, tmp_path / "q.safetensors")
    weights = open_weights(tmp_path / "q.safetensors")
    assert not weights.is_float("q")
    with pytest.raises(ArtifactError, match=r"'q' is stored as I8.*not quantised"):
        weights.tensor("q")
    with pytest.raises(ArtifactError, match="holds no tensor 'p'"):
        weights.tensor("p")


def test_numbers_across_word_boundaries_are_read(path):
    header, data = parts_of(path)
    text = json.dumps(header).encode()
    write_parts(path, text + b" " * (3 - len(text) % 4), data)  # data begin off any boundary
    weights = open_weights(path)
    assert all(torch.equal(weights.tensor(n), t.float()) for n, t in TENSORS.items())


def test_folders_without_weights_say_what_they_hold(tmp_path):
    with pytest.raises(ArtifactError, match=r"holds neither model.safetensors nor"):
        open_weights(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"as pytorch_model.bin, a pickle"):
        open_weights(tmp_path)
    with pytest.raises(ArtifactError, match="are not a file"):
        open_weights(tmp_path / ("n" * 300))


SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture(name="sharded")
def _sharded(tmp_path):
    shapes = {"p": (3,), "q": (5,)}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    write_weights(tmp_path, shapes, tensors.__getitem__, max_shard_bytes=20)
    return tmp_path


def rewrite_index(folder, change):
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(change(index)))


def test_a_missing_shard_is_told(sharded):
    (sharded / SHARD).unlink()
    with pytest.raises(ArtifactError, match=f"names the shard '{SHARD}', which is not in"):
        open_weights(sharded)


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "", "x.bin",
     "C:x.safetensors", ".hidden.safetensors", 7, None],
)  # fmt: skip
def test_an_index_that_leaves_its_folder_is_refused(sharded, name):
    rewrite_index(sharded, lambda index: index | {"weight_map": {"p": name}})
    with pytest.raises(ArtifactError, match="must name safetensors files of its own folder"):
        open_weights(sharded)


def test_an_index_that_is_none_is_told(sharded):
    for wrong in ([], {}, {"weight_map": []}, {"weight_map": {}}):
        rewrite_index(sharded, lambda _, wrong=wrong: wrong)
        with pytest.raises(ArtifactError, match="holds no 'weight_map'"):
            open_weights(sharded)


def test_a_tensor_in_two_shards_is_told(sharded):
    other = sharded / "model-00002-of-00002.safetensors"
    save_file({"p": torch.randn(3), "q": torch.randn(5)}, other)
    with pytest.raises(ArtifactError, match=f"'p' is in two shards, {SHARD} and"):
        open_weights(sharded)


def test_an_index_of_another_model_is_told(sharded):
    rewrite_index(sharded, lambda index: {"weight_map": index["weight_map"] | {"r": SHARD}})
    with pytest.raises(ArtifactError, match=r"1 of the tensors .* are in no shard, 'r' first"):
        open_weights(sharded)
    rewrite_index(sharded, lambda _: {"weight_map": {"r": SHARD}})
    with pytest.raises(ArtifactError, match=r"holds 'p', which model.safetensors.index.json does"):
        open_weights(sharded)


def test_one_file_goes_before_an_index(sharded):
    save_file({"p": torch.ones(3)}, sharded / "model.safetensors")
    assert open_weights(sharded).names == ("p",)
