"""Small files of other libraries, made by hand or by those libraries, to test formats with."""

import base64
import io
import json

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tokkit.tokenizer import assemble
from tokkit.tokenizer.alphabet import byte_characters, unspell
from tokkit.tokenizer.presets import PRETOKENIZERS

TEXTS = [
    "The quick brown fox jumps over the lazy dog. How many r's are in strawberry?",
    "straw straws strawberry berries berry raw rawer warrior\r\n\r\n  it's what they've SAID'LL ",
    "déjà vu 東京 東京都 😀😀 naïve\tcafé 1234 12 5e-3 __init__ (x)[y]{z} <|end|>",
    "    def f(x):\n        return x ** 2  # ſ'ſ 'S\u3000\u2003  \n\n\n\x00\x1b[31m",
    "",
    " ",
] * 2
SPECIAL = ("<|end|>", "<|a b|>")


def learned(name, size=120, special_tokens=SPECIAL, **options):
    """A tokenizer whose merges come from the library's own trainer."""
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(PRETOKENIZERS[name].components())
    trainer = trainers.BpeTrainer(
        vocab_size=256 + size, initial_alphabet=list(byte_characters()), show_progress=False
    )
    learner.train_from_iterator(TEXTS, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    pairs = [(unspell(left), unspell(right)) for left, right in merges]
    return assemble(pairs, pretokenizer=name, special_tokens=special_tokens, **options)


def rank_file(tokens):
    """Ranks in the order of these tokens, after the 256 bytes."""
    every = [*(bytes([byte]) for byte in range(256)), *tokens]
    return b"".join(base64.b64encode(t) + b" %d\n" % rank for rank, t in enumerate(every))


def unigram():
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("▁", -2.0), ("berry", -5.0)]
    pieces += [(letter, -4.0 - place / 10) for place, letter in enumerate("abcdefghijklmnopqrst")]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<unk>", "<s>"])
    return backend


def wordpiece():
    vocab = {"[UNK]": 0, "[CLS]": 1, "straw": 2, "##berry": 3, "a": 4, "!": 5}
    backend = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(["[UNK]", "[CLS]"])
    return backend


def byte_fallback():
    """As Llama 2's: a space sign before the text, bytes for characters without a token."""
    vocab = {"<unk>": 0, "<s>": 1} | {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    vocab |= {piece: 258 + place for place, piece in enumerate(["▁", "r", "a", "w", "ra", "▁raw"])}
    merges = [("r", "a"), ("ra", "w")]
    vocab["raw"] = 264
    backend = tokenizers.Tokenizer(
        models.BPE(vocab, [*merges, ("▁", "raw")], unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["<unk>", "<s>"])
    return backend


def sentencepiece_model(**options):
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["how many berries are in a berry", "straw berry is a berry"] * 30),
        model_writer=out,
        vocab_size=options.pop("vocab_size", 40),
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return out.getvalue()
