"""Merges against the library's trainer, a slow learner, and derivations by hand."""

import inspect
import random
import re
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import numpy as np
import pytest
import slow_bpe
from hypothesis import assume, given
from hypothesis import strategies as st
from library_trainer import (
    arrays,
    counted,
    foreign_texts,
    library_merges,
    spelled_alphabet,
)

from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.tokenizer import learning, learning_kernels, learning_state
from tokkit.tokenizer.alphabet import byte_characters
from tokkit.tokenizer.learning import LearningOptions, learn

ALL_BYTES = bytes(range(256))
ORDER = sorted(range(256), key=lambda byte: byte_characters()[byte])
# Gage 1994. Pairs: aa 4 (overlapping ones count), ab 2, and four that stand once.
GAGE = {b"aaabdaaabac": 1}
ENGLISH = counted([topics[name] for name in sorted(topics)[:40]], "gpt2")
# Ties, overlaps and pairs that come back are common among words of few letters.
few_letters = st.dictionaries(
    st.lists(st.sampled_from(b"ab"), min_size=1, max_size=14).map(bytes)
    | st.lists(st.sampled_from(b"abc"), min_size=1, max_size=9).map(bytes)
    | st.integers(1, 40).map(lambda n: b"a" * n),
    st.integers(1, 5),
    min_size=1,
    max_size=12,
)


def merges_of(words, vocab_size, **options):
    return list(learn(*arrays(words), LearningOptions(vocab_size, **options)).merges)


def library(words, vocab_size, alphabet=ALL_BYTES, **options):
    initial = spelled_alphabet(alphabet)
    settings = {"min_frequency": 2, "initial_alphabet": initial, **options}
    return library_merges(words, vocab_size=vocab_size, **settings)


def random_words(alphabet, number, longest, seed):
    chance = random.Random(seed)
    return Counter(
        bytes(chance.choices(alphabet, k=chance.randint(1, longest))) for _ in range(number)
    )


TEXTS = {
    "english": ENGLISH,
    "code": counted([inspect.getsource(inspect)[:80_000]], "gpt2"),
    "code-cl100k": counted([inspect.getsource(re)], "cl100k"),
    "chinese": counted(foreign_texts("chinese"), "gpt2"),
    "japanese": counted(foreign_texts("japanese"), "whitespace"),
    "arabic": counted(foreign_texts("arabic"), "o200k"),
    "emoji": counted(foreign_texts("emoji"), "none"),
    "random-bytes": random_words(ALL_BYTES, 3000, 12, seed=1),
    "one-long-word": random_words(b"abcdefgh", 3, 5000, seed=2),
    **{f"a-{length}": {b"a" * length: 3} for length in (1, 2, 3, 5, 8, 13, 64, 1001)},
    "a-of-many-lengths": {b"a" * length: 1 + length % 3 for length in range(1, 80)},
    "ab-abab": {b"ab" * length: 2 for length in range(1, 40)},
}


@pytest.mark.parametrize("name", TEXTS)
def test_merges_equal_those_of_the_library(name):
    words = TEXTS[name]
    assert merges_of(words, 256 + 2000) == library(words, 256 + 2000)


@given(few_letters, st.sampled_from([b"", b"ab", ALL_BYTES]), st.integers(1, 4), st.data())
def test_merges_equal_those_of_the_library_on_words_of_few_letters(words, alphabet, least, data):
    present = len(set(alphabet).union(*words))
    vocab_size = data.draw(st.integers(present, present + 40))
    length = data.draw(st.none() | st.integers(2, 7))
    limits = {} if length is None else {"max_token_length": length}
    got = merges_of(words, vocab_size, min_frequency=least, initial_alphabet=alphabet, **limits)
    assert got == library(words, vocab_size, alphabet, min_frequency=least, **limits)


