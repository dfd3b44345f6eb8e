import codecs
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokkit.corpus import ShardReader, read_documents
from tokkit.corpus import parts as parts_module
from tokkit.corpus.faults import FaultPolicy
from tokkit.errors import ConfigError, InputError

# Bytes of which invalid UTF-8 of every kind is made: lone leads and continuations, overlong forms,
# surrogates, beyond U+10FFFF, sequences cut short.
PIECES = [
    *(bytes([byte]) for byte in b"a\n\0"),
    *("é".encode(), "€".encode(), "😀".encode(), "\ufeff".encode(), "\ufffd".encode()),
    *(b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1", b"\xc3", b"\xe0\x80", b"\xe2\x82", b"\xed\xa0\x80"),
    *(b"\xf0\x9f", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5", b"\xfe", b"\xff"),
]
DATA = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
)


def write(factory, data, name="a.txt"):
    path = factory.mktemp("faults") / name
    path.write_bytes(data)
    return path


def texts(path, **options):
    return [document.text for document in read_documents([path], **options)]


@given(data=DATA.filter(len), block=st.integers(1, 9))
def test_strict_tells_what_pythons_decoder_tells(tmp_path_factory, data, block):
    path = write(tmp_path_factory, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "BLOCK_BYTES", block)
        wrong = decoding_error(data)
        if wrong is None:
            assert texts(path) == [data.decode()]
            return
        with pytest.raises(InputError) as caught:
            texts(path)
    line = 1 + data[: wrong.start].count(b"\n")
    assert (
        f"{path} is not UTF-8: {wrong.reason} at byte {wrong.start} "
        f"(0x{data[wrong.start]:02x}); repair line {line}, or convert" in str(caught.value)
    )


def decoding_error(data):
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error
    return None


@given(data=DATA.filter(len), block=st.integers(1, 9))
@example(data=b"\xf0\x9f\x98" * 400, block=3)
def test_replace_and_skip_give_what_pythons_decoder_gives(tmp_path_factory, data, block):
    path = write(tmp_path_factory, data)
    starts = []
    codecs.register_error(
        "tokkit-test", lambda error: (starts.append(error.start), ("\ufffd", error.end))[1]
    )
    replaced = data.decode("utf-8", "tokkit-test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "BLOCK_BYTES", block)
        assert texts(path, errors="replace") == [replaced]
        assert texts(path, errors="skip") == [data.decode("utf-8", "ignore")]
        faults = []
        for errors in ("replace", "skip"):
            reader = ShardReader([path], errors=FaultPolicy(errors, faults.append))
            (shard,) = reader
            assert (
                shard.data.tobytes()
                == data.decode("utf-8", {"skip": "ignore"}.get(errors, errors)).encode()
            )
            expected = (len(starts), 0) if errors == "replace" else (0, len(starts))
            assert (reader.replaced, reader.skipped) == expected
        assert [fault.byte_offset for fault in faults] == 2 * starts
        assert [fault.line for fault in faults] == [
            1 + data[:start].count(b"\n") for start in 2 * starts
        ]


@pytest.mark.parametrize("position", [0, 1, 511, 512, 513, 2**18 - 1, 2**18, 2**18 + 1])
@pytest.mark.parametrize("fault", [b"\xff", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xe2"])
def test_a_fault_around_the_borders_of_blocks(tmp_path, position, fault):
    path = tmp_path / "a.txt"
    data = b"a" * position + fault + b"bc"
    path.write_bytes(data)
    assert texts(path, errors="replace") == [data.decode("utf-8", "replace")]
    assert texts(path, errors="skip") == [data.decode("utf-8", "ignore")]


def test_faults_without_end_take_time_in_proportion(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff" * 1_000_000)
    reader = ShardReader([path], errors="skip")
    (shard,) = reader
    # The document stands, though nothing is left of it.
    assert (len(shard.data), len(shard.groups), reader.skipped) == (0, 1, 1_000_000)


@given(st.text(st.sampled_from("a\ud800\udfff😀\0"), max_size=9))
def test_half_pairs_in_json(tmp_path_factory, text):
    # What json writes as two escapes, a reader joins to one character.
    text = json.loads(json.dumps(text))
    path = write(tmp_path_factory, b"\n" + json.dumps({"text": text}).encode(), "a.jsonl")
    kept = "".join(character for character in text if not "\ud800" <= character <= "\udfff")
    marked = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert texts(path, errors="skip") == [kept]
    assert texts(path, errors="replace") == [marked]
    reader = ShardReader([path], errors="replace")
    list(reader)
    assert reader.replaced == len(text) - len(kept)
    if kept != text:
        place = next(index for index, c in enumerate(text) if "\ud800" <= c <= "\udfff")
        with pytest.raises(InputError) as caught:
            texts(path)
        assert str(caught.value).startswith(
            f"{path}, line 2: text must be valid Unicode, but character {place} is half"
        )


def test_invalid_bytes_in_jsonl_are_replaced_before_it_is_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a\xffb"}\n{"text": "\xe2\x82"}\n')
    assert texts(path, errors="replace") == ["a\ufffdb", "\ufffd"]
    assert texts(path, errors="skip") == ["ab", ""]
    with pytest.raises(InputError, match=r"at byte 11 \(0xff\); repair line 1"):
        texts(path)


def test_a_half_pair_in_the_name_of_a_group(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(r'{"text": "x", "lang": "d\ud800"}')
    with pytest.raises(InputError, match=r"line 1: text must be valid Unicode"):
        list(ShardReader([path], group_field="lang"))
    reader = ShardReader([path], group_field="lang", errors="replace")
    list(reader)
    assert reader.group_names == ["d\ufffd"]


def test_an_unknown_way_is_told(tmp_path):
    with pytest.raises(ConfigError, match="unknown way with encoding errors 'replac': did you"):
        FaultPolicy("replac")
