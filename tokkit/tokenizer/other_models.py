"""Unigram and WordPiece, trained through `tokenizers`, on the same pretokens as BPE.

Text is cut by tokkit's pre-tokenizers and spelled as bytes, and every byte has a token, so nothing
is unknown and everything decodes to its bytes: what differs from BPE is the model alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer.alphabet import byte_characters
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.records import one_line, panics_as_errors
from tokkit.tokenizer.splitting import is_compiled, pretoken_ends

SPECIAL_TOKENS = ("<|end|>",)
UNKNOWN = "[UNK]"
# Longer pretokens are unknown to WordPiece: the time of its greedy search grows with their cube.
MAX_WORDPIECE_BYTES = 1000
# The library's trainers take time that grows with the square of a pretoken's length.
MAX_PRETOKEN_BYTES = 1 << 17
_POLL_SECONDS = 0.1


def train_unigram(
    documents: Iterable[str],
    *,
    vocab_size: int,
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
) -> LibraryTokenizer:
    """Train a unigram language model of tokens (Kudo 2018) over byte-level pretokens.

    The vocabulary holds special tokens, the 256 bytes and the pieces that the library's pruning
    keeps; it may end below `vocab_size` where the text has no more. The result is not the same from
    run to run, on one thread neither: the library adds up in the order of a table with a random
    seed. In trials the pieces were the same and their log probabilities differed by up to 0.02.

    Raises ConfigError for a vocabulary below its minimum, InputError for text that is no Unicode.
    """
    trainer = trainers.UnigramTrainer(
        vocab_size=_checked_size(vocab_size, special_tokens, others=0),
        special_tokens=list(special_tokens),
        initial_alphabet=list(byte_characters()),
        show_progress=False,
    )
    return _trained(models.Unigram(), trainer, documents, pretokenizer, special_tokens)


def train_wordpiece(
    documents: Iterable[str],
    *,
    vocab_size: int,
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    min_frequency: int = 2,
) -> LibraryTokenizer:
    """Train a vocabulary that is matched greedily, longest token first (Schuster, Nakajima 2012).

    The library learns it as it learns BPE's; encoding is what differs. Word parts carry no mark:
    the space before a word is a byte of the word. The vocabulary holds special tokens, an unknown
    token (for pretokens of more than 1,000 bytes), the 256 bytes and learnt tokens. The same texts
    give the same tokens.

    Raises ConfigError for a vocabulary below its minimum, InputError for text that is no Unicode.
    """
    model = models.WordPiece(
        vocab={UNKNOWN: 0}, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORDPIECE_BYTES
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=_checked_size(vocab_size, special_tokens, others=1),
        min_frequency=min_frequency,
        special_tokens=[*special_tokens, UNKNOWN],
        initial_alphabet=list(byte_characters()),
        continuing_subword_prefix="",
        show_progress=False,
    )
    return _trained(model, trainer, documents, pretokenizer, special_tokens)


def _checked_size(vocab_size: int, special_tokens: Sequence[str], *, others: int) -> int:
    minimum = 256 + len(special_tokens) + others
    if vocab_size < minimum:
        raise ConfigError(
            f"the vocabulary must hold at least {minimum} tokens (256 bytes and special ones), got "
            f"{vocab_size}; ask for more"
        )
    return vocab_size


def _trained(
    model: Any,
    trainer: Any,
    documents: Iterable[str],
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str],
) -> LibraryTokenizer:
    if isinstance(documents, str):
        raise ConfigError("documents must be several texts, got one str; put it in a list")
    rule = resolve_pretokenizer(pretokenizer)
    documents = _without_long_pretokens(documents, rule)
    cuts = rule.components()
    learner = tokenizers.Tokenizer(model)
    learner.pre_tokenizer = pre_tokenizers.Sequence([*_removed(special_tokens), *cuts])
    _learn(learner, trainer, documents)
    learner.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    learner.decoder = decoders.ByteLevel()
    record = json.loads(learner.to_str())
    if record["model"]["type"] == "WordPiece":
        # The trainer keeps its own prefix in the model that it makes, and its own limit.
        record["model"]["continuing_subword_prefix"] = ""
        record["model"]["max_input_chars_per_word"] = MAX_WORDPIECE_BYTES
    return LibraryTokenizer.from_json(json.dumps(record))


def _without_long_pretokens(documents: Iterable[str], rule: Pretokenizer) -> Iterator[str]:
    for number, text in enumerate(documents, start=1):
        data = np.frombuffer(bytearray(text.encode("utf-8", "replace")), dtype=np.uint8)
        if len(data) > MAX_PRETOKEN_BYTES and is_compiled(rule):
            ends = pretoken_ends(data, np.array([0, len(data)], dtype=np.int64), rule)
            longest = int(np.diff(ends, prepend=0).max())
            if longest > MAX_PRETOKEN_BYTES:
                raise InputError(
                    f"unigram and WordPiece train through tokenizers, whose time grows with the "
                    f"square of a pretoken's length: {MAX_PRETOKEN_BYTES:,} bytes are allowed, "
                    f"document {number} has one of {longest:,}; break it up, or train bpe"
                )
        yield text


def _removed(special_tokens: Sequence[str]) -> list[Any]:
    """Cut special tokens out of the training text, as encoding with them does."""
    if not special_tokens:
        return []
    longest_first = sorted(special_tokens, key=len, reverse=True)
    literals = ["".join(f"\\x{{{ord(char):x}}}" for char in text) for text in longest_first]
    return [pre_tokenizers.Split(tokenizers.Regex("|".join(literals)), "removed")]


def _learn(learner: tokenizers.Tokenizer, trainer: Any, documents: Iterable[str]) -> None:
    """Run the trainer on a thread of its own, so that Ctrl-C ends the wait for it at once."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with panics_as_errors():
                learner.train_from_iterator(documents, trainer)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work, name="tokkit-trainer", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_POLL_SECONDS)
    if not failures:
        return
    if isinstance(failures[0], UnicodeEncodeError):
        raise InputError(
            f"text must be valid Unicode, but character {failures[0].start} of a document is half "
            f"of a surrogate pair; repair the text"
        ) from failures[0]
    if not isinstance(failures[0], Exception) or type(failures[0]) is not Exception:
        raise failures[0]
    raise InputError(f"the library cannot train on this text: {one_line(failures[0])}")
