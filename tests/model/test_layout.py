"""Packed documents, padding, windows and the cache: none of them changes what a text gets."""

from __future__ import annotations

import pytest
import torch
from tiny_models import some_ids, tiny_model
from torch import tensor
from torch.testing import assert_close

from tokkit.errors import InputError
from tokkit.model.cache import Cache
from tokkit.model.config import POSITIONS, ModelConfig
from tokkit.model.layout import Layout

KINDS = {
    "plain": {},
    "grouped": {"query_heads": 6, "width": 60, "key_value_heads": 2},
    "multi-query": {"key_value_heads": 1},
    "sliding": {"attention_pattern": "s", "window": 3},
    "sliding and full": {"attention_pattern": "sf", "window": 4, "rope_local_base": 100.0},
    "softcap": {"attention_softcap": 0.5, "logit_softcap": 0.7},
    "mixture": {"experts": 5, "experts_per_token": 2, "expert_width": 11},
    "partly rotated": {"head_width": 12, "rope_share": 0.5},
} | {place: {"positions": place} for place in POSITIONS}


@pytest.fixture(params=KINDS, ids=list(KINDS))
def model(request):
    return tiny_model(**KINDS[request.param])


@torch.no_grad()
def test_packed_documents_get_what_each_gets_alone(model):
    texts = [some_ids(1, time, seed=time)[0] for time in (4, 1, 5)]
    row = torch.cat(texts)[None]
    documents = tensor([[3] * 4 + [7] + [8] * 5])
    packed = model(row, documents=documents)[0].split([4, 1, 5])
    for text, logits in zip(texts, packed, strict=True):
        assert_close(logits, model(text[None])[0], rtol=1e-4, atol=1e-5)
    places = tensor([0, 0, 0]), tensor([3, 4, 9])
    assert_close(
        model(row, at=places, documents=documents),
        torch.stack([part[-1] for part in packed]),
        rtol=1e-4,
        atol=1e-5,
    )


@torch.no_grad()
def test_padding_at_the_left_is_harmless(model):
    texts = [some_ids(1, time, seed=time)[0] for time in (9, 4, 1)]
    rows = torch.full((3, 9), 5)
    for row, text in zip(rows, texts, strict=True):
        row[9 - len(text) :] = text
    logits = model(rows, padding=tensor([0, 5, 8]))
    last = model(rows, at=(torch.arange(3), tensor([8, 8, 8])), padding=tensor([0, 5, 8]))
    assert torch.isfinite(logits).all()
    for row, text in enumerate(texts):
        alone = model(text[None])[0]
        assert_close(logits[row, 9 - len(text) :], alone, rtol=1e-4, atol=1e-5)
        assert_close(last[row], alone[-1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[12], [1] * 12, [5, 1, 1, 4, 1], [2, 9, 1]])
def test_the_cache_gives_what_the_whole_pass_gives(model, pieces):
    ids = some_ids(2, 12)
    whole = model(ids)
    cache = Cache(model.config, 2, 12)
    parts = [model(part, cache=cache) for part in ids.split(pieces, dim=1)]
    assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    assert cache.length == 12


@torch.no_grad()
def test_cache_and_padding_and_rows_that_leave(model):
    texts = [some_ids(1, time, seed=time)[0] for time in (10, 7, 3)]
    rows = torch.zeros(3, 10, dtype=torch.long)
    for row, text in zip(rows, texts, strict=True):
        row[10 - len(text) :] = text
    cache = Cache(model.config, 3, 12)
    last = torch.arange(3), tensor([6, 6, 6])
    first = model(rows[:, :7], at=last, padding=tensor([0, 3, 6]), cache=cache)
    assert torch.isfinite(first).all()
    kept = tensor([2, 0])
    cache.select(kept)
    for column in range(7, 10):
        logits = model(rows[kept, column : column + 1], cache=cache)[:, 0]
    assert_close(logits[1], model(texts[0][None])[0, -1], rtol=1e-4, atol=1e-5)
    # Row 2 has 3 tokens, in columns 7 to 9: the one column before them was no padding (6, not 7).
    seen = torch.cat((tensor([0]), texts[2]))
    assert_close(logits[0], model(seen[None])[0, -1], rtol=1e-4, atol=1e-5)


def test_a_window_of_three_by_hand():
    config = ModelConfig(
        vocab_size=2, width=2, layers=1, query_heads=1, attention_pattern="s", window=3
    )
    layout = Layout(config, 5, torch.device("cpu"))
    bias = layout.bias(sliding=True, slopes=None, key_columns=None, at=None)
    assert (bias[0, 0] == 0).int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]
    short = Layout(config, 3, torch.device("cpu"))
    assert short.bias(sliding=True, slopes=None, key_columns=None, at=None) is None


def test_positions_of_packed_documents_start_anew():
    config = ModelConfig(vocab_size=2, width=2, layers=1, query_heads=1)
    documents = tensor([[0, 0, 0, 4, 4, 9], [1, 2, 2, 2, 2, 2]])
    layout = Layout(config, 6, torch.device("cpu"), documents=documents)
    assert layout.positions().tolist() == [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 4]]


def test_what_a_cache_takes():
    config = tiny_model(key_value_heads=1, attention_pattern="sf", window=4).config
    # One head of 10 keys and 10 values, 4 bytes each: 4 slots in the sliding layer, 11 in the full.
    assert Cache(config, 3, 11).bytes == 3 * (4 + 11) * 2 * 10 * 4


@torch.no_grad()
def test_what_is_refused():
    model, ids = tiny_model(), some_ids(2, 7)
    numbers = torch.zeros_like(ids)
    cache = Cache(model.config, 2, 9)
    cases = {
        "not fall along a row": {"documents": -torch.arange(7).expand(2, 7)},
        "go without padding and cache": {"documents": numbers, "cache": cache},
        "in 0..6, and": {"padding": tensor([0, 7])},
        "(batch,) = (2,)": {"padding": tensor([0])},
    }
    for words, arguments in cases.items():
        with pytest.raises(InputError, match=words.replace("(", r"\(").replace(")", r"\)")):
            model(ids, **arguments)
    with pytest.raises(InputError, match="of 2 rows, but 1 rows of ids came"):
        model(ids[:1], cache=cache)
    model(ids, cache=cache)
    with pytest.raises(InputError, match="room for 9 tokens and holds 7, but 3 came"):
        model(ids[:, :3], cache=cache)
    with pytest.raises(InputError, match="come with the first ids"):
        model(ids[:, :1], cache=cache, padding=tensor([0, 0]))
    with pytest.raises(InputError, match="1 to 13 tokens, the model's context, got 14"):
        Cache(model.config, 2, 14)
