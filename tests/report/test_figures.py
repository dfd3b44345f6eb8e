import io
import random
import re

import matplotlib.image
import pytest
from strawberry_record import curves_table, rescue_table, strawberry_result

from tokkit.report import canvas, curves, figures
from tokkit.report.arms import MAX_ARMS, Arm, read_arms

ARMS = read_arms(strawberry_result())
BARE_ARM = Arm("a$b$ <i>", "a$b$ <i>", "hidden", "short", "", canvas.BLUE, "o")


@pytest.fixture(scope="module")
def rescue():
    return figures.rescue("rescue", ARMS, rescue_table().records())


def whiskers(figure):
    return figure.svg.count("stroke-width: 1.3")


def test_a_whisker_stands_only_where_there_is_an_interval(rescue):
    bare = [row | {"low": None, "high": None} for row in rescue_table().records()]
    assert whiskers(rescue) > 0
    assert whiskers(figures.rescue("rescue", ARMS, bare)) == 0


def test_ink_follows_the_theme_inline_and_is_solid_in_the_png(rescue):
    assert canvas.INK not in rescue.svg
    assert canvas.PAPER not in rescue.svg
    assert "currentColor" in rescue.svg
    assert "var(--paper)" in rescue.svg
    assert b"prefers-color-scheme: dark" in rescue.svg_file
    pixels = matplotlib.image.imread(io.BytesIO(rescue.png))
    assert pixels.shape[1] == round(canvas.WIDTH_INCHES * canvas.PNG_DOTS_PER_INCH)
    assert pixels[:, :, 3].min() == 1
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]


def test_text_stays_text_in_system_fonts(rescue):
    assert re.search(r"<text[^>]*>bpe \(hidden\)</text>", rescue.svg)
    assert "DejaVu" not in rescue.svg
    assert "system-ui" in rescue.svg


def test_the_message_is_the_accessible_name(rescue):
    assert f'aria-label="{rescue.message}"' in rescue.svg
    assert f"<title>{rescue.message}</title>" in rescue.svg


def test_labels_are_never_read_as_mathematics_or_markup():
    rows = [{"arm": BARE_ARM.name, "n": 10, "both": 4, "only_spelled": 5, "only_word": 1}]
    drawn = figures.rescue("rescue", [BARE_ARM], rows)
    assert "a$b$ &lt;i&gt;" in drawn.svg
    assert "<i>" not in drawn.svg


def test_nothing_to_draw_is_no_figure():
    assert figures.accuracy("x", ARMS, []) is None
    assert figures.rescue("x", ARMS, []) is None
    assert figures.confusion("x", ARMS, []) is None
    assert figures.breakdown("x", ARMS, [("letters", "Letters", [])]) is None
    assert curves.curves("x", ARMS, []) is None
    assert curves.loss("x", ARMS, []) is None


def test_seeds_are_thin_lines_and_their_mean_a_thick_one():
    rows = [
        row
        for row in curves_table(3, random.Random(1)).records()
        if (row["arm"], row["measure"]) == ("bpe", "count C")
    ]
    drawn = curves.curves("curves", ARMS, rows)
    assert drawn.svg.count("stroke-opacity: 0.4; stroke-width: 0.8") == 3


def test_arms_differ_in_colour_and_marker():
    assert len({arm.colour for arm in ARMS}) == len(ARMS)
    assert len({arm.marker for arm in ARMS}) == len(ARMS)


def test_more_arms_than_a_figure_holds_are_left_to_the_tables():
    result = strawberry_result()
    many = {f"arm{place}": {"letters": "hidden"} for place in range(100)}
    crowded = type(result)(
        result.kind, "T", {}, {"arms": many}, {}, (), {}
    )  # fmt: skip
    assert len(read_arms(crowded)) == MAX_ARMS
