"""Whatever stands in a file, reading gives documents or an InputError that names the file."""

import bz2
import gzip
import io
import lzma

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.corpus import ShardReader
from tokkit.corpus.faults import FaultPolicy
from tokkit.errors import InputError

JSONL = b'{"text": "a\\ud83d\\ude00b", "n": [1, {"x": null}]}\n\n{"text": ""}\n' * 3
WHOLE = {
    "a.jsonl": JSONL,
    "a.jsonl.gz": gzip.compress(JSONL),
    "a.jsonl.bz2": bz2.compress(JSONL),
    "a.jsonl.xz": lzma.compress(JSONL),
    "a.jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(JSONL),
}


def parquet_file():
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["one", "é", ""] * 50}), file)
    return file.getvalue()


def read_or_told(path, errors):
    """The text of a file, or None when an InputError names the file."""
    try:
        return b"".join(shard.data.tobytes() for shard in ShardReader([path], errors=errors))
    except InputError as error:
        said = str(error)
    assert str(path) in said
    return None


@pytest.mark.parametrize("name", [*WHOLE, "a.txt", "a.parquet"])
@given(data=st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    read_or_told(path, "strict")
    # With refusals told aside, there is nothing left to raise.
    refused = []
    list(ShardReader([path], errors=FaultPolicy("replace", refused=refused.append)))


@pytest.mark.parametrize("name", [*WHOLE, "a.parquet"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_file_with_some_bytes_altered(tmp_path_factory, name, data):
    whole = WHOLE.get(name) or parquet_file()
    altered = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        altered[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("altered") / name
    path.write_bytes(altered)
    found = read_or_told(path, data.draw(st.sampled_from(["strict", "replace", "skip"])))
    if name.endswith((".gz", ".bz2", ".xz", ".zst")) and found is not None:
        # Checksums let through what was not altered, and the parts of a header that tell nothing.
        assert found == "a😀b".encode() * 3
