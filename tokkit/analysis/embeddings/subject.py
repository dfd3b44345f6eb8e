"""What an analysis of embeddings looks at: matrices, and what is known of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.matrix import Matrix

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One embedding with all that is at hand beside it; what is not known is None.

    rows       the input embedding, (V, D)
    usable     (V,) bool: rows that can be measured: finite, not all zero
    output     the unembedding, (V, D), where it is a matrix of its own
    tied       whether the unembedding is the embedding; None where only one tensor is known
    initial    the same rows before training, exactly (made anew from the seed of the run)
    tokens     bytes of each row's token, V of them; b"" for a row without a token
    special    ids of tokens that are no text (end of text, padding)
    counts     (V,) how often each token stood in the training text
    model      the whole model, in evaluation mode
    tokenizer  the tokenizer of the model (Tokenizer or LibraryTokenizer)
    start_ids  ids that stand before every text the model is given
    world      the categories of the generated world: category to words, where trained on it
    analogies  those that hold in that world: kind to (a, b, c, d), as a is to b, c is to d
    """

    name: str
    rows: Matrix
    usable: NDArray[np.bool_]
    output: Matrix | None = None
    tied: bool | None = None
    initial: Matrix | None = None
    tokens: Sequence[bytes] | None = None
    special: frozenset[int] = frozenset()
    counts: Counts | None = None
    model: Transformer | None = None
    tokenizer: Any = None
    start_ids: tuple[int, ...] = ()
    world: Mapping[str, Sequence[str]] = field(default_factory=dict)
    analogies: Mapping[str, Sequence[tuple[str, str, str, str]]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
