import bz2
import gzip
import io
import lzma

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus import ShardReader, read_documents
from tokkit.corpus.packed import Unpacked
from tokkit.errors import InputError

PACK = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
KIND = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstandard"}
TEXT = ("one two é😀\r\n\0" * 40_000).encode()


def unpacked(data, packing):
    return io.BufferedReader(Unpacked(io.BytesIO(data), packing, "f")).read()


def failure(data, packing):
    with pytest.raises(InputError) as caught:
        unpacked(data, packing)
    return str(caught.value)


@pytest.mark.parametrize("packing", PACK)
def test_a_packed_file_reads_like_the_plain_one(tmp_path, packing):
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(PACK[packing](TEXT))
    assert [document.text for document in read_documents([path])] == [TEXT.decode()]
    (shard,) = ShardReader([path])
    assert shard.data.tobytes() == TEXT


@pytest.mark.parametrize("packing", PACK)
@given(parts=st.lists(st.binary(max_size=40), max_size=4))
def test_streams_one_after_the_other_are_joined(packing, parts):
    packed = b"".join(map(PACK[packing], parts))
    assert unpacked(packed, packing) == b"".join(parts)


@pytest.mark.parametrize("packing", PACK)
@given(data=st.binary(max_size=300), seed=st.randoms(use_true_random=False))
def test_a_cut_at_any_place_is_told(packing, data, seed):
    packed = PACK[packing](data)
    cut = seed.randrange(1, len(packed))
    said = failure(packed[:cut], packing)
    assert f"is cut short: its {KIND[packing]} stream has no end; copy it again" in said


@pytest.mark.parametrize("packing", PACK)
def test_a_cut_in_the_second_stream_is_told(packing):
    packed = PACK[packing](b"first") + PACK[packing](TEXT)
    assert "is cut short" in failure(packed[:-9], packing)


@pytest.mark.parametrize("packing", PACK)
def test_what_is_no_stream_is_told_also_behind_one(packing):
    for data in (b"this is no stream at all", PACK[packing](b"x") + b"rubbish behind it"):
        assert f"f is not a whole {KIND[packing]} file (" in failure(data, packing)


@pytest.mark.parametrize("packing", PACK)
def test_a_byte_that_is_altered_is_told(packing):
    packed = bytearray(PACK[packing](TEXT))
    packed[len(packed) // 2] ^= 0x55
    assert failure(bytes(packed), packing).startswith("f is ")


@pytest.mark.parametrize("packing", [".gz", ".xz"])
def test_zeros_may_stand_between_and_behind_streams(packing):
    packed = PACK[packing](b"a") + bytes(512) + PACK[packing](b"b") + bytes(1 << 17)
    assert unpacked(packed, packing) == b"ab"


@pytest.mark.parametrize("packing", PACK)
def test_a_bomb_is_unpacked_a_little_at_a_time(packing):
    stream = Unpacked(io.BytesIO(PACK[packing](bytes(200_000_000))), packing, "f")
    most = read = 0
    buffer = bytearray(1 << 16)
    while count := stream.readinto(buffer):
        read += count
        most = max(most, len(stream._text))
        if read > 20_000_000:
            break
    assert read > 20_000_000
    assert most < 150_000_000
