"""GGUF files that lie: each is an ArtifactError with what was expected, and costs no memory."""

import random
import resource
import struct
import tracemalloc

import gguf
import numpy as np
import pytest
from model.gguf_models import finish, reference, write_model

from tokkit.errors import ArtifactError
from tokkit.model.gguf import is_gguf, load_gguf, read_gguf

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
HUGE = (1 << 64) - 1


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def tensor(name, shape, kind=0, offset=0):
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
    return text(name) + axes + struct.pack("<IQ", kind, offset)


def made(pairs=(), tensors=(), *, data=4096, version=3, magic=b"GGUF", counts=None):
    """A file of these parts, with `data` zero bytes after the header, aligned to 32."""
    numbers = counts or (len(tensors), len(pairs))
    header = magic + struct.pack("<IQQ", version, *numbers) + b"".join((*pairs, *tensors))
    return header + bytes(-len(header) % 32) + bytes(data)


def array(kind, count, content=b""):
    return struct.pack("<IQ", kind, count) + content


LIES = {
    "no magic": (made(magic=b"GGML"), "must begin with b'GGUF', got b'GGML'"),
    "big-endian": (made(magic=b"FUGG"), "for big-endian machines"),
    "big-endian version": (made(version=3 << 24), "for big-endian machines"),
    "version 1": (made(version=1), "is of GGUF version 1, and tokkit reads versions 2 and 3"),
    "version 4": (made(version=4), "is of GGUF version 4"),
    "empty": (b"", "it has 0 bytes, and the beginning alone takes 24"),
    "four bytes": (b"GGUF", "it has 4 bytes"),
    "tensor count": (made(counts=(HUGE, 0)), "tensors in what is left of its bytes"),
    "tensor count beyond the bytes": (made(counts=(200, 0)), "may hold 124 tensors"),
    "key count": (made(counts=(0, 1 << 62)), "keys in what is left of its bytes"),
    "key length": (made([struct.pack("<Q", HUGE) + bytes(8)]), "may have 65536 bytes, got"),
    "key beyond the end": (
        made([struct.pack("<Q", 60_000) + bytes(8)], data=100), "must fit into the"
    ),
    "key is no text": (made([pair(b"\xff\xfe", U32, bytes(4))]), "a key at byte 32 must be UTF-8"),
    "key given twice": (made([pair("a", U32, bytes(4))] * 2), "a key may be given once, got 'a'"),
    "kind of value": (made([pair("a", 13, bytes(4))]), "the type of 'a' must lie in 0..12, got 13"),
    "text length": (made([pair("a", STRING, struct.pack("<Q", 1 << 63))]), "the text of 'a'"),
    "truth value": (made([pair("a", BOOL, b"\x02")]), "must be 0 or 1, got 2"),
    "array of arrays": (
        made([pair("a", ARRAY, array(ARRAY, 1, array(U32, 0)))]), "array of numbers or texts"
    ),
    "array kind": (made([pair("a", ARRAY, array(99, 1))]), "must lie in 0..12, got 99"),
    "array count": (made([pair("a", ARRAY, array(U32, HUGE))]), "values of 'a' in what is left"),
    "array count that wraps": (made([pair("a", ARRAY, array(U32, 1 << 62))]), "values of 'a'"),
    "text count": (made([pair("a", ARRAY, array(STRING, HUGE // 8))]), "values of 'a'"),
    "text in an array": (
        made([pair("a", ARRAY, array(STRING, 2, text("x") + struct.pack("<Q", HUGE)))]),
        "text 1 of 'a' must fit",
    ),
    "texts cut": (
        made([pair("a", ARRAY, array(STRING, 9, text("x" * 20)))], data=50)[:-9],
        "'a' must have 9 texts",
    ),
    "text in an array is no text": (
        made([pair("a", ARRAY, array(STRING, 1, text(b"\xff")))]), "text 0 of 'a' must be UTF-8"
    ),
    "truth values": (made([pair("a", ARRAY, array(BOOL, 2, b"\x01\x07"))]), "must be 0 or 1"),
    "no axes": (made(tensors=[tensor("t", ())]), "must have 1 to 4 axes, got 0"),
    "many axes": (made(tensors=[tensor("t", (1,) * 5)]), "must have 1 to 4 axes, got 5"),
    "empty axis": (made(tensors=[tensor("t", (4, 0))]), "sizes of tensor 't' must fit"),
    "sizes that wrap": (made(tensors=[tensor("t", (1 << 32, 1 << 32))]), "must fit into the file"),
    "huge size": (made(tensors=[tensor("t", (HUGE, HUGE, HUGE, HUGE))]), "must fit into the file"),
    "type": (made(tensors=[tensor("t", (32,), kind=77)]), "'t' is stored as type 77, and tokkit"),
    "part of a block": (
        made(tensors=[tensor("t", (3, 33), kind=8)]), "'t', Q8_0, are multiples of 32, got 33"
    ),
    "offset": (made(tensors=[tensor("t", (8,), offset=1 << 40)]), "must end within the file"),
    "offset that wraps": (made(tensors=[tensor("t", (8,), offset=HUGE - 31)]), "must end within"),
    "offset not aligned": (made(tensors=[tensor("t", (8,), offset=12)]), "at a multiple of 32"),
    "cut tensor": (made(tensors=[tensor("t", (2000,))]), "it is cut, or lies"),
    "overlap": (
        made(tensors=[tensor("t", (64,)), tensor("u", (8,), offset=224)]),
        "'u' overlaps another and must begin at",
    ),
    "tensor given twice": (
        made(tensors=[tensor("t", (8,)), tensor("t", (8,), offset=64)]),
        "a tensor's name may be given once, got 't'",
    ),
    "alignment 0": (made([pair("general.alignment", U32, bytes(4))]), "a power of 2 in 8..65536"),
    "alignment 24": (
        made([pair("general.alignment", U32, struct.pack("<I", 24))]), "a power of 2"
    ),
    "alignment of a text": (made([pair("general.alignment", STRING, text("32"))]), "a power of 2"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_an_error_that_costs_no_memory(lie, tmp_path):
    content, message = LIES[lie]
    path = tmp_path / "lie.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ArtifactError) as error:
        read_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500
    assert peak < 1 << 20


def test_a_folder_and_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(ArtifactError, match="is not a file"):
            read_gguf(path)
        assert not is_gguf(path)


def test_what_the_parts_of_a_sound_file_become(tmp_path):
    pairs = [
        pair("a.text", STRING, text("naïve")),
        pair("a.number", F32, struct.pack("<f", 0.5)),
        pair("a.truth", BOOL, b"\x01"),
        pair("a.numbers", ARRAY, array(5, 3, struct.pack("<3i", -1, 2, 3))),
        pair("a.texts", ARRAY, array(STRING, 2, text("") + text("b c"))),
        pair("general.alignment", U32, struct.pack("<I", 64)),
    ]
    content = made(pairs, [tensor("t", (3, 5), offset=64)], data=8192)
    (tmp_path / "a.gguf").write_bytes(content)
    for version in (2, 3):
        (tmp_path / "a.gguf").write_bytes(content[:4] + struct.pack("<I", version) + content[8:])
        file = read_gguf(tmp_path / "a.gguf")
        assert file.version == version
        metadata = dict(file.metadata)
        assert metadata.pop("a.numbers").tolist() == [-1, 2, 3]
        assert metadata == {
            "a.text": "naïve", "a.number": 0.5, "a.truth": True, "a.texts": ["", "b c"],
            "general.alignment": 64,
        }  # fmt: skip
        assert file.tensors["t"].shape == (3, 5)
        assert file.tensors["t"].offset % 64 == 0


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A whole small model with a vocabulary."""
    path = tmp_path_factory.mktemp("sound") / "m.gguf"
    extra = {":tokenizer.ggml.tokens": [f"t{n}" for n in range(53)]}
    return write_model(path, reference("llama"), "llama", extra=extra).read_bytes()


def test_a_file_cut_anywhere_is_an_error(sound, tmp_path):
    path = tmp_path / "cut.gguf"
    generator = random.Random(1)
    for length in [*range(24, 1200, 7), *(generator.randrange(len(sound) - 32) for _ in range(99))]:
        path.write_bytes(sound[:length])
        with pytest.raises(ArtifactError):
            load_gguf(path)


def test_flipped_bytes_of_the_header_are_an_error_or_another_sound_file(sound, tmp_path):
    """No other exception, and no memory out of proportion, whatever is flipped."""
    path = tmp_path / "flipped.gguf"
    generator = random.Random(2)
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(400):
        damaged = bytearray(sound)
        for _ in range(generator.choice((1, 1, 3))):
            damaged[generator.randrange(4500)] = generator.choice((0, 1, 127, 128, 255))
        path.write_bytes(damaged)
        try:
            load_gguf(path)
        except ArtifactError:
            refused += 1
    assert refused > 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_file_that_is_cut_after_its_header_was_read(sound, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(sound)
    file = read_gguf(path)
    path.write_bytes(sound[:-4000])
    with pytest.raises(ArtifactError, match="was cut while it was read"):
        load_gguf(file)


def test_the_file_of_the_gguf_package_with_padding_between_tensors(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(256)
    for name in "ab":
        writer.add_tensor(name, np.arange(3, dtype=np.float32))
    file = read_gguf(finish(writer, tmp_path / "a.gguf"))
    assert file.tensors["b"].offset - file.tensors["a"].offset == 256