def test_a_token_that_is_made_twice_keeps_its_number():
    """(b, ab) spells what (ba, b) spelled; the vocabulary of 259 is full before it is made."""
    twice = [(b"b", b"a"), (b"ba", b"b"), (b"a", b"b"), (b"b", b"ab")]
    learned = learn(*arrays({b"bab": 1, b"cab": 1}), LearningOptions(300), extend=twice)
    assert learned.steps[:, 2].tolist() == [256, 257, 258, 257]
    assert learned.tokens[256:] == (b"ba", b"bab", b"ab")
    assert learned.tokens_left.tolist() == [5, 4, 3, 3]
    sizes = (256, 257, 258, 259, 260)
    assert [len(learned.merges_at(size)) for size in sizes] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"min_frequency": 7}, {"max_token_length": 4}])
def test_limits_mean_what_they_mean_in_the_library(options):
    assert merges_of(ENGLISH, 5000, **options) == library(ENGLISH, 5000, **options)
    assert merges_of(ENGLISH, 5000, **options) != merges_of(ENGLISH, 5000)


@pytest.mark.parametrize("limit", [3, 11, 40])
def test_a_limited_alphabet_keeps_the_bytes_that_the_library_keeps(limit):
    occurrences = Counter()
    for word, count in ENGLISH.items():
        occurrences.update({byte: number * count for byte, number in Counter(word).items()})
    by_count = sorted(occurrences.values(), reverse=True)
    assert by_count[limit - 1] > by_count[limit], "the library breaks ties by chance"
    options = {"limit_alphabet": limit}
    got = merges_of(ENGLISH, 300, initial_alphabet=b"", **options)
    assert got == library(ENGLISH, 300, b"", **options)
    kept = {byte for byte, _ in occurrences.most_common(limit)}
    assert {byte for pair in got for part in pair for byte in part} <= kept


def test_special_tokens_take_their_share_of_the_librarys_vocabulary():
    special = ["<|end|>", "<|pad|>", "<|x|>"]
    assert merges_of(ENGLISH, 297) == library(ENGLISH, 300, special_tokens=special)


def test_merges_equal_those_of_the_slow_learner():
    words = dict(list(ENGLISH.items())[:150])
    pieces = [word for word, count in words.items() for _ in range(count)]
    assert merges_of(words, 256 + 60) == slow_bpe.learn(pieces, 60, ORDER)


def test_gage_by_hand():
    """After aa: [aa a b d aa a b a c], where (a, b) stands twice and (aa, a) twice, a being older.

    After ab: [aa ab d aa ab a c], with (aa, ab) twice; after that nothing stands twice.
    """
    learned = learn(*arrays(GAGE), LearningOptions(300))
    assert learned.merges == ((b"a", b"a"), (b"a", b"b"), (b"aa", b"ab"))
    assert learned.counts.tolist() == [4, 2, 2]
    assert learned.symbols == 11
    assert learned.tokens_left.tolist() == [9, 7, 5]
    assert learned.tokens[256:] == (b"aa", b"ab", b"aaab")
    a, b = ORDER.index(ord("a")), ORDER.index(ord("b"))
    assert learned.steps.tolist() == [[a, a, 256], [a, b, 257], [256, 257, 258]]
    assert learned.ran_out


def test_a_full_vocabulary_is_told_from_running_out():
    assert not learn(*arrays(GAGE), LearningOptions(259)).ran_out
    assert learn(*arrays(GAGE), LearningOptions(260)).ran_out


def test_ties_go_to_the_older_left_then_right_part():
    """bc, ab and aa stand twice: aa, then ab, then bc; a made token is younger than any byte."""
    words = {b"bc": 2, b"ab": 2, b"aa": 2}
    assert merges_of(words, 300) == [(b"a", b"a"), (b"a", b"b"), (b"b", b"c")]


def test_bytes_are_as_old_as_their_place_in_the_byte_alphabet():
    """Byte 0 is spelled with a character behind those of all letters, so the letters come first."""
    assert merges_of({b"\x00\x00": 2, b"zz": 2}, 300) == [(b"z", b"z"), (b"\x00", b"\x00")]


@given(few_letters)
def test_counts_of_64_bits_change_nothing(words):
    small = learn(*arrays(words), LearningOptions(300))
    data, offsets, counts = arrays(words)
    large = learn(data, offsets, counts * 2**33, LearningOptions(300, min_frequency=2**34))
    assert large.merges == small.merges
    assert large.counts.tolist() == [count * 2**33 for count in small.counts.tolist()]
    assert large.tokens_left.tolist() == [left * 2**33 for left in small.tokens_left.tolist()]


