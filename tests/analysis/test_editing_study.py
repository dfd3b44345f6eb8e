"""Rules on planted tables; a whole study on a model made by hand; going on after a stop."""

import dataclasses
import itertools
import json

import pytest
import torch
from analysis.planted_facts import CITIES, FACTS, WORDINGS, WORDS, sentences, taught
from analysis.test_known_facts import planted

from tokkit.analysis.editing import study as module
from tokkit.analysis.editing import study_stages
from tokkit.analysis.editing.known_facts import Neighbour
from tokkit.analysis.editing.metrics import queries_of
from tokkit.analysis.editing.moments import weights_digest
from tokkit.analysis.editing.odds import odds_of
from tokkit.analysis.editing.study import Material, StudySettings, run_study
from tokkit.analysis.editing.study_edits import ARMS, compared, fine_tuned, in_a_row
from tokkit.analysis.editing.study_records import Records
from tokkit.analysis.editing.study_tracing import beside_the_sweep
from tokkit.analysis.editing.study_verdict import TestFacts, choose_layer, judge
from tokkit.analysis.editing.value import EditSettings
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.results import read_result, write_result


def measures(efficacy, paraphrase, neighbourhood):
    """One fact's, the same by both bases."""
    values = {"efficacy": efficacy, "paraphrase": paraphrase, "neighbourhood": neighbourhood}
    return {
        f"{name}_{basis}": value
        for name, value in values.items()
        for basis in ("token", "probability")
    }


def found(edited, *, n=30, random_key=(0.0, 0.0, 1.0), preferred=True, rise=0.001):
    return TestFacts(
        edited=[measures(*edited)] * n,
        unedited=[measures(0.0, 0.0, 1.0)] * n,
        random_key=[measures(*random_key)] * n,
        preferred=[preferred] * n,
        rises=[rise] * n,
    )


def test_an_edit_that_does_all_of_it_is_supported():
    claim = judge(found((1.0, 0.8, 0.9)), 0)
    assert claim.verdict == "supported"
    assert claim.id == "facts-can-be-edited"
    assert all(control.holds for control in claim.controls)
    efficacy = claim.evidence[0]
    assert efficacy.value == 1
    assert efficacy.low == pytest.approx(30 / (30 + 1.95996**2), abs=1e-4)


@pytest.mark.parametrize(
    "worse",
    [
        found((0.0, 0.8, 0.9), random_key=(0.0, 0.0, 1.0)),
        found((1.0, 0.3, 0.9)),
        found((1.0, 0.8, 0.7)),
        found((1.0, 0.8, 0.9), rise=0.02),
    ],
    ids=["efficacy", "paraphrase", "neighbourhood", "unrelated"],
)
def test_one_measure_on_the_other_side_is_enough_against_it(worse):
    claim = judge(worse, 0)
    # Without any efficacy a random key is no worse: the control fails, and nothing is said.
    fails = not claim.controls[-1].holds
    assert claim.verdict == ("inconclusive" if fails else "contradicted")
    assert fails == (worse.edited[0]["efficacy_token"] == 0)


def test_efficacy_of_half_is_contradicted():
    half = found((1.0, 0.8, 0.9), n=40)
    mixed = dataclasses.replace(half, edited=[measures(n % 2, 0.8, 0.9) for n in range(40)])
    assert judge(mixed, 0).verdict == "contradicted"


def test_an_interval_over_the_threshold_is_inconclusive():
    between = [measures(1.0, n % 2, 0.9) for n in range(30)]  # paraphrase .5, wide
    claim = judge(dataclasses.replace(found((1.0, 1.0, 0.9)), edited=between), 0)
    assert claim.verdict == "inconclusive"
    assert all(control.holds for control in claim.controls)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"n": 14}, 0),
        ({"preferred": False}, 1),
        ({"random_key": (1.0, 0.8, 0.9)}, 2),
    ],
)
def test_a_control_that_fails_makes_it_inconclusive(change, failing):
    claim = judge(found((1.0, 0.8, 0.9), **change), 0)
    assert claim.verdict == "inconclusive"
    assert [control.holds for control in claim.controls] == [n != failing for n in range(3)]


def test_the_layer_is_that_of_the_largest_harmonic_mean_and_of_equal_ones_the_lowest():
    assert choose_layer({2: 0.3, 4: 0.9, 6: 0.5}) == 4
    assert choose_layer({6: 0.9, 4: 0.9, 2: 0.1}) == 4
    assert choose_layer({6: None, 4: 0.1}) == 4


def facts():
    """Each fact of the taught model, to be moved to another city; neighbours are all others."""
    moved = {subject: CITIES[(CITIES.index(city) + 1) % 4] for subject, city in FACTS.items()}
    return [
        planted(
            subject,
            target=moved[subject],
            neighbours=tuple(
                Neighbour(other, city)
                for other, city in FACTS.items()
                if other != subject and city != moved[subject]
            ),
        )
        for subject in FACTS
    ]


