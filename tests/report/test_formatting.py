import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tokkit.report import formatting


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9583, "proportion", "95.8"),
        (1.0, "proportion", "100.0"),
        (-0.0203, "proportion difference", "−2.0"),
        (-0.0001, "proportion difference", "0.0"),
        (12_345, "", "12,345"),
        (0.25, "nats", "0.250"),
        (2.5e-7, "", "2.5e−07"),
        (12.0, "%", "12"),
        (None, "proportion", "–"),
        (math.nan, "", "–"),
        (True, "", "–"),
        ("7", "", "–"),
        (10**400, "", "–"),
        (1e308, "proportion", "–"),
        (1234567.5, "bytes", "1,234,568"),
    ],
)
def test_numbers_are_shown_in_the_unit_of_the_reader(value, unit, text):
    assert formatting.number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0009, "< .001"), (0.001, ".001"), (0.0231, ".023"), (1.0, "1.000"), (None, "–")],
)
def test_p_values(value, text):
    assert formatting.p_value(value) == text


def test_estimates_carry_their_interval_only_when_they_have_one():
    assert formatting.estimate(0.5, 0.4, 0.6, "proportion") == "50.0% [40.0, 60.0]"
    assert formatting.estimate(0.5, None, 0.6, "proportion") == "50.0%"
    assert formatting.estimate(None, None, None, "proportion") == "–"


def test_columns_named_p_hold_p_values_and_others_numbers():
    assert formatting.cell(0.0001, "p_holm") == "< .001"
    assert formatting.cell(0.0001, "power") == "0.0001"
    assert formatting.cell(True) == "yes"
    assert formatting.cell(None) == "–"


def test_ranges_collapse_when_both_ends_look_the_same():
    assert formatting.percent_range([0.5474, 0.5471]) == "54.7%"
    assert formatting.percent_range([0.995, 0.958, None]) == "95.8–99.5%"
    assert formatting.percent_range([None]) == "–"


def test_control_and_direction_marks_become_escapes():
    assert formatting.visible("a\u202eb\x1b[1m\n") == r"a\u202eb\x1b[1m\n"


def test_long_text_is_cut():
    assert formatting.visible("x" * 700) == "x" * 600 + "…"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>", "&lt;b&gt;"),
        ("a|b", r"a\|b"),
        ("[x](http://y)", r"\[x\](http\://y)"),
        ("*_`$~#!\\", r"\*\_\`\$\~\#\!\\"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_markdown_is_literal(text, escaped):
    assert formatting.markdown(text) == escaped


@given(st.text(max_size=80))
def test_markdown_never_holds_markup_or_a_line_break(text):
    escaped = formatting.markdown(text)
    assert "<" not in escaped
    assert ">" not in escaped
    assert len(escaped.splitlines()) <= 1
    assert "|" not in escaped.replace(r"\|", "")


@given(st.text(max_size=80))
def test_visible_text_is_what_html_escapes_afterwards(text):
    shown = formatting.visible(text)
    assert Markup.escape(shown).unescape() == shown
    assert all(character.isprintable() or character.isspace() for character in shown)
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("label", "unit", "heading"),
    [
        ("Accuracy", "proportion", "Accuracy (%)"),
        ("Gain", "difference in accuracy", "Gain (% points)"),
        ("Questions", "questions", "Questions"),
        ("Step", "steps", "Step"),
        ("n", "nats", "n (nats)"),
        ("Arm", "", "Arm"),
    ],
)
def test_headings_say_the_unit_once(label, unit, heading):
    assert formatting.heading(label, unit) == heading
