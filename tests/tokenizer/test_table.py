"""The table's file: exact there and back, and hostile ones refused before they cost anything."""

import contextlib
import io
import json
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.errors import ArtifactError
from tokkit.tokenizer import Pretokenizer
from tokkit.tokenizer.counting import count, count_texts
from tokkit.tokenizer.table import PretokenTable

TEXTS = ["straw straws, berry", "berry \n\n naïve 東京 <|end|>x", ""] * 3


def same(left, right):
    assert left.data.tobytes() == right.data.tobytes()
    assert left.offsets.tolist() == right.offsets.tolist()
    assert (left.block_counts != right.block_counts).nnz == 0
    assert left.group_names == right.group_names
    assert left.pretokenizer == right.pretokenizer
    assert left.origin == right.origin
    for name in ("group", "documents", "bytes", "characters", "words", "lines"):
        assert getattr(left.blocks, name).tolist() == getattr(right.blocks, name).tolist()
    return True


def grouped_table(folder):
    records = [{"text": text, "lang": lang} for text in TEXTS for lang in ("fr", "de")]
    path = folder / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return count([path], "cl100k", group_field="lang", removed_texts=["<|end|>"])


TABLES = {
    "atoms": lambda folder: count_texts(TEXTS),
    "blocks": lambda folder: count_texts(TEXTS * 500, "gpt2", by_blocks=True),
    "split": lambda folder: count_texts(TEXTS).split("deepseek-v3"),
    "groups": grouped_table,
    "pattern": lambda folder: count_texts(TEXTS, Pretokenizer("mine", (r"\w+", r"[a-m]+"))),
    "empty-documents": lambda folder: count_texts(["", ""], "gpt2"),
    "no-documents": lambda folder: count_texts([], "gpt2"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_what_is_saved_comes_back(tmp_path, kind):
    table = TABLES[kind](tmp_path)
    path = tmp_path / "table.npz"
    table.save(path)
    again = PretokenTable.load(path)
    assert same(table, again)
    again.save(tmp_path / "again.npz")
    assert same(PretokenTable.load(tmp_path / "again.npz"), table)


def test_totals_are_sums_over_blocks_and_over_groups(tmp_path):
    table = grouped_table(tmp_path)
    assert table.totals.sum() > 0
    assert table.group_totals.sum(axis=0).tolist() == table.totals.tolist()
    assert table.group_totals[0].tolist() == table.group_totals[1].tolist()
    assert table.lengths.tolist() == [len(table.pretoken(place)) for place in range(len(table))]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "table.npz"
    count_texts(TEXTS, "gpt2", by_blocks=True).save(path)
    return path


def refusal(path):
    """The message with which loading is refused; always a single line that names the file."""
    with pytest.raises(ArtifactError) as caught:
        PretokenTable.load(path)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{path} is not a whole table of pretokens (")
    assert said.endswith("): count the text again")
    return said


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ArtifactError, match=r"table .*none\.npz does not exist: check the path"):
        PretokenTable.load(tmp_path / "none.npz")


def test_a_folder_is_refused(tmp_path):
    refusal(tmp_path)


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_archive_is_refused(tmp_path, data):
    path = tmp_path / "t.npz"
    path.write_bytes(data)
    refusal(path)


def test_a_plain_npy_file_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.arange(5))
    refusal(tmp_path / "t.npy")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    refusal(saved)


def test_an_altered_byte_anywhere_in_the_arrays_is_refused(saved):
    data = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        end = archive.start_dir
    refused = 0
    for place in range(0, end, 37):
        altered = bytearray(data)
        altered[place] ^= 0x41
        saved.write_bytes(altered)
        try:
            table = PretokenTable.load(saved)
        except ArtifactError:
            refused += 1
            continue
        # Some bytes of a zip file's local headers say nothing.
        saved.write_bytes(data)
        assert same(table, PretokenTable.load(saved))
    assert refused > 0.7 * len(range(0, end, 37))


def test_every_byte_of_the_archives_directory_is_guarded(saved):
    data = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        begin = archive.start_dir
    for place in range(begin, len(data)):
        for value in (0x00, 0x01, 0x40, 0xFF):
            altered = bytearray(data)
            altered[place] = value
            saved.write_bytes(altered)
            with contextlib.suppress(ArtifactError):
                PretokenTable.load(saved)


@given(st.data())
def test_no_alteration_ends_in_another_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("altered") / "t.npz"
    count_texts(TEXTS, "gpt2").save(path)
    altered = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(altered)
    with contextlib.suppress(ArtifactError):
        PretokenTable.load(path)


def arrays_of(path):
    with np.load(path) as arrays:
        return {name: arrays[name].copy() for name in arrays.files}


def with_head(arrays, change):
    head = json.loads(arrays["head"].tobytes())
    change(head)
    return {**arrays, "head": np.frombuffer(json.dumps(head).encode(), np.uint8)}


def changed(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


def head(key, value):
    return lambda arrays: with_head(arrays, lambda record: record.update({key: value}))


def origin(key, value):
    return lambda arrays: with_head(arrays, lambda record: record["origin"].update({key: value}))


def rule(key, value):
    return lambda arrays: with_head(
        arrays, lambda record: record["pretokenizer"].update({key: value})
    )


FAULTS = {
    "an array is missing": lambda arrays: {n: a for n, a in arrays.items() if n != "columns"},
    "counts of nothing": changed("counts", put(0, 0)),
    "counts below nothing": changed("counts", put(0, -5)),
    "counts beyond 62 bits": changed("counts", lambda counts: np.full_like(counts, 2**62)),
    "counts too few": changed("counts", lambda counts: counts[:-1]),
    "counts of another type": changed("counts", lambda counts: counts.astype(np.float64)),
    "a column too far": changed("columns", put(-1, 10**6)),
    "a column below nothing": changed("columns", put(-1, -1)),
    "pointers fall": changed("pointers", lambda pointers: pointers[::-1].copy()),
    "pointers end too far": changed("pointers", put(-1, 10**6)),
    "pointers of two dimensions": changed("pointers", lambda pointers: pointers[:, None]),
    "offsets fall": changed("offsets", put(1, 0)),
    "offsets begin late": changed("offsets", put(0, 1)),
    "offsets go beyond the data": changed("offsets", put(-1, 10**9)),
    "no offsets at all": changed("offsets", lambda offsets: offsets[:0]),
    "offsets of two dimensions": changed("offsets", lambda offsets: offsets[:, None]),
    "data of two dimensions": changed("data", lambda data: data[:, None]),
    "data of another type": changed("data", lambda data: data.astype(np.int64)),
    "blocks below nothing": changed("blocks", put((1, 0), -1)),
    "a group that has no name": changed("blocks", put((0, 0), 9)),
    "blocks too few": changed("blocks", lambda blocks: blocks[:, :-1]),
    "blocks of one dimension": changed("blocks", lambda blocks: blocks.ravel()),
    "scalars": changed("counts", lambda counts: np.int64(3)),
    "another format": head("format", "tokkit/pretokens/999"),
    "group names are numbers": head("group_names", [1]),
    "group names are a text": head("group_names", "abc"),
    "the rule is a number": head("pretokenizer", 7),
    "the rule's pattern is a number": rule("pattern", 7),
    "the rule has a number among its patterns": rule("pattern", ["a", 7]),
    "the rule has another field": rule("evil", 7),
    "the origin is a list": head("origin", []),
    "the origin counts with texts": origin("documents", "many"),
    "the origin counts below nothing": origin("bytes", -1),
    "the origin counts with true": origin("bytes", True),
    "files are numbers": origin("files", [1]),
    "removed texts are nothing": origin("removed_texts", None),
    "settings are a list": origin("settings", []),
    "the head is a list": lambda arrays: {**arrays, "head": np.frombuffer(b"[]", np.uint8)},
    "the head is no JSON": lambda arrays: {**arrays, "head": np.frombuffer(b"{", np.uint8)},
    "the head is no text": lambda arrays: {**arrays, "head": np.frombuffer(b"\xff", np.uint8)},
    "the head is deep": lambda arrays: {
        **arrays,
        "head": np.frombuffer(b"[" * 200_000, np.uint8),
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_do_not_fit_together_are_refused(saved, fault):
    arrays = FAULTS[fault](arrays_of(saved))
    with saved.open("wb") as file:
        np.savez(file, **arrays)
    refusal(saved)


def test_the_file_that_the_faults_are_made_from_is_sound(saved):
    with saved.open("r+b") as file:
        np.savez(file, **arrays_of(saved))
    PretokenTable.load(saved)


def npy(descr, shape, body=b"", version=b"\x01\x00"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body


def replaced(path, member, content, **options):
    """The archive with another content for one of its members."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[member] = content
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickled_array_is_refused_and_not_unpickled(saved, tmp_path):
    mark = tmp_path / "unpickled"
    body = io.BytesIO()
    np.save(body, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    replaced(saved, "counts.npy", body.getvalue())
    assert "counts.npy is no plain array of whole numbers" in refusal(saved)
    replaced(saved, "counts.npy", pickle.dumps(Bomb(mark)))
    assert "counts.npy has no header of an array" in refusal(saved)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        npy("<i8", (10**12,)),
        npy("<i8", (10**30,)),
        npy("<i8", (2**40, 2**40)),
        npy("<i8", (-1,), bytes(8)),
        npy("<i8", (-2, -2), bytes(32)),
        npy("|V0", (10**18,)),
        npy("|u1", (10**12,), bytes(100)),
        npy([("a", "<i8")], (3,), bytes(24)),
        npy("<i8", (3,), bytes(24), version=b"\x09\x00"),
        npy("<i8", "(" * 3000),
        npy("<i8", "__import__('os').getcwd()"),
        npy("<M8[s]", (3,), bytes(24)),
        b"\x93NUMPY\x01\x00\xff\xff{",
    ],
    ids=lambda content: content[10:70].decode("latin-1"),
)
def test_absurd_shapes_and_headers_are_refused_before_memory_is_taken(saved, content):
    replaced(saved, "counts.npy", content)
    assert "counts.npy" in refusal(saved)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(saved):
    """300 MB of zeros, packed into 300 KB; loaded in a process that may have 200 MB more."""
    zeros = npy("|u1", (300_000_000,), bytes(300_000_000))
    replaced(saved, "data.npy", zeros, compression=zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 1_000_000
    program = f"""
        import resource
        from tokkit.errors import ArtifactError
        from tokkit.tokenizer.table import PretokenTable
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            PretokenTable.load({str(saved)!r})
        except ArtifactError as error:
            print(error)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    said, more_kib = done.stdout.splitlines()
    assert "is packed" in said
    assert int(more_kib) < 100_000


def test_a_member_that_says_it_is_longer_than_the_file_is_refused(saved):
    size = 10**10
    header = npy("|u1", (size,))
    with zipfile.ZipFile(saved) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(saved, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, header if name == "data.npy" else data)
        info = archive.getinfo("data.npy")
        info.file_size = info.compress_size = size + len(header)
    assert "longer than the file" in refusal(saved)


def test_saving_where_nothing_can_be_written_leaves_what_was_there(saved, monkeypatch):
    before = saved.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="no space left on device"):
        count_texts(["other"], "gpt2").save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
