"""Figures and page of spelling: their messages, and records that lack something."""

import xml.etree.ElementTree as ElementTree

import pytest

from tokkit.report import embedding_spelling_figures as drawing
from tokkit.report import spelling_arms
from tokkit.results import Claim, Column, Result, Table


def three(name, value, half=0.02):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


TASKS = [
    {
        "task": task,
        "probe": probe,
        "metric": "balanced accuracy",
        "surface": 0.52,
        "length_alone": None,
    }
    | three("value", 0.8)
    | three("initial", 0.5)
    | three("control", 0.49)
    | three("shuffled", 0.51)
    for task in ("presence", "first")
    for probe in ("logistic", "mlp")
]
LETTERS = [
    {"letter": letter, "length_alone": 0.55} | three("value", value) | three("initial", 0.5)
    for letter, value in (("a", 0.7), ("q", 0.9), ("<", 0.6))
]
BY_COUNT = [
    {"group": group, "surface": 0.5, "length_alone": 0.6}
    | three("value", 0.7 + at / 20)
    | three("initial", 0.5)
    for at, group in enumerate(("rarest quarter", "second quarter"))
]
CODES = [
    {"task": "first", "by": by, "compression_of_prior": value}
    for by, value in (("rows", 2.4), ("baseline rows", 0.98), ("rows, control task", 0.97))
]
KNOWLEDGE = [
    {"arm": arm, "tokens": tokens, "stage": stage} | three("value", 0.5 + 0.4 * (arm == "letters"))
    for arm in ("bpe", "letters")
    for tokens in ("known", "novel")
    for stage in ("before training", "after training", "after, shuffled letters")
]
ACCURACY = [
    {"arm": arm, "measure": measure, "tokens": tokens, "after": 0.1, "accuracy": 0.5}
    for arm in ("bpe", "letters")
    for measure, tokens in (("count R", "known"), ("count C", "novel"))
]
PREDICTION = [
    {"arm": "hidden arms", "measure": "count R"} | three("slope", 0.74) | three("before", 0.1)
]


@pytest.mark.parametrize(
    ("draw", "rows", "said"),
    [
        (drawing.tasks, TASKS, "Letter present: balanced accuracy 0.800"),
        (drawing.letters, LETTERS, "Rows know best whether a token has q (0.900)"),
        (drawing.groups, BY_COUNT, "from 0.700 (rarest quarter) to 0.750 (second quarter)"),
        (drawing.codes, CODES, "first letter take 2.400 times fewer bits"),
        (drawing.arms_knowledge, KNOWLEDGE, "Letters of novel tokens: bpe 0.500 before"),
        (drawing.arms_accuracy, ACCURACY, "Right counts of each arm"),
        (drawing.arms_prediction, PREDICTION, "hidden arms: from knowing nothing to all"),
    ],
)
def test_a_figure_says_its_message_and_is_sound(draw, rows, said):
    figure = draw("name", rows)
    assert said in figure.message
    ElementTree.fromstring(figure.svg_file)
    assert figure.png.startswith(b"\x89PNG")
    assert draw("name", rows).png == figure.png
    assert draw("name", []) is None
    assert draw("name", [{"arm": None}]) is None


def test_lengths_are_named_as_letters():
    rows = [BY_COUNT[0] | {"group": "2"}, BY_COUNT[1] | {"group": "12 or more"}]
    assert "(12 or more letters)" in drawing.groups("name", rows).message


def table(rows):
    names = list(rows[0])
    return Table("t", tuple(Column(n, n) for n in names), tuple(tuple(r.values()) for r in rows))


def test_the_page_of_arms_holds_claim_figures_and_tables():
    claim = Claim("counting-is-tokenization", "s", "supported", "r", (), (), ("limit",))
    result = Result(
        kind=spelling_arms.KIND,
        title="arms",
        settings={"seed": 0},
        values={"known_tokens": 5, "novel_tokens": 3},
        tables={
            "arms_knowledge": table(KNOWLEDGE),
            "arms_prediction": table(PREDICTION),
            "arms_accuracy": table(ACCURACY),
        },
        claims=(claim,),
        provenance={},
    )
    run = spelling_arms.build(result, "x")
    assert [figure.name for figure in run.figures()] == [
        "x-knowledge",
        "x-prediction",
        "x-accuracy",
    ]
    assert spelling_arms.opening_sentence(result).startswith("5 tokens that were trained on and 3")
