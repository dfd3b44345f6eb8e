"""Tables against plain counting of what the library cuts, whatever the sizes of the work."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_trainer import counted, foreign_texts

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer import PRETOKENIZERS, Pretokenizer, counting, memory
from tokkit.tokenizer.counting import count, count_texts
from tokkit.tokenizer.splitting import ATOM_FAMILY
from tokkit.tokenizer.table import PretokenTable, merge_tables

# All 29 characters that str.split takes for white space, and some that look as if they were.
SPACES = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
NASTY = (
    SPACES
    + "aZ09'é\u0301ſ\u212aßŉ²½Ⅷ٣中あア가ไ_-/!#\"$%"
    + "\u200b\u200d\ufeff\u180e\u00ad\x00\x7f\U0001f600\U0010ffff"
)
nasty_text = st.text(st.sampled_from(NASTY), max_size=40) | st.text(max_size=15)
MIXED = [
    *foreign_texts("chinese")[:20],
    *foreign_texts("arabic")[:20],
    *foreign_texts("emoji")[:20],
    "It's 1234567 tokens,  \r\n\tthey'LL say: don't!\n\n",
    "def f(x):\n    return x ** 2  # fünf\u00a0Äpfel\n",
    "",
    " ",
    "x" * 3000,
]


def contents(table):
    """{pretoken: count} of a table, after checking that each stands in it once."""
    words = [table.pretoken(number) for number in range(len(table))]
    assert len(set(words)) == len(words)
    return dict(zip(words, table.totals.tolist(), strict=True))


def by_block(table):
    """For each block its {pretoken: count}, its measures and the name of its group."""
    dense = table.block_counts.toarray()
    words = [table.pretoken(number) for number in range(len(table))]
    blocks = table.blocks
    return [
        (
            {word: number for word, number in zip(words, row, strict=True) if number},
            table.group_names[blocks.group[place]],
            *(
                int(getattr(blocks, name)[place])
                for name in ("documents", "bytes", "characters", "words", "lines")
            ),
        )
        for place, row in enumerate(dense.tolist())
    ]


def measures(table):
    names = ("documents", "bytes", "characters", "words", "lines")
    return [int(getattr(table.blocks, name).sum()) for name in names]


def measures_of(texts):
    """By Python's own strings."""
    return [
        len(texts),
        sum(len(text.encode()) for text in texts),
        sum(map(len, texts)),
        sum(len(text.split()) for text in texts),
        sum(text.count("\n") for text in texts),
    ]


def write_jsonl(path, records):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def small_sizes(monkeypatch):
    """Shards, parts and blocks so small that every seam of the work is met."""
    monkeypatch.setattr(counting, "SHARD_BYTES", 300)
    monkeypatch.setattr(counting, "_PART_BYTES", 64)
    monkeypatch.setattr(counting, "_SMALLEST_BLOCK_BYTES", 50)


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_counts_equal_those_of_the_librarys_pretokens(name):
    assert contents(count_texts(MIXED, name)) == counted(MIXED, name)


def test_a_pattern_of_ones_own_is_counted_as_the_library_cuts_it():
    rule = Pretokenizer("thirds", r".{1,3}")
    table = count_texts(["abcdefgh", "abc"], rule)
    assert contents(table) == {b"abc": 2, b"def": 1, b"gh": 1}
    assert table.unit == "thirds"


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize("name", ["gpt2", "deepseek-v3", "whitespace", "none", "atoms"])
def test_sizes_of_the_work_and_threads_change_nothing(tmp_path, monkeypatch, name, jobs):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in MIXED])
    whole = count([path], name, by_blocks=False, jobs=1)
    for shard_bytes, part_bytes in ((40, 8), (300, 64), (5000, 1000)):
        monkeypatch.setattr(counting, "SHARD_BYTES", shard_bytes)
        monkeypatch.setattr(counting, "_PART_BYTES", part_bytes)
        table = count([path], name, by_blocks=False, jobs=jobs)
        assert contents(table) == contents(whole)
        assert table.data.tobytes() == whole.data.tobytes(), "the order is that of appearance"
        assert by_block(table) == by_block(whole)
        assert table.origin == whole.origin


