import gzip
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus import CorpusDigest, read_documents
from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer import forecast
from tokkit.tokenizer.forecast import heaps_law
from tokkit.tokenizer.preflight import check_corpus


def test_a_clean_corpus_has_no_findings_and_is_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("the cat, the hat\nthe 3 cats\n")
    found = check_corpus([path])
    assert found.findings == ()
    assert not found.stops_training
    assert (found.files, found.documents, found.bytes, found.characters, found.lines) == (
        (1, 1, 28, 28, 2)
    )
    assert (found.longest_line.bytes, found.longest_line.line) == (16, 1)
    # By hand: the| cat|,| the| hat|\n|the| 3| cats|\n
    assert found.training.pretokens == 10
    assert found.training.distinct_pretokens == 8
    assert found.training.is_counted
    assert (found.longest_pretoken.bytes, found.longest_pretoken.starts_with) == (5, " cats")
    digest = CorpusDigest()
    for document in read_documents([path]):
        digest.add(document)
    assert found.corpus_sha256 == digest.hexdigest()


def test_bad_bytes_and_files_are_findings(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\na\xffb \xe2\x82")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n[1]\n{"text": "\\ud800"}\n')
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    (tmp_path / "d.txt").write_bytes(b"last")
    found = check_corpus([tmp_path])
    assert found.stops_training
    unreadable, invalid = found.findings[:2]
    assert unreadable.count == 2
    assert unreadable.places[0].startswith(f"{tmp_path}/b.jsonl, line 2: a JSONL line must be")
    assert "c.txt.gz is cut short" in unreadable.places[1]
    assert invalid.count == 3
    assert invalid.places == (
        f"{tmp_path}/a.txt, line 2, byte 6: invalid start byte (0xff)",
        f"{tmp_path}/a.txt, line 2, byte 9: unexpected end of data (0xe2)",
        f"{tmp_path}/b.jsonl, line 3: half of a surrogate pair (U+D800)",
    )
    assert found.documents == 4


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
@given(data=st.one_of(st.binary(max_size=99), st.text(max_size=40).map(str.encode)))
def test_any_bytes_are_findings_never_errors(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    found = check_corpus([path])
    if name == "a.txt" and data:
        kept = data.decode("utf-8", "replace")
        assert (found.documents, found.characters) == (1, len(kept))
        assert found.bytes == len(kept.encode())
        assert found.stops_training == (data.decode("utf-8", "ignore").encode() != data)


def test_special_tokens_are_found_and_left_out_of_the_pretokens(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a<|end|>b<|endoftext|><mine>")
    found = check_corpus([path])
    assert found.special_tokens["<|end|>"] == found.special_tokens["<|endoftext|>"] == 1
    only = check_corpus([path], special_tokens=["<mine>"])
    assert only.special_tokens == {"<mine>": 1}
    # By hand: a; b|<|endoftext|><mine>, where gpt2 cuts letters from the rest.
    assert only.training.pretokens == len(["a", "b", "<|", "endoftext", "|><", "mine", ">"])


def test_groups_have_sizes(tmp_path):
    path = tmp_path / "a.jsonl"
    lines = [{"text": "xx", "lang": "de"}, {"text": "y", "lang": "en"}, {"text": "z", "lang": "de"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = check_corpus([path], group_field="lang")
    assert {name: (size.documents, size.bytes) for name, size in found.groups.items()} == {
        "de": (2, 3),
        "en": (1, 1),
    }


@pytest.mark.parametrize("pretokenizer", ["gpt2", "o200k", "whitespace", "chars", "none"])
def test_the_distinct_pretokens_of_the_sample_are_counted(tmp_path, pretokenizer):
    from tokenizers import pre_tokenizers

    from tokkit.tokenizer.presets import resolve_pretokenizer

    generator = np.random.default_rng(7)
    words = ["".join(generator.choice(list("aé 😀1.\n"), 5)) for _ in range(20_000)]
    path = tmp_path / "a.txt"
    path.write_text(" ".join(words), encoding="utf-8")
    rule = resolve_pretokenizer(pretokenizer)
    split = pre_tokenizers.Sequence(rule.components())
    expected = [piece for piece, _ in split.pre_tokenize_str(path.read_text("utf-8"))]
    found = check_corpus([path], pretokenizer=pretokenizer)
    assert found.training.pretokens == len(expected)
    assert found.training.distinct_pretokens == len(set(expected))
    assert found.longest_pretoken.bytes == max(map(len, expected))


def test_growth_is_carried_on_from_a_sample_of_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "SAMPLE_BYTES", 1 << 20)
    monkeypatch.setattr(forecast, "_STEP_PRETOKENS", 1 << 10)
    monkeypatch.setattr("tokkit.tokenizer.preflight._SHARD_BYTES", 1 << 18)
    generator = np.random.default_rng(11)
    path = tmp_path / "a.txt"
    # Numbers of Zipf's law with exponent 1.5 grow with V to the power 1 / 1.5.
    path.write_text(" ".join(f"{n:x}" for n in np.minimum(generator.zipf(1.5, 800_000), 10**12)))
    found = check_corpus([path], pretokenizer="whitespace").training
    counted = len(set(path.read_text().split()))
    assert not found.is_counted
    assert 1 << 19 < found.sampled_bytes < 1 << 21
    assert found.heaps_exponent == pytest.approx(1 / 1.5, abs=0.05)
    assert found.distinct_pretokens == pytest.approx(counted, rel=0.1)
    assert "from all over the text and carried on with Heaps' exponent 0.6" in found.basis


def test_more_memory_than_is_free_is_a_finding(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("x")
    monkeypatch.setattr("tokkit.tokenizer.preflight.available_bytes", lambda: 200_000_000)
    (finding,) = check_corpus([path]).findings
    assert finding.stops_training
    assert re.fullmatch(r"training needs about \d+ MB of memory, and 200 MB are free", finding.what)


def test_heaps_law_is_found_exactly():
    k, exponent = heaps_law([(v, round(7 * v**0.5)) for v in (4**n for n in range(9))])
    assert k == pytest.approx(7)
    assert exponent == pytest.approx(0.5)
    assert heaps_law([]) == heaps_law([(5, 3)]) == (None, None)


def test_packed_text_and_standard_input_have_no_known_size(tmp_path, monkeypatch):
    import io

    class Stdin:
        buffer = io.BytesIO(b"one two\n")

    monkeypatch.setattr("sys.stdin", Stdin)
    found = check_corpus(["-"])
    assert found.stored_bytes is None
    assert found.bytes == 8


def test_settings_that_are_unknown_are_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    for settings, said in (
        ({"pretokenizer": "gpt3"}, "unknown pre-tokenizer 'gpt3': did you mean 'gpt2'?"),
        ({"vocab_size": 255}, "vocab_size is at least the 256 bytes, got 255"),
        ({"special_tokens": [""]}, "a special token must hold text"),
        ({"group_field": "a", "group_by_folder": True}, "groups come from one place"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            check_corpus([path], **settings)
    with pytest.raises(InputError, match="does not exist"):
        check_corpus([tmp_path / "b.txt"])


def test_importing_it_loads_no_compiler():
    code = "import sys, tokkit.tokenizer.preflight; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
