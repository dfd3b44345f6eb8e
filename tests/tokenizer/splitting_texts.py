"""Texts that are hard to split, and how `tokenizers` itself splits them."""

import functools
import random

import numpy as np
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tokkit.tokenizer import unicode_classes
from tokkit.tokenizer.presets import PRETOKENIZERS

# One or more of each kind that some pattern treats in a way of its own.
NASTY = (
    "aAsSlLé\u01c5\u02b0\u017f\u212aあア你\u9fa5\u9fa6ก"  # letters: by case, kana, Han, the long s
    "\u0301\u3099\u200d\ufeff\x00\u3040\U0010ffff"  # marks, joiners, controls, unassigned
    "1\u0663²½"  # numbers
    " \t\n\r\x0b\x85\xa0\u2028\u3000"  # white space
    "'/!.,-(\u2019。・\u309b😀€"  # visible
)
# The least that tells the kinds of `atom_rules` apart.
REPRESENTATIVES = "aS你\u0301\u3099\x00\u30401 \t\n'/.・"

SENTENCES = {
    "English": "It's 5 o'clock; they've gone (I think).\r\n\r\n    Yes -- quite.",
    "source": "def f(x):\n\treturn {'a': x['b']}  # don't\n\n\nclass A(B): pass\n",
    "French": "L'été, c'est l'époque où j'ai 1 234,5 €.",
    "Russian": "Он сказал: «Привет, мир!» И ушёл.",
    "Arabic": "مرحبا بالعالم، كيف حالك؟ ١٢٣٤٥",
    "Chinese": "你好,世界。今天是2024年1月1日,天气很好!",
    "Japanese": "これはテスト・データです。\u3000カタカナとひらがな、漢字。",
    "Hindi": "नमस्ते दुनिया, आप कैसे हैं?",
    "Thai": "สวัสดีชาวโลก วันนี้อากาศดี",
    "Korean": "안녕하세요, 세계! 오늘은 좋은 날입니다.",
    "emoji": "ok 👩‍💻👍🏽!! 🇫🇷 :-) ❤️",
}


@functools.cache
def members(code):
    """Every code point of a class that text can hold."""
    points = np.r_[0:0xD800, 0xE000 : unicode_classes.CODE_POINTS]
    return points[unicode_classes.class_table().of(points) == code].tolist()


def sample():
    """Some 250 characters of each class."""
    return [chr(point) for code in range(12) for point in thinned(members(code))]


def thinned(points):
    return points[:: 1 + len(points) // 250]


any_text = st.text(st.sampled_from(NASTY) | st.sampled_from(sample()), max_size=12)


def random_texts(seed, number, longest=12):
    """Texts of few different characters, so that runs and repetitions are common."""
    rng = random.Random(seed)
    texts = []
    for _ in range(number):
        few = [rng.choice(NASTY) for _ in range(rng.randint(1, 5))]
        few.append(chr(rng.choice(members(rng.randrange(12)))))
        texts.append("".join(rng.choices(few, k=rng.randint(1, longest))))
    return texts


def joined(texts):
    """Texts as data and starts."""
    pieces = [text.encode() for text in texts]
    starts = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    return np.frombuffer(b"".join(pieces), dtype=np.uint8), starts


def library_ends(name, texts):
    """What the preset's own components do; in the byte alphabet a character is a byte."""
    split = pre_tokenizers.Sequence(PRETOKENIZERS[name].components())
    lengths = [len(piece) for text in texts for piece, _ in split.pre_tokenize_str(text)]
    return np.cumsum(lengths, dtype=np.int64)


def cut(text, ends):
    """The stretches of a text that end at these positions in its bytes."""
    data = text.encode()
    return [data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
