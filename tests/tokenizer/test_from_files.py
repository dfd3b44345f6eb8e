"""From text or a table to tokenizer.json: the same bytes either way, and a record that is true."""

import json
import re
from collections import Counter
from pydoc_data.topics import topics

import pytest
from library_trainer import counted, library_merges, spelled_alphabet

import tokkit
from tokkit.corpus import CorpusDigest, read_documents
from tokkit.errors import ConfigError, OutputError
from tokkit.tokenizer import Tokenizer, from_files, merges_of, train
from tokkit.tokenizer.alphabet import unspell
from tokkit.tokenizer.counting import count, count_texts
from tokkit.tokenizer.from_files import (
    TrainingOptions,
    sized_path,
    train_from_files,
    train_on_table,
    train_other_model,
    training_path,
)
from tokkit.tokenizer.table import PretokenTable, merge_tables

TEXTS = {
    "en": [topics[name] for name in sorted(topics)[:10]],
    "xx": ["zyx zyx zyxw <|end|>zyxw"] * 60,
}
ALL = [text for group in TEXTS.values() for text in group]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    records = [{"text": text, "lang": lang} for lang, texts in TEXTS.items() for text in texts]
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def words_of(*groups):
    """{pretoken: count} without the special token, as the library cuts."""
    texts = [part for group in groups for text in TEXTS[group] for part in text.split("<|end|>")]
    return counted(texts, "gpt2")


def library(words, vocab_size):
    return library_merges(
        words,
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=spelled_alphabet(range(256)),
    )


def test_merges_are_those_of_the_library_without_the_special_token(corpus, tmp_path):
    train_from_files([corpus], tmp_path / "t.json", TrainingOptions(700))
    assert merges_of(Tokenizer.load(tmp_path / "t.json")) == library(words_of("en", "xx"), 699)


@pytest.mark.parametrize("unit", ["gpt2", "atoms"])
def test_a_table_gives_the_same_tokenizer_as_the_text(corpus, tmp_path, unit):
    options = TrainingOptions(600, sizes=(400, 300))
    from_text = train_from_files([corpus], tmp_path / "text.json", options)
    table = count([corpus], unit, removed_texts=["<|end|>"])
    from_table = train_from_files((), tmp_path / "table.json", options, table=table)
    for size in ("", "-400", "-300"):
        written = [(tmp_path / f"{stem}{size}.json").read_bytes() for stem in ("text", "table")]
        assert written[0] == written[1]
    different = {key for key, value in from_text.items() if value != from_table[key]}
    assert different == {"sizes", "wall_seconds"}
    train(ALL, vocab_size=600, pretokenizer="gpt2").save(tmp_path / "api.json")
    assert (tmp_path / "api.json").read_bytes() == (tmp_path / "text.json").read_bytes()


def test_a_kept_table_trains_to_the_same(corpus, tmp_path):
    options = TrainingOptions(400)
    kept = tmp_path / "new" / "kept.npz"
    train_from_files([corpus], tmp_path / "a.json", options, save_table=kept)
    table = PretokenTable.load(kept)
    train_from_files((), tmp_path / "b.json", options, table=table)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_corpus_counted_in_parts_trains_as_one(tmp_path):
    options = TrainingOptions(500)
    halves = [count_texts(texts, removed_texts=["<|end|>"]) for texts in TEXTS.values()]
    together = train_on_table(merge_tables(halves), options)
    assert together.tokenizer().digest == train(ALL, vocab_size=500, pretokenizer="gpt2").digest


def test_each_size_is_what_training_to_it_gives(corpus, tmp_path):
    sizes = (257, 258, 300, 555)
    train_from_files([corpus], tmp_path / "t.json", TrainingOptions(600, sizes=sizes))
    for size in sizes:
        written = Tokenizer.load(sized_path(tmp_path / "t.json", size))
        assert written.vocab_size == size
        assert written.digest == train(ALL, vocab_size=size, pretokenizer="gpt2").digest


