import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus import CorpusDigest, Document, read_documents
from tokkit.errors import InputError

AWKWARD = "\ufeffone \r\ntwo\t \r\x00\n\n é😀 e\u0301  "


def read(*paths, **options):
    return list(read_documents(paths, **options))


def failure(*paths, **options):
    with pytest.raises(InputError) as caught:
        read(*paths, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.md"])
def test_plain_text_is_one_document_kept_to_the_byte(tmp_path, name):
    path = tmp_path / name
    data = AWKWARD.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read(path) == [Document(AWKWARD, str(path))]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz"])
def test_jsonl_is_one_document_a_line(tmp_path, name):
    path = tmp_path / name
    lines = [{"text": AWKWARD}, {"id": 7, "text": ""}, {"text": "b\u2028c"}]
    data = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = read(path)
    assert [document.text for document in found] == [AWKWARD, "", "b\u2028c"]
    assert [document.origin for document in found] == [f"{path}:{n}" for n in (1, 3, 5)]


def test_jsonl_may_start_with_a_byte_order_mark_and_name_another_field(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"body": "\xef\xbb\xbfx"}\n')
    assert [document.text for document in read(path, text_field="body")] == ["\ufeffx"]


@given(st.text(st.sampled_from("ab\né😀\r "), min_size=1, max_size=200), st.integers(1, 9))
def test_parts_join_to_the_text_and_leave_the_digest_alone(tmp_path_factory, text, size):
    path = tmp_path_factory.mktemp("parts") / "a.txt"
    path.write_bytes(text.encode())
    parts = read(path, part_characters=size)
    assert "".join(part.text for part in parts) == text
    assert [part.continued for part in parts] == [False] + [True] * (len(parts) - 1)
    assert all(len(part.text) >= size for part in parts[:-1])
    # A line is broken only where it is sixteen times longer than asked for.
    assert all(part.text.endswith("\n") or len(part.text) == 16 * size for part in parts[:-1])
    assert digest_of(parts).hexdigest() == digest_of(read(path)).hexdigest()


def digest_of(documents):
    digest = CorpusDigest()
    for document in documents:
        digest.add(document)
    return digest


def test_digest_counts_and_tells_boundaries_apart():
    one = digest_of([Document("ab", "x"), Document("é", "y")])
    other = digest_of([Document("a", "x"), Document("bé", "y")])
    assert (one.documents, one.bytes) == (2, 4)
    assert one.hexdigest() != other.hexdigest()
    # sha256(sha256("ab") + sha256("é")), with the standard tools.
    import hashlib

    inner = hashlib.sha256(b"ab").digest() + hashlib.sha256("é".encode()).digest()
    assert one.hexdigest() == hashlib.sha256(inner).hexdigest()


def test_a_block_boundary_inside_a_character_is_no_fault(tmp_path):
    path = tmp_path / "a.txt"
    text = "x" * (2**18 - 1) + "😀" + "y"
    path.write_bytes(text.encode())
    assert read(path)[0].text == text


def test_missing_file_names_the_near_match(tmp_path):
    (tmp_path / "corpus.txt").write_text("x")
    wanted = tmp_path / "corpsu.txt"
    assert failure(wanted) == f"{wanted} does not exist: did you mean {tmp_path / 'corpus.txt'}?"
    assert failure(tmp_path / "zzz").endswith("does not exist: check the path")
    assert "there is no folder" in failure(tmp_path / "no" / "a.txt")


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.txt", b""), ("a.jsonl", b""), ("a.jsonl", b"\n \n"), ("a.txt.gz", gzip.compress(b""))],
)
def test_empty_file(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    assert failure(path) == f"{path} is empty: give a file that holds text"


def test_folder(tmp_path):
    assert f"{tmp_path} is a folder: name the files in it" in failure(tmp_path)


@pytest.mark.parametrize("offset", [0, 5, 2**18 - 1, 2**18, 2**18 + 3])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_invalid_utf8_names_the_byte(tmp_path, name, offset):
    path = tmp_path / name
    data = b"a" * offset + b"\xff" + b"b" * 9
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    unpacked = " of the unpacked text" if name.endswith(".gz") else ""
    assert f"{path} is not UTF-8: invalid start byte at byte {offset} (0xff){unpacked};" in failure(
        path
    )


@pytest.mark.parametrize("before", [3, 2**18 - 2])
def test_utf8_cut_in_the_middle_of_a_character(tmp_path, before):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * before + "😀".encode()[:3])
    assert f"at byte {before} (0xf0)" in failure(path)
    path.write_bytes(b"a" * before + "😀".encode()[:3] + b"(")
    assert f"at byte {before} (0xf0)" in failure(path)


def test_invalid_utf8_in_jsonl_counts_from_the_start_of_the_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "\xc3("}\n')
    assert "at byte 24 (0xc3)" in failure(path)


def test_truncated_gzip(tmp_path):
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress(bytes(range(97, 123)) * 4000)
    path.write_bytes(whole[: len(whole) // 2])
    assert failure(path) == f"{path} is cut short: its gzip stream has no end; copy it again"
    path.write_bytes(b"not gzip at all")
    assert "is not a whole gzip file" in failure(path)
    path.write_bytes(whole[:-6] + bytes(6))
    assert "is not a whole gzip file" in failure(path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "must be an object with the field 'text', got an array"),
        ("3", "got a number"),
        ('{"txt": "a"}', "no field 'text' (the line has txt); name the field with --text-field"),
        ("{}", "no field 'text' (the line has no field)"),
        ('{"text": null}', "field 'text' must be a string, got null"),
        ('{"text": "a"', "must be one JSON object"),
        ("[" * 100_000, "must be one JSON object"),
        (r'{"text": "a\ud800"}', "character 1 is half of a surrogate pair (U+D800)"),
    ],
)
def test_jsonl_faults_name_file_and_line(tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    message = failure(path)
    assert said in message
    assert message.startswith((f"{path}, line 2:", f"{path}:2:"))
