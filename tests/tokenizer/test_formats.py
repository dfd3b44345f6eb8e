"""Every format in and out but rank files: what is read and refused, what other readers give."""

import json
import sys

import pytest
import tokenizers
from foreign_files import (
    TEXTS,
    byte_fallback,
    learned,
    rank_file,
    sentencepiece_model,
    unigram,
    wordpiece,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ArtifactError, ConfigError, InputError, OutputError, TokkitError
from tokkit.tokenizer import PRETOKENIZERS, Tokenizer, assemble
from tokkit.tokenizer.formats import export_tokenizer, load_tokenizer
from tokkit.tokenizer.formats.sentencepiece import load_sentencepiece
from tokkit.tokenizer.formats.vocab_merges import parse_merges
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.records import MAX_ADDED_TOKENS


def export_pair(tokenizer, folder):
    return export_tokenizer(tokenizer, "vocab-merges", folder)


# tokenizer.json


@pytest.mark.parametrize("name", [name for name in PRETOKENIZERS if name != "bytes"])
def test_tokenizer_json_gives_equal_ids_elsewhere(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = learned(name, added_tokens=["How many"])
    (path,) = export_tokenizer(tokenizer, "tokenizer.json", tmp_path)
    assert path == tmp_path / "tokenizer.json"
    raw = tokenizers.Tokenizer.from_file(str(path))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    back = load_tokenizer(tmp_path)
    assert isinstance(back, Tokenizer)
    for text in TEXTS:
        wanted = tokenizer.encode(text, allow_special=True)
        assert raw.encode(text).ids == wanted
        assert fast.encode(text, add_special_tokens=False) == wanted
        assert back.encode(text, allow_special=True) == wanted
        assert back.encode(text) == tokenizer.encode(text)


def test_holes_and_ignored_merges_go_through_tokenizer_json(tmp_path):
    transformers = pytest.importorskip("transformers")
    path = tmp_path / "x.tiktoken"
    path.write_bytes(rank_file([b"rr", b"err", b"xyz"]))
    tokenizer = load_tokenizer(path, pretokenizer="cl100k", special_tokens={"<s>": 300, "<e>": 270})
    assert tokenizer.ignores_merges
    export_tokenizer(tokenizer, "tokenizer.json", tmp_path / "tokenizer.json")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    raw = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    back = load_tokenizer(tmp_path / "tokenizer.json")
    assert back.unused_ids == set(range(259, 300)) - {270}
    for text in [*TEXTS, "xyz", "xyz<s>", " xyz", "wxyz<e>erry"]:
        wanted = tokenizer.encode(text, allow_special=True)
        assert fast.encode(text, add_special_tokens=False) == raw.encode(text).ids == wanted
        assert back.encode(text, allow_special=True) == wanted
    assert back.encode("xyz<s>") == [258, *b"<s>"]


def test_merges_as_strings_or_pairs(tmp_path):
    tokenizer = learned("gpt2")
    record = json.loads(tokenizer.to_json())
    record["model"]["merges"] = [" ".join(merge) for merge in record["model"]["merges"]]
    path = tmp_path / "strings.json"
    path.write_text(json.dumps(record))
    assert load_tokenizer(path).to_json() == tokenizer.to_json()


# vocab.json and merges.txt


def test_vocab_and_merges_give_equal_ids_elsewhere(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = learned("gpt2", special_tokens=("<|endoftext|>", "<pad>"))
    vocab, merges = export_pair(tokenizer, tmp_path / "out")
    assert (vocab.name, merges.name) == ("vocab.json", "merges.txt")
    assert merges.read_text(encoding="utf-8").startswith("#version: 0.2\n")
    raw = tokenizers.ByteLevelBPETokenizer(str(vocab), str(merges))
    gpt2 = transformers.GPT2Tokenizer.from_pretrained(str(tmp_path / "out"))
    for place in (tmp_path / "out", vocab, merges):
        back = load_tokenizer(place)
        assert back.special_ids == tokenizer.special_ids == {0, 1}
        assert back.merge_table.tolist() == tokenizer.merge_table.tolist()
        for text in [*TEXTS, "a<|endoftext|>b<pad>"]:
            assert back.encode(text) == raw.encode(text).ids == tokenizer.encode(text)
            special = tokenizer.encode(text, allow_special=True)
            assert back.encode(text, allow_special=True) == special
            if "<pad>" not in text:
                assert gpt2.encode(text) == special
    again = export_pair(load_tokenizer(vocab), tmp_path / "again")
    for one, other in zip(again, (vocab, merges), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_what_vocab_and_merges_cannot_say_is_refused(tmp_path):
    def refuse(tokenizer, said):
        with pytest.raises(ConfigError, match=said):
            export_pair(tokenizer, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    refuse(learned("cl100k"), "stand for GPT-2's cuts, and this tokenizer's are 'cl100k'")
    refuse(learned("gpt2", added_tokens=["x y"]), "'x y' is added but not special")
    refuse(learned("gpt2", special_tokens=("END",)), "'END' would not be taken for one")
    record = json.loads(learned("gpt2").to_json())
    record["model"]["ignore_merges"] = True
    record["model"]["vocab"]["zqz"] = len(record["model"]["vocab"])
    refuse(Tokenizer.from_json(json.dumps(record)), "as it is, such as b'zqz', which merges.txt")
    library = LibraryTokenizer.from_json(wordpiece().to_str())
    refuse(library, "holds byte-level BPE that keeps text, and this is none: .*lower-cases")


@pytest.mark.parametrize(
    ("merges", "said"),
    [
        (b"a b c\n", r"line 1 of merges.txt: expected two tokens .*, got 'a b c'"),
        (b"#version: 1\na \n", r"line 2 of merges.txt: .* got 'a '"),
        (b"a \x1b\n", r"out of vocabulary"),
        (b"\xff\xfe", "merges.txt is not UTF-8 at byte 0"),
        (b"a zz\n", "out of vocabulary"),
    ],
)
def test_wrong_merges(merges, said, tmp_path):
    export_pair(learned("gpt2"), tmp_path)
    (tmp_path / "merges.txt").write_bytes(merges)
    with pytest.raises(ArtifactError, match=said) as caught:
        load_tokenizer(tmp_path / "vocab.json")
    assert str(caught.value).isprintable()


def test_windows_lines_and_a_missing_last_line_are_read():
    assert parse_merges(b"#version: 0.2\r\na b\r\nab c") == [("a", "b"), ("ab", "c")]


def test_half_a_pair_is_told(tmp_path):
    vocab, merges = export_pair(learned("gpt2"), tmp_path)
    content = vocab.read_bytes()
    vocab.unlink()
    with pytest.raises(ArtifactError, match=r"put vocab\.json beside them"):
        load_tokenizer(merges)
    vocab.write_bytes(content)
    merges.unlink()
    with pytest.raises(ArtifactError, match=r"a vocabulary alone is no tokenizer: put merges\.txt"):
        load_tokenizer(tmp_path)


# SentencePiece


@pytest.mark.parametrize(
    "options", [{}, {"model_type": "bpe", "byte_fallback": True, "vocab_size": 300}]
)
def test_sentencepiece_gives_the_ids_of_the_package(options, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    content = sentencepiece_model(**options, user_defined_symbols=["<sep>"])
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    ours = load_tokenizer(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert isinstance(ours, LibraryTokenizer)
    assert ours.vocab_size == theirs.get_piece_size()
    assert ours.unk_id == theirs.unk_id() == 0
    assert ours.special_ids == {0, 1, 2}
    assert [ours.kind(token) for token in (0, 1, 3)] == ["special", "special", "added"]
    assert ours.token_id("<sep>") == 3
    for text in [*TEXTS, "a berry<sep>straw", "<s>"]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.decode(ids) == theirs.decode(ids)
    assert ours.token_id(" berry") == theirs.piece_to_id("▁berry")
    assert any("puts a space before" in note for note in ours.notes)
    assert any("nmt_nfkc" in note for note in ours.notes)
    if options:
        assert ours.token_bytes(theirs.piece_to_id("<0x0A>")) == b"\n"
        assert ours.decode_bytes(ours.encode("東")) == "東".encode()
    ours.save(tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == content
    with pytest.raises(ConfigError, match="cannot be exported"):
        export_tokenizer(ours, "tokenizer.json", tmp_path / "x.json")


def test_without_the_package_the_way_out_is_told(monkeypatch):
    content = sentencepiece_model()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ConfigError, match=r"pip install 'tokkit\[sentencepiece\]'"):
        load_sentencepiece(content)


def test_a_cut_or_wrong_model(tmp_path):
    content = sentencepiece_model()
    path = tmp_path / "x.model"
    for wrong in (content[:-7], content[: len(content) // 2], content[:20], b"\n", b"\n\xff\xff"):
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError) as caught:
            load_tokenizer(path)
        assert str(caught.value).isprintable()
    # The score of the first piece, after its length, tag and text: not a number.
    path.write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\xc0\x7f\x18\x02" + content[16:])
    with pytest.raises(ArtifactError, match="score of each piece must be finite"):
        load_tokenizer(path)


# What is given, and what is no tokenizer


def test_settings_for_files_that_have_their_own(tmp_path):
    path = tmp_path / "tokenizer.json"
    learned("gpt2").save(path)
    with pytest.raises(ConfigError, match=r"pretokenizer cannot be given for a tokenizer\.json"):
        load_tokenizer(path, pretokenizer="gpt2")
    with pytest.raises(ConfigError, match="unknown pre-tokenizer 'gtp2': did you mean 'gpt2'"):
        load_tokenizer(path, pretokenizer="gtp2")
    with pytest.raises(ConfigError, match="unknown format 'titkoken': did you mean 'tiktoken'"):
        export_tokenizer(load_tokenizer(path), "titkoken", tmp_path / "x")


def test_what_is_no_tokenizer(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist: check the path"):
        load_tokenizer(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"holds no tokenizer: looked for tokenizer\.json, voc"):
        load_tokenizer(tmp_path)
    with pytest.raises(ArtifactError, match="is not a regular file"):
        load_tokenizer("/dev/zero")
    (tmp_path / "a.model").write_bytes(b"\x80\x02junk")
    with pytest.raises(ArtifactError, match="its 6 bytes are neither a"):
        load_tokenizer(tmp_path)
    (tmp_path / "b.model").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"holds 2 files \*\.model: name the one to load"):
        load_tokenizer(tmp_path)
    with (tmp_path / "a.model").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(
        ArtifactError, match="1,099,511,627,776 bytes, and no more than 134,217,728"
    ):
        load_tokenizer(tmp_path / "a.model")


def nested(depth):
    return '{"model": {}, "x": ' + "[" * depth + "]" * depth + "}"


def hostile(change):
    record = json.loads(assemble([(b"r", b"r")], pretokenizer="gpt2").to_json())
    change(record)
    return json.dumps(record)


HOSTILE = {
    "nesting": (lambda: nested(100_000), "nested too deeply"),
    "sequences": (
        lambda: hostile(lambda r: r.update(pre_tokenizer=json.loads(_sequences(200)))),
        "recursion limit",
    ),
    "NaN score": (
        lambda: '{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", NaN]]}}',
        "NaN is not a number",
    ),
    "infinite score": (
        lambda: '{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 1e999]]}}',
        "1e999 is too large for a number",
    ),
    "huge id": (lambda: hostile(lambda r: r["model"]["vocab"].update(zz=2**32 - 1)), "ids below"),
    "absurd id": (lambda: hostile(lambda r: r["model"]["vocab"].update(zz=10**300)), "ids below"),
    "digits": (lambda: '{"model": ' + "9" * 10_000 + "}", "not valid JSON"),
    "negative id": (lambda: hostile(lambda r: r["model"]["vocab"].update(zz=-1)), "negative"),
    "shared id": (lambda: hostile(lambda r: r["model"]["vocab"].update(zz=7)), "share id 7"),
    "truth as id": (lambda: hostile(lambda r: r["model"]["vocab"].update(zz=True)), "whole number"),
    "added tokens": (
        lambda: hostile(
            lambda r: r.update(
                added_tokens=[{"id": n, "content": f"<{n}>"} for n in range(MAX_ADDED_TOKENS + 1)]
            )
        ),
        "131,073 added tokens, and no more than 131,072",
    ),
    "added twice": (
        lambda: hostile(lambda r: r["added_tokens"].append(r["added_tokens"][0])),
        "two added tokens share id 0",
    ),
    "empty added": (
        lambda: hostile(lambda r: r["added_tokens"][0].update(content="")),
        "must hold text",
    ),
    "merge cycle": (
        lambda: hostile(
            lambda r: (
                r["model"]["vocab"].update({"": 300}),
                r["model"]["merges"].append(["", "r"]),
            )
        ),
        "merge 1 has an empty part",
    ),
    "unknown part": (
        lambda: hostile(lambda r: r["model"]["merges"].append(["qq", "r"])),
        "out of vocabulary",
    ),
    "control": (
        lambda: hostile(lambda r: r["model"]["merges"].append(["\x1b[31m\n<b>", "r"])),
        "out of vocabulary",
    ),
    "panic": (
        lambda: hostile(lambda r: r["model"].update(continuing_subword_prefix="##")),
        "marks of word parts, '##', and merge 0 has none",
    ),
    "surrogate": (
        lambda: hostile(lambda r: r["model"]["vocab"].update({"\ud800": 300})),
        "not a tokenizer.json",
    ),
    "list": (lambda: '{"model": [1, 2]}', "it has no model"),
}


def _sequences(depth):
    return '{"type":"Sequence","pretokenizers":[' * depth + "]}" * depth


@pytest.mark.parametrize(("content", "said"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tokenizer_json_is_told_in_one_line(content, said, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content())
    with pytest.raises(ArtifactError) as caught:
        load_tokenizer(path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_terminal_sequences_and_html_inside_tokens_are_data(tmp_path):
    path = tmp_path / "tokenizer.json"
    nasty = "\x1b]0;title\x07<script>alert(1)</script>"
    path.write_text(
        hostile(
            lambda r: r["added_tokens"].append(
                {**r["added_tokens"][0], "content": nasty, "special": False, "id": 258}
            )
        )
    )
    tokenizer = load_tokenizer(path)
    assert tokenizer.token_bytes(258) == nasty.encode()
    assert tokenizer.encode(f"a{nasty}") == [tokenizer.token_id("a"), 258]


def seeds():
    tokenizer = learned("gpt2", size=9)
    return {
        "tokenizer.json": tokenizer.to_json().encode(),
        "unigram.json": unigram().to_str().encode(),
        "wordpiece.json": wordpiece().to_str().encode(),
        "fallback.json": byte_fallback().to_str().encode(),
        "gpt2.tiktoken": rank_file([b"rr", b"err"]),
        "merges.txt": b"#version: 0.2\nr r\ne rr\n",
        "tokenizer.model": sentencepiece_model(),
    }


SEEDS = seeds()


@settings(max_examples=120, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", SEEDS)
def test_files_with_bytes_altered_load_whole_or_not_at_all(name, data, tmp_path_factory):
    """Cut out, put in, or cut short anywhere: a tokenizer that works, or one line of error."""
    content = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        dropped = data.draw(st.sampled_from([0, 1, 1, 3, 20, 10**6]))
        content[start : start + dropped] = data.draw(st.binary(max_size=4))
    folder = tmp_path_factory.getbasetemp() / "altered"
    folder.mkdir(exist_ok=True)
    if name == "merges.txt":
        (folder / "vocab.json").write_text(json.dumps(VOCAB))
    (folder / name).write_bytes(content)
    _load_whole_or_not_at_all(folder / name)


VOCAB = json.loads(assemble([(b"r", b"r"), (b"e", b"rr")], pretokenizer="gpt2").to_json())["model"][
    "vocab"
]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", [name for name in SEEDS if name.endswith(".json")])
def test_records_with_a_value_altered_load_whole_or_not_at_all(name, data, tmp_path_factory):
    junk = st.sampled_from(
        [None, -1, 0, 1, 2**63, 1.5, "", "x", "Ġ", "##", [], {}, True, ["a"], [["a", 0]], {"a": 0}]
    )
    record = json.loads(SEEDS[name])
    node = record
    while True:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 4)) == 0:
            break
        node = inner
    node[key] = data.draw(junk)
    path = tmp_path_factory.getbasetemp() / "altered.json"
    path.write_text(json.dumps(record))
    _load_whole_or_not_at_all(path)


def _load_whole_or_not_at_all(path):
    try:
        loaded = load_tokenizer(path)
    except TokkitError as error:
        assert str(error).isprintable()  # noqa: PT017
        return
    text = "berry é<|end|> How many\x00"
    try:
        decoded = loaded.decode(loaded.encode(text))
    except InputError as error:
        assert isinstance(loaded, LibraryTokenizer)
        assert str(error).isprintable()  # noqa: PT017
        return
    assert len(loaded.digest) == 64
    if isinstance(loaded, Tokenizer):
        assert decoded == text


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    tokenizer = learned("gpt2", special_tokens=("<|end|>",))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for format_ in ("tokenizer.json", "tiktoken", "vocab-merges"):
        with pytest.raises(OutputError, match="no space left on device"):
            export_tokenizer(tokenizer, format_, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
