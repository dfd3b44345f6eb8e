"""Counting questions, as text, with their true answers.

Three tasks that need the same counting and differ in what is counted:

    word      How many r's are in strawberry?
    spelled   How many r's are in the letters s t r a w b e r r y?
    items     How many figs are in the list plum fig fig pear?

`QuestionPool` draws them so that the count cannot be guessed from the letter and the length.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tokkit.errors import ConfigError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ITEMS = (
    *("fig", "plum", "lamp", "drum", "fork", "vest", "moth", "crab", "tulip", "wagon", "quilt"),
    *("pebble", "ribbon", "jacket", "violin", "anchor", "kettle", "hammer", "engine", "island"),
    *("yacht", "zebra", "candle", "oven"),
)
MAX_COUNT = 3
LIST_LENGTHS = range(4, 11)

# What stands around the asked word, item or letters: the same tokens in every arm.
ASK = "How many"
OF_WORD = "'s are in "
OF_LETTERS = "'s are in the letters"
OF_LIST = "s are in the list"
END = "?"

_QUESTION = re.compile(
    rf"{ASK} (?P<letter>[a-z])(?:{OF_WORD}(?P<word>[a-z]+)"
    rf"|{OF_LETTERS} (?P<letters>[a-z](?: [a-z])*))\{END}"
)
_LIST_QUESTION = re.compile(rf"{ASK} (?P<item>[a-z]+){OF_LIST} (?P<list>[a-z]+(?: [a-z]+)*)\{END}")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with its truth. `subject` is the word, or the list joined by spaces."""

    task: str
    asked: str
    subject: str
    truth: int

    @property
    def text(self) -> str:
        """The question as a person would type it."""
        if self.task == "items":
            return f"{ASK} {self.asked}{OF_LIST} {self.subject}{END}"
        if self.task == "spelled":
            return f"{ASK} {self.asked}{OF_LETTERS} {' '.join(self.subject)}{END}"
        return f"{ASK} {self.asked}{OF_WORD}{self.subject}{END}"

    @property
    def answer(self) -> str:
        """The right answer as text."""
        return str(self.truth)

    def spelled(self) -> Question:
        """The same question with the word's letters set apart."""
        return Question("spelled", self.asked, self.subject, self.truth)


def word_question(letter: str, word: str) -> Question:
    """Ask how often `letter` stands in `word`.

    >>> word_question("r", "strawberry").text
    "How many r's are in strawberry?"
    """
    return Question("word", letter, word, word.count(letter))


def parse_question(text: str) -> Question | None:
    """Understand a question typed by a person; None when it is none of the three.

    >>> parse_question("How many r's are in strawberry?").truth
    3
    """
    text = text.strip()
    if match := _QUESTION.fullmatch(text):
        word = match["word"] or match["letters"].replace(" ", "")
        task = "word" if match["word"] else "spelled"
        return Question(task, match["letter"], word, word.count(match["letter"]))
    if match := _LIST_QUESTION.fullmatch(text):
        return Question(
            "items", match["item"], match["list"], match["list"].split().count(match["item"])
        )
    return None


def parse_answer(text: str) -> int | None:
    """The number that an answer says, or None when it says none.

    >>> parse_answer("3"), parse_answer(" 2."), parse_answer("r3"), parse_answer("")
    (3, 2, None, None)
    """
    match = re.fullmatch(r"\s*(\d{1,3})\.?\s*", text)
    return int(match[1]) if match else None


