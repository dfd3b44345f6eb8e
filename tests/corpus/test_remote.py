import gzip
import subprocess
import sys

import pytest

from tokkit.corpus import ShardReader, read_documents
from tokkit.corpus.remote import is_url, name_of
from tokkit.errors import InputError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name, data in {
        "/corpus/de/a.txt": "ä\r\n".encode(),
        "/corpus/en/b.jsonl.gz": gzip.compress(b'{"text": "b"}\n'),
        "/corpus/en/photo.png": b"\xff",
        "/corpus/.hidden/c.txt": b"c",
        "/corpus/d.md": b"d",
        "/corpus/empty.md": b"",
    }.items():
        system.pipe(name, data)
    yield system
    system.store.clear()


def texts(*paths, **options):
    return [document.text for document in read_documents(paths, **options)]


def test_a_url_is_a_scheme_and_two_slashes():
    assert is_url("s3://bucket/a.txt")
    assert is_url("https://a.b/c")
    assert not any(map(is_url, ["a.txt", "/a//b", "c:/a.txt", "c://a", "://a", "-"]))
    assert name_of("https://a.b/c.txt.gz?download=1#top") == "a.b/c.txt.gz"
    assert name_of("memory://corpus/a?b.txt") == "corpus/a?b.txt"


def test_files_folders_and_globs(memory):
    assert texts("memory://corpus/de/a.txt") == ["ä\r\n"]
    assert texts("memory://corpus/en/b.jsonl.gz") == ["b"]
    assert texts("memory://corpus/") == ["d", "ä\r\n", "b"]
    assert texts("memory://corpus/*/*.txt") == ["ä\r\n"]
    reader = ShardReader(["memory://corpus/"], group_by_folder=True)
    list(reader)
    assert reader.group_names == ["corpus", "de", "en"]


def test_what_is_not_there_is_told(memory):
    for url, said in (
        ("memory://corpus/no.txt", "memory://corpus/no.txt does not exist: check the address"),
        ("memory://corpus/*.rs", "no file of text is found at memory://corpus/*.rs"),
        ("nothing://a/b.txt", "cannot read nothing://a/b.txt: ValueError: Protocol not known"),
    ):
        with pytest.raises(InputError) as caught:
            texts(url)
        assert said in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3://bucket/a\.txt needs a package .*s3fs"):
        texts("s3://bucket/a.txt")


def test_what_a_remote_library_raises_while_read_is_told(memory, monkeypatch):
    class Broken:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def readable(self):
            return True

        def readinto(self, _):
            raise RuntimeError("the line\nwent dead")

    monkeypatch.setattr("tokkit.corpus.remote.open_url", lambda url: Broken(memory.open(url)))
    with pytest.raises(InputError) as caught:
        texts("memory://corpus/d.md")
    assert "RuntimeError: the line went dead; check the address" in str(caught.value)


def test_parquet_from_afar(memory):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"text": ["x", "é"]})
    with memory.open("/corpus/a.parquet", "wb") as file:
        parquet.write_table(table, file)
    assert texts("memory://corpus/a.parquet") == ["x", "é"]


def test_local_files_need_no_remote_package():
    code = (
        "import sys, tokkit.corpus as c; list(c.read_documents([sys.argv[1]])); "
        "print([m for m in ('fsspec', 'zstandard', 'pyarrow', 'numba') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
