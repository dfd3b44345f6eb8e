import numpy as np
import pytest

from tokkit.report.embedding_map_figures import MAX_LABELS, place_labels, word_map
from tokkit.report.embedding_meaning_figures import analogies, categories, measures


def measure(name, trained=0.8, gain_low=0.3, **known):
    return {
        "measure": name, "trained": trained, "trained_low": trained - 0.1,
        "trained_high": trained + 0.1, "shuffled": 0.1, "shuffled_high": 0.15, "p_holm": 0.003,
        "baseline_rows": "initial rows", "baseline": 0.12, "baseline_low": 0.08,
        "baseline_high": 0.16, "gain_low": gain_low, "frequency": None,
    } | known  # fmt: skip


def category(name, purity):
    return {
        "category": name, "words": 20, "purity": purity, "purity_low": purity - 0.1,
        "purity_high": min(1.0, purity + 0.1), "chance": 0.1, "baseline_rows": "initial rows",
        "baseline": 0.12,
    }  # fmt: skip


def answer(kind, method, excluded, accuracy, rows="trained rows"):
    return {
        "kind": kind, "method": method, "rows": rows, "candidates": "all rows of words",
        "excluded": excluded, "accuracy": accuracy, "accuracy_low": max(0, accuracy - 0.1),
        "accuracy_high": min(1, accuracy + 0.1),
    }  # fmt: skip


def mapped(count=120, rows="trained rows", seed=0):
    spots = np.random.default_rng(seed).standard_normal((count, 2)) * 20
    return [
        {"rows": rows, "word": f"word{place}", "category": f"kind{place % 6}", "x": x, "y": y}
        for place, (x, y) in enumerate(spots.tolist())
    ]


def quality(method="t-SNE", rows="trained rows", map_purity=0.85, rows_purity=0.82, **known):
    return {
        "method": method, "rows": rows, "rows_purity": rows_purity, "map_purity": map_purity,
        "trustworthiness": 0.95, "kept_neighbours": 0.5, "chance_neighbours": 0.01,
        "explained_first": None, "explained_second": None,
    } | known  # fmt: skip


def test_measures_say_by_how_many_the_rows_gained():
    all_three = [measure(name) for name in ("silhouette", "purity", "separability")]
    figure = measures("m", all_three)
    assert figure.message == (
        "Words of a category lie together, by every measure more than in initial rows"
    )
    assert "Log count" not in figure.svg
    assert "Initial rows" in figure.svg
    part = [measure("silhouette"), measure("purity", gain_low=-0.1)]
    assert "by 1 of 2 measures" in measures("m", part).message
    none = [measure("silhouette", gain_low=-0.1)]
    assert measures("m", none).message == (
        "Words of a category lie no closer together than in initial rows"
    )


def test_measures_show_frequency_where_it_is_known():
    rows = [measure("purity", frequency=0.3, frequency_low=0.2, frequency_high=0.4)]
    assert "Log count of the word alone" in measures("m", rows).svg


def test_categories_name_the_best_and_the_worst():
    figure = categories("c", [category("tools", 0.355), category("numbers", 1.0)])
    assert figure.message == (
        "Neighbours are of the same category most for numbers (100.0%), least for tools (35.5%)"
    )
    assert "Initial rows" in figure.svg


def test_analogies_show_both_ways_to_count():
    rows = [
        answer("all", "3CosAdd", True, 0.66),
        answer("all", "3CosAdd", False, 0.17),
        answer("all", "nearest to c", True, 0.11),
    ]
    figure = analogies("a", rows)
    assert figure.message == (
        "Analogies: 66.0% right if the given words are left out, 17.0% if not; the word nearest "
        "to c alone: 11.0%"
    )
    assert "initial rows" not in figure.svg
    with_initial = analogies("a", [*rows, answer("all", "3CosAdd", True, 0.0, "initial rows")])
    assert "3CosAdd on initial rows" in with_initial.svg


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (quality(), "shows the groups about as the rows have them"),
        (quality(map_purity=0.95), "shows purer groups than the rows have"),
        (quality(map_purity=0.3), "hides groups that the rows have"),
    ],
)
def test_a_map_says_whether_it_makes_groups_up(own, told):
    null = quality(rows="initial rows", map_purity=0.1)
    rows = [*mapped(30), *mapped(30, "initial rows", seed=1)]
    figure = word_map("map", "t-SNE", rows, [own, null])
    assert told in figure.message
    assert "On the null map 10.0% of neighbours are of one category." in figure.caption
    assert "mean nothing in t-SNE" in figure.caption
    assert "Null: initial rows" in figure.svg


def test_pca_says_how_much_variance_it_shows():
    own = quality("PCA", explained_first=0.1, explained_second=0.05)
    caption = word_map("map", "PCA", mapped(30), [own]).caption
    assert caption.startswith("The axes hold 15.0% of the variance.")


def test_labels_do_not_overlap_and_are_the_same_each_time():
    rows = mapped()
    found = place_labels(rows, 5.2, 4.0)
    assert found == place_labels(rows, 5.2, 4.0)
    assert 30 <= len(found) <= MAX_LABELS
    xs, ys = ([row[axis] for row in rows] for axis in "xy")
    across = 5.2 * 72 / ((max(xs) - min(xs)) * 1.14)
    up = 4.0 * 72 / ((max(ys) - min(ys)) * 1.14)
    boxes = [(x * across, y * up, 0.62 * 7.5 * len(text) + 2) for text, x, y in found]
    for place, (x, y, wide) in enumerate(boxes):
        for other_x, other_y, other_wide in boxes[:place]:
            apart = abs(x - other_x) >= (wide + other_wide) / 2 - 1e-6
            assert apart or abs(y - other_y) >= 9 - 1e-6


def test_every_category_gets_labels():
    words = {text for text, _, _ in place_labels(mapped(), 5.2, 4.0)}
    kinds = {row["category"] for row in mapped() if row["word"] in words}
    assert len(kinds) == 6


def test_foreign_words_are_safe_to_draw():
    rows = mapped(12)
    rows[0]["word"] = "<b>\u202e$x$"
    rows[1]["category"] = "<script>"
    figure = word_map("map", "t-SNE", rows, [])
    assert "<script>" not in figure.svg
    assert "\u202e" not in figure.svg


def test_points_in_one_place_are_drawn():
    rows = [row | {"x": 0.0, "y": 0.0} for row in mapped(9)]
    assert word_map("map", "PCA", rows, []) is not None


def test_the_same_rows_give_the_same_picture():
    assert word_map("map", "t-SNE", mapped(40), []).png == (
        word_map("map", "t-SNE", mapped(40), []).png
    )


def test_nothing_to_draw_is_none():
    assert measures("m", []) is None
    assert categories("c", [{"purity": None}]) is None
    assert analogies("a", []) is None
    assert word_map("map", "PCA", [], []) is None
