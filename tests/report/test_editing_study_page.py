"""The page of a study: figures from the record alone, gaps, and hostile names."""

import dataclasses
import math

import numpy as np
import pytest

from tokkit.analysis.editing import study_tables as tables
from tokkit.analysis.editing.known_facts import Knowledge, KnownFact, Paraphrase
from tokkit.analysis.editing.metrics import measures_of
from tokkit.analysis.editing.odds import KINDS, Odds, Query
from tokkit.analysis.editing.study_edits import ARMS
from tokkit.analysis.editing.study_verdict import TestFacts, judge
from tokkit.report import editing_study
from tokkit.report import editing_study_figures as figures
from tokkit.report.page import render_report
from tokkit.results import Result

HOSTILE = "<script>alert(1)</script>\x1b[31m|`*"
ASKED = (KINDS[0], *[KINDS[1]] * 4, KINDS[2], *[KINDS[3]] * 5, *[KINDS[4]] * 5)


def odds(answer, target):
    return Odds(math.log(answer), math.log(target), answer > 0.5, target > 0.5, int(target > 0.5))


def edited_fact(number, generator):
    """A fact whose edit works in most of what is asked."""
    fact = KnownFact(
        "capital", f"{HOSTILE} {number}", "Paris", "Rome", "The capital of {} is",
        tuple(Paraphrase(f"{n}: the capital of {{}} is") for n in range(5)), (), "{}",
        ("Paris", "Rome"),
    )  # fmt: skip
    before = [odds(0.8, 0.05) for _ in ASKED]
    after = []
    for kind in ASKED:
        works = generator.random() < (0.95 if kind == "prompt" else 0.8)
        moves = works != kind.startswith("neighbour")
        after.append(odds(0.1, 0.8) if moves else odds(0.7, 0.1))
    queries = [Query(kind, (1,), (2,), (3,)) for kind in ASKED]
    return tables.TestedFact(
        fact, queries, before, after, measures_of(ASKED, before, after), generator.normal(0, 0.002)
    )


