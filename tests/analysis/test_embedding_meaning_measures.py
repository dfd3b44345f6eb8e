import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.metrics import silhouette_samples

from tokkit.analysis.embeddings import meaning_measures
from tokkit.analysis.embeddings.meaning_measures import (
    MEASURES,
    PURITY,
    RANDOM,
    SEPARABILITY,
    SILHOUETTE,
    category_structure,
    same_spectrum,
)
from tokkit.analysis.embeddings.meaning_structure import (
    chance_purity,
    coordinates,
    cosine_distances,
    fold_of,
    gaps,
    nearest,
    neighbours_asked,
    purities,
    separated,
    silhouettes,
    weighted_purity,
    weighted_silhouettes,
)

LABELS = np.repeat(np.arange(3), (11, 13, 17))
NAMES = ("a", "b", "c")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def noise(seed, columns=19):
    return unit(np.random.default_rng(seed).standard_normal((len(LABELS), columns)))


def planted(seed, strength=4.0, columns=19):
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((3, columns)) * strength / np.sqrt(columns)
    return unit(centres[LABELS] + draw.standard_normal((len(LABELS), columns)) / np.sqrt(columns))


@pytest.fixture
def few_shuffles(monkeypatch):
    monkeypatch.setattr(meaning_measures, "RESAMPLES", 200)
    monkeypatch.setattr(
        meaning_measures, "SHUFFLES", {SILHOUETTE: 199, PURITY: 199, SEPARABILITY: 39}
    )


def structure(rows, baseline=None, seed=0, **known):
    draw = np.random.default_rng(seed)
    base = same_spectrum(rows, draw) if baseline is None else baseline
    return category_structure(rows, base, LABELS, NAMES, draw, baseline_name=RANDOM, **known)


def test_silhouettes_worked_by_hand():
    # On a line at 0, 1 | 4, 6: a of the first is 1, b is (4 + 6) / 2 = 5, so 4/5.
    found = silhouettes(gaps(np.array([0.0, 1.0, 4.0, 6.0])), np.array([0, 0, 1, 1]))
    assert found == pytest.approx([4 / 5, 3 / 4, (3.5 - 2) / 3.5, (5.5 - 2) / 5.5])


def test_silhouettes_are_those_of_scikit_learn():
    rows = planted(0, strength=1.0)
    ours = silhouettes(cosine_distances(rows), LABELS)
    assert ours == pytest.approx(silhouette_samples(rows, LABELS, metric="cosine"))


def test_a_weight_is_so_many_copies():
    rows, labels = noise(3)[:9], np.repeat([0, 1, 2], 3)
    weights = np.array([2.0, 1, 1, 1, 0, 2, 1, 1, 1])
    distances = cosine_distances(rows)
    found = weighted_silhouettes(distances, labels, weights)
    # The word 7, by the definition, with the copies written out.
    own = [6, 8]
    others = {0: [0, 0, 1, 2], 1: [3, 5, 5]}
    a = distances[7, own].mean()
    b = min(distances[7, members].mean() for members in others.values())
    assert found[7] == pytest.approx((b - a) / max(a, b))


def test_purity_worked_by_hand():
    # 0 and 1 are nearest to each other; 4 is nearest to 3, 3 to 4.
    order = nearest(gaps(np.array([0.0, 1.0, 2.5, 5.0, 5.5])), np.arange(5))
    labels = np.array([0, 0, 1, 1, 1])
    assert order[2].tolist() == [1, 0, 3, 4]  # 0 and 3 are equally far, 0 comes first
    assert purities(order, labels, 1).tolist() == [1, 1, 0, 1, 1]
    assert purities(order, labels, 2).tolist() == [0.5, 0.5, 0, 1, 1]


def test_equal_distances_go_by_the_drawn_order():
    order = nearest(np.zeros((3, 3)), np.array([2, 0, 1]))
    assert order.tolist() == [[1, 2], [2, 0], [1, 0]]


def test_weighted_purity_with_weights_of_one_is_purity():
    order = nearest(cosine_distances(noise(5)), np.arange(len(LABELS)))
    whole = weighted_purity(order, LABELS, 5, np.ones((2, len(LABELS))))
    assert whole == pytest.approx([purities(order, LABELS, 5).mean()] * 2)


def test_weighted_purity_counts_copies_of_neighbours():
    order = np.array([[1, 2], [0, 2], [1, 0]])
    labels = np.array([0, 1, 0])
    # Word 0 alone counts; its neighbours are word 1 twice (k = 2), so none of its category.
    found = weighted_purity(order, labels, 2, np.array([[1.0, 2.0, 0.0]]))
    # Word 1 has only one copy of word 0 within reach: no neighbour of its category either.
    assert found == pytest.approx([0.0])


def test_chance_purity_is_what_shuffled_labels_give():
    draw = np.random.default_rng(0)
    order = nearest(cosine_distances(noise(7)), np.arange(len(LABELS)))
    means = [purities(order, draw.permutation(LABELS), 5).mean() for _ in range(600)]
    assert chance_purity(LABELS) == pytest.approx(np.mean(means), abs=0.006)
    assert neighbours_asked(LABELS) == 5
    assert neighbours_asked(np.repeat([0, 1], 5)) == 4