@pytest.mark.parametrize("words", [dict(list(ENGLISH.items())[:120]), TEXTS["arabic"]])
def test_the_trace_is_what_counting_after_each_merge_gives(words):
    learned = learn(*arrays(words), LearningOptions(256 + 150))
    split = {word: [bytes([byte]) for byte in word] for word in words}
    assert learned.symbols == sum(len(word) * count for word, count in words.items())
    for step, pair in enumerate(learned.merges):
        stands = Counter()
        for word, parts in split.items():
            stands.update({p: n * words[word] for p, n in Counter(pairwise(parts)).items()})
        assert learned.counts[step] == stands[pair] == max(stands.values())
        split = {word: slow_bpe.join(parts, pair) for word, parts in split.items()}
        left = sum(len(parts) * words[word] for word, parts in split.items())
        assert learned.tokens_left[step] == left


@given(few_letters)
def test_the_tokens_left_are_those_of_encoding_with_the_merges(words):
    for size in (257, 259, 300):
        learned = learn(*arrays(words), LearningOptions(size))
        assume(len(set(learned.steps[:, 2].tolist())) == len(learned.steps))
        tokens = sum(
            len(slow_bpe.encode(word, learned.merges)) * count for word, count in words.items()
        )
        assert [learned.symbols, *learned.tokens_left.tolist()][-1] == tokens


@given(few_letters, st.sampled_from([b"", ALL_BYTES]))
def test_a_smaller_vocabulary_is_a_prefix_of_a_larger_one(words, alphabet):
    options = {"initial_alphabet": alphabet, "min_frequency": 1}
    size = len(set(alphabet).union(*words))
    learned = learn(*arrays(words), LearningOptions(size + 30, **options))
    for smaller in range(size, size + 31, 3):
        assert list(learned.merges_at(smaller)) == merges_of(words, smaller, **options)


def test_prefixes_count_the_ids_that_the_alphabet_takes_up():
    options = LearningOptions(300, initial_alphabet=b"", alphabet_ids=256)
    learned = learn(*arrays(GAGE), options)
    assert learned.alphabet_size == 4
    assert [len(learned.merges_at(size)) for size in (256, 257, 258, 259, 300)] == [0, 1, 2, 3, 3]


def test_a_vetoed_merge_is_passed_over():
    """Without aa: (a, b) twice, then (a, ab), which spells aab and has an aa in it, too."""
    assert merges_of(GAGE, 300, veto=re.compile(b"aa")) == [(b"a", b"b")]


def test_no_token_matches_the_veto_and_one_that_matches_nothing_changes_nothing():
    veto = re.compile(rb"e|[A-Z]{2}|^ th$")
    learned = learn(*arrays(ENGLISH), LearningOptions(600, veto=veto))
    assert not [token for token in learned.tokens[256:] if veto.search(token)]
    assert len(learned.merges) == 600 - 256
    assert merges_of(ENGLISH, 600, veto=re.compile(b"\x00\x01")) == merges_of(ENGLISH, 600)


@pytest.mark.parametrize("start", [0, 1, 57, 244])
def test_extending_goes_on_as_if_training_had_not_stopped(start):
    whole = merges_of(ENGLISH, 500)
    learned = learn(*arrays(ENGLISH), LearningOptions(500), extend=whole[:start])
    assert list(learned.merges) == whole


def test_given_merges_come_first_whatever_the_text_says():
    """Merges b+d, then (bd)+a, by hand: [a a a bda a a b a c]; then aa, as often as before: 3."""
    given_merges = [(b"b", b"d"), (b"bd", b"a"), (b"x", b"y")]
    learned = learn(*arrays(GAGE), LearningOptions(300), extend=given_merges)
    assert list(learned.merges) == [*given_merges, (b"a", b"a")]
    assert learned.tokens_left.tolist() == [10, 9, 9, 7]
    assert learned.counts.tolist() == [1, 1, 0, 3]


def test_many_given_merges_on_a_text_of_a_few_bytes_end():
    given_merges = [(bytes([left]), bytes([right])) for left in ALL_BYTES for right in b"pqrs"]
    learned = learn(*arrays(GAGE), LearningOptions(2000), extend=given_merges)
    assert learned.merges[:1024] == tuple(given_merges)
    assert learned.merges[1024:] == ((b"a", b"a"), (b"a", b"b"), (b"aa", b"ab"))


