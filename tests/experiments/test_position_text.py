"""The windows that are asked about: the same targets at every length, each token once."""

import math

import numpy as np
import pytest
import torch
from experiments.position_records import TINY, prepare_tiny

from tokkit.errors import ArtifactError, ConfigError
from tokkit.experiments.position_schemes import LENGTHS, SCALINGS, scaled_config, scheme_config
from tokkit.experiments.position_text import (
    cut_windows,
    load_text,
    matched_rows,
    prepare_text,
    score,
    text_batch,
    text_tokens,
    trained_rows,
)
from tokkit.model.transformer import Transformer

SHAPE = {"vocab_size": 23, "width": 12, "layers": 2, "query_heads": 3, "hidden_width": 10}


def test_the_same_last_targets_at_every_length():
    windows = np.arange(2 * 33).reshape(2, 33)
    ends = [matched_rows(windows, length, 8)[:, -4:] for length in LENGTHS]
    assert all((end == ends[0]).all() for end in ends)
    assert [matched_rows(windows, n, 8).shape[1] - 1 for n in LENGTHS] == [8, 12, 16, 32]


def test_rows_as_trained_hold_every_target_once():
    windows = np.arange(2 * 33).reshape(2, 33)
    rows = trained_rows(windows, 8)
    assert rows.shape == (8, 9)
    assert (rows[:, 1:].reshape(2, 32) == windows[:, 1:]).all()
    assert (rows[:, 0].reshape(2, 4) == windows[:, [0, 8, 16, 24]]).all()


def test_too_little_text_is_refused():
    with pytest.raises(ConfigError, match=r"3 windows of 5 tokens need 15 .* has 14: give more"):
        cut_windows(np.arange(14), 3, 5)
    assert cut_windows(np.arange(15), 3, 5).tolist() == np.arange(15).reshape(3, 5).tolist()


def test_an_unknown_text_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="english"):
        prepare_text(tmp_path, source="englsh", megabytes=1, vocab_size=300, trained=8, windows=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    prepare_tiny(folder, TINY)
    return folder


def test_bytes_of_windows_are_those_of_their_text(prepared):
    from tokkit.tokenizer.artifact import Tokenizer

    text = load_text(prepared)
    tokenizer = Tokenizer.load(prepared / "text" / "tokenizer.json")
    end = text.record["end_id"]
    for window in text.windows:
        kept = [int(one) for one in window if one != end]
        assert text.token_bytes[window].sum() == len(tokenizer.decode_bytes(kept))
    assert text.token_bytes[end] == 0
    assert text_tokens(text, np.array([end, end + 1])).tolist() == [0, 1]
    shares = np.exp(-text.unigram)
    assert math.isclose(shares.sum(), 1.0, rel_tol=1e-9)


def test_held_out_windows_are_not_trained_on(prepared):
    text = load_text(prepared)
    stream = text.training.astype(np.int32).tobytes()
    assert all(window.astype(np.int32).tobytes() not in stream for window in text.windows)


def test_batches_depend_on_seed_and_step_alone(prepared):
    text = load_text(prepared)
    one, two = (text_batch(text, rows=3, trained=7, seed=1, step=5) for _ in range(2))
    assert (one.ids == two.ids).all()
    assert (one.ids[:, 1:] == one.targets[:, :-1]).all()
    other = text_batch(text, rows=3, trained=7, seed=1, step=6)
    assert (one.ids != other.ids).any()


def test_a_broken_folder_is_told(prepared, tmp_path):
    import shutil

    broken = shutil.copytree(prepared, tmp_path / "broken")
    (broken / "text" / "windows.npy").write_bytes(b"no array")
    with pytest.raises(ArtifactError, match=r"is not whole .* delete it and start over"):
        load_text(broken)


def test_scores_are_those_of_each_row_alone():
    model = Transformer(scheme_config("ALiBi", SHAPE, trained=7, longest=28), seed=3).eval()
    rows = np.random.default_rng(0).integers(0, 23, (5, 12))
    found = score(model, rows, 4)
    assert found.nats.shape == found.right.shape == (5, 4)
    with torch.no_grad():
        logits = model(torch.from_numpy(rows[2:3, :-1]))[0, -4:]
    surprise = -logits.log_softmax(-1)[torch.arange(4), torch.from_numpy(rows[2, -4:])]
    np.testing.assert_allclose(found.nats[2], surprise.numpy(), rtol=1e-5)
    assert (found.right[2] == (logits.argmax(-1).numpy() == rows[2, -4:])).all()


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_scaled_rotary_model_is_the_plain_one_at_its_own_length(scaling):
    from tokkit.model.positions import rotary_frequencies

    plain = scheme_config("rotary", {**SHAPE, "width": 24}, trained=7, longest=28)
    same = rotary_frequencies(scaled_config(plain, scaling, 1.0, trained=7))
    torch.testing.assert_close(same[0], rotary_frequencies(plain)[0])
    assert same[1] == 1.0
    twice = rotary_frequencies(scaled_config(plain, scaling, 2.0, trained=7))[0]
    # The slowest pair is divided by the factor in all of them, the fastest in linear alone.
    ratio = (rotary_frequencies(plain)[0] / twice).tolist()
    assert math.isclose(ratio[-1], 2.0, rel_tol=1e-6)
    assert math.isclose(ratio[0], 2.0 if scaling == "rotary + linear" else 1.0, rel_tol=1e-6) or (
        scaling == "rotary + YaRN"
    )
