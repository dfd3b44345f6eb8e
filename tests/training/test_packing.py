"""Each token once an epoch, nothing predicted across documents, an order from numbers alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ConfigError
from tokkit.training.objective import IGNORED
from tokkit.training.packing import PackedRows, parts_of, shuffled, split_documents

END = 99
lengths_of_documents = st.lists(st.integers(0, 17), min_size=1, max_size=12).filter(any)


def packed(lengths, context, *, end, chosen=None):
    """Documents whose tokens are all different: 1000 x document + place."""
    documents = [
        [1000 * (d + 1) + place for place in range(n)] + ([END] if end else [])
        for d, n in enumerate(lengths)
    ]
    offsets = np.cumsum([0, *map(len, documents)])
    ids = np.array([token for tokens in documents for token in tokens], dtype=np.int64)
    chosen = np.arange(len(lengths)) if chosen is None else np.array(chosen)
    return documents, PackedRows(ids, offsets, chosen, context, END if end else None)


def epoch_of(rows, size):
    """The batches of the steps that lie wholly in the first epoch, if they divide it, else more."""
    steps = -(-len(rows) // size)
    return [rows.batch_at(step, size, seed=5) for step in range(steps)]


@given(lengths_of_documents, st.integers(1, 11), st.booleans())
def test_each_token_is_seen_and_predicted_once_an_epoch(lengths, context, end):
    documents, rows = packed(lengths, context, end=end)
    batch = rows.batch_at(0, len(rows), seed=5)
    predicted = batch.targets[batch.targets != IGNORED].tolist()
    if end:
        assert sorted(predicted) == sorted(token for tokens in documents for token in tokens)
    else:
        assert sorted(predicted) == sorted(token for tokens in documents for token in tokens[1:])
        groups = batch.ids[batch.ids > 0].tolist()
        assert sorted(groups) == sorted(token for tokens in documents for token in tokens)


@given(lengths_of_documents, st.integers(1, 11), st.booleans(), st.integers(1, 7))
def test_nothing_is_predicted_from_another_document(lengths, context, end, size):
    _, rows = packed(lengths, context, end=end)
    for batch in epoch_of(rows, size):
        assert batch.ids.shape == (size, context)
        for ids, targets, groups in zip(batch.ids, batch.targets, batch.documents, strict=True):
            assert (groups.diff() >= 0).all()
            assert groups[0] == 0
            for token, target, group in zip(ids, targets, groups, strict=True):
                own = {int(t) // 1000 for t in ids[groups == group] if t not in (END, 0)}
                assert len(own) <= 1, "a group of attention is of one document"
                if target == IGNORED:
                    continue
                if target != END and token != END:
                    assert target == token + 1
                if token == END:
                    assert target == END or target % 1000 == 0, "what follows is a first token"


def test_rows_by_hand():
    """Documents a b c, (empty), d e; the end token E behind each; rows of three."""
    a, b, c, d, e = 1000, 1001, 1002, 3000, 3001
    _, rows = packed([3, 0, 2], 3, end=True)
    batch = rows.rows(np.arange(3))
    assert batch.targets.tolist() == [[a, b, c], [END, END, d], [e, END, IGNORED]]
    assert batch.ids.tolist() == [[END, a, b], [c, END, END], [d, e, 0]]
    assert batch.documents.tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 1]]
    _, rows = packed([3, 0, 2], 3, end=False)
    batch = rows.rows(np.arange(2))
    assert batch.ids.tolist() == [[a, b, c], [d, e, 0]]
    assert batch.targets.tolist() == [[b, c, IGNORED], [e, IGNORED, IGNORED]]
    assert batch.documents.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_documents_left_out_stay_out():
    _, rows = packed([3, 4, 2, 5], 4, end=True, chosen=[0, 2])
    seen = set(rows.batch_at(0, len(rows), 0).targets.flatten().tolist())
    assert {token // 1000 for token in seen if token >= 1000} == {1, 3}


@given(st.integers(1, 300), st.integers(0, 2**31), st.integers(0, 5))
def test_the_order_is_a_permutation(count, seed, epoch):
    found = shuffled(np.arange(count), count, (seed, epoch))
    assert sorted(found.tolist()) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_and_mixes():
    places = np.arange(1009)
    orders = [shuffled(places, 1009, key) for key in ((0, 0), (0, 1), (1, 0))]
    for order in orders:
        assert abs(np.corrcoef(places, order)[0, 1]) < 0.1
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.1
    assert (orders[0] == orders[1]).sum() < 20
    assert (orders[0] == orders[2]).sum() < 20
    assert shuffled(places[500:510], 1009, (0, 0)).tolist() == orders[0][500:510].tolist()
    assert shuffled(np.array([10**12 - 1]), 10**12, (0, 0)).item() < 10**12


def test_a_batch_depends_on_its_step_alone_and_epochs_follow_each_other():
    _, rows = packed([5, 9, 3, 8], 3, end=True)
    assert len(rows) == 10
    steps = [rows.batch_at(step, 4, seed=1) for step in range(5)]  # two epochs
    assert torch.equal(rows.batch_at(3, 4, seed=1).ids, steps[3].ids)
    seen = torch.cat([batch.targets for batch in steps])
    for epoch in (seen[:10], seen[10:]):
        found = sorted(epoch[epoch != IGNORED].tolist())
        assert found == sorted(rows.ids.tolist())
    assert not torch.equal(seen[:10], seen[10:])


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_parts_are_the_batch_and_their_shares_its_targets(parts, count, each):
    _, rows = packed([7, 1, 12, 2, 30], 5, end=False)
    batch = rows.batch_at(0, parts * count * each, seed=0)
    cut = [p for r in range(count) for p in parts_of(batch, parts=parts, rank=r, count=count)]
    assert torch.equal(torch.cat([part.ids for part in cut]), batch.ids)
    assert torch.equal(torch.cat([part.documents for part in cut]), batch.documents)
    assert sum(part.share for part in cut) == pytest.approx(1)
    predicted = int((batch.targets != IGNORED).sum())
    for part in cut:
        assert part.share == int((part.targets != IGNORED).sum()) / predicted


@settings(max_examples=50)
@given(st.integers(2, 2000), st.floats(0.001, 0.999), st.integers(0, 2**31 - 1))
def test_the_split_holds_out_about_the_share_and_never_all(count, share, seed):
    held_out = split_documents(count, share, seed)
    assert 1 <= len(held_out) < count
    assert (np.diff(held_out) > 0).all()
    spread = 5 * (count * share * (1 - share)) ** 0.5 + 1
    assert abs(len(held_out) - count * share) <= spread


def test_the_split_is_pinned_and_stays_when_documents_come_behind():
    assert split_documents(40, 0.1, 0).tolist() == PINNED
    longer = split_documents(4000, 0.1, 0)
    shorter = split_documents(2000, 0.1, 0)
    assert len(set(shorter) ^ {d for d in longer if d < 2000}) <= 2
    assert split_documents(40, 0.1, 1).tolist() != PINNED
    assert split_documents(40, 0, 0).tolist() == []


PINNED = [1, 18, 25, 27]


@pytest.mark.parametrize(
    ("documents", "share", "message"),
    [
        (1, 0.1, "whole documents are held out for validation, but the corpus has 1: give more"),
        (5, 1.0, "the validation share must be from 0 to below 1, got 1.0"),
        (5, float("nan"), "the validation share must be from 0 to below 1, got nan"),
    ],
)
def test_what_cannot_be_split(documents, share, message):
    with pytest.raises(ConfigError, match=message):
        split_documents(documents, share, 0)
