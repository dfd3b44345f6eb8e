"""Small models are analysed on one thread, and what was set stays set."""

from __future__ import annotations

import pytest
import torch

from tokkit.analysis import threads
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

MODEL = Transformer(ModelConfig(vocab_size=23, width=8, layers=1, query_heads=2), seed=0)


@threads.suited_threads
def used(model, fail=False):
    if fail:
        raise ValueError("no")
    return torch.get_num_threads()


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_a_small_model_gets_one_thread_and_a_large_one_what_is_set(three_threads, monkeypatch):
    assert used(MODEL) == 1
    assert torch.get_num_threads() == 3
    monkeypatch.setattr(threads, "SMALL_MODEL", 10)
    assert used(MODEL) == 3


def test_a_failure_leaves_the_threads_as_they_were(three_threads):
    with pytest.raises(ValueError, match="no"):
        used(MODEL, fail=True)
    assert torch.get_num_threads() == 3
