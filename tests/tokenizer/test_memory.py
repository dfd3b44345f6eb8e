"""Memory is asked for before it is taken, by the tighter of machine and container."""

import re

import pytest

from tokkit.errors import InputError
from tokkit.tokenizer import learning_state, memory
from tokkit.tokenizer.counting import count_texts
from tokkit.tokenizer.learning import LearningOptions, learn
from tokkit.tokenizer.memory import available_bytes, require_memory


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def limits(folder, limit, used):
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")


def test_the_containers_limit_counts_where_it_is_the_tighter_one(cgroup):
    limits(cgroup, 5_000_000, 3_000_000)
    assert available_bytes() == 2_000_000


def test_the_machine_counts_where_the_container_has_no_limit(cgroup, monkeypatch):
    limits(cgroup, "max", 3_000_000)
    monkeypatch.setattr(memory, "_of_machine", lambda: 7)
    assert available_bytes() == 7
    limits(cgroup, 2**60, 0)
    assert available_bytes() == 7


def test_a_container_over_its_limit_has_nothing_left(cgroup):
    limits(cgroup, 1000, 2000)
    assert available_bytes() == 0


@pytest.mark.parametrize("limit", [None, "", "many"])
def test_a_container_that_tells_nothing_is_passed_over(cgroup, monkeypatch, limit):
    if limit is not None:
        limits(cgroup, limit, 1)
    monkeypatch.setattr(memory, "_of_machine", lambda: None)
    assert available_bytes() is None


def test_this_machine_tells_of_some_memory(cgroup):
    found = available_bytes()
    assert found is None or 2**20 < found < 2**50


def test_what_does_not_fit_is_refused_with_sizes_and_advice(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    said = "the pairs need 3.0 GiB more memory, but 1.0 GiB are left; count parts of the text"
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        require_memory(3 * 2**30, what="the pairs")
    assert "--min-count" in str(caught.value)


def test_what_fits_or_is_small_or_cannot_be_known_passes(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**30)
    require_memory(2**30, what="what just fits")
    monkeypatch.setattr(memory, "available_bytes", lambda: 0)
    require_memory(1000, what="a small array")
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    require_memory(2**60, what="anything")


def test_learning_asks_before_it_lays_out_the_text(monkeypatch):
    table = count_texts(["abab"], "none")
    monkeypatch.setattr(memory, "available_bytes", lambda: 10)
    monkeypatch.setattr(memory, "_LARGE_BYTES", 0)

    def lay_out(*_):
        pytest.fail("laid out in spite of the memory")

    monkeypatch.setattr(learning_state, "_empty_state", lay_out)
    with pytest.raises(InputError, match="1 distinct pretokens need"):
        learn(table.data, table.offsets, table.totals, LearningOptions(300))