SETTINGS = StudySettings(
    orders=2, stops=(1, 2), moment_tokens=240, unrelated_tokens=60, traces=3,
    value=EditSettings(steps=40, rate=0.6),
)  # fmt: skip


def material():
    return Material(facts(), sentences() * 4, ["the and a. " * 40], says=True)


def study(folder=None, **given):
    settings = {"settings": SETTINGS, "material": material(), "facts": 8, "layers": [0, 1]} | given
    return run_study(taught(), WORDS, records_folder=folder, name="taught", **settings)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def result(records):
    return study(records)


def rows(result, table, **wanted):
    return [
        row
        for row in result.tables[table].records()
        if all(row[name] == value for name, value in wanted.items())
    ]


def test_a_planted_fact_is_edited_where_it_is_held(result):
    values = result.values
    assert values["layer"] == 0
    assert (values["facts_known"], values["facts_choosing"], values["facts_tested"]) == (8, 4, 4)
    by_layer = {
        layer: rows(result, "sweep", layer=layer, basis="token", measure="harmonic mean")
        for layer in (0, 1)
    }
    assert by_layer[0][0]["value"] > 0.7
    assert by_layer[1][0]["value"] == 0  # what it adds at the subject is carried nowhere


def test_the_edit_does_what_no_baseline_does(result):
    def share(arm, measure):
        return rows(result, "arms", arm=arm, basis="token", measure=measure)[0]["value"]

    assert share("edit", "efficacy") == 1
    assert share("edit", "paraphrase") > 0.7
    assert share("edit", "neighbourhood") > 0.7
    assert share("no edit", "efficacy") == share("random key", "efficacy") == 0
    assert share("random value", "efficacy") < 1
    assert share("no edit", "neighbourhood") == 1
    assert {row["arm"] for row in rows(result, "arms")} == set(ARMS)


def test_four_facts_are_too_few_for_a_verdict(result):
    (claim,) = result.claims
    assert claim.verdict == "inconclusive"
    assert [control.holds for control in claim.controls] == [False, True, True]


def test_edits_in_a_row_hold_and_every_order_is_told(result):
    table = rows(result, "rows")
    assert [(row["order"], row["edits"]) for row in table] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(row["efficacy"] == 1 for row in table)
    assert all(row["rise"] == row["bits_per_byte"] - result.values["bits_per_byte_before"]
               for row in table)  # fmt: skip
    assert result.values["rows_ended_early"] == []


def test_tracing_finds_the_layer_too_where_the_fact_is_held_in_one(result):
    values = result.values
    assert values["traced_facts"] == 3
    assert values["traced_peak_layer"] == 0
    assert values["traced_peak_is_best_edit"] == 1
    assert values["traced_correlation"] > 0.9
    assert [row["layer"] for row in rows(result, "traced")] == [0, 1]


def test_tracing_and_edits_that_go_apart_have_a_negative_correlation():
    by_layer = {2: [measures(1.0, 1.0, 1.0)] * 12, 5: [measures(0.0, 0.0, 1.0)] * 12}
    records = [{"shares": [0, 0, 0.1, 0, 0, 0.6 + n / 100]} for n in range(12)]
    table, values = beside_the_sweep(records, by_layer, 0)
    assert values["traced_peak_layer"] == 5
    assert values["traced_peak_is_best_edit"] == 0
    assert values["traced_correlation"] < -0.9
    assert table.records()[1]["edit"] == pytest.approx(1 / 3)
    flat = {2: by_layer[2], 5: by_layer[2]}
    assert beside_the_sweep(records, flat, 0)[1]["traced_correlation"] is None


def test_the_record_is_strict_json_and_the_model_is_as_it_was(result, tmp_path):
    before = weights_digest(taught())
    write_result(result, tmp_path)
    assert read_result(tmp_path).tables["sweep"] == result.tables["sweep"]
    assert result.provenance["input_sha256"] == {"weights": before}
    assert result.kind == "analysis.editing-study"


def test_a_study_goes_on_from_its_records(result, records, monkeypatch):
    (folder,) = records.iterdir()
    kept = sorted(folder.iterdir())
    gone = kept[::3]
    for path in gone:
        path.unlink()
    made = []
    for name in ("swept", "compared", "asked", "asked_and_written", "in_a_row", "traced"):
        real = getattr(study_stages, name)
        monkeypatch.setattr(
            study_stages, name,
            lambda *args, real=real, name=name, **more: made.append(name) or real(*args, **more),
        )  # fmt: skip
    again = study(records)
    assert len(made) == len(gone)
    assert sorted(folder.iterdir()) == kept
    assert again.tables == result.tables
    assert again.claims == result.claims


