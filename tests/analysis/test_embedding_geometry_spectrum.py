"""Moments, spectrum and isotropy: by hand, planted, rotated, and of noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import special_ortho_group

from tokkit.analysis.embeddings import geometry_moments as module
from tokkit.analysis.embeddings.geometry_measure import measure_cloud, spread_measures
from tokkit.analysis.embeddings.geometry_moments import lengths_of, moments
from tokkit.analysis.embeddings.geometry_spectrum import (
    effective_rank,
    eigenvalues_of,
    gaussian_spectrum,
    intervals,
    iso_score,
    measures,
    participation_ratio,
    share_of_first,
    spectrum_of,
    stable_rank,
)
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError

SIDES = np.array([[3.0, 4.0], [-3.0, 4.0], [0.0, -5.0]])


def cloud_of(rows, seed=0):
    return measure_cloud(matrix_of(rows), np.ones(len(rows), bool), seed)


def planted(count, variances, seed):
    rows = np.random.default_rng(seed).standard_normal((count, len(variances)))
    return rows * np.sqrt(variances)


def test_three_rows_by_hand():
    # Mean (0, 1); norms 5; about the mean (3, 3), (-3, 3), (0, -6): variances 18/3 and 54/3.
    found = moments(matrix_of(SIDES), np.ones(3, bool))
    assert found.norms.tolist() == [5, 5, 5]
    assert found.mean.tolist() == [0, 1]
    assert np.allclose(found.scatter, [[6, 0], [0, 18]], atol=1e-6)
    assert np.allclose(found.centred_norms, [18**0.5, 18**0.5, 6])
    assert np.allclose(found.along_mean, [4, 4, -5])
    # Cosines of the pairs: (-9 + 16) / 25, -20 / 25, -20 / 25.
    assert found.cosine_raw == pytest.approx((7 - 20 - 20) / 75, abs=1e-6)
    # About the mean: 0, -18 / (18^0.5 6) twice.
    assert found.cosine_centred == pytest.approx(-2 * 18**0.5 / 6 / 3, abs=1e-6)
    values = spectrum_of(found.scatter).values
    assert np.allclose(values, [18, 6])
    assert participation_ratio(values) == pytest.approx(24**2 / 360)
    assert iso_score(values) == pytest.approx(24**2 / 360 - 1)
    assert effective_rank(values) == pytest.approx(
        np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    )
    assert stable_rank(values) == pytest.approx(24 / 18)
    assert share_of_first(values, 1) == 0.75


def test_a_line_and_a_ball_are_the_ends_of_every_measure():
    line, ball = np.array([5.0, 0, 0, 0]), np.full(4, 2.0)
    assert (iso_score(line), participation_ratio(line), effective_rank(line)) == (0, 1, 1)
    assert (iso_score(ball), participation_ratio(ball), stable_rank(ball)) == (1, 4, 4)
    assert effective_rank(ball) == pytest.approx(4)
    assert np.isnan(iso_score(np.array([3.0])))
    assert "iso_score" not in measures(np.array([3.0]))


def rudman_2022(values):
    """Algorithm 1 of the paper, step by step."""
    n = len(values)
    normed = np.sqrt(n) * values / np.linalg.norm(values)
    defect = np.linalg.norm(normed - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    share = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    return (n * share - 1) / (n - 1)


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=11))
def test_iso_score_is_that_of_the_paper(values):
    values = np.sort(values)[::-1]
    assert iso_score(values) == pytest.approx(rudman_2022(values), abs=1e-9)


def test_mean_cosines_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(module, "_SCATTER_BYTES", 4 * 13 * 5)
    monkeypatch.setattr(module, "_ROWS_IN_FLOAT32", 17)
    monkeypatch.setattr(module, "_COLUMNS", 5)
    rows = planted(47, np.arange(1, 14), 2) + 1
    usable = np.ones(47, bool)
    usable[[5, 6, 30]] = False
    found = moments(matrix_of(rows), usable)
    kept = rows[usable]
    assert found.cosine_raw == pytest.approx(1 - pdist(kept, "cosine").mean(), abs=1e-6)
    centred = kept - kept.mean(axis=0)
    assert found.cosine_centred == pytest.approx(1 - pdist(centred, "cosine").mean(), abs=1e-6)
    assert np.allclose(found.scatter, np.cov(kept.T, bias=True), rtol=1e-4, atol=1e-4)
    assert np.allclose(found.raw_scatter, kept.T @ kept / 44, rtol=1e-4, atol=1e-4)
    assert np.isnan(found.norms[5])


def test_a_planted_spectrum_is_found_and_a_rotation_leaves_it():
    variances = np.array([50.0, 20, 5, 1, 1, 1, 1])
    rows = planted(20_000, variances, 3)
    plain, turned = (
        cloud_of(cloud) for cloud in (rows, rows @ special_ortho_group.rvs(7, random_state=4))
    )
    assert np.allclose(plain.values, variances, rtol=0.05)
    assert np.allclose(plain.values, turned.values, rtol=1e-4)
    for name, measure in plain.measures.items():
        assert turned.measures[name].value == pytest.approx(measure.value, rel=1e-3, abs=1e-4)
    found = plain.measures["participation_ratio_centred"]
    assert found.low < participation_ratio(variances) < found.high


def test_a_shared_direction_is_in_the_raw_measures_alone():
    rows = planted(4000, np.ones(11), 5) + 3
    found = cloud_of(rows).measures
    assert found["mean_cosine_raw"].value == pytest.approx(0.9, abs=0.01)
    centred = found["mean_cosine_centred"]
    assert centred.low < -1 / 3999 < centred.high
    assert centred.high - centred.low < 0.001
    # Second moments about zero: 1 + 11 x 9 along one direction, 1 along the ten others.
    assert found["iso_score_raw"].value == pytest.approx((110**2 / 10_010 - 1) / 10, abs=2e-3)
    assert found["iso_score_centred"].value > 0.98
    assert found["mean_share_of_square_raw"].value == pytest.approx(0.9, abs=0.01)


def test_intervals_cover_what_they_estimate():
    variances = np.array([9.0, 4, 2, 1, 0.5])
    truth, hits = measures(variances), dict.fromkeys(measures(variances), 0)
    draws = 200
    for seed in range(draws):
        rows = planted(400, variances, seed)
        rows -= rows.mean(axis=0)
        values, vectors = np.linalg.eigh(rows.T @ rows / 400)
        values, vectors = values[::-1], vectors[:, ::-1]
        for name, one in intervals(values, rows @ vectors, 400).items():
            hits[name] += one.low <= truth[name] <= one.high
    for name, count in hits.items():
        assert 0.87 <= count / draws <= 1, (name, count)


def test_the_null_spectrum_has_the_law_of_real_draws():
    drawn = [
        eigenvalues_of(np.cov(planted(60, np.full(7, 2.0), seed).T, bias=True))
        for seed in range(300)
    ]
    made = [gaussian_spectrum(60, 7, 2.0, np.random.default_rng([9, seed])) for seed in range(300)]
    assert np.allclose(np.mean(drawn, axis=0), np.mean(made, axis=0), rtol=0.04)
    assert np.allclose(np.std(drawn, axis=0), np.std(made, axis=0), rtol=0.25)
    few = gaussian_spectrum(4, 7, 1.0, np.random.default_rng(0))
    assert (few > 0).sum() == 3, "four rows about their mean span three directions"


def test_noise_looks_like_its_null():
    cloud = cloud_of(planted(5000, np.ones(23), 6))
    null, _ = spread_measures(cloud, seed=0)
    for name in ("iso_score", "effective_rank", "share_of_first_3"):
        assert cloud.measures[f"{name}_centred"].value == pytest.approx(
            null[f"{name}_centred"], rel=0.02
        )
    assert abs(null["mean_cosine_raw"]) < 0.002


def test_signs_of_directions_are_fixed():
    scatter = moments(matrix_of(planted(99, np.arange(1, 8), 7)), np.ones(99, bool)).scatter
    vectors = spectrum_of(scatter).vectors
    largest = np.abs(vectors).argmax(axis=0)
    assert (vectors[largest, np.arange(7)] > 0).all()


def test_wide_rows_have_the_same_spectrum_in_single_precision(monkeypatch):
    scatter = np.cov(planted(99, np.arange(1, 24), 8).T)
    exact = spectrum_of(scatter)
    monkeypatch.setattr("tokkit.analysis.embeddings.geometry_spectrum._DOUBLE_WIDTH", 5)
    narrow = spectrum_of(scatter)
    assert np.allclose(exact.values, narrow.values)
    assert np.allclose(exact.vectors, narrow.vectors, atol=1e-3)


def test_lengths_of_tiny_and_huge_rows():
    rows = np.array([[3e-30, 4e-30], [3e30, 4e30], [3, 4]], np.float32)
    assert np.allclose(lengths_of(rows), [5e-30, 5e30, 5])


def test_equal_rows_and_a_single_row_are_refused():
    with pytest.raises(ConfigError, match="needs rows that differ, but all of them are equal"):
        cloud_of(np.ones((5, 3)))
    with pytest.raises(ConfigError, match="moments need two rows or more, got 1"):
        moments(matrix_of(SIDES), np.array([True, False, False]))


def test_bfloat16_rows_are_measured_as_stored():
    rows = torch.from_numpy(planted(300, np.ones(5), 9)).bfloat16()
    exact = np.cov(rows.double().numpy().T, bias=True)
    assert np.allclose(moments(matrix_of(rows), np.ones(300, bool)).scatter, exact, atol=1e-5)
