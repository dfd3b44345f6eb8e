"""The BpeTrainer of `tokenizers` on counted pretokens: the oracle of the compiled learner."""

import json
import random
from collections import Counter

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from tokkit.tokenizer import PRETOKENIZERS
from tokkit.tokenizer.alphabet import spell, unspell


def library_merges(words, **options):
    """The merges that the library learns from {pretoken: count}."""
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    # A spelled pretoken holds no blank.
    texts = [" ".join([spell(word)] * count) for word, count in words.items()]
    learner.train_from_iterator(texts, trainers.BpeTrainer(show_progress=False, **options))
    return [
        (unspell(left), unspell(right))
        for left, right in json.loads(learner.to_str())["model"]["merges"]
    ]


def spelled_alphabet(alphabet):
    """Bytes as the library's `initial_alphabet` wants them."""
    return [spell(bytes([byte])) for byte in alphabet]


def pretokens(text, name):
    """The pretokens of a text in order, as the library cuts them with a preset's components."""
    cuts = pre_tokenizers.Sequence(PRETOKENIZERS[name].components())
    return [unspell(piece) for piece, _ in cuts.pre_tokenize_str(text)]


def counted(texts, name):
    """{pretoken: count} of texts."""
    return Counter(piece for text in texts for piece in pretokens(text, name))


def arrays(words):
    """What `learn` takes, from {pretoken: count}."""
    # A bytearray, for numba compiles anew for arrays that cannot be written to.
    data = np.frombuffer(bytearray().join(words), np.uint8)
    offsets = np.zeros(len(words) + 1, np.int64)
    np.cumsum([len(word) for word in words], out=offsets[1:])
    return data, offsets, np.array(list(words.values()), np.int64)


_PHRASES = {
    "chinese": "今天天气很好,我们一起去公园散步。 "
    "明天可能会下雨,所以带上雨伞。 "
    "他喜欢在图书馆里看书。 这本书讲的是城市里的河流。 河流从山上流到海里。 "
    "孩子们在公园里看书、散步。",
    "japanese": "今日は天気がいいので、公園を散歩します。 明日は雨が降るかもしれません。 "
    "図書館で本を読むのが好きです。 この本は町を流れる川の話です。 カタカナのテキストもあります。",
    "arabic": "الطقس جميل اليوم ونحن نمشي في الحديقة. قد تمطر السماء غدا. هو يحب قراءة الكتب في "
    "المكتبة. هذا الكتاب عن النهر في المدينة. الأطفال يقرؤون في الحديقة.",
    "emoji": "😀😀😃 👩‍👩‍👧‍👦🎉🎉 👍🏽👍🏽👍 🇩🇪🇫🇷🇩🇪 ❤️❤️🔥 😀🎉👍🏽 🏳️‍🌈🏴‍☠️ 👩‍💻👨‍💻 😃❤️🇫🇷",
}


def foreign_texts(language):
    """Sentences in random order and company, so that their parts have statistics."""
    sentences = _PHRASES[language].split(" ")
    chance = random.Random(7)
    return [" ".join(chance.choices(sentences, k=chance.randint(1, 6))) for _ in range(150)]
