"""Windows of texts, loss by position, and loss on shuffled text."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tokenizer.foreign_files import learned

from tokkit.analysis.intervals import resampling
from tokkit.analysis.positions.losses import (
    loss_by_position,
    loss_when_shuffled,
    nats_of,
    shuffled_rows,
)
from tokkit.analysis.positions.run import analyze_positions
from tokkit.analysis.windows import cut_windows
from tokkit.errors import ArtifactError, InputError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

TOKENIZER = learned("gpt2")
WORDS = (
    "the", "cat", "that", "chased", "dogs", "yesterday", "was", "tired", "and", "slept", "until",
)  # fmt: skip


def text(words, seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def model_of(**changed):
    config = ModelConfig(
        **({"vocab_size": TOKENIZER.vocab_size, "width": 16, "layers": 2, "query_heads": 2,
            "context": 32} | changed)
    )  # fmt: skip
    return Transformer(config, seed=1).eval()


def cut(texts, **changed):
    usual = {"length": 16, "rows": 12, "generator": np.random.default_rng(0)}
    return cut_windows(TOKENIZER, texts, **(usual | changed))


def test_windows_stand_in_their_texts_and_know_their_bytes():
    texts = [text(60, seed) for seed in range(5)]
    found = cut(texts)
    assert found.ids.shape == (12, 16)
    assert np.bincount(found.documents).max() - np.bincount(found.documents).min() <= 1
    for ids, sizes, document in zip(found.ids, found.sizes, found.documents, strict=True):
        piece = TOKENIZER.decode_bytes(ids.tolist())
        assert piece in texts[document].encode()
        assert sizes.sum() == len(piece)


def test_a_long_text_is_cut_and_short_ones_are_counted():
    found = cut([text(400, 0), "too short", "short"])
    assert set(found.documents) == {0}
    assert len(found.ids) == 12
    assert found.left_out == {"texts shorter than a window": 2}
    assert resampling(found.documents, np.random.default_rng(0)).unit == "windows"


def test_windows_shrink_until_there_are_enough():
    texts = [text(14, seed) for seed in range(10)]
    longest = max(len(TOKENIZER.encode(t)) for t in texts)
    found = cut(texts, length=4 * longest)
    assert 8 <= found.length <= longest
    assert len(found.ids) >= 10
    assert cut([text(400, 0)], start_ids=[3, 5]).with_start()[:, :2].tolist() == [[3, 5]] * 12


@pytest.mark.parametrize("texts", [[], ["a"], ["", " "]])
def test_texts_without_a_window_are_refused(texts):
    with pytest.raises(
        InputError, match=r"no window of 8 tokens, the longest has \d+: give longer"
    ):
        cut(texts)


def test_losses_are_those_of_the_logits():
    model, rows = model_of(), np.random.default_rng(0).integers(0, 40, (3, 11))
    with torch.inference_mode():
        logits = model(torch.from_numpy(rows)).log_softmax(-1)
    expected = -logits[:, :-1].gather(-1, torch.from_numpy(rows)[:, 1:, None])[..., 0]
    np.testing.assert_allclose(nats_of(model, rows, given=1), expected, rtol=1e-5)
    np.testing.assert_allclose(nats_of(model, rows, given=4), expected[:, 3:], rtol=1e-5)


def test_loss_by_position_by_hand():
    nats = np.array([[4.0, 2, 1, 1], [2.0, 2, 3, 1]])
    sizes = np.array([[1, 2, 2, 4], [3, 2, 2, 4]])
    drawn = resampling([0, 1], np.random.default_rng(0))
    first, second, third = loss_by_position(nats, sizes, 1, drawn)
    assert [(b.first, b.last, b.tokens) for b in (first, second, third)] == [
        (1, 1, 2), (2, 3, 4), (4, 4, 2),
    ]  # fmt: skip
    assert (first.nats[0], second.nats[0], third.nats[0]) == (3, 2, 1)
    assert second.bits_per_byte[0] == pytest.approx(8 / math.log(2) / 8)
    assert math.isnan(first.nats[1])  # two texts give no interval


def test_intervals_cover_the_mean_and_grow_with_spread():
    generator = np.random.default_rng(0)
    drawn = resampling(np.arange(40), generator)
    found = drawn.means(np.stack([np.full(40, 2.0), generator.normal(5, 1, 40)], axis=1))
    assert found.low[0] == found.high[0] == found.estimate[0] == 2
    assert found.low[1] < found.estimate[1] < found.high[1]
    assert found.high[1] - found.low[1] == pytest.approx(2 * 1.96 / math.sqrt(40), rel=0.3)


def test_shuffling_keeps_tokens_in_their_windows():
    rows = np.tile(np.arange(11), (2, 1))
    mixed = shuffled_rows(rows, 4, kept=1, generator=np.random.default_rng(0))
    assert (mixed[:, 0] == 0).all()
    for start in (1, 5, 9):
        assert [sorted(row) for row in mixed[:, start : start + 4].tolist()] == (
            rows[:, start : start + 4].tolist()
        )
    assert (mixed != rows).any()
    np.testing.assert_array_equal(
        shuffled_rows(rows, 1, kept=1, generator=np.random.default_rng(0)), rows
    )


def shuffled_of(model, rows, texts=12):
    drawn = resampling(np.arange(texts), np.random.default_rng(0))
    return loss_when_shuffled(model, rows, kept=1, seed=0, resampling=drawn)


def test_a_model_that_says_the_same_of_all_loses_nothing_when_shuffled():
    model = model_of()
    with torch.no_grad():
        model.unembedding.zero_()
    rows = np.random.default_rng(0).integers(0, 40, (12, 17))
    found, more = shuffled_of(model, rows)
    assert [s.window for s in found] == [1, 2, 4, 8, 16]
    for one in found:
        assert one.nats[0] == pytest.approx(math.log(model.config.vocab_size), rel=1e-5)
        assert one.more[0] == pytest.approx(0, abs=1e-5)
    assert abs(more).max() < 1e-5


def test_a_model_that_knows_the_order_loses_by_shuffling():
    """Trained for a moment on rows that count upward."""
    model = model_of()
    rows = (np.arange(17) + np.random.default_rng(0).integers(0, 20, (12, 1))).astype(np.int64)
    ids = torch.from_numpy(rows)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        logits = model(ids[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found, _ = shuffled_of(model, rows)
    assert found[0].nats[0] < 0.7
    assert all(one.more[1] > 1 for one in found[1:])


def test_damaged_weights_are_refused():
    model = model_of()
    with torch.no_grad():
        model.unembedding[3, 0] = torch.nan
    with pytest.raises(ArtifactError, match="losses must be finite"):
        nats_of(model, np.ones((2, 5), dtype=np.int64), given=1)


@pytest.mark.parametrize("scheme", ["rope", "learned", "sinusoidal", "alibi", "none"])
def test_the_whole_analysis(scheme):
    texts = [text(60, seed) for seed in range(24)]
    model = model_of(positions=scheme)
    result = analyze_positions(
        model, TOKENIZER, texts, seed=3, about={"seed": 7}, name="small", start_ids=[0]
    )
    assert result.values["windows"] >= 24
    assert result.values["window_tokens"] == 31
    heads = result.tables["heads"].records()
    assert len(heads) == 4
    assert all(head["initial_distance"] is not None for head in heads)
    assert all(head["sink_low"] <= head["sink"] <= head["sink_high"] for head in heads)
    assert ("bands" in result.tables) == (scheme == "rope")
    assert ("fourier" in result.tables) == (scheme in ("learned", "sinusoidal"))
    ids = {claim.id for claim in result.claims}
    assert ("rope-is-relative" in ids) == (scheme in ("rope", "alibi"))
    assert all(row["holds"] for row in result.tables["exact"].records())
    again = analyze_positions(
        model, TOKENIZER, iter(texts), seed=3, about={"seed": 7}, name="small", start_ids=[0]
    )
    assert again.tables == result.tables
    assert again.values == result.values


def test_the_initial_weights_of_a_run_are_measured_beside():
    texts = [text(60, seed) for seed in range(12)]
    result = analyze_positions(model_of(), TOKENIZER, texts, about={"seed": 1})
    for row in result.tables["loss_by_position"].records():
        assert row["initial_nats"] == pytest.approx(row["nats"])  # it is the model itself
    result = analyze_positions(model_of(), TOKENIZER, texts, about={"seed": None})
    assert result.tables["loss_by_position"].records()[0]["initial_nats"] is None
