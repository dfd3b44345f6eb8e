"""Questions about lists: their truth by hand, and that only order answers four of them."""

import numpy as np
import pytest

from tokkit.errors import ConfigError
from tokkit.experiments.position_tasks import (
    CHANCE,
    EXTRA_TOKENS,
    INDICES,
    ITEMS,
    NO,
    ORDER_TASKS,
    START,
    TASKS,
    VOCABULARY,
    YES,
    draw,
    question,
    shuffled,
)

LIST = [7, 3, 5, 3]


@pytest.mark.parametrize(
    ("task", "asked", "answer"),
    [
        ("at k", [1], 7),
        ("at k", [3], 5),
        ("last k", [1], 3),
        ("last k", [3], 3),
        ("last k", [4], 7),
        ("earlier", [7, 5], 7),
        ("earlier", [5, 7], 7),
        ("after", [7], 3),
        ("after", [5], 3),
        ("present", [5], YES),
        ("present", [6], NO),
    ],
)
def test_answers_worked_by_hand(task, asked, answer):
    ids, found = question(task, LIST, asked)
    assert found == answer
    assert ids[:5] == [START, *LIST]
    assert ids[5] == ITEMS + TASKS.index(task)
    assert len(ids) == 6 + len(asked)


def test_ids_of_items_tasks_places_and_asked_items_are_apart():
    items = set(range(ITEMS))
    tasks = {question(task, LIST, [1] if "k" in task else [7, 5])[0][5] for task in TASKS}
    places = {question("at k", [1] * 8, [k])[0][-1] for k in range(1, INDICES + 1)}
    asked = {question("present", LIST, [item])[0][-1] for item in range(ITEMS)}
    groups = [items, tasks, places, asked, {YES, NO, START}]
    assert sum(map(len, groups)) == len(set().union(*groups)) == VOCABULARY
    assert set().union(*groups) == set(range(VOCABULARY))


@pytest.fixture(scope="module")
def drawn():
    return draw(2000, np.random.default_rng(0), least=3, most=11)


def parts(questions, place):
    row, length = questions.ids[place].tolist(), int(questions.lengths[place])
    return row[1 : 1 + length], row[1 + length : int(questions.ends[place]) + 1]


def test_drawn_questions_hold_what_they_say(drawn):
    assert drawn.ids.shape == (2000, 11 + EXTRA_TOKENS)
    assert drawn.tasks[:6] == (*TASKS, TASKS[0])
    assert set(drawn.lengths.tolist()) == set(range(3, 12))
    first_asked = question("present", [0, 1], [0])[0][-1]
    first_place = question("at k", [0, 1], [1])[0][-1]
    for place, task in enumerate(drawn.tasks):
        items, (task_id, *shown) = parts(drawn, place)
        asked = [one - (first_place - 1 if "k" in task else first_asked) for one in shown]
        assert task_id == ITEMS + TASKS.index(task)
        assert question(task, items, asked)[1] == drawn.answers[place]
        if task in ("earlier", "after"):
            assert all(items.count(one) == 1 for one in asked)
        assert (drawn.ids[place, drawn.ends[place] + 1 :] == START).all()


def test_yes_and_first_asked_are_even_odds(drawn):
    of = {task: [p for p, t in enumerate(drawn.tasks) if t == task] for task in TASKS}
    yes = np.mean([drawn.answers[p] == YES for p in of["present"]])
    first_asked = question("present", [0, 1], [0])[0][-1]
    first = np.mean(
        [drawn.answers[p] == parts(drawn, p)[1][1] - first_asked for p in of["earlier"]]
    )
    # 400 tosses of an even coin lie within 0.1 but for one time in 15,000.
    assert abs(yes - 0.5) < 0.1
    assert abs(first - 0.5) < 0.1
    assert CHANCE["present"] == CHANCE["earlier"] == 0.5
    assert CHANCE["at k"] == 1 / ITEMS


def test_the_same_seed_draws_the_same_and_lengths_do_not_depend_on_tasks():
    one, two = (draw(40, np.random.default_rng(7), least=5, most=5) for _ in range(2))
    assert (one.ids == two.ids).all()
    assert (one.answers == two.answers).all()


def test_shuffled_lists_hold_the_same_items_and_change_order_answers(drawn):
    other = shuffled(drawn, np.random.default_rng(1))
    changed = 0
    for place, task in enumerate(drawn.tasks):
        (items, asked), (moved, same) = parts(drawn, place), parts(other, place)
        assert sorted(items) == sorted(moved)
        assert asked == same
        if task == "at k":
            changed += items != moved
    assert changed > 300
    assert set(ORDER_TASKS) < set(TASKS)


def test_lists_too_short_for_order_are_refused():
    with pytest.raises(ConfigError, match="lists need 2 items or more, got 1 to 4"):
        draw(3, np.random.default_rng(0), least=1, most=4)