def test_folds_hold_equal_parts_of_each_category():
    folds = fold_of(LABELS, np.random.default_rng(0))
    for label in range(3):
        counts = np.bincount(folds[np.equal(LABELS, label)], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_coordinates_keep_all_products():
    rows = noise(2, columns=97)
    points = coordinates(rows)
    assert points.shape == (41, 41)
    assert points @ points.T == pytest.approx(rows @ rows.T)


def test_a_boundary_puts_planted_words_right_and_noise_at_chance():
    folds = fold_of(LABELS, np.random.default_rng(0))
    assert separated(coordinates(planted(1)), LABELS, folds).mean() > 0.9
    means = [separated(coordinates(noise(seed)), LABELS, folds).mean() for seed in range(12)]
    assert 0.2 < np.mean(means) < 0.45


def test_random_rows_of_the_same_spectrum_keep_it():
    rows = np.random.default_rng(0).standard_normal((23, 7)) * np.arange(1, 8)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    mixed = same_spectrum(rows, np.random.default_rng(1))
    assert np.linalg.norm(mixed, axis=1) == pytest.approx(np.ones(23))
    assert abs(np.corrcoef(mixed[:, 6], unit(rows)[:, 6])[0, 1]) < 0.6
    assert left.shape == (23, 7)
    assert sizes[0] > sizes[-1]


@pytest.mark.usefixtures("few_shuffles")
def test_planted_categories_are_found_and_their_null_is_at_chance():
    found = structure(planted(1))
    for name in MEASURES:
        measure = found.measure(name)
        assert measure.trained.low < measure.trained.estimate <= measure.trained.high
        assert measure.gain.low > 0
        assert measure.p <= 0.03
        assert measure.gain_p_holm < 0.01
        assert measure.p_holm >= measure.p
        assert measure.frequency is None
    purity = found.measure(PURITY)
    assert purity.trained.estimate == 1.0
    assert purity.trained.low == pytest.approx(41 / (41 + 1.96**2), abs=1e-4)  # Wilson's
    assert purity.shuffled == pytest.approx(found.chance_purity, abs=0.01)
    assert purity.baseline.low < found.chance_purity + 0.05
    assert [one.category for one in found.by_category] == list(NAMES)
    assert found.by_category[0].chance == pytest.approx(10 / 40)


@pytest.mark.usefixtures("few_shuffles")
def test_a_rotation_gives_the_same_answer():
    rows = planted(1, strength=1.5)
    turn = ortho_group.rvs(rows.shape[1], random_state=5)
    base = noise(9)
    plain, turned = structure(rows, base), structure(rows @ turn, base @ turn)
    for name in MEASURES:
        one, other = plain.measure(name), turned.measure(name)
        assert one.trained.estimate == pytest.approx(other.trained.estimate, abs=1e-9)
        assert one.trained.low == pytest.approx(other.trained.low, abs=1e-9)
        assert one.gain.high == pytest.approx(other.gain.high, abs=1e-9)
        assert one.p == other.p


def test_noise_raises_false_alarms_about_as_often_as_it_may(monkeypatch):
    monkeypatch.setattr(meaning_measures, "RESAMPLES", 100)
    monkeypatch.setattr(meaning_measures, "SHUFFLES", {SILHOUETTE: 99, PURITY: 99, SEPARABILITY: 1})
    found = [structure(noise(seed), seed=seed) for seed in range(40)]
    ps = np.array([[one.measure(name).p for name in (SILHOUETTE, PURITY)] for one in found])
    # Under the null p is uniform: 40 draws give at most 7 below 0.05 all but once in 1,000.
    assert ((ps <= 0.05).sum(axis=0) <= 7).all()
    assert (np.abs(ps.mean(axis=0) - 0.5) < 0.15).all()


def test_intervals_cover_the_gain_of_nothing(monkeypatch):
    monkeypatch.setattr(meaning_measures, "RESAMPLES", 200)
    monkeypatch.setattr(meaning_measures, "SHUFFLES", dict.fromkeys(MEASURES, 1))
    covered = [
        gain.low <= 0 <= gain.high
        for seed in range(20)
        for gain in [structure(noise(seed), noise(seed + 500)).measure(PURITY).gain]
    ]
    assert sum(covered) >= 16


@pytest.mark.usefixtures("few_shuffles")
def test_categories_that_are_frequency_are_seen_to_be():
    counts = np.array([10.0, 1000.0, 100000.0])[LABELS] * np.random.default_rng(0).uniform(
        0.8, 1.2, len(LABELS)
    )
    purity = structure(planted(2), counts=counts).measure(PURITY)
    assert purity.frequency.estimate > 0.95
    assert purity.beyond.low <= 0
    even = structure(planted(2), counts=np.full(len(LABELS), 7.0)).measure(PURITY)
    assert even.frequency.estimate < 0.5
    assert even.beyond.low > 0


@pytest.mark.usefixtures("few_shuffles")
def test_the_same_seed_gives_the_same_numbers():
    rows = planted(4, strength=1.0)
    assert structure(rows).measures == structure(rows).measures
