"""Intervals and tests against numbers derived by hand and against scipy."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tokkit.errors import ConfigError
from tokkit.stats import (
    MAX_EXACT_SIGNS,
    block_weights,
    factorial_permutation,
    gini,
    hierarchical_bootstrap,
    holm,
    lorenz,
    mcnemar,
    sign_flip_p,
    wilson,
)

NAN = float("nan")


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bootstrap_by_loops(
    values: np.ndarray, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """The method as it is written down: draw rows, draw columns, take the mean of the grid."""
    means = []
    for _ in range(resamples):
        rows = rng.integers(0, values.shape[0], values.shape[0])
        columns = rng.integers(0, values.shape[1], values.shape[1])
        means.append(np.nanmean(values[np.ix_(rows, columns)]))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_bootstrap_estimate_is_the_mean_of_the_cells_that_were_asked() -> None:
    interval = hierarchical_bootstrap([[1.0, 0.0, NAN], [1.0, NAN, NAN]], generator())
    assert interval.estimate == pytest.approx(2 / 3)
    assert (interval.n_seeds, interval.n_items, interval.level) == (2, 2, 0.95)


def test_bootstrap_of_a_constant_has_no_width() -> None:
    interval = hierarchical_bootstrap(np.full((3, 7), 0.25), generator())
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_bootstrap_of_two_items_in_one_seed_has_three_possible_means() -> None:
    # Two draws of {0, 1} give the means 0, 1/2, 1 with shares 1/4, 1/2, 1/4: the middle half of
    # them is the mean 1/2 alone, the middle 95% is everything.
    values = [[0.0, 1.0]]
    narrow = hierarchical_bootstrap(values, generator(), level=0.4)
    wide = hierarchical_bootstrap(values, generator(), level=0.95)
    assert (narrow.low, narrow.high) == (0.5, 0.5)
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_items_are_the_same_for_every_seed() -> None:
    # All seeds agree on each item: drawing items apart for each seed would narrow the interval.
    items = generator(1).integers(0, 2, 101).astype(float)
    one = hierarchical_bootstrap(items[None], generator(2))
    five = hierarchical_bootstrap(np.tile(items, (5, 1)), generator(2))
    assert five.high - five.low == pytest.approx(one.high - one.low, rel=0.1)


def test_bootstrap_agrees_with_the_method_written_as_loops() -> None:
    rng = generator(3)
    values = rng.normal(size=(5, 1)) + rng.normal(size=(1, 23)) + rng.normal(size=(5, 23))
    values[rng.random(values.shape) < 0.2] = NAN
    interval = hierarchical_bootstrap(values, generator(4), resamples=4000)
    low, high = bootstrap_by_loops(values, generator(5), 4000)
    width = high - low
    assert interval.low == pytest.approx(low, abs=0.06 * width)
    assert interval.high == pytest.approx(high, abs=0.06 * width)


def test_bootstrap_covers_a_mean_with_variance_between_seeds_and_items() -> None:
    rng = generator(6)
    covered = 0
    trials = 300
    for _ in range(trials):
        seeds, items = rng.normal(0, 0.5, (13, 1)), rng.normal(0, 1, (1, 53))
        values = 0.7 + seeds + items + rng.normal(0, 0.3, (13, 53))
        interval = hierarchical_bootstrap(values, rng, resamples=400)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.86 <= covered / trials <= 0.99


def test_item_noise_alone_is_not_enough_where_seeds_differ() -> None:
    # The seed means are 0 and 1: an interval over items only would have no width.
    interval = hierarchical_bootstrap(np.repeat([[0.0], [1.0]], 11, axis=1), generator())
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_same_generator_same_interval_and_chunks_change_nothing_in_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = generator(7).random((3, 29))
    assert hierarchical_bootstrap(values, generator(8)) == hierarchical_bootstrap(
        values, generator(8)
    )
    whole = hierarchical_bootstrap(values, generator(8))
    monkeypatch.setattr("tokkit.stats._CHUNK_CELLS", 29 * 37)
    chunked = hierarchical_bootstrap(values, generator(8))
    assert chunked.estimate == whole.estimate
    assert chunked.low == pytest.approx(whole.low, abs=0.02)


def test_bootstrap_of_six_seeds_and_two_thousand_words_is_quick() -> None:
    values = generator().random((6, 2000))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        hierarchical_bootstrap(values, generator(), resamples=2000)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 1.0], r"must be a \(seeds, items\) array, not one of shape \(2,\); give one seed"),
        (np.empty((0, 3)), "must hold at least one number.*leave an empty group out"),
        ([[NAN, NAN]], "must hold at least one number"),
        ([[np.inf, 1.0]], "must be finite or NaN, but one is infinite"),
    ],
)
def test_bootstrap_refuses_what_has_no_mean(values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hierarchical_bootstrap(values, generator())  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0.0, 1.0, NAN])
def test_a_level_lies_between_0_and_1(level: float) -> None:
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        hierarchical_bootstrap([[0.0, 1.0]], generator(), level=level)


def test_at_least_one_resample() -> None:
    with pytest.raises(ConfigError, match="resamples must be 1 or more, not 0"):
        hierarchical_bootstrap([[0.0, 1.0]], generator(), resamples=0)


def test_permutation_by_hand() -> None:
    # Of the eight sums of +-1, +-2, +-3, only 6 and -6 are as far from 0 as the observed 6.
    test = factorial_permutation([1.0, 2.0, 3.0])
    assert (test.statistic, test.p, test.n) == (2.0, 2 / 8, 3)
    assert test.method == "exact sign-flip permutation (8 arrangements)"
    # |sum| >= 4: 6, 4, -4, -6.
    assert factorial_permutation([-1.0, 2.0, 3.0]).p == 4 / 8
    assert factorial_permutation([0.0, 0.0]).p == 1.0


def test_permutation_flips_each_block_of_each_seed() -> None:
    test = factorial_permutation([[0.4, 0.5], [0.3, 0.6], [0.45, 0.5]])
    assert test.p == 2 / 64
    assert test.statistic == pytest.approx(2.75 / 6)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=9))
def test_permutation_agrees_with_counting_every_sign(differences: list[int]) -> None:
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * number for sign, number in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(total >= observed for total in sums) / len(sums)
    # Tenths are not exact in binary: ties must still be ties.
    test = factorial_permutation([number / 10 for number in differences])
    assert test.p == pytest.approx(expected, abs=1e-12)


def test_permutation_agrees_with_scipy() -> None:
    differences = generator(9).normal(0.4, 1, 11)
    oracle = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert factorial_permutation(differences).p == pytest.approx(float(oracle.pvalue))


def test_many_differences_are_sampled_and_p_is_never_zero() -> None:
    cells = np.ones((MAX_EXACT_SIGNS + 14, 1))
    test = factorial_permutation(cells, generator())
    assert test.p == 1 / 100_001
    assert test.method == "sampled sign-flip permutation (100000 arrangements)"


def test_sampling_comes_close_to_the_exact_p() -> None:
    # Two-sided sign test of 12 against 5 among 17 equal differences, and of anything further.
    cells = np.where(np.arange(17) < 12, 1.0, -1.0)
    exact = scipy_stats.binomtest(12, 17).pvalue
    assert factorial_permutation(cells, generator()).p == pytest.approx(exact, abs=0.006)


def test_without_an_effect_p_is_spread_evenly() -> None:
    rng = generator(10)
    p_values = np.array([factorial_permutation(rng.normal(size=(5, 2))).p for _ in range(1500)])
    for threshold in (0.05, 0.25, 0.5, 0.75):
        share = float((p_values <= threshold).mean())
        assert share == pytest.approx(threshold, abs=0.04)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], r"must be a filled \(seeds,\) or \(seeds, blocks\) array, not one of shape \(0,\)"),
        (np.ones((2, 2, 2)), r"not one of shape \(2, 2, 2\)"),
        ([1.0, NAN], "must be finite, but 1 of 2 are not; leave out the seeds"),
        (np.ones(17), "an exact test takes at most 16 differences, not 17; give a generator"),
    ],
)
def test_permutation_refuses_what_it_cannot_count(cells: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        factorial_permutation(cells)  # type: ignore[arg-type]


def test_mcnemar_by_hand() -> None:
    # Nine disagreements, 1 against 8: 2 * (1 + 9) / 2^9.
    test = mcnemar(1, 8)
    assert test.p == pytest.approx(20 / 512)
    assert (test.statistic, test.n, test.method) == (-7.0, 9, "exact McNemar")
    assert mcnemar(4, 4).p == 1.0
    assert mcnemar(0, 0).p == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_doubled_smaller_tail_and_symmetric(first: int, second: int) -> None:
    tail = float(scipy_stats.binom.cdf(min(first, second), first + second, 0.5))
    assert mcnemar(first, second).p == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(first, second).p == mcnemar(second, first).p


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ConfigError, match="must be 0 or more, not -1 and 2"):
        mcnemar(-1, 2)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04, and the last is raised to .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p_values: list[float]) -> None:
    adjusted = [value for value in holm(p_values) if value is not None]
    assert len(adjusted) == len(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, raw * len(p_values)) + 1e-15
    by_raw = [value for _, value in sorted(zip(p_values, adjusted, strict=True))]
    assert by_raw == sorted(by_raw)


@pytest.mark.parametrize("p", [-0.1, 1.1, NAN])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ConfigError, match="a p-value must lie in 0 to 1"):
        holm([0.5, p])


def test_wilson_by_hand() -> None:
    # At 0 of n the score interval is 0 to z^2 / (n + z^2), with z = 1.959964 and n = 10.
    interval = wilson(0, 10)
    z_squared = 1.959963984540054**2
    assert (interval.estimate, interval.low) == (0.0, 0.0)
    assert interval.high == pytest.approx(z_squared / (10 + z_squared))
    assert (interval.n_seeds, interval.n_items) == (1, 10)


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.5, 0.99))
def test_wilson_bounds_are_where_the_score_test_turns(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    interval = wilson(successes, n, level)
    z = float(scipy_stats.norm.ppf((1 + level) / 2))
    tolerance = 1e-9
    assert -tolerance <= interval.low <= interval.estimate + tolerance
    assert interval.estimate <= interval.high + tolerance <= 1 + 2 * tolerance
    for bound in (interval.low, interval.high):
        score = abs(interval.estimate - bound)
        assert score == pytest.approx(z * np.sqrt(bound * (1 - bound) / n), abs=1e-7)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ConfigError, match="a share needs 1 or more trials"):
        wilson(successes, n)


def test_block_weights_keep_strata_and_their_totals() -> None:
    strata = np.array([0, 1, 0, 2, 1, 0, 0])
    weights = block_weights(strata, 500, generator())
    assert weights.shape == (500, 7)
    for stratum, n in ((0, 4), (1, 2), (2, 1)):
        assert weights[:, strata == stratum].sum(axis=1) == pytest.approx(n)
    assert (weights[:, 3] == 1).all()
    # Of two blocks one is drawn, with weight 2.
    assert set(weights[:, 1].tolist()) == {0.0, 2.0}


def test_block_weights_do_not_understate_the_variance_of_few_blocks() -> None:
    values = np.array([1.0, 4.0, 6.0, 13.0])
    totals = block_weights(np.zeros(4), 80_000, generator()) @ values
    # The variance of a total of 4: 4 times the sample variance, with its n - 1.
    assert totals.var() == pytest.approx(4 * values.var(ddof=1), rel=0.02)
    assert totals.mean() == pytest.approx(24, rel=0.01)


@pytest.mark.parametrize(("strata", "resamples"), [([], 5), ([0, 0], 0), ([[0]], 5)])
def test_block_weights_need_blocks_and_resamples(strata: list[int], resamples: int) -> None:
    with pytest.raises(ConfigError, match="needs 1 or more blocks and resamples"):
        block_weights(strata, resamples, generator())


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=9), st.integers(1, 3))
def test_sign_flips_of_many_tests_are_those_of_one(differences: list[int], tests: int) -> None:
    cells = np.array(differences, dtype=float)[:, None] * np.arange(1, tests + 1)
    expected = factorial_permutation(differences).p
    assert sign_flip_p(cells, generator()) == pytest.approx(np.full(tests, expected))


def test_sampled_sign_flips_come_close_to_the_exact_p() -> None:
    cells = np.where(np.arange(17) < 12, 1.0, -1.0)[:, None]
    exact = scipy_stats.binomtest(12, 17).pvalue
    assert sign_flip_p(cells, generator())[0] == pytest.approx(exact, abs=0.012)
    assert sign_flip_p(np.ones((40, 1)), generator())[0] == 1 / 20_001
    assert sign_flip_p(np.zeros((40, 1)), generator())[0] == 1.0


def test_sign_flips_refuse_what_is_not_known() -> None:
    with pytest.raises(ConfigError, match=r"finite numbers, not one of shape \(2, 1\)"):
        sign_flip_p([[NAN], [1.0]], generator())
    with pytest.raises(ConfigError, match=r"not one of shape \(0, 3\)"):
        sign_flip_p(np.empty((0, 3)), generator())


def test_gini_by_hand() -> None:
    assert gini([2.0, 2.0, 2.0]) == 0
    assert gini([0.0, 0.0, 3.0]) == pytest.approx(2 / 3)
    # Differences 1, 2, 1 in both orders over 9 pairs; mean 2.
    assert gini([1.0, 2.0, 3.0]) == pytest.approx(8 / 9 / (2 * 2))
    assert gini([[1.0, 3.0], [5.0, 5.0]]) == pytest.approx([0.25, 0])
    assert np.isnan(gini([0.0, 0.0]))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.floats(0.1, 10))
def test_gini_is_the_mean_difference_and_knows_no_scale(costs: list[float], scale: float) -> None:
    array = np.array(costs)
    expected = np.abs(array[:, None] - array).mean() / (2 * array.mean())
    assert gini(array) == pytest.approx(expected, abs=1e-9)
    assert gini(array * scale) == pytest.approx(expected, abs=1e-9)


def test_lorenz_by_hand_and_its_area_is_the_gini_coefficient() -> None:
    people, borne = lorenz([3.0, 1.0])
    assert people.tolist() == [0, 0.5, 1]
    assert borne.tolist() == [0, 0.25, 1]
    costs = generator(3).random(9)
    people, borne = lorenz(costs)
    assert 1 - 2 * np.trapezoid(borne, people) == pytest.approx(gini(costs))


@pytest.mark.parametrize("costs", [[], [0.0, 0.0], [-1.0, 2.0], [NAN, 1.0]])
def test_lorenz_refuses_what_is_no_cost(costs: list[float]) -> None:
    with pytest.raises(ConfigError, match="needs costs of 0 or more, of which one is above 0"):
        lorenz(costs)