class QuestionPool:
    """Words arranged by letter, length and count, to draw balanced questions from.

    A cell is a letter with a word length. It is used when the counts 0, 1 and 2 (and 3 where it
    occurs) each have at least `min_words` words, so that whoever knows letter and length only
    can be right at most a third of the time.
    """

    def __init__(self, words: Sequence[str], *, min_words: int) -> None:
        cells: dict[tuple[str, int], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for word in words:
            for letter in LETTERS:
                count = word.count(letter)
                if count <= MAX_COUNT:
                    cells[letter, len(word)][count].append(word)
        self.cells: dict[tuple[str, int], tuple[tuple[int, list[str]], ...]] = {}
        for key in sorted(cells):
            enough = {c: w for c, w in sorted(cells[key].items()) if len(w) >= min_words}
            if {0, 1, 2} <= enough.keys():
                self.cells[key] = tuple(enough.items())
        if not self.cells:
            raise ConfigError(
                f"{len(words)} words give no letter and length with counts 0, 1 and 2 in at least "
                f"{min_words} words each: give more words"
            )
        self._keys = list(self.cells)

    def draw(self, n: int, generator: np.random.Generator) -> list[Question]:
        """Word questions, n of them: a cell, then a count in it, then a word, each uniformly."""
        uniform = generator.random((n, 3))
        questions = []
        for u, v, w in uniform:
            letter, _ = key = self._keys[int(u * len(self._keys))]
            counts = self.cells[key]
            truth, words = counts[int(v * len(counts))]
            questions.append(Question("word", letter, words[int(w * len(words))], truth))
        return questions

    def draw_distinct(self, n: int, generator: np.random.Generator) -> list[Question]:
        """About n questions, each on a word of its own, for evaluation; fewer if words run out.

        Every cell gives each of its counts equally often, so the pool's balance is kept.
        """
        quota = n / sum(len(counts) for counts in self.cells.values())
        used: set[str] = set()
        questions = []
        for i in generator.permutation(len(self._keys)):
            letter, _ = key = self._keys[i]
            fresh = {c: [w for w in words if w not in used] for c, words in self.cells[key]}
            take = min(int(quota + generator.random()), *(len(words) for words in fresh.values()))
            for truth, words in fresh.items():
                chosen = [words[j] for j in sorted(generator.permutation(len(words))[:take])]
                used.update(chosen)
                questions += [Question("word", letter, word, truth) for word in chosen]
        return questions


def item_questions(n: int, generator: np.random.Generator) -> list[Question]:
    """Questions on lists of items, n of them: the count 0 to 3 is uniform for any item, length."""
    questions = []
    for _ in range(n):
        asked = int(generator.integers(len(ITEMS)))
        length = int(generator.integers(LIST_LENGTHS.start, LIST_LENGTHS.stop))
        truth = int(generator.integers(MAX_COUNT + 1))
        others = generator.integers(len(ITEMS) - 1, size=length - truth)
        listed = [int(o) + (int(o) >= asked) for o in others] + [asked] * truth
        generator.shuffle(listed)
        subject = " ".join(ITEMS[i] for i in listed)
        questions.append(Question("items", ITEMS[asked], subject, truth))
    return questions


@dataclass(frozen=True, slots=True)
class WordSplits:
    """Words split by token: A is trained on; R are new words of A's tokens; C of novel tokens."""

    a: tuple[str, ...]
    r: tuple[str, ...]
    c: tuple[str, ...]
    novel_tokens: frozenset[int]


def split_words(
    words: Sequence[str],
    tokens: Sequence[Sequence[int]],
    single_letters: frozenset[int],
    *,
    held_out: str,
    novel_share: float,
    fresh_share: float,
    generator: np.random.Generator,
) -> WordSplits:
    """Split words by the multi-letter tokens that they are made of.

    `tokens[i]` are the ids of words[i]; ids in `single_letters` show their letter and do not
    count. A random `novel_share` of the multi-letter tokens, and all of `held_out`'s, are novel:
    words made of novel tokens only are C, words with none are A or (a random `fresh_share` of
    them, if A has all their tokens) R, and words that mix both are left out.
    """
    multi = [frozenset(ids) - single_letters for ids in tokens]
    vocabulary = sorted(frozenset().union(*multi))
    chosen = generator.permutation(len(vocabulary))[: round(novel_share * len(vocabulary))]
    novel = {vocabulary[i] for i in chosen}
    novel |= multi[list(words).index(held_out)]
    known = [i for i, ids in enumerate(multi) if not ids & novel]
    fresh = set(generator.permutation(known)[: round(fresh_share * len(known))].tolist())
    a = [i for i in known if i not in fresh]
    seen = frozenset().union(*(multi[i] for i in a))
    r = [i for i in sorted(fresh) if multi[i] and multi[i] <= seen]
    c = [i for i, ids in enumerate(multi) if ids and ids <= novel]

    def named(indices: list[int]) -> tuple[str, ...]:
        return tuple(words[i] for i in indices)

    return WordSplits(named(a), named(r), named(c), frozenset(novel))


def countable_words(words: Iterable[str], *, min_letters: int, max_letters: int) -> list[str]:
    """The words of a-z only, within the given lengths, in the order given."""
    wanted = re.compile(rf"[a-z]{{{min_letters},{max_letters}}}")
    return [word for word in words if wanted.fullmatch(word)]
