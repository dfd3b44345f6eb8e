"""A model whose verb is decided by weights that were set by hand, and a tokenizer of words.

Every stream has the same length before anything is added to it, so that its norm is one factor.
"""

from __future__ import annotations

import torch

from tokkit.analysis.attention.agreement_items import NOUNS, VERBS, english_sentences
from tokkit.analysis.patterns import attention_of
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

ONE, SUBJECT, NOT_SUBJECT, NUMBER, THAT, PLAIN, CARRIED, VERB = range(8)
SHARP = 9.0
SENTENCES = list(english_sentences(0, 400))


class Words:
    """A token a word, the space before it dropped."""

    def __init__(self, split=()):
        texts = [f"{s.prefix} {' '.join((*s.subjects, *s.verbs))}" for s in SENTENCES]
        self.words = sorted({word for text in texts for word in text.split()})
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.split = set(split)

    @property
    def vocab_size(self):
        return len(self.words) + 1

    def encode(self, text):
        found = []
        for word in text.split():
            found += [self.ids.get(word, len(self.words))] * (2 if word in self.split else 1)
        return found


WORDS = Words()


def planted(route: str = "direct", context: int = 32) -> Transformer:
    """Two layers of three heads, with a token at column 1 as the subject.

    direct   head 1.0 looks from every token at the subject and gives its number to the verb;
             head 1.1 looks alike and gives nothing
    carried  head 0.0 takes the number to "that", head 1.0 looks at "that" and gives it on
    """
    config = ModelConfig(
        vocab_size=WORDS.vocab_size, width=8, layers=2, query_heads=3, head_width=4,
        hidden_width=4, context=context, positions="learned",
    )  # fmt: skip
    model = Transformer(config, seed=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.zero_()
        model.position_embedding[:, ONE] = 1
        model.position_embedding[:, NOT_SUBJECT] = 1
        model.position_embedding[1, SUBJECT], model.position_embedding[1, NOT_SUBJECT] = 1, 0
        model.embedding[:, PLAIN] = 1
        for nouns in NOUNS:
            for word, number in zip(nouns, (1.0, -1.0), strict=True):
                if word in WORDS.ids:
                    _only(model.embedding, WORDS.ids[word], NUMBER, number)
        _only(model.embedding, WORDS.ids["that"], THAT, 1.0)
        for verbs in VERBS:
            for word, number in zip(verbs, (1.0, -1.0), strict=True):
                _only(model.unembedding, WORDS.ids[word], VERB, number)
        if route == "direct":
            _head(model, 1, 0, (ONE, SUBJECT), (NUMBER, VERB))
            _head(model, 1, 1, (ONE, SUBJECT), None)
        else:
            _head(model, 0, 0, (THAT, SUBJECT), (NUMBER, CARRIED))
            _head(model, 1, 0, (ONE, THAT), (CARRIED, VERB))
    return model


def _only(matrix, row, column, value):
    matrix[row] = 0
    matrix[row, column] = value


def _head(model, layer, head, looks, gives):
    """Queries of one coordinate meet keys of another; one coordinate is read, one written."""
    attention, first = attention_of(model, layer), 4 * head
    attention.query.weight[first, looks[0]] = SHARP
    attention.key.weight[first, looks[1]] = SHARP
    if gives:
        attention.value.weight[first, gives[0]] = 1
        attention.output.weight[gives[1], first] = 1
