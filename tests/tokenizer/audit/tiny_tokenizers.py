"""Small tokenizers for tests: given merges, or trained by the `tokenizers` library."""

from __future__ import annotations

import json

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from tokkit.tokenizer import assemble
from tokkit.tokenizer.alphabet import byte_characters, unspell
from tokkit.tokenizer.presets import resolve_pretokenizer


def from_merges(*merges, pretokenizer="gpt2", special_tokens=(), **options):
    """A tokenizer with these merges, each written as "left|right" or as a pair of bytes."""
    pairs = [tuple(m.encode().split(b"|")) if isinstance(m, str) else m for m in merges]
    return assemble(pairs, pretokenizer=pretokenizer, special_tokens=special_tokens, **options)


def trained(texts, vocab_size, pretokenizer="gpt2", special_tokens=("<|end|>",)):
    learner = tokenizers.Tokenizer(models.BPE())
    rule = resolve_pretokenizer(pretokenizer)
    learner.pre_tokenizer = pre_tokenizers.Sequence(rule.components())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens),
        min_frequency=2,
        initial_alphabet=list(byte_characters()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [
        tuple(unspell(part) for part in (merge.split(" ") if isinstance(merge, str) else merge))
        for merge in json.loads(learner.to_str())["model"]["merges"]
    ]
    return assemble(merges, pretokenizer=rule, special_tokens=special_tokens)