def test_other_settings_do_not_read_these_records(result, records):
    before = len(list(records.iterdir()))
    other = dataclasses.replace(SETTINGS, orders=0, traces=0, value=EditSettings(steps=1))
    found = study(records, settings=other, layers=[0])
    assert found.values["records"] != result.values["records"]
    assert len(list(records.iterdir())) == before + 1
    assert rows(found, "rows") == []
    assert "traced" not in found.tables


def test_a_damaged_record_is_told(tmp_path):
    records = Records(tmp_path, {"a": 1})
    assert records.kept("one", lambda: {"x": 1}) == {"x": 1}
    (path,) = tmp_path.glob("*/one.json")
    assert json.loads(path.read_text()) == {"x": 1}
    assert records.kept("one", lambda: {"x": 2}) == {"x": 1}
    path.write_text("[1]")
    with pytest.raises(ArtifactError, match="is no record of a study: delete it"):
        records.kept("one", dict)
    assert Records(None, {}).kept("one", lambda: {"x": 2}) == {"x": 2}


def test_a_layer_that_cannot_be_edited_and_too_few_facts_are_refused():
    with pytest.raises(ConfigError, match=r"the layers must be some of \[0, 1, 2\], got \[3\]"):
        study(layers=[3])
    with pytest.raises(ConfigError, match="stops and tokens must be 1 or more"):
        StudySettings(stops=(0,))
    few = dataclasses.replace(material(), facts=facts()[:3])
    with pytest.raises(InputError, match="needs 4 facts or more that the model knows, got 3 of 3"):
        study(material=few)


@pytest.fixture(scope="module")
def bench():
    everything = material()
    found, _ = module._bench(
        taught(), WORDS, everything, everything.facts, [0, 1], (), 0, SETTINGS, None,
        lambda *_: None,
    )  # fmt: skip
    return found


def test_fine_tuning_stays_in_its_budget_and_is_taken_back(bench):
    model, query = taught(), bench.queries(facts()[0])[0]
    weight = model.blocks[0].feedforward.down.weight
    original = weight.detach().clone()
    (before,) = odds_of(model, [query])
    with fine_tuned(model, query, layer=0, budget=0.5, settings=EditSettings()):
        change = weight.detach() - original
        (after,) = odds_of(model, [query])
    assert 0 < float(change.norm()) <= 0.5 + 1e-4
    assert after.target_nats > before.target_nats
    assert torch.equal(weight, original)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_tested_fact_has_every_arm_and_leaves_the_model_alone(bench):
    digest = weights_digest(taught())
    record = compared(bench, facts()[1], 0)
    assert set(record) == set(ARMS) - {"no edit"}
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert weights_digest(taught()) == digest
    again = compared(bench, facts()[1], 0)
    assert again == record  # random directions are the fact's own


def test_neighbours_that_were_edited_themselves_are_not_asked(bench):
    two = facts()[:2]
    before = {fact.name: odds_of(taught(), bench.queries(fact)) for fact in two}
    row = in_a_row(bench, two, before, layer=0, stops=[1, 2])
    assert [stop["edits"] for stop in row["stops"]] == [1, 2]
    assert [len(stop["facts"]) for stop in row["stops"]] == [1, 2]
    alone = [dataclasses.replace(fact, neighbours=(Neighbour(other.subject, other.answer),))
             for fact, other in itertools.permutations(two)]  # fmt: skip
    row = in_a_row(bench, alone, {f.name: odds_of(taught(), bench.queries(f)) for f in alone},
                   layer=0, stops=[2])  # fmt: skip
    assert [fact["neighbourhood_token"] for fact in row["stops"][0]["facts"]] == [None, None]


def test_a_row_that_cannot_go_on_says_where_it_ended(bench, monkeypatch):
    from tokkit.analysis.editing import study_edits

    real, calls = study_edits.compute_edit, []

    def breaks(*args, **more):
        calls.append(1)
        if len(calls) == 2:
            raise ArtifactError("nothing finite")
        return real(*args, **more)

    monkeypatch.setattr(study_edits, "compute_edit", breaks)
    three = facts()[:3]
    before = {fact.name: odds_of(taught(), bench.queries(fact)) for fact in three}
    row = in_a_row(bench, three, before, layer=0, stops=[1, 3])
    assert row["ended"] == {"after": 1, "why": "nothing finite"}
    assert [stop["edits"] for stop in row["stops"]] == [1]


def test_the_wordings_of_the_taught_model_are_all_asked():
    kinds = [query.kind for query in queries_of(WORDS, facts()[0])]
    assert kinds.count("paraphrase") == 5
    assert kinds.count("prompt") == 1
    assert len(WORDINGS) == 3
