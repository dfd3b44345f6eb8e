"""Files that change while they are read, pipes, and what the system refuses."""

import gzip
import io
import os
import threading

import pytest

from tokkit.corpus import ShardReader, read_documents
from tokkit.corpus import parts as parts_module
from tokkit.errors import InputError


def test_a_file_that_grows_gives_an_exact_prefix(tmp_path):
    path = tmp_path / "a.txt"
    before = "é first\n" * 100_000
    path.write_text(before, encoding="utf-8")
    parts = read_documents([path], part_characters=1000)
    read = [next(parts).text]
    with path.open("a", encoding="utf-8") as file:
        file.write("more" * 1_000_000)
    read += [part.text for part in parts]
    assert "".join(read) == before


def test_a_writer_that_never_ends_does_not_keep_the_reader(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' * 100_000)
    for number, _ in enumerate(read_documents([path])):
        with path.open("a") as file:
            file.write('{"text": "more"}\n')
        assert number < 100_000


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_a_file_that_gets_shorter_is_told(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"text": "x"}\n' * 100_000)
    documents = read_documents([path], part_characters=1000)
    next(documents)
    os.truncate(path, 500_000)
    with pytest.raises(InputError) as caught:
        list(documents)
    assert f"{path} became shorter while it was read: it had 1400000 bytes" in str(caught.value)


def test_a_file_that_vanishes_while_it_is_read_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n' * 100_000)
    documents = read_documents([path])
    next(documents)
    path.unlink()
    assert sum(1 for _ in documents) == 99_999


def test_a_file_that_vanishes_before_its_turn_is_told(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("x")
    documents = read_documents([tmp_path])
    next(documents)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match=r"b\.txt does not exist"):
        next(documents)


@pytest.mark.parametrize("name", ["pipe", "pipe.jsonl.gz"])
def test_a_pipe_is_read_to_its_end(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    text = '{"text": "é"}\n' * 50_000
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    documents = [document.text for document in read_documents([path])]
    writer.join()
    assert documents == (["é"] * 50_000 if name.endswith(".gz") else [text])


def test_standard_input_is_plain_text(monkeypatch):
    class Stdin:
        buffer = io.BytesIO("é\r\n".encode())

    monkeypatch.setattr("sys.stdin", Stdin)
    (document,) = read_documents(["-"])
    assert (document.text, document.origin) == ("é\r\n", "standard input")
    with pytest.raises(InputError, match="standard input is empty"):
        list(read_documents(["-"]))


def test_a_file_without_a_size_is_read():
    (document,) = read_documents(["/proc/self/status"])
    assert "Name:" in document.text


def test_what_the_system_refuses_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("x")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError) as caught:
        list(read_documents([path]))
    assert str(caught.value) == (
        f"cannot read {path}: permission denied; check the file and its rights"
    )


def test_a_disk_that_fails_while_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("x" * 1_000_000)

    class Failing(io.RawIOBase):
        def __init__(self, *_):
            self.calls = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            self.calls += 1
            if self.calls > 2:
                raise OSError(5, "Input/output error")
            buffer[:] = b"y" * len(buffer)
            return len(buffer)

    monkeypatch.setattr("tokkit.corpus.opening._Measured", Failing)
    with pytest.raises(InputError, match=r"cannot read .*: input/output error"):
        list(read_documents([path]))


def test_a_line_of_five_megabytes_in_a_part_of_each_block(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("😀" * 1_250_000, encoding="utf-8")
    assert path.stat().st_size == 5_000_000
    (shard,) = ShardReader([path])
    assert shard.data.tobytes() == path.read_bytes()
    assert 5_000_000 % parts_module.BLOCK_BYTES


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[" * 1_000_000 + "]" * 1_000_000, "must be one JSON object"),
        ('{"a":' * 1_000_000 + "1" + "}" * 1_000_000, "must be one JSON object"),
        ('{"text": ' + "9" * 100_000 + "}", "must be one JSON object"),
        ('{"text": 1e999}', "must be a string, got a number"),
        ('{"text": NaN}', "must be a string, got a number"),
        ('{"text": true}', "must be a string, got a boolean"),
        ('{"text": {}}', "must be a string, got an object"),
        ('{"text": "a"} {"text": "b"}', "Extra data"),
        ('{"text": "a\nb"}', "must be one JSON object"),
        ('{"text": "a\0"}', "must be one JSON object"),
        ('"text"', "got a string"),
        ("null", "got null"),
    ],
)
def test_hostile_lines_are_told_by_number(tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        list(ShardReader([path]))
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert said in str(caught.value)


def test_a_line_without_end_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tokkit.corpus.records.MAX_LINE_BYTES", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "x" * 2000)
    with pytest.raises(InputError, match="a JSONL line may hold at most 1000 bytes"):
        list(read_documents([path]))
