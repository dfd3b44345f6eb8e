"""Neighbours and hubness: by hand, beside scikit-learn and scipy, planted, and of noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.stats import special_ortho_group
from sklearn.neighbors import NearestNeighbors

from tokkit.analysis.embeddings import neighbours as module
from tokkit.analysis.embeddings import neighbours_projected as projected_module
from tokkit.analysis.embeddings import neighbours_search as search_module
from tokkit.analysis.embeddings.geometry_measure import measure_cloud, null_hubness
from tokkit.analysis.embeddings.neighbours import nearest_of, nearest_of_some, unit_rows
from tokkit.analysis.embeddings.neighbours_hubness import hubness, named_at_least, skewness
from tokkit.analysis.embeddings.neighbours_projected import recall
from tokkit.analysis.embeddings.neighbours_search import find_neighbours, places_of, sample_size
from tokkit.analysis.matrix import matrix_of


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(module, "_QUERIES", 64)
    monkeypatch.setattr(module, "_TILE", 71)
    monkeypatch.setattr(module, "_STREAMED_BYTES", 4 * 19 * 23)
    monkeypatch.setattr(projected_module, "_SCANNED", 32)
    monkeypatch.setattr(projected_module, "_TILE", 41)
    monkeypatch.setattr(projected_module, "_QUERIES", 37)


def noise(count, width, seed=0):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def searched(rows, k=5, *, usable=None, operations=None, monkeypatch=None, **changed):
    if operations is not None:
        monkeypatch.setattr(search_module, "EXACT_OPERATIONS", 0)
        monkeypatch.setattr(search_module, "PROJECTED_OPERATIONS", operations)
    matrix = matrix_of(rows)
    usable = np.ones(len(matrix), bool) if usable is None else usable
    cloud = measure_cloud(matrix, usable, 0)
    return find_neighbours(matrix, usable, cloud.moments, cloud.basis, k, 0, np.array([0]))


def of_sklearn(rows, k):
    found = NearestNeighbors(n_neighbors=k + 1, metric="cosine").fit(rows)
    distances, ids = found.kneighbors(rows)
    return ids[:, 1:], 1 - distances[:, 1:]


def test_three_rows_by_hand():
    units = unit_rows(np.array([[2.0, 0], [3, 4], [0, 5]], np.float32))
    found = nearest_of(units, 2)
    assert found.ids.tolist() == [[1, 2], [2, 0], [1, 0]]
    assert np.allclose(found.cosines, [[0.6, 0], [0.8, 0.6], [0.8, 0]])


def test_equal_cosines_stand_in_the_order_of_their_ids():
    units = unit_rows(np.array([[1, 0], [0, 1], [0, 1], [0, -1], [0, 1]], np.float32))
    assert nearest_of(units, 4).ids[0].tolist() == [1, 2, 3, 4]
    assert nearest_of(units, 2).ids[1].tolist() == [2, 4]


def test_where_there_are_fewer_others_none_is_named():
    found = nearest_of(unit_rows(noise(3, 5)), 4)
    assert (found.ids[:, 2:] == -1).all()
    assert np.isneginf(found.cosines[:, 2:]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_all_neighbours_are_those_of_scikit_learn(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = noise(211, 19) + 0.5
        found = searched(rows)
    finally:
        torch.set_num_threads(before)
    assert found.method == "exact"
    for nearest, cloud in ((found.centred, rows - rows.mean(axis=0)), (found.raw, rows)):
        ids, cosines = of_sklearn(cloud, 5)
        assert np.array_equal(nearest.ids, ids)
        assert np.allclose(nearest.cosines, cosines, atol=1e-5)


def test_a_few_rows_are_searched_in_blocks_with_gaps():
    rows = noise(101, 19) + 0.5
    usable = np.random.default_rng(1).random(101) < 0.8
    usable[[0, 100]] = True
    matrix = matrix_of(rows)
    cloud = measure_cloud(matrix, usable, 0)
    queries = np.array([100, 0])
    whole = find_neighbours(matrix, usable, cloud.moments, cloud.basis, 4, 0, queries)
    assert np.array_equal(whole.asked.queries, queries)
    for centred, nearest in ((True, whole.centred), (False, whole.raw)):
        found = nearest_of_some(matrix, usable, cloud.moments, queries, 4, centred=centred)
        places = np.searchsorted(nearest.queries, queries)
        assert np.array_equal(found.ids, nearest.ids[places])
        assert usable[found.ids].all()


def clustered(count, width, seed=0):
    """Groups of ten rows about centres of their own, and a mean row."""
    centres = noise(count // 10, width, seed)
    return np.repeat(centres, 10, axis=0) + 0.3 * noise(count, width, seed + 1) + 0.5


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "float64"])
def test_projected_neighbours_are_the_exact_ones_where_the_structure_is_planted(kind, monkeypatch):
    rows = torch.from_numpy(clustered(300, 29)).to(getattr(torch, kind))
    exact = searched(rows)
    usable = np.ones(300, bool)
    found = searched(rows, operations=16 * 300**2, monkeypatch=monkeypatch)
    assert (found.method, found.directions, found.raw) == ("projected", 16, None)
    assert recall(found.centred, exact.centred).mean() > 0.97
    assert found.recall.value > 0.97
    same = found.centred.ids == exact.centred.ids
    assert np.allclose(found.centred.cosines[same], exact.centred.cosines[same], atol=3e-5)
    assert usable[found.centred.ids].all()


def test_rows_left_out_are_nobodys_neighbours(monkeypatch):
    rows = clustered(200, 19)
    rows[7] = np.nan
    usable = np.isfinite(rows).all(axis=1)
    exact = searched(rows, usable=usable)
    found = searched(rows, usable=usable, operations=1e9, monkeypatch=monkeypatch)
    for nearest in (exact.centred, found.centred):
        assert 7 not in nearest.ids
        assert 7 not in nearest.queries
    assert np.array_equal(exact.centred.ids, found.centred.ids)


def test_recall_is_the_share_that_was_found():
    full = nearest_of(unit_rows(noise(50, 7)), 4)
    found = module.Nearest(full.queries, full.ids.copy(), full.cosines.copy())
    found.ids[3, 3], found.cosines[3, 3] = 49, full.cosines[3, 3] - 0.1
    assert recall(found, full)[3] == 0.75
    assert recall(full, full).mean() == 1
    # Of equal cosines either may stand for the other.
    found.cosines[3, 3] = full.cosines[3, 3]
    assert recall(found, full)[3] == 1


def test_a_rotation_leaves_neighbours_and_hubness():
    rows = noise(150, 11)
    turned = (rows @ special_ortho_group.rvs(11, random_state=1)).astype(np.float32)
    plain, other = searched(rows), searched(turned)
    assert (plain.centred.ids == other.centred.ids).mean() > 0.999
    generator = np.random.default_rng(0)
    sizes = [hubness(places_of(one.centred), 150, generator) for one in (plain, other)]
    assert sizes[0].skewness.value == pytest.approx(sizes[1].skewness.value, abs=0.02)


def test_hubness_by_hand_and_beside_scipy():
    # N_1 of four rows that name 1, 0, 0, 0: 3, 1, 0, 0.
    found = hubness(np.array([[1], [0], [0], [0]]), 4, np.random.default_rng(0))
    assert found.counts.tolist() == [3, 1, 0, 0]
    assert (found.largest, found.never_named.value) == (3, 0.5)
    # About the mean of 1: 2, 0, -1, -1; second moment 6 / 4, third 6 / 4.
    assert found.skewness.value == pytest.approx(1.5 / 1.5**1.5)
    counts = np.random.default_rng(1).poisson(3, 97)
    assert skewness(counts) == pytest.approx(scipy.stats.skew(counts))
    assert skewness(np.full(5, 3)) == 0
    assert named_at_least(np.array([0, 1, 5, 2])) == [(0, 1), (1, 0.75), (2, 0.5), (4, 0.25),
                                                      (5, 0.25)]  # fmt: skip


def test_a_planted_hub_is_found_and_noise_has_no_more_than_its_null():
    rows = noise(400, 50)
    cloud = measure_cloud(matrix_of(rows), np.ones(400, bool), 0)
    nulls = null_hubness(cloud, 5, 0)
    own = hubness(places_of(searched(rows).centred), 400, np.random.default_rng(0))
    null = nulls["same spread"].skewness
    assert null.low - 0.5 < own.skewness.value < null.high + 0.5
    # A row at the centre of a shell is near to all of it, on the side where all of it lies.
    shell = unit_rows(noise(400, 50)) + np.eye(50, dtype=np.float32)[0]
    shell[123] = np.eye(50, dtype=np.float32)[0]
    found = hubness(searched(shell).raw.ids, 400, np.random.default_rng(0))
    assert found.counts.argmax() == 123
    assert found.largest > 300
    assert found.skewness.value > 10 * own.skewness.value
    assert found.skewness.low > null.high


def test_samples_are_as_large_as_their_cost_allows():
    assert sample_size(1000, 64) == 1000
    size = sample_size(256_000, 4096)
    assert 2 * size**2 * 4096 <= search_module.SAMPLE_OPERATIONS < 2 * (size + 1) ** 2 * 4096
