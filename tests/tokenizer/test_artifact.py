import hashlib
import itertools
import json
import pickle

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ArtifactError, InputError, OutputError
from tokkit.tokenizer import PRETOKENIZERS, Pretokenizer, Tokenizer, assemble
from tokkit.tokenizer.alphabet import byte_characters, spell, unspell


@pytest.fixture(scope="module")
def tokenizer():
    merges = [(b"r", b"r"), (b"e", b"rr"), (b"\xc3", b"\xa9"), (b"s", b"t")]
    return assemble(merges, pretokenizer="gpt2", added_tokens=["How many"])


def test_the_alphabet_is_the_published_one():
    assert sorted(byte_characters()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    for byte, text in {0x20: "Ġ", 0x0A: "Ċ", 0x21: "!", 0xAD: "Ń", 0xFF: "ÿ", 0x00: "Ā"}.items():
        assert byte_characters()[byte] == text


@given(st.binary())
def test_spelling_is_reversible(data):
    assert unspell(spell(data)) == data


def test_save_and_load_keep_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    for place in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        loaded = Tokenizer.load(place)
        assert loaded.to_json() == tokenizer.to_json()
        assert loaded.encode("How many err é<|end|>") == tokenizer.encode("How many err é<|end|>")
    saved = (tmp_path / "tokenizer.json").read_bytes()
    assert saved == tokenizer.to_json().encode()
    assert tokenizer.digest == hashlib.sha256(saved).hexdigest()
    assert pickle.loads(pickle.dumps(tokenizer)).digest == tokenizer.digest


def test_tokens_and_their_kinds(tokenizer):
    assert tokenizer.special_ids == {0}
    assert tokenizer.added_ids == {1}
    assert tokenizer.token_bytes(0) == b"<|end|>"
    assert tokenizer.decode([0, 1]) == "<|end|>How many"
    assert tokenizer.token_id("How many") == 1
    assert tokenizer.token_id("<|end|>") == 0
    assert tokenizer.token_id("é") == tokenizer.token_id(b"\xc3\xa9") == 260
    assert tokenizer.token_id("nowhere") is None
    for token in range(tokenizer.vocab_size):
        assert tokenizer.token_id(tokenizer.token_bytes(token)) == token


def test_pieces_name_bytes_that_are_no_text(tokenizer):
    pieces = tokenizer.pieces("ü<|end|>", allow_special=True)
    assert [piece.text for piece in pieces] == ["\\xc3", "\\xbc", "<|end|>"]
    assert [piece.kind for piece in pieces] == ["token", "token", "special"]
    assert tokenizer.decode([piece.id for piece in pieces[:1]]) == "\ufffd"


@pytest.mark.parametrize("bad", [-1, 262, 10**30])
def test_unknown_ids_state_the_range(tokenizer, bad):
    assert tokenizer.vocab_size == 262
    with pytest.raises(InputError, match=f"unknown token id {bad}: ids .* run from 0 to 261"):
        tokenizer.decode([2, bad])


def altered(tokenizer, change):
    record = json.loads(tokenizer.to_json())
    change(record)
    return record


def drop(record, *path):
    for step in path[:-1]:
        record = record[step]
    del record[path[-1]]


BROKEN = {
    "no model": (lambda r: drop(r, "model"), "this is not a tokenizer.json"),
    "a byte is missing": (lambda r: drop(r, "model", "vocab", "Ġ"), "byte 0x20 has no token"),
    "a gap": (lambda r: r["model"]["vocab"].update({"zz": 5000}), "must have ids below"),
    "added id taken": (lambda r: r["added_tokens"][1].update(id=7), "claims id 7"),
    "normalizer": (lambda r: r.update(normalizer={"type": "NFC"}), "normalizer NFC changes text"),
    "prefix": (
        lambda r: r["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
        "it puts a space before the text",
    ),
    "removing split": (
        lambda r: r["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"),
        "removes text",
    ),
    "no byte level": (lambda r: r.update(pre_tokenizer=None), "no byte-level pre-tokenizer"),
    "dropout": (lambda r: r["model"].update(dropout=0.5), "at random"),
    "word prefix": (
        lambda r: r["model"].update(continuing_subword_prefix="Ġ"),
        "marks of word parts",
    ),
    "word suffix": (
        lambda r: r["model"].update(end_of_word_suffix="Ġ"),
        "marks of word parts",
    ),
    "stripping": (lambda r: r["added_tokens"][1].update(lstrip=True), "swallows the space"),
    "special by merging": (
        lambda r: (
            r["model"]["vocab"].pop("<|end|>"),
            r["model"]["vocab"].update({"st": 0}),
            r["added_tokens"][0].update(content="st"),
            r["model"]["vocab"].update({"xx": 261}),
        ),
        "plain text could turn into a special token",
    ),
    "another alphabet": (
        lambda r: r["model"]["vocab"].update({"東": 262}),
        "'東', which is not of the byte alphabet",
    ),
    "a list": (lambda r: r.clear(), "this is not a tokenizer.json"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_in_one_line(tokenizer, tmp_path, change, said):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(altered(tokenizer, change)))
    with pytest.raises(ArtifactError) as caught:
        Tokenizer.load(path)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


def test_missing_truncated_or_absurd(tokenizer, tmp_path):
    with pytest.raises(ArtifactError, match=r"tokenizer .*tokenizer\.json does not exist"):
        Tokenizer.load(tmp_path)
    path = tmp_path / "tokenizer.json"
    text = tokenizer.to_json()
    for cut in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:cut])
        with pytest.raises(ArtifactError, match="is not valid JSON"):
            Tokenizer.load(path)
    for content in ("[]", "3", "null", '"text"', "{}", '{"version": "1.0", "model": null}'):
        path.write_text(content)
        with pytest.raises(ArtifactError, match=r"not a tokenizer\.json"):
            Tokenizer.load(path)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactError, match=r"has 1,099,511,627,776 bytes, and no more than"):
        Tokenizer.load(path)
    with pytest.raises(ArtifactError, match="is not a regular file"):
        Tokenizer.load("/dev/zero")


