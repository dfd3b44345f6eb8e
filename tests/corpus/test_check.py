import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus.check import CorpusSurvey
from tokkit.corpus.duplicates import RepeatCounter
from tokkit.corpus.findings import findings_of
from tokkit.corpus.parts import Part
from tokkit.corpus.special import SpecialFinder


def surveyed(documents, size=None, special=("<|e|>",), group=""):
    """Survey documents given as bytes, each in parts of `size` bytes."""
    survey = CorpusSurvey(special)
    for number, data in enumerate(documents):
        step = size or max(len(data), 1)
        for start in range(0, max(len(data), 1), step):
            part = data[start : start + step]
            survey.add(Part(part, f"d{number}", group, continued=start > 0))
    survey.finish()
    return survey


@given(
    st.lists(st.text(st.sampled_from("ab\r\n\0<|e>"), max_size=30), max_size=4),
    st.integers(1, 7),
)
def test_counts_do_not_depend_on_how_a_document_comes_in_parts(texts, size):
    documents = [text.encode() for text in texts]
    survey = surveyed(documents, size)
    assert survey.documents == len(documents)
    assert survey.bytes == survey.characters == sum(map(len, documents))
    assert survey.nul.count == sum(data.count(b"\0") for data in documents)
    assert survey.crlf.count == sum(data.count(b"\r\n") for data in documents)
    assert survey.lone_cr.count == sum(len(re.findall(rb"\r(?!\n)", data)) for data in documents)
    lines = [data.split(b"\n") for data in documents]
    assert survey.lines == sum(len(parts) - (parts[-1] == b"") for parts in lines)
    longest = max((len(line) for parts in lines for line in parts), default=0)
    assert survey.longest_line.bytes == longest
    if longest:
        number = int(survey.longest_line.origin[1:])
        assert len(lines[number][survey.longest_line.line - 1]) == longest
    assert survey.special["<|e|>"].count == sum(data.count(b"<|e|>") for data in documents)
    assert survey.empty_documents == documents.count(b"")
    kept = [data for data in documents if data]
    assert survey.repeats.repeats == len(kept) - len(set(kept))


def test_characters_marks_and_groups():
    survey = surveyed(["\ufeffé😀\ufeff".encode(), "\ufeff".encode(), b""], group="de")
    assert (survey.bytes, survey.characters) == (15, 5)
    assert (survey.leading_marks.count, survey.leading_marks.places) == (2, ["d0", "d1"])
    assert survey.inner_marks.count == 1
    assert (survey.groups["de"].documents, survey.groups["de"].bytes) == (3, 15)


def test_repeated_lines_are_counted_among_the_whole_ones_with_text():
    survey = surveyed([b"one\ntwo\none\n\n\nthree", b"two\nthree\n"])
    assert (survey.lines_compared, survey.repeated_lines) == (5, 2)


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=60), st.integers(1, 9))
def test_repeats_are_exact_as_long_as_they_fit(digests, most):
    exact = RepeatCounter()
    small = RepeatCounter(most)
    for digest in digests:
        exact.add(digest)
        small.add(digest)
    assert exact.repeats == len(digests) - len(set(digests))
    assert exact.sampled_share == 1
    assert len(small._counts) <= most


def test_repeats_of_many_are_estimated_from_a_sample():
    import hashlib

    counter = RepeatCounter(1000)
    digests = [hashlib.sha256(str(n).encode()).digest()[:16] for n in range(20_000)]
    for digest in digests + digests[:10_000]:
        counter.add(digest)
    assert counter.sampled_share == 1 / 32
    # 10,000 / 32 = 312 expected in the sample, with a standard deviation of 17.4.
    assert abs(counter.repeats - 10_000) < 4 * 17.4 * 32


@given(
    st.lists(
        st.sampled_from(["<s>", "<s", "é", "[X]", "aa", "a", "<s><"]), min_size=1, unique=True
    ),
    st.text(st.sampled_from("<s>[X]aé "), max_size=40),
)
def test_special_texts_are_found_as_an_alternation_finds_them(texts, text):
    longest_first = sorted(texts, key=lambda one: (-len(one.encode()), one.encode()))
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    expected = {}
    for match in pattern.finditer(text):
        expected[match.group().encode()] = expected.get(match.group().encode(), 0) + 1
    finder = SpecialFinder([one.encode() for one in texts])
    assert dict(finder.count(text.encode())) == expected


@pytest.mark.parametrize("size", range(1, 14))
def test_a_special_text_is_found_across_parts_but_not_across_documents(size):
    survey = surveyed([b"x<|e|>y<|e|>", b"<|e", b"|>"], size)
    assert survey.special["<|e|>"].count == 2
    assert survey.special["<|e|>"].places == ["d0"]


def test_findings_tell_what_stops_a_training():
    survey = surveyed([b"a\r\nb\0<|e|>", b"a\r\nb\0<|e|>", b""])
    found = {finding.what: finding for finding in findings_of(survey, 5000)}
    assert list(found) == [
        "texts that spell a special token",
        "NUL characters",
        "CRLF line ends",
        "a pretoken of 5,000 bytes",
        "documents of zero bytes",
        "documents that stood before, byte for byte",
    ]
    assert not any(finding.stops_training for finding in found.values())
    assert found["texts that spell a special token"].places == ("<|e|> in d0", "<|e|> in d1")
    assert found["documents that stood before, byte for byte"].places == ("d1",)
    assert findings_of(surveyed([b"plain\n"]), 5) == ()
