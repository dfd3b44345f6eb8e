"""A byte-level tokenizer from the parts that other files hold: vocabulary, merges, cuts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import pre_tokenizers

from tokkit.errors import ArtifactError
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.presets import Pretokenizer
from tokkit.tokenizer.records import shown


def byte_level(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    *,
    pretokenizer: Pretokenizer,
    special_tokens: Mapping[str, int],
    ignore_merges: bool = False,
) -> Tokenizer:
    """The tokenizer of these parts, tokens spelled in the byte alphabet, with ids as given.

    Raises ArtifactError for special tokens whose id or spelling is another token's, and whatever
    `Tokenizer.from_json` finds.
    """
    _require_free(vocab, special_tokens)
    cuts = json.loads(pre_tokenizers.Sequence(pretokenizer.components()).__getstate__())
    record = {
        "version": "1.0",
        "added_tokens": [
            _special(content, token)
            for content, token in sorted(special_tokens.items(), key=lambda entry: entry[1])
        ],
        "normalizer": None,
        "pre_tokenizer": cuts,
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        # The special tokens stand in the vocabulary too: the library numbers others as it likes.
        "model": {
            "type": "BPE",
            "vocab": {**vocab, **special_tokens},
            "merges": [list(merge) for merge in merges],
            "ignore_merges": ignore_merges,
        },
    }
    return Tokenizer.from_json(json.dumps(record))


def _special(content: str, token: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, **flags, "special": True}


def _require_free(vocab: Mapping[str, int], special_tokens: Mapping[str, int]) -> None:
    holders = {token: spelling for spelling, token in vocab.items()}
    for content, token in special_tokens.items():
        name = shown(repr(content), 60)
        if not content:
            raise ArtifactError(f"special token {token} is empty: it must hold text")
        if vocab.get(content, token) != token:
            raise ArtifactError(
                f"special token {name} is spelled like the ordinary token {vocab[content]}: "
                f"give it another text"
            )
        if holders.get(token, content) != content:
            raise ArtifactError(
                f"special token {name} claims id {token}, which an ordinary token has"
            )
