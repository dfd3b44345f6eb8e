"""Second moments by hand, streamed as at once, and kept."""

import numpy as np
import pytest
import torch
from analysis.planted_facts import WORDS, sentences, taught

from tokkit.analysis.editing import moments as module
from tokkit.analysis.editing.moments import packed_rows, second_moments, weights_digest
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.model.trace import trace

IDS = np.arange(35, dtype=np.int64).reshape(7, 5) % WORDS.vocab_size


def test_they_are_the_mean_of_outer_products():
    with torch.no_grad(), trace(taught(), ["blocks.1.feedforward.hidden"]) as seen:
        taught()(torch.from_numpy(IDS))
    keys = seen["blocks.1.feedforward.hidden"][:, 2:].reshape(-1, 53).double()
    by_hand = sum(torch.outer(key, key) for key in keys) / len(keys)
    found = second_moments(taught(), IDS, [1], given=2)
    assert list(found) == [1]
    torch.testing.assert_close(found[1].double(), by_hand, atol=1e-6, rtol=1e-5)


def test_streamed_they_are_the_same_as_at_once(monkeypatch):
    whole = second_moments(taught(), IDS, [0, 2])
    monkeypatch.setattr(module, "_BATCH_TOKENS", 10)
    told = []
    parts = second_moments(taught(), IDS, [0, 2], told=lambda *words: told.append(words[2]))
    assert told == [0, 2, 4, 6]
    for layer in (0, 2):
        torch.testing.assert_close(parts[layer], whole[layer], atol=1e-6, rtol=1e-5)


def test_they_are_worked_out_once(monkeypatch, tmp_path):
    first = second_moments(taught(), IDS, [0, 1], folder=tmp_path / "kept")
    counted = module._counted
    asked = []
    monkeypatch.setattr(
        module, "_counted", lambda *given: asked.append(given[2]) or counted(*given)
    )
    again = second_moments(taught(), IDS, [0, 1], folder=tmp_path / "kept")
    assert asked == []
    assert torch.equal(first[1], again[1])
    second_moments(taught(), IDS, [1, 2], folder=tmp_path / "kept")
    assert asked == [[2]]
    second_moments(taught(), IDS[:3], [1], folder=tmp_path / "kept")  # other text
    assert asked == [[2], [1]]


def test_weights_that_differ_in_a_bit_have_another_digest():
    weight = taught().blocks[2].feedforward.down.weight
    before, original = weights_digest(taught()), weight.data
    changed = original.clone()
    changed[3, 5] = torch.nextafter(changed[3, 5], torch.tensor(9.0))
    weight.data = changed
    try:
        assert weights_digest(taught()) != before
    finally:
        weight.data = original
    assert weights_digest(taught()) == before


@pytest.mark.parametrize("content", [b"", b"no safetensors at all"])
def test_a_kept_file_that_is_damaged(tmp_path, content):
    second_moments(taught(), IDS, [0], folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="no whole file of second moments"):
        second_moments(taught(), IDS, [0], folder=tmp_path)


def test_a_kept_file_of_another_size_or_not_finite(tmp_path):
    from safetensors.torch import save_file

    second_moments(taught(), IDS, [0], folder=tmp_path)
    (path,) = tmp_path.iterdir()
    save_file({"moment": torch.zeros(2, 2)}, path)
    with pytest.raises(ArtifactError, match="must hold second moments"):
        second_moments(taught(), IDS, [0], folder=tmp_path)
    save_file({"moment": torch.full((53, 53), torch.nan)}, path)
    with pytest.raises(ArtifactError, match="not finite"):
        second_moments(taught(), IDS, [0], folder=tmp_path)


def test_too_many_layers_at_once(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 50_000)
    with pytest.raises(ConfigError, match="second moments of 3 layers of 53 units take more"):
        second_moments(taught(), IDS, range(3))


def test_rows_are_packed_with_what_begins_a_text():
    rows = packed_rows(WORDS, sentences(), tokens=36, length=12, start_ids=(2,))
    assert rows.shape == (3, 13)
    assert set(rows[:, 0]) == {2}
    flat = [token for text in sentences() for token in WORDS.encode(text)]
    assert rows[:, 1:].reshape(-1).tolist() == flat[:36]
    with pytest.raises(InputError, match="must fill one row of 12 tokens, got 6"):
        packed_rows(WORDS, sentences()[:1], tokens=36, length=12)