@pytest.mark.parametrize(("share", "merges"), [(0.0, 3), (2 / 11, 3), (0.19, 1), (0.5, 0)])
def test_min_gain_stops_where_a_merge_saves_less_than_its_share(share, merges):
    """Of Gage's 11 bytes the merges take pairs that stand 4, 2 and 2 times."""
    assert len(merges_of(GAGE, 300, min_gain=share)) == merges


def test_pretokens_that_count_nothing_are_as_if_they_were_not_there():
    words = dict(list(ENGLISH.items())[:100])
    with_others = {b"zqzqzq": 0, **words, b"zqzq": 0, b"\xff\xff": -3}
    assert merges_of(with_others, 400) == merges_of(words, 400)


@pytest.mark.parametrize("words", [{}, {b"a": 5}, {b"ab": 0}, {b"ab": 1}])
def test_text_without_a_frequent_pair_gives_no_merges(words):
    learned = learn(*arrays(words), LearningOptions(300))
    assert learned.merges == learned.merges_at(256) == ()
    assert learned.ran_out


def test_progress_tells_of_tokens_and_ends_at_the_last():
    said = []
    learn(
        *arrays(ENGLISH),
        LearningOptions(256 + 3 * learning.MERGES_A_CALL),
        progress=lambda done, wanted: said.append((done, wanted)),
    )
    goal = 256 + 3 * learning.MERGES_A_CALL
    told = [done for done, _ in said]
    assert told == sorted(told)
    assert told[-1] == goal
    # Where an array has to grow within a call, the next one is told of later.
    assert max(np.diff([256, *told])) < 2 * learning.MERGES_A_CALL
    assert {wanted for _, wanted in said} == {goal}


def small_state(symbols, word_of, counts, most_tokens):
    """As the real one, with hardly room to begin."""
    state = small_state.real(symbols, word_of, counts, most_tokens)
    pairs = 64
    entries = 20
    return state._replace(
        pairs=state.pairs[:pairs].copy(),
        pair_counts=state.pair_counts[:pairs].copy(),
        heads=state.heads[:pairs].copy(),
        **{
            name: getattr(state, name)[:entries].copy()
            for name in (
                "entry_pairs", "entry_starts", "entry_lengths", "entry_next",
                "heap_counts", "heap_entries",
            )
        },
        places=state.places[: len(symbols)].copy(),
        token_data=state.token_data[:8].copy(),
        merges=state.merges[:2].copy(),
        trace=state.trace[:2].copy(),
    )  # fmt: skip


@pytest.mark.parametrize("extended", [False, True])
def test_arrays_that_grow_from_next_to_nothing_give_the_same_merges(monkeypatch, extended):
    words = random_words(b"abcd", 200, 30, seed=3)
    options = LearningOptions(400, initial_alphabet=b"")
    wanted = learn(*arrays(words), options)
    small_state.real = learning_state._empty_state
    monkeypatch.setattr(learning_state, "_empty_state", small_state)
    grown = set()

    def watched(state, outcome):
        grown.add(outcome)
        return learning_state.with_room(state, outcome)

    monkeypatch.setattr(learning, "with_room", watched)
    learned = learn(*arrays(words), options, extend=wanted.merges[:20] if extended else ())
    kernels = learning_kernels
    assert grown >= {
        kernels.NEEDS_PAIRS,
        kernels.NEEDS_ENTRIES,
        kernels.NEEDS_PLACES,
        kernels.NEEDS_BYTES,
        kernels.NEEDS_MERGES,
    }
    assert learned.merges == wanted.merges
    assert learned.counts.tolist() == wanted.counts.tolist()
    assert learned.tokens_left.tolist() == wanted.tokens_left.tolist()


def interrupted_at(tokens):
    def progress(done, _):
        if done >= tokens:
            raise KeyboardInterrupt

    return progress