def test_pretokens_stand_in_the_order_of_their_appearance():
    table = count_texts(["b a", "a c b"], "whitespace")
    words = [table.pretoken(number) for number in range(len(table))]
    assert words == [b"b", b" a", b"a", b" c", b" b"]


@given(st.lists(nasty_text, min_size=1, max_size=6))
def test_measures_are_those_of_pythons_strings(texts):
    table = count_texts(texts, "bytes", by_blocks=True)
    assert measures(table) == measures_of(texts)


@given(st.text(st.sampled_from(NASTY), min_size=1, max_size=80), st.integers(1, 50))
def test_a_word_across_parts_shards_and_blocks_counts_once(text, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "SHARD_BYTES", 4 + size)
        patch.setattr(counting, "_PART_BYTES", 4)
        patch.setattr(counting, "_SMALLEST_BLOCK_BYTES", size + 3)
        table = count_texts(["x", text, text], "bytes", by_blocks=True)
    assert measures(table) == measures_of(["x", text, text])


def test_words_of_long_ascii_stretches(small_sizes):
    """Longer than the stretches of 4,096 bytes that are measured at a time, words across them."""
    chance = random.Random(5)
    pieces = ["".join(chance.choices("ab \n\t\x1f\x85é", k=9000)), "a" * 4095 + " b" * 4000]
    assert measures(count_texts(pieces, "none")) == measures_of(pieces)
    assert measures(count_texts(pieces, "gpt2", by_blocks=True)) == measures_of(pieces)


def test_all_of_pythons_white_space_is_known():
    texts = [f"a{space}b" for space in SPACES] + [f"{chr(code)}x" for code in range(0x2000, 0x2070)]
    assert measures(count_texts(texts, "none")) == measures_of(texts)


def test_blocks_sum_to_totals_and_each_is_a_run_of_documents(tmp_path, small_sizes):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in MIXED])
    table = count([path], "gpt2")
    assert len(table.blocks) > 20
    assert table.block_counts.sum(axis=0).tolist() == table.totals.tolist()
    assert contents(table) == counted(MIXED, "gpt2")
    assert measures(table) == measures_of(MIXED)
    for words, _, _, size, *_ in by_block(table):
        assert sum(len(word) * number for word, number in words.items()) == size


def test_each_block_counts_its_own_documents(small_sizes):
    """Documents as long as a block, 50 bytes, six of which fill a shard."""
    texts = [f"{letter * 4} " * 10 for letter in "abcdefgh"]
    table = count_texts(texts, "whitespace", by_blocks=True)
    assert by_block(table) == [
        (counted([text], "whitespace"), "", 1, 50, 50, 10, 0) for text in texts
    ]


def test_blocks_are_halved_to_the_most_that_are_wanted(monkeypatch, small_sizes):
    monkeypatch.setattr(counting, "MAX_BLOCKS_A_GROUP", 7)
    texts = [f"document {number} of many words" for number in range(400)]
    table = count_texts(texts, "gpt2", by_blocks=True)
    assert 3 < len(table.blocks) <= 7
    assert contents(table) == counted(texts, "gpt2")
    assert measures(table) == measures_of(texts)
    first, *_ = by_block(table)
    assert first[0] == counted(texts[: first[2]], "gpt2"), "a block is a run of documents"


def test_groups_of_a_field_are_counted_apart(tmp_path, small_sizes):
    texts = {"de": ["Äpfel und Birnen"] * 9, "en": ["apples and pears", "and plums"] * 9, "": ["x"]}
    records = [{"text": text, "lang": lang} for lang, group in texts.items() for text in group]
    random.Random(3).shuffle(records)
    path = write_jsonl(tmp_path / "a.jsonl", records)
    table = count([path], "gpt2", group_field="lang", jobs=2)
    assert set(table.group_names) == set(texts)
    assert list(table.group_names) == list(dict.fromkeys(record["lang"] for record in records))
    words = [table.pretoken(number) for number in range(len(table))]
    for name, row in zip(table.group_names, table.group_totals.tolist(), strict=True):
        found = {word: number for word, number in zip(words, row, strict=True) if number}
        assert found == counted(texts[name], "gpt2")
        mine = table.blocks.group == table.group_names.index(name)
        assert table.blocks.documents[mine].sum() == len(texts[name])
        assert table.blocks.words[mine].sum() == sum(len(text.split()) for text in texts[name])
    assert sorted(table.blocks.group.tolist()) == table.blocks.group.tolist()


