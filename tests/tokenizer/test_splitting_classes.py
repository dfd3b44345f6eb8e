"""The stored classes of all code points: those of the installed engine; how others differ."""

import collections
import unicodedata

import numpy as np
import pytest

from tokkit.tokenizer import unicode_classes as uc

EVERY_POINT = np.arange(uc.CODE_POINTS)
CLASSES = "OTHER MARK PUNCTUATION SYMBOL NUMBER SPACE NEWLINE LU LT LL LM LO"
NAMES = CLASSES.split()


def stored():
    return uc.class_table().of(EVERY_POINT)


def differences(classes):
    """How many code points are (there, here): {("LO", "OTHER"): 3, ...}."""
    ours = stored()
    places = np.flatnonzero(classes != ours)
    pairs = zip(classes[places].tolist(), ours[places].tolist(), strict=True)
    return collections.Counter((NAMES[there], NAMES[here]) for there, here in pairs)


def test_every_code_point_is_as_the_engine_says():
    assert differences(uc.ask_the_engine()) == {}


def test_the_table_is_packed_and_covers_what_four_bytes_can_spell():
    table = uc.class_table()
    assert table.index.shape == (0x200000 >> 7,)
    assert not table.of(np.arange(uc.CODE_POINTS, 0x200000)).any()
    packed = uc.pack(stored())
    assert np.array_equal(packed.index, table.index)
    assert np.array_equal(packed.blocks, table.blocks)
    assert uc.PATH.stat().st_size < 5000


def test_some_characters_by_hand():
    expected = {"a": uc.LL, "É": uc.LU, "ǅ": uc.LT, "ʰ": uc.LM, "你": uc.LO, "\u0301": uc.MARK}
    expected |= {"½": uc.NUMBER, "\n": uc.NEWLINE, "\u3000": uc.SPACE, "\x85": uc.SPACE}
    expected |= {"_": uc.PUNCTUATION, "€": uc.SYMBOL, "\u200d": uc.OTHER, "\x1c": uc.OTHER}
    points = np.array([ord(character) for character in expected])
    assert uc.class_table().of(points).tolist() == list(expected.values())


def by_unicodedata(point):
    character = chr(point)
    if character in "\r\n":
        return uc.NEWLINE
    if character.isspace():
        return uc.SPACE
    names = {"M": uc.MARK, "P": uc.PUNCTUATION, "S": uc.SYMBOL, "N": uc.NUMBER}
    names |= {"Lu": uc.LU, "Lt": uc.LT, "Ll": uc.LL, "Lm": uc.LM, "Lo": uc.LO}
    category = unicodedata.category(character)
    return names.get(category, names.get(category[0], uc.OTHER))


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="counts are of Unicode 14.0")
def test_differences_from_unicodedata_of_python_311():
    assert differences(np.array([by_unicodedata(point) for point in EVERY_POINT.tolist()])) == {
        ("OTHER", "LO"): 9144,
        ("OTHER", "SYMBOL"): 773,
        ("OTHER", "NUMBER"): 120,
        ("OTHER", "MARK"): 93,
        ("OTHER", "LM"): 70,
        ("OTHER", "PUNCTUATION"): 36,
        ("OTHER", "LL"): 31,
        ("OTHER", "LU"): 27,
        ("SPACE", "OTHER"): 4,  # U+001C..U+001F
    }


def test_differences_from_the_regex_package():
    """Of Unicode 17.0 and later; what an older one lacks would show as OTHER there."""
    regex = pytest.importorskip("regex")
    classes = np.zeros(uc.CODE_POINTS, dtype=np.uint8)
    everything = "".join(chr(point) for point in EVERY_POINT if not 0xD800 <= point < 0xE000)
    for code, pattern in uc.PATTERNS.items():
        found = regex.findall(r"[^\S\r\n]" if code == uc.SPACE else pattern, everything)
        classes[[ord(character) for character in found]] = code
    differ = differences(classes)
    if regex.match(r"\p{L}", "\u088f") is None:
        pytest.skip("this regex package knows an older Unicode than 17.0")
    if sum(differ.values()) != 17_811:
        pytest.skip("this regex package knows a newer Unicode than 17.0")
    assert differ == {
        ("LO", "OTHER"): 16_918,
        ("NUMBER", "OTHER"): 336,
        ("SYMBOL", "OTHER"): 246,
        ("LL", "OTHER"): 109,
        ("MARK", "OTHER"): 79,
        ("LM", "OTHER"): 69,
        ("LU", "OTHER"): 48,
        ("PUNCTUATION", "OTHER"): 5,
        ("LO", "LL"): 1,  # U+0295, a letter without case since 17.0
    }