def test_a_checkpoint_goes_on_to_the_same_merges(tmp_path):
    path = tmp_path / "state.npz"
    options = LearningOptions(1800)
    wanted = learn(*arrays(ENGLISH), options)
    for tokens in (700, 1300):
        with pytest.raises(KeyboardInterrupt):
            learn(*arrays(ENGLISH), options, checkpoint=path, progress=interrupted_at(tokens))
        assert path.exists()
    seen = []
    learned = learn(
        *arrays(ENGLISH),
        options,
        checkpoint=path,
        progress=lambda done, _: seen.append(done),
    )
    assert learned.merges == wanted.merges
    assert learned.counts.tolist() == wanted.counts.tolist()
    assert learned.symbols == wanted.symbols
    assert min(seen) > 1300
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_training_or_a_cut_one_is_refused(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        learn(
            *arrays(ENGLISH),
            LearningOptions(1500),
            checkpoint=path,
            progress=interrupted_at(600),
        )
    with pytest.raises(ArtifactError, match="is of a training on other text or with other options"):
        learn(*arrays(ENGLISH), LearningOptions(1501), checkpoint=path)
    with pytest.raises(ArtifactError, match="is of a training on other text or with other options"):
        learn(*arrays(GAGE), LearningOptions(1500), checkpoint=path)
    with np.load(path) as found:
        forged = {name: found[name] for name in found.files}
    np.savez(path, **{**forged, "symbols": forged["symbols"].astype(np.int64)})
    with pytest.raises(ArtifactError, match="its symbols is not that of a training"):
        learn(*arrays(ENGLISH), LearningOptions(1500), checkpoint=path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ArtifactError, match=r"is not whole .*: remove it and train again"):
        learn(*arrays(ENGLISH), LearningOptions(1500), checkpoint=path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vocab_size": 2**31}, "2,147,483,647 tokens at most, got 2,147,483,648; ask for fewer"),
        ({"min_frequency": 0}, "min_frequency must be at least 1, got 0"),
        ({"min_gain": 1.0}, "share of the text's bytes, from 0 to below 1, got 1.0"),
        ({"min_gain": float("nan")}, "from 0 to below 1, got nan"),
        ({"max_token_length": 0}, "max_token_length must be 1 or more, got 0"),
        ({"limit_alphabet": 0}, "limit_alphabet must be 1 or more, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        LearningOptions(**{"vocab_size": 300, **options})


@pytest.mark.parametrize(
    "options", [{"min_frequency": 10**30}, {"max_token_length": 10**30}, {"limit_alphabet": 10**30}]
)
def test_huge_numbers_are_limits_that_nothing_reaches(options):
    wanted = [] if "min_frequency" in options else merges_of(GAGE, 300)
    assert merges_of(GAGE, 300, **options) == wanted


def test_a_vocabulary_below_the_alphabet_is_refused():
    with pytest.raises(ConfigError, match="vocabulary of 255 cannot hold the 256 bytes"):
        merges_of(GAGE, 255)
    learned = learn(*arrays(GAGE), LearningOptions(300))
    with pytest.raises(ConfigError, match="size of 200 is below the alphabet's 256; ask for more"):
        learned.merges_at(200)


def test_merges_to_start_from_must_be_known_and_fit():
    with pytest.raises(ConfigError, match=r"got \(b'ab', b'c'\) as merge 1"):
        learn(*arrays(GAGE), LearningOptions(300), extend=[(b"b", b"c"), (b"ab", b"c")])
    with pytest.raises(ConfigError, match="has 258 tokens with its bytes, more than the 257"):
        learn(*arrays(GAGE), LearningOptions(257), extend=[(b"a", b"b"), (b"b", b"c")])


def test_counts_that_could_overflow_are_refused():
    with pytest.raises(InputError, match=r"2\^62 bytes at most, but its counts add up to 5.1e\+19"):
        merges_of({b"aaabdaaabac": 2**62}, 300)


def test_pretokens_beyond_31_bits_of_places_are_refused():
    """The offsets alone tell, so no memory is needed to test it."""
    with pytest.raises(InputError, match="take 2,147,483,647 places, but take 2,147,483,650"):
        learning_state.first_state(
            np.zeros(0, np.uint8), np.array([0, 2**31]), np.ones(1, np.int64), ORDER, 300, 0
        )
