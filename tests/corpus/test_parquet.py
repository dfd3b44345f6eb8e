import sys

import pytest

from tokkit.corpus import CorpusDigest, ShardReader, read_documents
from tokkit.errors import ConfigError, InputError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = ["one\r\n\0", "", "é😀" * 1000, "\ufeff four"]


def write(path, **columns):
    parquet.write_table(pyarrow.table(columns), path, row_group_size=3)
    return path


def failure(*paths, **options):
    with pytest.raises(InputError) as caught:
        list(ShardReader(paths, **options))
    return str(caught.value)


@pytest.mark.parametrize(
    "kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary("int32", "string")]
)
def test_each_row_is_a_document(tmp_path, kind):
    column = pyarrow.array(TEXTS, pyarrow.string()).cast(kind)
    path = write(tmp_path / "a.parquet", body=column, other=[1, 2, 3, 4])
    found = list(read_documents([path], text_field="body"))
    assert [document.text for document in found] == TEXTS
    assert [document.origin for document in found] == [f"{path}:{row}" for row in (1, 2, 3, 4)]
    reader = ShardReader([path], text_field="body")
    (shard,) = reader
    assert shard.data.tobytes() == "".join(TEXTS).encode()
    digest = CorpusDigest()
    for document in found:
        digest.add(document)
    assert reader.hexdigest() == digest.hexdigest()


def test_more_rows_than_a_batch(tmp_path):
    texts = [f"document {number}" for number in range(1009)]
    path = write(tmp_path / "a.parquet", text=texts, group=[n % 3 for n in range(1009)])
    reader = ShardReader([path], group_field="group")
    (shard,) = reader
    assert shard.data.tobytes() == "".join(texts).encode()
    assert [reader.group_names[group] for group in shard.groups[:4]] == ["0", "1", "2", "0"]


def test_groups_may_be_null(tmp_path):
    path = write(tmp_path / "a.parquet", text=["x", "y"], lang=["de", None])
    reader = ShardReader([path], group_field="lang")
    list(reader)
    assert reader.group_names == ["de", ""]


def test_wrong_columns_are_told(tmp_path):
    path = write(tmp_path / "a.parquet", txt=["x"], n=[1.5], none=pyarrow.array([None], "string"))
    assert "no field 'text' (the line has txt); name the field with --text-field" in failure(path)
    assert "column 'n' must hold strings, got double" in failure(path, text_field="n")
    assert f"{path}, row 1: field 'none' must be a string, got null" in failure(
        path, text_field="none"
    )
    assert "must be a string, a whole number" in failure(path, text_field="txt", group_field="n")
    assert "no field 'lang'" in failure(path, text_field="txt", group_field="lang")


def test_bytes_that_are_not_utf8_are_told_or_mended(tmp_path):
    bad = pyarrow.array([b"fine", b"a\xffb"], pyarrow.binary())
    column = pyarrow.StringArray.from_buffers(2, bad.buffers()[1], bad.buffers()[2])
    path = write(tmp_path / "a.parquet", text=column)
    assert f"{path}, row 2 is not UTF-8: invalid start byte at byte 1 (0xff)" in failure(path)
    found = read_documents([path], errors="replace")
    assert [document.text for document in found] == ["fine", "a\ufffdb"]


def test_damage_is_told(tmp_path):
    path = write(tmp_path / "a.parquet", text=["x" * 100] * 1000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert f"{path} is not a whole Parquet file (" in failure(path)
    path.write_bytes(b"PAR1 is not enough")
    assert f"{path} is not a whole Parquet file (" in failure(path)
    altered = bytearray(whole)
    altered[4:60] = bytes(56)
    path.write_bytes(altered)
    assert f"{path} is not a whole Parquet file (" in failure(path)
    path.write_bytes(b"")
    assert f"{path} is not a whole Parquet file (" in failure(path)
    packed = tmp_path / "a.parquet.gz"
    packed.write_bytes(b"x")
    assert "unpack the file" in failure(packed)


def test_no_rows_are_no_text(tmp_path):
    path = write(tmp_path / "a.parquet", text=pyarrow.array([], "string"))
    assert failure(path) == f"{path} is empty: give a file that holds text"


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", text=["x"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as caught:
        list(read_documents([path]))
    assert str(caught.value) == (
        f"{path} needs the package pyarrow: install it with pip install 'tokkit[parquet]'"
    )