@pytest.fixture(scope="module")
def result():
    generator = np.random.default_rng(0)
    tested = [edited_fact(number, generator) for number in range(40)]
    edited = [one.measures for one in tested]
    unedited = [measures_of(ASKED, one.before, one.before) for one in tested]
    by_layer = {0: edited[:20], 1: edited[20:], 2: unedited[:20]}
    arms = {arm: edited if arm == "edit" else unedited for arm in ARMS}
    in_rows = [
        {
            "stops": [
                {"edits": n, "facts": edited[:n], "bits_per_byte": 1 + n * order / 1000}
                for n in (1, 10, 40)
            ]
        }
        for order in (1, 2)
    ]
    claim = judge(
        TestFacts(edited, unedited, unedited, [True] * 40, [one.rise for one in tested]), 0
    )
    values = {
        "layer": 1, "facts_known": 80, "facts_asked": 90, "facts_choosing": 20,
        "facts_tested": 40, "bits_per_byte_rise": 0.001, "bits_per_byte_rise_low": -0.001,
        "bits_per_byte_rise_high": 0.002, "bits_per_byte_rise_largest": 0.01,
        "bits_per_byte_rise_largest_of": HOSTILE,
    }  # fmt: skip
    knowledge = Knowledge(tuple(one.fact for one in tested), {"capital": 90}, 0)
    return Result(
        editing_study.KIND, f"Facts edited in {HOSTILE}", {"seed": 0}, values,
        {
            "sweep": tables.sweep(by_layer, 0), "arms": tables.arms(arms, ARMS, 0),
            "kinds": tables.kinds(tested, 0), "probabilities": tables.probabilities(tested, 0),
            "rows": tables.rows_of_edits(in_rows, 1.0, 0), "worst": tables.worst(tested),
            "facts": tables.facts_of(tested), "known": tables.knowledge(knowledge),
        },
        (claim,), {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(result):
    return editing_study.build(result, "study")


NAMES = ("probabilities", "arms", "sweep-token", "sweep-probability", "row", "rise")


def test_the_page_has_every_figure_and_section(page):
    assert [figure.name for figure in page.figures()] == [f"study-{name}" for name in NAMES]
    assert {"test", "arms", "sweep", "row", "worst", "numbers", "evidence"} <= {
        section.id for section in page.sections
    }


def test_messages_hold_the_record_s_numbers(result):
    def rows(name):
        return result.tables[name].records()

    best = next(
        row for row in rows("sweep")
        if row["layer"] == 1 and row["basis"] == "token" and row["measure"] == "harmonic mean"
    )  # fmt: skip
    sweep = figures.sweep("x", rows("sweep"), "token", 1)
    assert "By token, edits work best at layer" in sweep.message
    assert sweep.message.endswith("%")
    assert best["low"] < best["value"] < best["high"]
    target = next(
        row for row in rows("probabilities") if (row["kind"], row["answer"]) == ("prompt", "target")
    )
    message = figures.probabilities("x", rows("probabilities")).message
    assert (
        message
        == f"After the edited prompt the target goes from 5.0% to {100 * target['after']:.1f}%"
    )
    assert "fine-tuning 0.0%" in figures.arms("x", rows("arms")).message
    assert "2 random orders" in figures.in_a_row("x", rows("rows")).caption
    assert "costs 0.040 to 0.080 bits per byte" in figures.rise("x", rows("rows")).message


def test_the_table_of_failures_begins_with_the_worst(result):
    worst = result.tables["worst"].records()
    assert len(worst) == 20
    means = [
        np.mean([row[m] for m in ("efficacy", "paraphrase", "neighbourhood")]) for row in worst
    ]
    assert means == sorted(means)


def test_sentences_say_both_forms_of_each_measure(result):
    known, measured, text = editing_study.sentences(result)
    assert known.startswith(
        "The model is shown to know 80 of 90 facts; 20 chose layer 1; 40 others"
    )
    assert measured.count("by token") == measured.count("by probability") == 4
    assert "0.001 [−0.001, 0.002] bits per byte more" in text


def test_tracing_is_told_in_words_where_there_is_some(result):
    assert editing_study._traced(result) == ""
    values = {
        "traced_facts": 30, "traced_peak_layer": 0, "traced_peak_is_best_edit": 0.5,
        "traced_peak_is_best_edit_by_chance": 1 / 3, "traced_correlation": -0.25,
    }  # fmt: skip
    told = editing_study._traced(dataclasses.replace(result, values=values))
    assert "Tracing 30 of these facts peaks at layer 0" in told
    assert "in 50.0% of them (33.3% by chance)" in told
    assert told.endswith("correlate by −0.250.")


def test_a_record_without_tables_still_has_a_page(result):
    bare = dataclasses.replace(result, tables={}, values={})
    page = editing_study.build(bare, "study")
    assert page.figures() == []
    assert {section.id for section in page.sections} >= {"evidence"}


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("sweep", lambda rows: figures.sweep("x", rows, "token", 1)),
        ("arms", lambda rows: figures.arms("x", rows)),
        ("probabilities", lambda rows: figures.probabilities("x", rows)),
        ("rows", lambda rows: figures.in_a_row("x", rows)),
        ("rows", lambda rows: figures.rise("x", rows)),
    ],
)
def test_values_that_are_missing_leave_a_figure_out_and_no_error(result, name, figure):
    rows = result.tables[name].records()
    assert figure([]) is None
    assert figure([dict.fromkeys(row) for row in rows]) is None
    assert figure([{"basis": "token", **dict.fromkeys(row)} for row in rows]) is None


def test_hostile_names_are_escaped_on_the_page(result):
    files = render_report([result])
    html, markdown = files["index.html"].decode(), files["report.md"].decode()
    assert "<script>alert" not in html
    assert "\x1b" not in html + markdown
    assert "editing-study-arms.svg" in " ".join(files)
