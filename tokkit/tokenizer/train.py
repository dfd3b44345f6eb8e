"""Learn a byte-pair encoding from text (Gage 1994; Sennrich et al. 2016), with fixed ids.

The ids come from one layout: special tokens, added tokens, the 256 single bytes in order, then one
id for each merge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from tokkit.errors import ConfigError
from tokkit.tokenizer.alphabet import byte_characters, spell, unspell
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer

SPECIAL_TOKENS = ("<|end|>",)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training has come: texts read so far, whether reading is over, tokens so far."""

    texts: int
    reading: bool
    tokens: int = 0


def train(
    documents: Iterable[str],
    *,
    vocab_size: int,
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    added_tokens: Sequence[str] = (),
    min_frequency: int = 2,
    progress: Callable[[Progress], None] | None = None,
) -> Tokenizer:
    """Learn merges from `documents` until the vocabulary holds `vocab_size` tokens.

    The result is smaller when no pair stands at least `min_frequency` times in the text any more.
    No merge crosses a special or added token that the text spells. `progress` is called now and
    then, on the calling thread. The same texts give a byte-identical tokenizer.

    Raises ConfigError when `vocab_size` is below the 256 bytes with the special and added tokens,
    and InputError for text with half a surrogate pair.
    """
    from tokkit.tokenizer.counting import count_texts
    from tokkit.tokenizer.learning import LearningOptions, learn

    rule = resolve_pretokenizer(pretokenizer)
    if isinstance(documents, str):
        raise ConfigError("documents must be several texts, got one str; put it in a list")
    require_settings(vocab_size, special_tokens, added_tokens)
    fixed = (*special_tokens, *added_tokens)
    options = LearningOptions(vocab_size - len(fixed), min_frequency=min_frequency)
    texts = 0

    def watched() -> Iterator[str]:
        nonlocal texts
        for document in documents:
            yield document
            texts += 1
            if progress:
                progress(Progress(texts, reading=True))

    table = count_texts(watched(), rule, removed_texts=fixed)
    learned = learn(
        table.data,
        table.offsets,
        table.totals,
        options,
        progress=progress
        and (lambda tokens, _: progress(Progress(texts, reading=False, tokens=tokens))),
    )
    return assemble(
        learned.merges,
        pretokenizer=rule,
        special_tokens=special_tokens,
        added_tokens=added_tokens,
    )


def require_settings(
    vocab_size: int, special_tokens: Sequence[str], added_tokens: Sequence[str]
) -> None:
    """Raise ConfigError unless these tokens differ and the vocabulary can hold them."""
    _require_tokens_apart(special_tokens, added_tokens)
    minimum = minimum_vocab_size(special_tokens, added_tokens)
    if vocab_size < minimum:
        raise ConfigError(
            f"the vocabulary must hold at least {minimum} tokens (256 bytes, "
            f"{len(special_tokens)} special, {len(added_tokens)} added), got {vocab_size}; "
            f"ask for more"
        )


def assemble(
    merges: Sequence[tuple[bytes, bytes]],
    *,
    pretokenizer: Pretokenizer | str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    added_tokens: Sequence[str] = (),
) -> Tokenizer:
    """Build a tokenizer from merges, in order of rank, each as the bytes of its two parts.

    Ids: special tokens, then added tokens (matched in any text before it is cut, leftmost and
    longest first, spaces kept), then bytes 0 to 255, then one for each merge; a merge that gives
    bytes which already have a token keeps that id.

    Raises ConfigError for a merge of unknown parts or that stands twice, and for special and added
    tokens that are empty, stand twice, or that bytes or merges spell too.
    """
    rule = resolve_pretokenizer(pretokenizer)
    _require_tokens_apart(special_tokens, added_tokens)
    fixed = (*special_tokens, *added_tokens)
    vocab = {content: token for token, content in enumerate(fixed)}
    ordinary = _ordinary_tokens(merges)
    for token in ordinary:
        if vocab.setdefault(spell(token), len(vocab)) < len(fixed):
            raise ConfigError(
                f"a merge may not spell an added or special token, got one that gives {token!r}; "
                f"leave out the merge or the token"
            )
    spelled = [(spell(left), spell(right)) for left, right in merges]
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=spelled))
    backend.pre_tokenizer = pre_tokenizers.Sequence(rule.components())
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [tokenizers.AddedToken(text, special=True, normalized=False) for text in special_tokens]
    )
    backend.add_tokens(
        [tokenizers.AddedToken(text, special=False, normalized=False) for text in added_tokens]
    )
    return Tokenizer(backend)


def merges_of(tokenizer: Tokenizer) -> list[tuple[bytes, bytes]]:
    """The merges of a tokenizer in order of rank, each as the bytes of its two parts."""
    return _merges_in(tokenizer.to_json())


def minimum_vocab_size(special_tokens: Sequence[str], added_tokens: Sequence[str]) -> int:
    """The smallest vocabulary that holds every byte and these tokens."""
    return 256 + len(special_tokens) + len(added_tokens)


def _merges_in(tokenizer_json: str) -> list[tuple[bytes, bytes]]:
    merges = json.loads(tokenizer_json)["model"]["merges"]
    return [(unspell(left), unspell(right)) for left, right in merges]


def _ordinary_tokens(merges: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """The bytes, then what the merges give, each once and in order of first standing."""
    tokens = dict.fromkeys(bytes([byte]) for byte in range(256))
    seen = set()
    for rank, (left, right) in enumerate(merges):
        if left not in tokens or right not in tokens:
            raise ConfigError(
                f"a merge joins two bytes or results of earlier merges, got {(left, right)!r} as "
                f"merge {rank}, where {left if left not in tokens else right!r} is unknown; "
                f"put the merge that makes it first"
            )
        if (left, right) in seen:
            raise ConfigError(
                f"each merge stands once, got {(left, right)!r} again as merge {rank}; remove it"
            )
        seen.add((left, right))
        tokens.setdefault(left + right)
    return list(tokens)


def _require_tokens_apart(special_tokens: Sequence[str], added_tokens: Sequence[str]) -> None:
    spelled_bytes = set(byte_characters())
    seen = set()
    for content in (*special_tokens, *added_tokens):
        if not content:
            raise ConfigError(
                "an added or special token must hold text, got an empty one; remove it"
            )
        if not _is_unicode(content):
            raise ConfigError(
                f"an added or special token must be Unicode text, got {content!r} with half of a "
                f"surrogate pair; correct it"
            )
        if content in seen:
            raise ConfigError(
                f"added and special tokens must differ, got {content!r} twice; remove one"
            )
        if content in spelled_bytes:
            raise ConfigError(
                f"{content!r} cannot be an added or special token: tokenizer.json spells a single "
                f"byte that way; leave it out, or use a longer text"
            )
        seen.add(content)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
