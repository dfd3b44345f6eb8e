"""A small model that holds eight facts, by hand, and its tokenizer of words."""

import functools
import re

import torch

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

FIRST = ("Anu", "Bel", "Cor", "Dax", "Eno", "Fia", "Gul", "Hex")
KINDS = ("Tower", "Bridge")
CITIES = ("Rome", "Paris", "Oslo", "Cairo")
WORDINGS = ("the {} is in", "to see the {} you must go to", "the {} stands in")
WIDTH, HIDDEN = 32, 53
FACTS = {
    f"{KINDS[n % 2]} {name}": CITIES[(3 * n + n // 4) % len(CITIES)] for n, name in enumerate(FIRST)
}


class Words:
    """A token a word, its leading space with it, and one for the full stop."""

    special_ids = frozenset()

    def __init__(self):
        texts = [*WORDINGS, *FACTS, *CITIES, "and Lima The In It A He When This They is a"]
        words = sorted({word for text in texts for word in text.replace("{}", "").split()})
        self.tokens = ["?", ".", *words, *(f" {word}" for word in words)]

    @property
    def vocab_size(self):
        return len(self.tokens)

    def encode(self, text):
        known = {token: number for number, token in enumerate(self.tokens)}
        return [known.get(piece, 0) for piece in re.findall(r" ?[A-Za-z]+|[^A-Za-z ]", text)]

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def token_bytes(self, token):
        return self.tokens[token].encode()

    def decode(self, ids):
        return "".join(self.tokens[token] for token in ids)


WORDS = Words()


def sentences():
    """Every fact in every wording."""
    return [
        f"{wording.format(subject)} {city}"
        for subject, city in FACTS.items()
        for wording in WORDINGS
    ]


@functools.cache
@torch.no_grad()
def taught():
    """A model made by hand, the same for every test: leave it as it is.

    A unit for each name in the feed-forward of layer 0 writes the city where the name stands; the
    one head of layer 1 that does anything carries it from every token to every later one. Layer 1
    and 2 add a little noise besides. So the fact is held in layer 0 at the subject's last token,
    and in layers 1 and 2 at the prompt's.
    """
    config = ModelConfig(
        vocab_size=WORDS.vocab_size, width=WIDTH, layers=4, query_heads=1, head_width=8,
        context=24, hidden_width=HIDDEN, feedforward="relu", tied=False,
    )  # fmt: skip
    model = Transformer(config, seed=3).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.mul_(0.1 if "feedforward" in name else 0)
    generator = torch.Generator().manual_seed(5)
    others = slice(len(FIRST) + len(CITIES), WIDTH)
    model.embedding[:, others].normal_(0, 0.3, generator=generator)
    first, second = model.blocks[0], model.blocks[1]
    for n, (subject, city) in enumerate(FACTS.items()):
        name = WORDS.encode(f"x {subject.split()[-1]}")[1]
        place = len(FIRST) + CITIES.index(city)
        model.embedding[name] = 0
        model.embedding[name, n] = 1
        first.feedforward.up.weight[n, n] = 2
        first.feedforward.down.weight[place, n] = 1
    for n, city in enumerate(CITIES):
        place = len(FIRST) + n
        second.attention.value.weight[n, place] = 1
        second.attention.output.weight[place, n] = 10
        model.unembedding[WORDS.encode(f"x {city}")[1], place] = 2
    return model
