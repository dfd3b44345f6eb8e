"""The five arms of the strawberry experiment: what each model gets to see of the same word.

Letters are hidden or visible, and the sequence is short or long: two factors apart. All arms
have the same tokens around the word, the same number of embedding rows and the same ids for
what they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.probes.targets import Codec, codec_of
from tokkit.probes.tasks import ASK, ITEMS, LETTERS, OF_LETTERS, OF_LIST, OF_WORD
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.letters import letter_counts, swapped_letters
from tokkit.tokenizer.opaque import OpaqueIds
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.train import assemble, merges_of, train

QUESTION_TOKENS = (ASK, OF_WORD, OF_LETTERS, OF_LIST, *(f" {item}" for item in ITEMS))
# A lone letter takes the space before it along, so that letters set apart are one token each;
# a word never does, so that it is cut alike wherever it stands.
QUESTION_CUT = Pretokenizer("questions", r" [a-z](?![a-z])|[a-z]+|[^a-z]")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of showing a word to a model."""

    name: str
    letters: str  # hidden, visible or wrong
    length: str  # short: about a token for three letters; long: a token a letter
    how: str
    ids: str = "plain"
    features: str = ""  # what is added to each embedding row: "", "letters" or "swapped"

    @property
    def tokenizer(self) -> str:
        """Which of the two tokenizers it reads with."""
        return "char" if self.name == "char" else "bpe"


ARMS = {
    arm.name: arm
    for arm in (
        Arm("bpe", "hidden", "short", "the word's BPE tokens"),
        Arm(
            "opaque",
            "hidden",
            "long",
            "each token of k letters becomes k ids of its own, which say nothing of the letters",
            ids="opaque",
        ),
        Arm(
            "letters",
            "visible",
            "short",
            "the BPE tokens, with a learned sum of the token's letters added to its embedding",
            features="letters",
        ),
        Arm("char", "visible", "long", "one token a letter"),
        Arm(
            "placebo",
            "wrong",
            "short",
            "as letters, but each token is given the letters of another token of its length",
            features="swapped",
        ),
    )
}


def train_word_tokenizer(words: Sequence[str], *, merges: int) -> Tokenizer:
    """Learn `merges` merges from the word list, each word once, and lay out the question's ids.

    Ids: <|end|>, the question's tokens, 256 bytes, " a" to " z", then the learned tokens.
    """
    learned = train(words, vocab_size=257 + merges, pretokenizer="none")
    return assemble(
        [*_lone_letters(), *merges_of(learned)],
        pretokenizer=QUESTION_CUT,
        added_tokens=QUESTION_TOKENS,
    )


def char_tokenizer() -> Tokenizer:
    """The tokenizer of the char arm: what it shares with the BPE one has the same ids."""
    return assemble(_lone_letters(), pretokenizer=QUESTION_CUT, added_tokens=QUESTION_TOKENS)


def _lone_letters() -> list[tuple[bytes, bytes]]:
    return [(b" ", letter.encode()) for letter in LETTERS]


def single_letter_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids of the tokens that are one letter, and so hide nothing."""
    found = (tokenizer.token_id(letter) for letter in LETTERS)
    return frozenset(token for token in found if token is not None)


def arm_codec(arm: Arm, tokenizer: Tokenizer) -> Codec:
    """How the arm turns text into ids."""
    return codec_of(tokenizer, arm.ids)


def embedding_rows(bpe: Tokenizer) -> int:
    """The number of embedding rows that every arm gets: what the greediest, opaque, needs."""
    return OpaqueIds(bpe).size


def token_features(
    arm: Arm, tokenizer: Tokenizer, *, rows: int, seed: int
) -> NDArray[np.uint8] | None:
    """What the arm is told of each token's letters: counts (rows, 26), or None for nothing.

    The placebo's exchange of letters is drawn from `seed`.
    """
    if not arm.features:
        return None
    generator = np.random.default_rng([seed, 26])
    told = (
        letter_counts(tokenizer)
        if arm.features == "letters"
        else swapped_letters(tokenizer, generator)
    )
    return np.vstack((told, np.zeros((rows - len(told), told.shape[1]), dtype=told.dtype)))


def chips(
    arm: Arm, tokenizer: Tokenizer, word: str, told: NDArray[np.uint8] | None
) -> list[dict[str, Any]]:
    """The word as the arm receives it: each token's text, its ids, and the letters it shows."""
    codec = arm_codec(arm, tokenizer)
    shown = []
    for piece in tokenizer.pieces(word):
        ids = codec.expand([piece.id]) if isinstance(codec, OpaqueIds) else [piece.id]
        single = len(piece.text) == 1
        letters = "visible" if single and told is None else arm.letters
        if told is not None:
            given = "".join(c * int(n) for c, n in zip(LETTERS, told[piece.id], strict=True))
        else:
            given = piece.text if letters == "visible" else ""
        shown.append({"text": piece.text, "ids": ids, "letters": letters, "shown": given})
    return shown