def test_groups_of_folders_without_blocks_are_one_row_each(tmp_path):
    for name in ("de", "en"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"{name} text\n" * 50)
    table = count([tmp_path], "gpt2", group_by_folder=True, by_blocks=False)
    assert sorted(table.group_names) == ["de", "en"]
    assert len(table.blocks) == 2
    assert table.blocks.lines.tolist() == [50, 50]


def test_removed_texts_are_cut_out_and_nothing_is_counted_across_them(small_sizes):
    texts = ["ab<|end|>ab", "<|end|>", "ab<|end|><|end|>"]
    table = count_texts(texts, "none", removed_texts=["<|end|>"])
    assert contents(table) == {b"ab": 3}
    assert table.origin.removed_texts == ("<|end|>",)
    assert table.origin.bytes == sum(map(len, texts)), "what was read, not what was kept"
    assert table.blocks.bytes.sum() == 6


@pytest.mark.parametrize("name", sorted(ATOM_FAMILY))
@given(texts=st.lists(nasty_text, min_size=1, max_size=8))
def test_splitting_atoms_equals_counting_block_by_block(name, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "SHARD_BYTES", 400)
        # No document is longer: where a long one is cut depends on the pre-tokenizer.
        patch.setattr(counting, "_SMALLEST_BLOCK_BYTES", 160)
        atoms = count_texts(texts, by_blocks=True)
        direct = count_texts(texts, name, by_blocks=True)
    assert by_block(atoms.split(name)) == by_block(direct)
    assert contents(direct) == counted(texts, name)


def test_a_table_is_split_for_its_own_rule_only_or_from_atoms():
    table = count_texts(["some text"], "gpt2")
    assert table.split("gpt2") is table
    with pytest.raises(ConfigError, match="table of gpt2 cannot be cut as 'o200k': count the text"):
        table.split("o200k")
    with pytest.raises(ConfigError, match="table of atoms cannot be cut as 'whitespace'"):
        count_texts(["some text"]).split("whitespace")


@given(st.lists(nasty_text, min_size=1, max_size=6), st.integers(0, 6))
def test_tables_of_parts_add_up_to_the_table_of_the_whole(texts, place):
    place = min(place, len(texts))
    whole = count_texts(texts, "cl100k")
    parts = [count_texts(texts[:place], "cl100k"), count_texts(texts[place:], "cl100k")]
    table = merge_tables(parts)
    assert contents(table) == contents(whole)
    assert table.data.tobytes() == whole.data.tobytes()
    assert measures(table) == measures(whole)
    assert (table.origin.documents, table.origin.bytes) == (
        whole.origin.documents,
        whole.origin.bytes,
    )
    assert len(table.blocks) == sum(len(part.blocks) for part in parts)


def test_groups_of_one_name_become_one_when_tables_add_up(tmp_path):
    tables = []
    for number, langs in enumerate(["ab", "bc"]):
        records = [{"text": f"text {lang}", "lang": lang} for lang in langs]
        path = write_jsonl(tmp_path / f"{number}.jsonl", records)
        tables.append(count([path], "whitespace", group_field="lang"))
    table = merge_tables(tables)
    assert table.group_names == ("a", "b", "c")
    words = [table.pretoken(number) for number in range(len(table))]
    totals = dict(zip(words, table.group_totals.T.tolist(), strict=True))
    assert totals == {b"text": [1, 2, 1], b" a": [1, 0, 0], b" b": [0, 2, 0], b" c": [0, 0, 1]}
    assert len(table.origin.files) == len(table.origin.corpus_sha256) == 2


