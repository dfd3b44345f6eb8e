import numpy as np
import pytest

from tokkit.analysis.embeddings.maps import pca_map, purity, shuffled_columns, tsne_map
from tokkit.errors import ConfigError

LABELS = np.repeat(np.arange(4), 13)


def planted(seed=0, strength=3.0, columns=23):
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((4, columns)) * strength
    return centres[LABELS] + draw.standard_normal((len(LABELS), columns))


def test_pca_worked_by_hand():
    # All the spread lies along (3, 4) / 5; the larger loading is positive.
    along = np.array([-4.0, -3, -2, -1, 1, 2, 3, 4])
    rows = along[:, None] * np.array([-0.6, -0.8]) + 7
    found = pca_map(rows)
    assert found.points[:, 0] == pytest.approx(-along)
    assert found.points[:, 1] == pytest.approx(np.zeros(8))
    assert found.explained_variance == pytest.approx((1.0, 0.0))
    assert found.rows_purity is None


def test_pca_is_that_of_scikit_learn_up_to_sign():
    from sklearn.decomposition import PCA

    rows = planted()
    theirs = PCA(2).fit(rows)
    ours = pca_map(rows)
    assert np.abs(ours.points) == pytest.approx(np.abs(theirs.transform(rows)))
    assert ours.explained_variance == pytest.approx(theirs.explained_variance_ratio_)


def test_pca_signs_do_not_turn_with_the_rows():
    rows = planted()
    assert pca_map(rows[::-1]).points[::-1] == pytest.approx(pca_map(rows).points)


def test_planted_clusters_are_on_both_maps_and_their_null_is_not():
    rows = planted()
    null = shuffled_columns(rows, np.random.default_rng(1))
    for make in (pca_map, lambda shown, labels: tsne_map(shown, 0, labels)):
        kept, lost = make(rows, LABELS), make(null, LABELS)
        assert kept.map_purity > 0.9
        assert kept.rows_purity > 0.95
        assert lost.map_purity < 0.45
        assert lost.rows_purity < 0.45
        assert kept.trustworthiness > lost.trustworthiness
        assert kept.kept_neighbours > kept.chance_neighbours


def test_tsne_is_the_same_run_to_run_and_differs_by_seed_of_noise_only():
    rows = planted()
    first, again = tsne_map(rows, 3), tsne_map(rows, 3)
    assert first.points.tobytes() == again.points.tobytes()
    assert first.perplexity == pytest.approx(51 / 3)


def test_perplexity_is_at_most_thirty():
    assert tsne_map(np.random.default_rng(0).standard_normal((97, 3)), 0).perplexity == 30


def test_rows_that_are_all_the_same_have_a_map():
    rows = np.ones((9, 3))
    assert np.isfinite(tsne_map(rows, 0).points).all()
    assert pca_map(rows).points == pytest.approx(np.zeros((9, 2)))
    assert pca_map(rows).explained_variance == (0.0, 0.0)


def test_shuffled_columns_keep_each_column():
    rows = planted()
    null = shuffled_columns(rows, np.random.default_rng(0))
    assert np.sort(null, axis=0) == pytest.approx(np.sort(rows, axis=0))
    assert not np.allclose(null, rows)


def test_purity_worked_by_hand():
    points = np.array([[0.0, 0], [0, 1], [0, 3], [9, 0], [9, 1.5]])
    assert purity(points, [0, 0, 1, 1, 1], k=1) == pytest.approx(4 / 5)


@pytest.mark.parametrize("rows", [np.ones((7, 5)), np.ones((20, 1)), np.ones(20)])
def test_too_little_for_a_map_is_refused(rows):
    with pytest.raises(ConfigError, match="a map needs 8 rows or more of 2 columns"):
        pca_map(rows)


def test_rows_that_are_not_finite_are_refused():
    rows = planted()
    rows[3, 1] = np.nan
    with pytest.raises(ConfigError, match="but 1 hold NaN or infinity"):
        tsne_map(rows, 0)
