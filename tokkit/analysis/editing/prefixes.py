"""Texts to put before a prompt, so that a key holds for the subject and not for one wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokkit.errors import InputError
from tokkit.model.generation import generate_ids
from tokkit.model.sampling import SamplingConfig
from tokkit.model.transformer import Transformer

OPENINGS = ("The", "In", "It", "A", "He", "When", "This", "They")
_LENGTHS = (4, 9)  # new tokens after an opening, in turn


def random_prefixes(
    model: Transformer, tokenizer: Any, *, seed: int, start_ids: Sequence[int] = ()
) -> tuple[str, ...]:
    """Eight texts of five to ten tokens, each an opening that the model went on with by lot.

    Texts that the model's context has no room for are left out.
    """
    found, ends = [], frozenset(tokenizer.special_ids)
    for place, length in enumerate(_LENGTHS):
        openings = OPENINGS[place :: len(_LENGTHS)]
        prompts = [[*start_ids, *tokenizer.encode(opening)] for opening in openings]
        try:
            drawn = generate_ids(
                model, prompts, max_new_tokens=length, sampling=SamplingConfig(temperature=1.0),
                seed=seed, stop_ids=ends,
            )  # fmt: skip
        except InputError:  # longer than the context
            continue
        for opening, ids in zip(openings, drawn, strict=True):
            found.append(opening + tokenizer.decode(token for token in ids if token not in ends))
    return tuple(_plain(text) for text in found)


def _plain(text: str) -> str:
    """One line of printable text that ends a sentence."""
    words = "".join(c if c.isprintable() and c != "\ufffd" else " " for c in text).split()
    return " ".join(words).rstrip(".") + ". "
