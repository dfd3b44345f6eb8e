import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus import CorpusDigest, Document, ShardReader, read_documents
from tokkit.corpus.shards import shards_of_documents
from tokkit.errors import ConfigError, InputError


def pieces_of(reader):
    """(bytes, group name, continued) of each piece, after checking what every shard promises."""
    found = []
    for shard in reader:
        count = len(shard.groups)
        assert shard.data.dtype == np.uint8
        assert shard.starts.dtype == np.int64
        assert shard.groups.dtype == np.int32
        assert shard.continued.dtype == np.bool_
        assert shard.starts.shape == (count + 1,)
        assert shard.continued.shape == (count,)
        assert shard.data.flags.c_contiguous
        assert shard.data.flags.writeable
        assert shard.starts[0] == 0
        assert shard.starts[-1] == len(shard.data)
        for index in range(count):
            piece = shard.data[shard.starts[index] : shard.starts[index + 1]].tobytes()
            piece.decode()
            found.append((piece, int(shard.groups[index]), bool(shard.continued[index])))
    names = reader.group_names
    return [(piece, names[group], continued) for piece, group, continued in found]


def joined(pieces):
    """The documents that the pieces make up."""
    documents = []
    for piece, _, continued in pieces:
        if continued:
            documents[-1] += piece
        else:
            documents.append(piece)
    return documents


def after_space(data):
    """A rule for cutting: after any space."""
    return data.tobytes().rfind(b" ") + 1


def write_jsonl(path, texts, **fields):
    lines = [json.dumps({"text": text, **fields}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@given(
    st.lists(st.text(st.sampled_from("ab é😀\n\0"), max_size=60), min_size=1, max_size=9),
    st.integers(4, 40),
    st.integers(4, 40),
)
def test_pieces_join_to_the_documents_whatever_the_sizes(tmp_path_factory, texts, shard, part):
    path = write_jsonl(tmp_path_factory.mktemp("shards") / "a.jsonl", texts)
    plain = ShardReader([path], shard_bytes=shard)
    cut = ShardReader([path], shard_bytes=shard, part_bytes=part, cut=after_space)
    assert pieces_of(plain) == [(text.encode(), "", False) for text in texts]
    pieces = pieces_of(cut)
    assert joined(pieces) == [text.encode() for text in texts]
    longest = max(len(word) + 1 for text in texts for word in text.encode().split(b" "))
    assert max(len(piece) for piece, _, _ in pieces) <= max(part, 2 * longest) + part
    digest = CorpusDigest()
    for document in read_documents([path]):
        digest.add(document)
    for reader in (plain, cut):
        assert reader.hexdigest() == digest.hexdigest()
        assert (reader.documents, reader.bytes) == (digest.documents, digest.bytes)


@given(st.text(st.sampled_from("ab é😀<|>"), min_size=1, max_size=80), st.integers(4, 9))
def test_removed_texts_part_a_document(tmp_path_factory, text, part):
    import re

    path = tmp_path_factory.mktemp("removed") / "a.txt"
    path.write_bytes(text.encode())
    remove = ["ab", "<|>", "a", "<|", "é😀"]
    # The longest first, as an alternation of regular expressions tries them.
    kept = [piece for piece in re.split(r"ab|<\|>|<\||é😀|a", text) if piece] or [""]
    reader = ShardReader([path], remove=[one.encode() for one in remove])
    pieces = pieces_of(reader)
    assert [piece.decode() for piece, _, _ in pieces] == kept
    assert [continued for _, _, continued in pieces] == [False] + [True] * (len(kept) - 1)
    assert reader.bytes == len(text.encode())
    small = ShardReader(
        [path], remove=[one.encode() for one in remove], part_bytes=part, cut=after_space
    )
    assert joined(pieces_of(small)) == ["".join(kept).encode()]


@pytest.mark.parametrize("before", [0, 1, 2**18 - 13, 2**18 - 12, 2**18 - 1, 2**18, 2**19 - 7])
def test_a_removed_text_may_stand_across_blocks(tmp_path, before):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * before + b"<|endoftext|>" + b"y" * 7)
    pieces = pieces_of(ShardReader([path], remove=[b"<|endoftext|>"]))
    assert [piece for piece, _, _ in pieces] == [b"x" * before, b"y" * 7][before == 0 :]


def test_a_document_of_which_nothing_is_left_is_an_empty_piece(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["<e>", "", "<e><e>", "b<e>"])
    pieces = pieces_of(ShardReader([path], remove=[b"<e>"]))
    assert pieces == [(b"", "", False)] * 3 + [(b"b", "", False)]


def test_a_long_stretch_without_a_cut_is_one_piece_found_in_linear_time(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one " + b"x" * 5_000_000 + b" two")
    looked_at = []

    def counting(data):
        looked_at.append(len(data))
        return after_space(data)

    pieces = pieces_of(ShardReader([path], cut=counting, part_bytes=1 << 12))
    assert b"".join(piece for piece, _, _ in pieces) == path.read_bytes()
    assert max(len(piece) for piece, _, _ in pieces) >= 5_000_001
    assert sum(looked_at) < 4 * 5_000_000


def test_groups_come_from_a_field(tmp_path):
    path = tmp_path / "a.jsonl"
    groups = ["de", "en", "de", 3, True, None, ""]
    path.write_text("\n".join(json.dumps({"text": "x", "lang": group}) for group in groups))
    reader = ShardReader([path], group_field="lang")
    assert [group for _, group, _ in pieces_of(reader)] == ["de", "en", "de", "3", "true", "", ""]
    assert reader.group_names == ["de", "en", "3", "true", ""]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"text": "x"}, "no field 'lang' (the line has 'text'); name the field with --group-field"),
        ({"text": "x", "lang": 1.5}, "which names the group, must be a string"),
        ({"text": "x", "lang": ["de"]}, "got an array"),
    ],
)
def test_a_group_of_another_type_is_told(tmp_path, line, said):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "x", "lang": "de"}) + "\n" + json.dumps(line))
    with pytest.raises(InputError) as caught:
        list(ShardReader([path], group_field="lang"))
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert said in str(caught.value)