def test_another_models_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).save(str(path))
    with pytest.raises(ArtifactError, match="its model is WordLevel, not BPE"):
        Tokenizer.load(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_files_altered_at_random_load_whole_or_not_at_all(tokenizer, data):
    """No change of one value brings anything but a tokenizer that works, or ArtifactError."""
    record = json.loads(tokenizer.to_json())
    junk = st.sampled_from(
        [None, -1, 2**63, 1.5, "", "x", "Ġ", [], {}, True, ["a"], {"type": "BPE"}]
    )
    node = record
    while True:
        key = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        node = inner
    node[key] = data.draw(junk)
    try:
        loaded = Tokenizer.from_json(json.dumps(record))
    except ArtifactError:
        return
    assert loaded.decode(loaded.encode("berry é<|end|> How many")) == "berry é<|end|> How many"


def test_padding_and_truncation_in_a_file_are_switched_off(tokenizer):
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    assert Tokenizer.from_json(backend.to_str()).encode("abcde") == tokenizer.encode("abcde")


def test_a_place_that_cannot_be_written(tokenizer, tmp_path, monkeypatch):
    with pytest.raises(OutputError, match=r"cannot write /proc/tokenizer\.json"):
        tokenizer.save("/proc/tokenizer.json")
    path = tmp_path / "tokenizer.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="no space left on device; choose another place"):
        tokenizer.save(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


def test_tables_by_hand(tokenizer):
    assert tokenizer.byte_ids.tolist() == list(range(2, 258))
    assert tokenizer.byte_ids.dtype == tokenizer.merge_table.dtype == "int32"
    r, e, s, t = (2 + ord(letter) for letter in "rest")
    wanted = [(r, r, 258), (e, 258, 259), (2 + 0xC3, 2 + 0xA9, 260), (s, t, 261)]
    assert tokenizer.merge_table.tolist() == [list(row) for row in wanted]
    assert tokenizer.added == ((0, b"<|end|>", True), (1, b"How many", False))
    assert not tokenizer.ignores_merges
    assert assemble([], pretokenizer="none").merge_table.shape == (0, 3)


def test_merging_by_the_tables_gives_the_ids(tokenizer):
    ranks = {(left, right): new for left, right, new in reversed(tokenizer.merge_table.tolist())}

    @given(st.text("restx \u00e9", max_size=12))
    def same(text):
        ids = []
        for pretoken in PRETOKENIZERS["gpt2"].components()[0].pre_tokenize_str(text):
            parts = tokenizer.byte_ids[list(pretoken[0].encode())].tolist()
            while pairs := [pair for pair in itertools.pairwise(parts) if pair in ranks]:
                best = min(pairs, key=list(reversed(ranks)).index)
                place = list(itertools.pairwise(parts)).index(best)
                parts[place : place + 2] = [ranks[best]]
            ids += parts
        assert tokenizer.encode(text) == ids

    same()


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_a_preset_is_recognised_in_its_own_record(name):
    found = assemble([], pretokenizer=name).pretokenizer
    same = {"llama3": "cl100k"}.get(name, name)
    assert found is PRETOKENIZERS[same]


def with_cuts(*parts):
    record = json.loads(assemble([], pretokenizer="none").to_json())
    record["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": list(parts)}
    return Tokenizer.from_json(json.dumps(record))


def byte_level(**options):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, **options}


def split(pattern, behavior="Isolated", *, invert=False):
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": invert,
    }


