"""Models whose heads are made by hand, and a tokenizer for them."""

from __future__ import annotations

import torch

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

VOCAB, CONTEXT, SHARP = 31, 16, 12.0
TOKEN, LAST, PLACE, NEXT = (slice(0, 31), slice(31, 62), slice(62, 78), slice(78, 109))


class Letters:
    """A token a number: "3 4 5"; 0 is special."""

    vocab_size = VOCAB
    special_ids = frozenset({0})
    unused_ids = frozenset()

    def encode(self, text):
        return [int(word) for word in text.split()]

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def token_bytes(self, token):
        return b"%d " % token


def copier():
    """Head 0 of layer 0 finds the token before; head 0 of layer 1 what followed it earlier.

    The stream holds the token, the token before, the place, and what is foretold, each one-hot;
    head 1 of each layer has queries of 0 and so deals evenly.
    """
    config = ModelConfig(
        vocab_size=VOCAB, width=109, layers=2, query_heads=2, head_width=32, context=CONTEXT,
        positions="learned", hidden_width=2,
    )  # fmt: skip
    model = Transformer(config, seed=0).eval()
    size = (109 / 2) ** 0.5  # what the norm makes of each of two ones
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.zero_()
        model.embedding[:, TOKEN] = torch.eye(VOCAB)
        model.position_embedding[:, PLACE] = torch.eye(CONTEXT)
        first, second = (block.attention for block in model.blocks)
        first.key.weight[:CONTEXT, PLACE] = torch.eye(CONTEXT)
        first.query.weight[:CONTEXT, PLACE] = SHARP * torch.eye(CONTEXT).roll(-1, 0)
        first.value.weight[:VOCAB, TOKEN] = torch.eye(VOCAB)
        first.output.weight[LAST, :VOCAB] = torch.eye(VOCAB) / size
        second.key.weight[:VOCAB, LAST] = torch.eye(VOCAB)
        second.query.weight[:VOCAB, TOKEN] = SHARP * torch.eye(VOCAB)
        second.value.weight[:VOCAB, TOKEN] = torch.eye(VOCAB)
        second.output.weight[NEXT, :VOCAB] = torch.eye(VOCAB)
        model.unembedding[:, NEXT] = torch.eye(VOCAB)
    return model
