"""A table of pretokens built the obvious way, and the encoder that goes with it, for tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from scipy.sparse import csr_array

from tokkit.tokenizer.presets import resolve_pretokenizer


def pretokens(text, rule):
    """The pretokens of `text` as bytes, cut by the `tokenizers` library."""
    import tokenizers
    from tokenizers import pre_tokenizers

    from tokkit.tokenizer.alphabet import unspell

    cutter = pre_tokenizers.Sequence(resolve_pretokenizer(rule).components())
    assert isinstance(tokenizers.Tokenizer, type)
    return [unspell(piece) for piece, _ in cutter.pre_tokenize_str(text)]


@dataclass(frozen=True)
class TinyTable:
    """The attributes of PretokenTable that an audit reads."""

    data: np.ndarray
    offsets: np.ndarray
    block_counts: csr_array
    blocks: SimpleNamespace
    group_names: tuple
    unit: str
    texts: tuple

    @property
    def origin(self):
        return SimpleNamespace(removed_texts=(), corpus_sha256=("0" * 64,), replaced=0, skipped=0)

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def totals(self):
        return np.asarray(self.block_counts.sum(axis=0)).ravel()

    def pretoken(self, index):
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def split(self, pretokenizer):
        groups = [self.group_names[g] for g in self.blocks.group]
        return tiny_table(self.texts, pretokenizer=pretokenizer, groups=groups)


def tiny_table(blocks, *, pretokenizer="gpt2", groups=None):
    """A table of `blocks`, each a list of documents."""
    rule = resolve_pretokenizer(pretokenizer)
    groups = groups or [""] * len(blocks)
    names = tuple(dict.fromkeys(groups))
    places, rows = {}, []
    for documents in blocks:
        counts = Counter(piece for text in documents for piece in pretokens(text, rule))
        rows.append({places.setdefault(piece, len(places)): n for piece, n in counts.items()})
    dense = np.zeros((len(blocks), len(places)), np.int64)
    for row, counts in enumerate(rows):
        for place, n in counts.items():
            dense[row, place] = n
    of = lambda measure: np.array([sum(map(measure, texts)) for texts in blocks], np.int64)  # noqa: E731
    info = SimpleNamespace(
        group=np.array([names.index(group) for group in groups], np.int64),
        documents=np.array([len(texts) for texts in blocks], np.int64),
        bytes=of(lambda text: len(text.encode())),
        characters=of(len),
        words=of(lambda text: len(text.split())),
        lines=of(lambda text: text.count("\n")),
    )
    data = np.frombuffer(b"".join(places), np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in places])]).astype(np.int64)
    sparse = csr_array(dense)
    return TinyTable(data, offsets, sparse, info, names, rule.name, tuple(map(tuple, blocks)))