TO_BYTES = byte_level(use_regex=False)
PUBLISHED_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = PRETOKENIZERS["llama3"].pattern
RECOGNISED = {
    "ByteLevel alone": ([byte_level(use_regex=True)], "gpt2"),
    "its default": ([byte_level()], "gpt2"),
    "another spelling": ([split(PUBLISHED_GPT2), TO_BYTES], "gpt2"),
    "removed, inverted": ([split(LLAMA3, "Removed", invert=True), TO_BYTES], "cl100k"),
    "inverted": ([split(LLAMA3, invert=True), TO_BYTES], "cl100k"),
    "own": ([split("a+"), TO_BYTES], Pretokenizer("custom", "a+")),
    "two of its own": ([split("a+"), split("b"), TO_BYTES], Pretokenizer("custom", ("a+", "b"))),
    "before ByteLevel": (
        [split("a+"), byte_level()],
        Pretokenizer("custom", ("a+", PRETOKENIZERS["gpt2"].pattern)),
    ),
    "of bytes": ([TO_BYTES, split("a+")], Pretokenizer("custom", "a+", of_bytes=True)),
    "digits": ([{"type": "Digits", "individual_digits": True}, TO_BYTES], None),
    "merged": ([split(" ", "MergedWithNext"), TO_BYTES], None),
    "on both sides": ([split("a"), TO_BYTES, split("b")], None),
}


@pytest.mark.parametrize(("parts", "wanted"), RECOGNISED.values(), ids=RECOGNISED)
def test_cuts_are_recognised(parts, wanted):
    tokenizer = with_cuts(*parts)
    found = tokenizer.pretokenizer
    assert found == (PRETOKENIZERS[wanted] if isinstance(wanted, str) else wanted)
    if found is None:
        return
    theirs = tokenizers.Tokenizer.from_str(tokenizer.to_json()).pre_tokenizer
    ours = tokenizers.pre_tokenizers.Sequence(found.components())
    for text in ("baaab abba 1234 it's  \n\n x'LL \u6771\u4eac!", "", "a"):
        assert ours.pre_tokenize_str(text) == theirs.pre_tokenize_str(text)


