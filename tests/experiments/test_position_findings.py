"""Planted answers give each verdict, and none where nothing was planted."""

import math

import numpy as np
import pytest
from experiments.position_records import PLANTED, plant, prepare_tiny

from tokkit.errors import ArtifactError
from tokkit.experiments.position_findings import Measured, find
from tokkit.experiments.position_schemes import BLIND
from tokkit.experiments.position_tasks import ORDER_TASKS
from tokkit.experiments.position_verdict import ALIKE, COMPARED, ORDER
from tokkit.experiments.positions import measured_path
from tokkit.files import read_json, write_json

NONE_WORSE = {"none": 0.6, BLIND: 0.2}
NOT_ALIKE = {"none": -0.4, "ALiBi": -0.1, "sinusoidal": 1.4, "rotary": 0.6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("planted")
    prepare_tiny(place, PLANTED)
    return place


def found(folder, config=PLANTED, **planted):
    plant(folder, config, **planted)
    result = find(folder, config)
    added, relative = result["claims"]
    return result["tables"], added, relative


def test_planted_gains_and_changes_are_found(folder):
    tables, added, relative = found(folder, order=NONE_WORSE, change=NOT_ALIKE)
    assert added.verdict == "supported"
    assert relative.verdict == "supported"
    assert all(control.holds for claim in (added, relative) for control in claim.controls)
    gains = {(r["scheme"], r["task"]): r for r in tables["order_against_none"].records()}
    for scheme in ("learned", "sinusoidal", "rotary", "ALiBi"):
        row = gains[scheme, ORDER]
        assert 0.3 < row["low"] < row["difference"] < row["high"] < 0.45
        assert row["p"] == 2 / 2**8
        assert row["p_holm"] == 4 * 2 / 2**8
        assert row["n"] == len(ORDER_TASKS) * PLANTED.questions
        assert gains[scheme, "present"]["low"] > -ALIKE
    assert len(tables["text_pairs"].rows) == len(COMPARED) == 6
    assert {r["p_holm"] for r in tables["text_pairs"].records()} == {6 * 2 / 2**8}


def test_nothing_planted_gives_no_support(folder):
    _, added, relative = found(folder, order={BLIND: 0.2})
    assert added.verdict == "contradicted"
    assert relative.verdict == "contradicted"


def test_one_scheme_that_adds_nothing_leaves_it_open(folder):
    _, added, _ = found(folder, order={**NONE_WORSE, "sinusoidal": 0.6})
    assert added.verdict == "inconclusive"


def test_a_control_task_that_differs_leaves_it_open(folder):
    order, control = NONE_WORSE, {"none": 0.91, "rotary": 1.0, "ALiBi": 1.0}
    _, added, _ = found(folder, order=order, control=control)
    assert added.verdict == "inconclusive"


def test_a_failed_control_leaves_it_open(folder):
    _, added, relative = found(folder, order=NONE_WORSE, control={"none": 0.7}, change=NOT_ALIKE)
    assert added.verdict == "inconclusive"
    assert [c.name for c in added.controls if not c.holds] == ["none: present"]
    assert relative.verdict == "supported"
    _, added, _ = found(folder, order=NONE_WORSE, unchanged=0.99)
    assert added.verdict == "inconclusive"
    _, _, relative = found(folder, order=NONE_WORSE, change=NOT_ALIKE, nats=400.0)
    assert relative.verdict == "inconclusive"
    assert not any(control.holds for control in relative.controls)


def test_few_seeds_cannot_be_tested_and_say_so(folder):
    from dataclasses import replace

    config = replace(PLANTED, seeds=1)
    tables, added, relative = found(folder, config, order=NONE_WORSE, change=NOT_ALIKE)
    assert relative.verdict == "supported"
    assert added.verdict in ("supported", "inconclusive")  # 60 questions leave the control wide
    assert added.limits[0].startswith("With 1 seed(s)")
    assert {row["p"] for row in tables["text_pairs"].records()} == {None}
    assert {row["low"] for row in tables["text_by_place"].records()} == {None}


def test_bits_per_byte_are_all_bits_over_all_bytes(folder):
    plant(folder, PLANTED, order={})
    measured = Measured(folder, PLANTED)
    record = read_json(measured_path(folder, "text", "rotary", 2))["arms"]["rotary"]
    text = measured.text
    last = text.windows[:, -PLANTED.text_length // 2 :]
    by_hand = sum(record["matched"]["2.0"]["nats"]) / math.log(2) / text.token_bytes[last].sum()
    values = measured.matched("rotary", 2.0)
    assert values.shape == (8, PLANTED.windows)
    assert math.isclose(values[2].mean(), by_hand)
    by_hand = sum(record["trained"]["nats"]) / math.log(2)
    assert math.isclose(
        measured.trained("rotary")[2].mean(), by_hand / text.token_bytes[text.windows[:, 1:]].sum()
    )
    assert measured.matched("learned", 1.5) is None
    np.testing.assert_array_equal(
        measured.order("none", ORDER, 1.0)[:, : PLANTED.questions],
        measured.order("none", "at k", 1.0),
    )


def test_a_broken_record_is_told(folder):
    plant(folder, PLANTED, order={})
    path = measured_path(folder, "order", "rotary", 3)
    write_json(path, {"other": 1})
    with pytest.raises(ArtifactError, match="is no record of measurements: delete it, and run"):
        find(folder, PLANTED)
