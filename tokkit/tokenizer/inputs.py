"""What a measurement was made from, by digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokkit.tokenizer.table import PretokenTable


def input_digests(tokenizers: Mapping[str, Any], table: PretokenTable | None) -> dict[str, str]:
    """SHA-256 of each text of the table ("corpus", or numbered) and of each tokenizer, by name."""
    texts = table.origin.corpus_sha256 if table is not None else ()
    names = ["corpus"] if len(texts) == 1 else [f"corpus {n}" for n in range(1, len(texts) + 1)]
    digests = dict(zip(names, texts, strict=True))
    return digests | {name: tokenizer.digest for name, tokenizer in tokenizers.items()}