def test_a_literal_split_is_a_pattern():
    part = {**split(""), "pattern": {"String": "a.b"}}
    assert with_cuts(part, TO_BYTES).pretokenizer.pattern == r"\x{61}\x{2e}\x{62}"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([TO_BYTES, TO_BYTES], "spells bytes as bytes once more"),
        ([split("a+", "Removed", invert=True), TO_BYTES], "removes text"),
        ([split(LLAMA3, "Removed"), TO_BYTES], "removes text"),
    ],
)
def test_cuts_that_lose_text_are_refused(parts, said):
    with pytest.raises(ArtifactError, match=said):
        with_cuts(*parts)


def test_ids_without_a_token(tokenizer, tmp_path):
    record = altered(
        tokenizer,
        lambda r: (
            r["model"]["vocab"].update({"rre": 300}),
            r["model"]["merges"].append(["rr", "e"]),
        ),
    )
    loaded = Tokenizer.from_json(json.dumps(record))
    assert loaded.vocab_size == 301
    assert loaded.unused_ids == set(range(262, 300))
    assert loaded.encode("rre") == [300]
    assert (loaded.kind(299), loaded.kind(300)) == ("unused", "token")
    assert loaded.token_id(b"rre") == 300
    assert loaded.merge_table[-1].tolist()[2] == 300
    with pytest.raises(InputError, match="id 299 is unused in this tokenizer: no token has it"):
        loaded.decode([299])
    loaded.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path).digest == loaded.digest
    assert pickle.loads(pickle.dumps(loaded)).unused_ids == loaded.unused_ids


def test_whole_pretokens_are_taken_where_merges_are_ignored(tokenizer):
    def change(record):
        record["model"]["vocab"]["xyz"] = 262
        record["model"]["ignore_merges"] = True

    loaded = Tokenizer.from_json(json.dumps(altered(tokenizer, change)))
    assert loaded.ignores_merges
    assert loaded.encode("xyz") == [262]
    assert len(loaded.encode("xyzz")) == 4
    assert loaded.merge_table.tolist() == tokenizer.merge_table.tolist()
    backend = tokenizers.Tokenizer.from_str(loaded.to_json())
    for text in ("xyz xyz", "xyz!xyz", "xyzxyz"):
        assert loaded.encode(text) == backend.encode(text).ids


@pytest.mark.parametrize("template", [[], [{"Sequence": {"id": "A", "type_id": 0}}] * 2])
def test_a_template_around_the_text_leaves_the_text_alone(tokenizer, template):
    processor = {"type": "TemplateProcessing", "single": template, "pair": template}
    record = altered(
        tokenizer, lambda r: r.update(post_processor={**processor, "special_tokens": {}})
    )
    loaded = Tokenizer.from_json(json.dumps(record))
    assert loaded.encode("err", allow_special=True) == loaded.encode("err") == [259]
    assert json.loads(loaded.to_json())["post_processor"]["single"] == template


class PanicException(BaseException):
    """Stands for that of the Rust library, which cannot be made at will."""


@pytest.mark.parametrize("panic", [PanicException("slice\nindex"), KeyboardInterrupt()])
def test_a_panic_of_the_library_is_an_error_and_a_wish_to_stop_is_not(monkeypatch, panic):
    from tokkit.tokenizer import records

    class Backend:
        @staticmethod
        def from_str(_):
            raise panic

    text = assemble([], pretokenizer="none").to_json()
    monkeypatch.setattr(records.tokenizers, "Tokenizer", Backend)
    if isinstance(panic, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            Tokenizer.from_json(text)
    else:
        with pytest.raises(ArtifactError, match=r"broke off: slice\\nindex"):
            Tokenizer.from_json(text)


def test_an_added_token_spelled_like_the_place_of_a_special_one_stays_itself():
    tokenizer = assemble(
        [], pretokenizer="none", special_tokens=["<s>"], added_tokens=[" 0", "  0"]
    )
    assert [piece.kind for piece in tokenizer.pieces(" 0 <s>  0")][:1] == ["added"]
    assert 0 not in tokenizer.encode(" 0 <s>  0")
    assert tokenizer.decode(tokenizer.encode(" 0 <s>  0")) == " 0 <s>  0"
