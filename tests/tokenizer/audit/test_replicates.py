"""Replicates by hand, and whether intervals and tests keep their word on simulated corpora."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from tokkit.stats import sign_flip_p
from tokkit.tokenizer.audit.efficiency import frequency_sums, frequency_values
from tokkit.tokenizer.audit.replicates import Replicates, divide


def replicates(groups, *, resamples=7, seed=0, names=None):
    array = np.asarray(groups)
    names = names or tuple("abcdefg"[: array.max() + 1])
    return Replicates(array, names, resamples=resamples, generator=np.random.default_rng(seed))


def test_a_ratio_is_pooled_on_the_whole_and_without_each_block() -> None:
    made = replicates([0, 0, 0])
    rows = made.ratio([1, 2, 3], [2, 2, 6])
    assert rows.shape == (1 + 3 + 7,)
    assert rows[:4] == pytest.approx([6 / 10, 5 / 8, 4 / 8, 3 / 4])
    assert rows[4:] == pytest.approx(
        made.weights @ [1.0, 2.0, 3.0] / (made.weights @ [2.0, 2.0, 6.0])
    )


def test_the_mean_over_blocks_leaves_out_blocks_without_a_denominator() -> None:
    rows = replicates([0, 0, 0]).mean_over_blocks([1, 5, 3], [2, 0, 4])
    assert rows[:4] == pytest.approx([(1 / 2 + 3 / 4) / 2, 3 / 4, (1 / 2 + 3 / 4) / 2, 1 / 2])


def test_groups_are_totalled_apart() -> None:
    rows = replicates([0, 1, 0, 1, 1]).group_totals([1, 10, 2, 20, 30])
    assert rows.shape == (1 + 5 + 7, 2)
    assert rows[0].tolist() == [3, 60]
    assert rows[1].tolist() == [2, 60]
    assert rows[5].tolist() == [3, 30]


def test_the_linear_part_of_a_ratio_is_its_bootstrap_to_first_order() -> None:
    rng = np.random.default_rng(3)
    below = rng.integers(900, 1100, 60)
    above = rng.binomial(below, 0.3)
    made = replicates(np.zeros(60, int), resamples=4000, names=("",))
    full = made.ratio(above, below)
    linear = made.from_left_out(full[:61])
    assert linear[:61] == pytest.approx(full[:61])
    assert np.std(linear[61:]) == pytest.approx(np.std(full[61:]), rel=0.02)


def test_the_spread_of_the_linear_part_is_the_jackknife_within_groups() -> None:
    rng = np.random.default_rng(4)
    groups = np.array([0] * 7 + [1] * 11)
    values = rng.normal(size=19)
    made = replicates(groups, resamples=60_000)
    without = values[1:]
    expected = sum(
        (n - 1) / n * ((without[groups == g] - without[groups == g].mean()) ** 2).sum()
        for g, n in ((0, 7), (1, 11))
    )
    drawn = made.from_left_out(values)[19:]
    assert drawn.var() == pytest.approx(expected, rel=0.03)


def test_contributions_sum_to_the_value() -> None:
    made = replicates(np.zeros(13, int), names=("",))
    rows = made.ratio(np.arange(1, 14), np.arange(3, 16))
    assert made.contributions(rows).sum() == pytest.approx(rows[0])


def test_too_few_blocks_have_a_value_but_no_interval_and_say_so() -> None:
    made = replicates(np.zeros(9, int), names=("",))
    found = made.estimate(made.ratio(np.ones(9), np.ones(9)))
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert found.reason == "no interval: 9 blocks beyond one a group, and an interval needs 10"
    enough = replicates(np.zeros(10, int), names=("",))
    assert enough.estimate(enough.ratio(np.ones(10), np.ones(10))).low == 1.0


def test_a_group_of_one_block_hides_its_spread() -> None:
    made = replicates([0] * 20 + [1])
    assert made.why_no_interval() == "group 'b' is a single block, whose spread cannot be told"
    assert made.why_no_interval(0) is None
    assert made.why_no_interval(1) == "1 blocks, and an interval needs 10"


def test_no_denominator_is_null_with_a_reason_and_never_0() -> None:
    made = replicates(np.zeros(12, int), names=("",))
    found = made.estimate(made.ratio(np.ones(12), np.zeros(12)))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert found.reason == "its denominator is 0 in this text"
    assert np.isnan(divide(1, 0))


def test_centred_resamples_have_the_value_as_their_mean_within_bounds() -> None:
    made = replicates(np.zeros(12, int), resamples=3, names=("",))
    rows = np.concatenate([[0.1], np.full(12, 0.1), [0.2, 0.3, 0.4]])
    assert made.centred(rows)[13:] == pytest.approx([0.0, 0.1, 0.2])


# Simulated corpora -------------------------------------------------------------------------------

VOCABULARY = 1500
ZIPF = 1 / np.arange(1, VOCABULARY + 1)
ZIPF /= ZIPF.sum()


def simulated(blocks: int, rng: np.random.Generator) -> np.ndarray:
    """Counts (blocks, vocabulary): each block has its own size and its own tilt of a Zipf law."""
    tilted = rng.dirichlet(ZIPF * 150, size=blocks)
    sizes = rng.integers(150, 450, blocks)
    return np.stack([rng.multinomial(n, p) for n, p in zip(sizes, tilted, strict=True)])


def distribution(counts: np.ndarray) -> np.ndarray:
    return frequency_values(frequency_sums(csr_array(counts)), counts.sum(axis=1) * 3, VOCABULARY)


@pytest.mark.parametrize(("blocks", "least"), [(10, 0.85), (40, 0.89)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(blocks: int, least: float) -> None:
    rng = np.random.default_rng(8)
    truth = np.mean([distribution(simulated(blocks, rng))[0] for _ in range(200)], axis=0)
    runs, hits, ratio_hits = 150, np.zeros(len(truth)), 0
    for _ in range(runs):
        counts = simulated(blocks, rng)
        made = Replicates(np.zeros(blocks, int), ("",), resamples=300, generator=rng)
        values = distribution(counts)
        for k, true in enumerate(truth):
            found = made.estimate(made.from_left_out(values[:, k]))
            hits[k] += found.low <= true <= found.high
        found = made.estimate(made.ratio(counts[:, 0], counts.sum(axis=1)))
        ratio_hits += found.low <= ZIPF[0] <= found.high
    assert (hits / runs >= least).all(), hits / runs
    assert ratio_hits / runs >= least


def test_the_plain_bootstrap_would_miss_the_vocabulary_used() -> None:
    # Why the linear part is taken: each resample holds fewer distinct tokens than the corpus.
    rng = np.random.default_rng(9)
    counts = simulated(40, rng)
    used = (counts.sum(axis=0) > 0).mean()
    drawn = rng.integers(0, 40, (300, 40))
    plain = np.array([(counts[rows].sum(axis=0) > 0).mean() for rows in drawn])
    assert np.quantile(plain, 0.975) < used


def test_p_values_of_equal_tokenizers_are_spread_evenly() -> None:
    rng = np.random.default_rng(11)
    p_values = []
    for _ in range(400):
        made = Replicates(np.zeros(24, int), ("",), resamples=1, generator=rng)
        size = rng.integers(800, 1200, 24)
        one, other = (size / 4 + rng.normal(0, 9, (2, 24))).round()
        rows = made.ratio(size, one) - made.ratio(size, other)
        p_values.append(sign_flip_p(made.contributions(rows)[:, None], rng, arrangements=999)[0])
    for threshold in (0.05, 0.25, 0.5, 0.75):
        share = float((np.array(p_values) <= threshold).mean())
        assert share == pytest.approx(threshold, abs=0.07)