def test_plain_text_has_no_field_to_group_by(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    with pytest.raises(InputError, match="is plain text, which has no field 'lang' to group by"):
        list(ShardReader([path], group_field="lang"))


def test_groups_come_from_the_first_folder_below(tmp_path):
    for name in ("de/a.txt", "de/news/b.txt", "fr/a.txt", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    own = tmp_path.name

    def groups(*paths):
        reader = ShardReader(paths, group_by_folder=True)
        return [(piece.decode(), group) for piece, group, _ in pieces_of(reader)]

    whole = [("c.txt", own), ("de/a.txt", "de"), ("de/news/b.txt", "de"), ("fr/a.txt", "fr")]
    assert groups(tmp_path) == whole
    assert groups(f"{tmp_path}/**/*.txt") == whole
    assert groups(f"{tmp_path}/*/a.txt") == [("de/a.txt", "de"), ("fr/a.txt", "fr")]
    assert groups(tmp_path / "de" / "news" / "b.txt") == [("de/news/b.txt", "news")]


def test_settings_that_contradict_are_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    for settings, said in (
        ({"group_field": "a", "group_by_folder": True}, "groups come from one place"),
        ({"errors": "ignore"}, "unknown way with encoding errors 'ignore'"),
        ({"shard_bytes": 3}, "shard_bytes is 4 to 2147483647, got 3"),
        ({"part_bytes": 2**31}, "part_bytes is 4 to 2147483647, got 2147483648"),
        ({"remove": [b""]}, "a text to remove must be UTF-8 and not empty, got b''"),
        ({"remove": [b"\xff"]}, r"got b'\xff'"),
    ):
        with pytest.raises(ConfigError) as caught:
            ShardReader([path], **settings)
        assert said in str(caught.value)


def test_it_is_read_once(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    reader = ShardReader([path])
    assert len(list(reader)) == 1
    with pytest.raises(ConfigError, match="is read once"):
        iter(reader)


def test_a_shard_without_text_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr("tokkit.corpus.shards._MAX_PIECES", 3)
    path = write_jsonl(tmp_path / "a.jsonl", [""] * 7)
    assert [len(shard.groups) for shard in ShardReader([path])] == [3, 3, 1]


def test_a_piece_of_two_gigabytes_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tokkit.corpus.pieces.MAX_PIECE_BYTES", 1_000_000)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(bytes(1_000_001)))
    with pytest.raises(InputError, match="text without a place to cut it may have 1000000 bytes"):
        list(ShardReader([path]))


def test_documents_at_hand_give_the_same_shards():
    documents = [Document("a<e>b c", "x"), Document(" d", "x", continued=True), Document("", "y")]
    (shard,) = shards_of_documents(documents, remove=[b"<e>"])
    assert shard.data.tobytes() == b"ab c d"
    assert shard.starts.tolist() == [0, 1, 6, 6]
    assert shard.continued.tolist() == [False, True, False]
    assert shard.groups.tolist() == [0, 0, 0]
    with pytest.raises(InputError, match=r"y: .* half of a surrogate pair"):
        list(shards_of_documents([Document("\ud800", "y")]))
    with pytest.raises(ConfigError, match="shard_bytes is 4"):
        shards_of_documents([], shard_bytes=1)