def test_tables_that_do_not_belong_together_are_refused():
    gpt2, atoms = count_texts(["a"], "gpt2"), count_texts(["a"])
    with pytest.raises(ConfigError, match="have one unit, got gpt2 and atoms; count the texts"):
        merge_tables([gpt2, atoms])
    removed = count_texts(["a"], "gpt2", removed_texts=["<s>"])
    with pytest.raises(ConfigError, match=r"same texts cut out, got \(\) and \('<s>',\)"):
        merge_tables([gpt2, removed])
    with pytest.raises(ConfigError, match="no table to add up"):
        merge_tables([])


def test_a_pretoken_of_megabytes_is_counted_whole(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("é" * 2_500_000 + " end")
    table = count([path], "gpt2")
    assert table.lengths.tolist() == [5_000_000, 4]
    assert table.totals.tolist() == [1, 1]
    assert measures(table) == [1, 5_000_004, 2_500_004, 2, 0]


def test_many_distinct_pretokens_make_the_tables_grow(tmp_path):
    """Numbers from 1 to 20 bytes long: both kinds of key, and the hash of long ones."""
    numbers = [str(number * 7**21)[: 1 + number % 20] for number in range(1, 200_001)]
    wanted = Counter(numbers)
    assert len(wanted) > 150_000
    path = tmp_path / "numbers.txt"
    path.write_text("\n".join(numbers))
    table = count([path], "whitespace", by_blocks=False, jobs=2)
    found = contents(table)
    assert found.pop(b"\n") == len(numbers) - 1
    assert found == {number.encode(): times for number, times in wanted.items()}


def test_words_that_differ_in_their_last_byte_are_told_apart():
    """Around the lengths of 8 and 16 bytes, where the keys change their form."""
    words = [
        b"k" * length + bytes([last]) for length in (*range(20), 31, 32, 255) for last in b"abk"
    ]
    texts = [word.decode() for word in words for _ in range(2)]
    table = count_texts(texts, "none")
    assert contents(table) == {word: 2 * words.count(word) for word in words}


def test_memory_that_would_run_out_is_told_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1 << 20)
    monkeypatch.setattr(memory, "_LARGE_BYTES", 1 << 21)
    path = tmp_path / "numbers.txt"
    path.write_text(" ".join(map(str, range(150_000))))
    with pytest.raises(
        InputError,
        match=r"distinct pretokens need .* GiB more memory, but 0\.0 GiB are left; count",
    ):
        count([path], "whitespace")


def test_texts_that_are_no_unicode_are_refused():
    with pytest.raises(InputError, match="half of a surrogate pair"):
        count_texts(["a\ud800"], "gpt2")
    with pytest.raises(ConfigError, match="a text to remove must be Unicode, got"):
        count_texts(["a"], "gpt2", removed_texts=["\udcff"])


def test_an_unknown_pretokenizer_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown pre-tokenizer 'gtp2': did you mean 'gpt2'"):
        count([tmp_path / "nothing"], "gtp2")


def test_empty_documents_are_documents(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": ""}] * 3)
    table = count([path], "gpt2")
    assert (len(table), table.totals.size, measures(table)) == (0, 0, [3, 0, 0, 0, 0])
    assert len(count_texts([], "gpt2").blocks) == 0


def test_progress_tells_of_bytes_documents_and_pretokens(tmp_path, small_sizes):
    path = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in MIXED])
    said = []
    table = count([path], "gpt2", progress=said.append)
    assert (said[-1].bytes, said[-1].documents) == (table.origin.bytes, len(MIXED))
    assert said[-1].pretokens == len(table)
    assert [step.pretokens for step in said] == sorted(step.pretokens for step in said)


def test_the_origin_tells_what_was_read(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(b"a\xff b")
    table = count([path], errors="replace")
    assert isinstance(table, PretokenTable)
    assert (table.origin.replaced, table.origin.files) == (1, (str(path),))
    assert table.origin.bytes == len("a\ufffd b".encode())
    assert np.array_equal(table.totals, table.block_counts.sum(axis=0))
