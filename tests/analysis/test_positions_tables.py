"""What a table of positions holds: planted waves are found, noise is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group

from tokkit.analysis.positions import tables
from tokkit.errors import ArtifactError


def wave(n, turns, width, seed=0, noise=0.0):
    """A learned table that turns `turns` times in a random plane, with noise."""
    generator = np.random.default_rng(seed)
    angles = 2 * np.pi * turns * np.arange(n) / n
    flat = np.zeros((n, width))
    flat[:, 0], flat[:, 1] = np.cos(angles), np.sin(angles)
    flat = flat @ ortho_group.rvs(width, random_state=generator)
    return flat + noise * generator.standard_normal((n, width))


@pytest.mark.parametrize("seed", [0, 1])  # another rotation, the same answer
def test_a_planted_wave_is_found_at_its_frequency(seed):
    table = wave(60, 5, 11, seed, noise=0.1)
    found = tables.fourier(table, np.random.default_rng(0))
    assert found.turns[found.share.argmax()] == 5
    assert found.share.sum() == pytest.approx(1)
    assert found.periodic
    assert found.p == pytest.approx(1 / 200)
    assert tables.effective_wavelength(found, 60) == 12


def test_a_pure_wave_has_all_of_its_power_at_one_frequency():
    found = tables.fourier(wave(32, 3, 6), np.random.default_rng(0))
    assert found.share[2] == pytest.approx(1)


@pytest.mark.parametrize(("n", "width"), [(64, 24), (24, 64)])
def test_noise_is_not_periodic(n, width):
    periodic = [
        tables.fourier(np.random.default_rng(seed).standard_normal((n, width)),
                       np.random.default_rng(seed)).periodic
        for seed in range(12)
    ]  # fmt: skip
    assert sum(periodic) <= 1


def test_power_does_not_depend_on_the_number_of_columns():
    table = np.random.default_rng(3).standard_normal((20, 50))
    direct = (np.abs(np.fft.rfft(table - table.mean(0), axis=0)[1:]) ** 2).sum(1)
    direct[-1] /= 2
    found = tables.fourier(table, np.random.default_rng(0))
    np.testing.assert_allclose(found.share, direct / direct.sum())


def test_tables_that_have_no_frequencies():
    generator = np.random.default_rng(0)
    assert tables.fourier(np.ones((20, 3)), generator) is None
    assert tables.fourier(np.eye(5), generator) is None
    assert tables.spectrum(np.ones((20, 3)))[1] == 0


def test_spectrum_by_hand():
    # Two orthogonal directions of variance 8 and 2: shares 0.8, 0.2; (10)^2 / (64 + 4).
    table = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    shares, count = tables.spectrum(table)
    np.testing.assert_allclose(shares, [0.8, 0.2])
    assert count == pytest.approx(100 / 68)


def test_rows_alike_by_hand():
    table = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    cells = {(a, b): cosine for a, b, cosine in tables.alike(table)}
    assert cells[0, 0] == pytest.approx(1)
    assert cells[0, 1] == pytest.approx(0)
    assert cells[0, 2] == pytest.approx(-1)
    assert len(tables.alike(np.random.default_rng(0).standard_normal((500, 3)))) == 48**2


def test_waves_shift_by_a_linear_map_and_noise_does_not():
    table = wave(64, 3, 12)
    assert all(left < 1e-10 for _, left in tables.shift_residuals(table))
    noise = np.random.default_rng(1).standard_normal((64, 12))
    assert all(left > 0.5 for _, left in tables.shift_residuals(noise))


def test_damaged_tables_are_refused():
    with pytest.raises(ArtifactError, match="must be a matrix of finite numbers"):
        tables.checked_table([[1.0, float("nan")]])