def test_the_record_tells_what_was_done(corpus, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    options = TrainingOptions(400, sizes=(300,), added_tokens=("zyxw",), veto="q", min_frequency=3)
    record = train_from_files([corpus], out, options, reading={"group_field": "lang"})
    assert sorted(path.name for path in out.iterdir()) == [
        "tokenizer-300.json",
        "tokenizer.json",
        "training.json",
    ]
    assert json.loads((out / "training.json").read_text()) == record
    digest = CorpusDigest()
    for document in read_documents([corpus]):
        digest.add(document)
    assert record["corpus_sha256"] == digest.hexdigest()
    assert (record["documents"], record["bytes"]) == (
        len(ALL),
        sum(len(text.encode()) for text in ALL),
    )
    words = counted([part for text in ALL for part in re.split(r"<\|end\|>|zyxw", text)], "gpt2")
    assert record["pretokens"] == words.total()
    assert record["distinct_pretokens"] == len(words)
    tokenizer = Tokenizer.load(out)
    assert record["vocab_size"] == tokenizer.vocab_size == 400
    assert record["tokenizer_sha256"] == tokenizer.digest
    assert record["sizes"] == {str(out / "tokenizer-300.json"): 300}
    assert record["options"]["added_tokens"] == ["zyxw"]
    assert record["options"]["veto"] == "q"
    assert record["versions"]["tokkit"] == tokkit.__version__
    assert record["files"] == [str(corpus)]
    assert set(record["wall_seconds"]) == {"count", "split", "learn"}
    assert record["verification"] is None
    assert record["ran_out_of_pairs"] is False


def test_the_trace_tells_each_merge(corpus, tmp_path):
    record = train_from_files([corpus], tmp_path / "t.json", TrainingOptions(330))
    trace = record["trace"]
    merges = merges_of(Tokenizer.load(tmp_path / "t.json"))
    pairs = zip(trace["left"], trace["right"], strict=True)
    assert [(unspell(left), unspell(right)) for left, right in pairs] == merges
    assert trace["text_bytes"] == sum(
        len(word) * number for word, number in words_of("en", "xx").items()
    )
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    tokens = sum(len(tokenizer.encode(text)) for text in ALL)
    assert trace["text_bytes"] - trace["tokens_saved"][-1] == tokens - 60 * len(
        tokenizer.encode("<|end|>")
    )
    assert trace["pair_count"] == sorted(trace["pair_count"], reverse=True)


def test_a_size_beyond_the_last_pair_is_recorded_as_it_came_out(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text("aaabdaaabac")
    options = TrainingOptions(2000, "none", sizes=(1000, 258))
    record = train_from_files([path], tmp_path / "t.json", options)
    assert record["vocab_size"] == 260
    assert record["ran_out_of_pairs"] is True
    assert list(record["sizes"].values()) == [260, 258]


def test_weights_count_a_group_as_often_as_they_say(corpus, tmp_path):
    table = count([corpus], "gpt2", group_field="lang", removed_texts=["<|end|>"])

    def merges(**weights):
        options = TrainingOptions(500, group_weights=weights)
        return list(train_on_table(table, options).learned.merges)

    assert merges(xx=0) == library(words_of("en"), 499)
    assert merges(en=0, xx=1) == library(words_of("xx"), 499)
    tripled = Counter(words_of("en"))
    tripled.update({word: 3 * number for word, number in words_of("xx").items()})
    assert merges(xx=3) == library(tripled, 499)
    assert merges(en=0, xx=0) == []
    assert merges() == merges(en=1, xx=1.0) == library(words_of("en", "xx"), 499)


def test_weighted_counts_are_rounded_to_whole_numbers(tmp_path):
    """0.3 times 4, 5 and 6 is 1.2, 1.5 and 1.8: one, and two, and two."""
    table = count_texts(["ab " * 4 + "cd " * 5 + "ef " * 6], "whitespace", removed_texts=[])
    options = TrainingOptions(
        300, "whitespace", special_tokens=(), group_weights={"": 0.3}, min_frequency=1
    )
    counts = train_on_table(table, options).counts
    words = [table.pretoken(number).strip() for number in range(len(table))]
    by_word = Counter()
    for word, number in zip(words, counts.tolist(), strict=True):
        by_word[word] += number
    assert by_word[b"cd"] == by_word[b"ef"] == 2
    assert by_word[b"ab"] == 1


def test_rare_pretokens_are_left_out(corpus):
    table = count([corpus], "gpt2", removed_texts=["<|end|>"])
    training = train_on_table(table, TrainingOptions(500, min_count=5))
    frequent = {word: number for word, number in words_of("en", "xx").items() if number >= 5}
    assert list(training.learned.merges) == library(frequent, 499)


def test_extending_a_tokenizer_keeps_its_ids_and_goes_on(corpus, tmp_path):
    train_from_files([corpus], tmp_path / "base.json", TrainingOptions(350))
    options = TrainingOptions(500, extend=str(tmp_path / "base.json"))
    train_from_files([corpus], tmp_path / "more.json", options)
    base, more = (Tokenizer.load(tmp_path / name) for name in ("base.json", "more.json"))
    assert [more.token_bytes(token) for token in range(350)] == [
        base.token_bytes(token) for token in range(350)
    ]
    assert more.digest == train(ALL, vocab_size=500, pretokenizer="gpt2").digest


def test_a_limited_alphabet_leaves_all_bytes_in_the_vocabulary(corpus, tmp_path):
    options = TrainingOptions(300, limit_alphabet=5)
    train_from_files([corpus], tmp_path / "t.json", options)
    tokenizer = Tokenizer.load(tmp_path / "t.json")
    letters = {byte for merge in merges_of(tokenizer) for part in merge for byte in part}
    assert len(letters) <= 5
    text = "any text at all: é東\x00"
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == text.encode()


def test_verification_is_recorded_and_done_before_writing(corpus, tmp_path, monkeypatch):
    record = train_from_files([corpus], tmp_path / "t.json", TrainingOptions(300), verify=True)
    assert record["verification"]["reason"] is None
    assert record["verification"]["checked_steps"]

    def fails(_):
        raise ConfigError("no proof")

    monkeypatch.setattr("tokkit.tokenizer.verification.verify_training", fails)
    with pytest.raises(ConfigError, match="no proof"):
        train_from_files([corpus], tmp_path / "u.json", TrainingOptions(300), verify=True)
    assert not (tmp_path / "u.json").exists()
    assert not (tmp_path / "u.training.json").exists()


def test_the_tokenizer_is_written_last(corpus, tmp_path, monkeypatch):
    def fails(*_):
        raise OutputError("the disk is full")

    monkeypatch.setattr(from_files, "write_json", fails)
    with pytest.raises(OutputError, match="the disk is full"):
        train_from_files([corpus], tmp_path / "t.json", TrainingOptions(300))
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vocab_size": 256}, "at least 257 tokens (256 bytes, 1 special, 0 added), got 256"),
        ({"sizes": (400,)}, "one training to 300, and may not be larger, got 400"),
        ({"sizes": (100,)}, "at least 257 tokens"),
        ({"min_count": 0}, "min_count must be 1 or more, got 0"),
        ({"veto": "("}, "a veto is a regular expression over bytes, got '('"),
        ({"veto": "\udcff"}, "a veto is a regular expression over bytes, got '\\udcff'"),
        ({"special_tokens": ("\ud800",)}, "must be Unicode text, got '\\ud800'"),
        ({"group_weights": {"en": 1}}, "the text has no groups to weigh, got a weight for 'en'"),
        ({"group_weights": {"": -1}}, "the weight of a group is 0 to 1e9, got -1 for ''"),
        ({"group_weights": {"": float("nan")}}, "the weight of a group is 0 to 1e9, got nan"),
        ({"special_tokens": ("<s>",)}, "in this table '<s>' was not; count again"),
        ({"pretokenizer": "whitespace"}, "a table of atoms cannot be cut as 'whitespace'"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(tmp_path, options, said):
    table = count_texts(ALL, removed_texts=["<|end|>"])
    with pytest.raises(ConfigError, match=re.escape(said)):
        train_on_table(table, TrainingOptions(**{"vocab_size": 300, **options}))


def test_a_group_that_is_not_there_is_refused_with_the_nearest(corpus):
    table = count([corpus], "gpt2", group_field="lang", removed_texts=["<|end|>"])
    with pytest.raises(ConfigError, match=r"unknown group 'x': did you mean 'xx'\?"):
        train_on_table(table, TrainingOptions(300, group_weights={"x": 1}))


def test_weights_beyond_62_bits_are_refused():
    table = count_texts(["ab" * 5], "none", removed_texts=["<|end|>"])
    huge = merge_tables([table])
    huge.block_counts.data[:] = 2**40
    with pytest.raises(ConfigError, match=r"weighted counts stay below 2\^62, got 1\.1e\+21"):
        train_on_table(huge, TrainingOptions(300, "none", group_weights={"": 999_999_999}))


@pytest.mark.parametrize("name", ["t.json", "t.training.json", "t-280.json"])
def test_a_table_may_not_take_the_place_of_what_is_written(corpus, tmp_path, name):
    options = TrainingOptions(300, sizes=(280,))
    with pytest.raises(ConfigError, match="the table may not take the tokenizer's place"):
        train_from_files([corpus], tmp_path / "t.json", options, save_table=tmp_path / name)


def test_places_that_cannot_be_written_are_told_before_reading(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        train_from_files(["missing.txt"], "/proc/new/t.json", TrainingOptions(300))
    with pytest.raises(OutputError, match="cannot write"):
        train_from_files(
            ["missing.txt"],
            tmp_path / "t.json",
            TrainingOptions(300),
            save_table="/proc/new/table.npz",
        )


def test_progress_is_told_of_counting_and_learning(corpus, tmp_path):
    counted_so_far, learned_so_far = [], []
    train_from_files(
        [corpus],
        tmp_path / "t.json",
        TrainingOptions(300),
        on_count=counted_so_far.append,
        on_learn=lambda done, wanted: learned_so_far.append((done, wanted)),
    )
    assert counted_so_far[-1].documents == len(ALL)
    assert learned_so_far[-1] == (299, 299)


def test_the_record_of_another_name_stands_beside_it(tmp_path):
    assert training_path(tmp_path / "tokenizer.json") == tmp_path / "training.json"
    assert training_path(tmp_path / "my.json") == tmp_path / "my.training.json"
    assert sized_path(tmp_path / "my.json", 512) == tmp_path / "my-512.json"


@pytest.mark.parametrize("model", ["unigram", "wordpiece"])
def test_other_models_are_trained_through_the_library(corpus, tmp_path, model):
    record = train_other_model(model, [corpus], tmp_path / "t.json", TrainingOptions(320))
    assert json.loads((tmp_path / "t.training.json").read_text()) == record
    written = json.loads((tmp_path / "t.json").read_text())
    assert written["model"]["type"].lower() == model
    assert record["documents"] == len(ALL)
    assert 257 < record["vocab_size"] <= 320
