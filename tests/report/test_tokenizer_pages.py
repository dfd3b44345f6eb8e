"""Pages of audits, comparisons and sweeps: figures from the record alone, foreign text as data."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from tokenizer_records import HOSTILE, all_results, metric_table, without_numbers

from tokkit.report import (
    formatting,
    sweep_figures,
    tokenizer_figures,
    tokenizers,
    vocabulary_figures,
)
from tokkit.report.outputs import save_outputs
from tokkit.report.page import render_report
from tokkit.report.subjects import MAX_SUBJECTS, subjects_of
from tokkit.results import read_result, write_result

KINDS = ("audit", "compare", "sweep")
FIGURES = {
    "audit": {
        "compression", "differences", "premiums", "lorenz", "use", "lengths", "frequencies",
        "numbers", "letters",
    },
    "compare": {"agreement", "compression", "differences", "overlap"},
    "sweep": {"front", "differences", "costs"},
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: tags and text."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return all_results(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def pages(results):
    return {kind: render_report([result]) for kind, result in results.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_drawn(pages, kind):
    drawn = {re.sub(r".*-|\.png", "", name) for name in pages[kind] if name.endswith(".png")}
    assert drawn == FIGURES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_text_is_data(pages, kind):
    html = pages[kind]["index.html"].decode()
    page = Page(html)
    assert "script" not in page.tags
    for part in (html, pages[kind]["report.md"].decode()):
        assert not {"\x1b", "\x00", "\x07", "\u202e"} & set(part)
    assert "<script>alert(1)</script>" in page.text
    for name, content in pages[kind].items():
        if name.endswith(".svg"):
            tree = ElementTree.fromstring(content)
            assert not [element for element in tree.iter() if "script" in element.tag]


def test_a_hostile_token_is_shown_escaped(pages):
    for kind in ("audit", "compare"):
        html = pages[kind]["index.html"].decode()
        assert "<b>" not in html
        assert r"&lt;b&gt;\x1b]0;x\x07" in html


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_is_made_from_the_file_alone(results, pages, kind, tmp_path):
    write_result(results[kind], tmp_path)
    assert render_report([read_result(tmp_path)]) == pages[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_nulls_draws_no_false_numbers(results, kind):
    files = render_report([without_numbers(results[kind])])
    assert not [name for name in files if name.endswith(".png")]
    assert "nan" not in Page(files["index.html"].decode()).text.lower().split()


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_without_tables_or_values_is_still_a_page(results, kind):
    bare = dataclasses.replace(results[kind], tables={}, values={}, settings={}, provenance={})
    assert "h1" in Page(render_report([bare])["index.html"].decode()).tags


def test_the_main_numbers_are_those_of_the_tables(results):
    headings, lines = tokenizers.main_numbers(results["audit"])
    table = results["audit"].tables["efficiency"].records()
    for line in lines:
        shown = next(
            row
            for row in table
            if row["metric"] == "bytes_per_token"
            and row["average"] == "micro"
            and formatting.visible(row["tokenizer"], 24) == line[0]
        )
        wanted = formatting.number(shown["value"])
        bounds = formatting.interval(shown["low"], shown["high"])
        assert line[headings.index("Bytes a token")] == f"{wanted} {bounds}"
    assert headings[-1] == "Gini over groups, a byte (%)"


def test_outputs_name_their_figures(results, tmp_path):
    paths = save_outputs(results["sweep"], tmp_path, "sweep", "a,b\n")
    written = read_result(tmp_path)
    assert {tmp_path / name for name in written.figures} <= set(paths)
    assert all((tmp_path / name).exists() for name in written.figures)
    assert paths[-1] == tmp_path / "index.html"
    assert (tmp_path / "sweep.csv").read_text() == "a,b\n"
    assert "](figures/sweep-front.png)" in (tmp_path / "sweep.md").read_text()


# Figures by hand ---------------------------------------------------------------------------------

ROWS = metric_table(
    ("one", "bytes_per_token", "bytes/token", "micro", 4.25, 4.0, 4.5, 99),
    ("two", "bytes_per_token", "bytes/token", "micro", 3.5, None, None, 9),
    ("none", "bytes_per_token", "bytes/token", "micro", None, None, None, 9),
).records()


def test_a_forest_has_an_interval_only_where_there_is_one():
    figure = tokenizer_figures.compression("x", ROWS)
    assert figure.message == "one packs 4.250 bytes into a token; two packs fewest, 3.500"
    bare = tokenizer_figures.compression("x", [row | {"low": None} for row in ROWS])
    whisker = "stroke-width: 1.3"
    assert figure.svg.count(whisker) > bare.svg.count(whisker) == 0
    assert ">none<" not in figure.svg


@pytest.mark.parametrize(
    ("difference", "p", "message"),
    [
        (0.5, 0.01, "two packs 0.500 bytes a token more than one"),
        (-0.5, 0.2, "two packs 0.500 bytes a token fewer than one, which may be chance"),
        (-0.5, None, "two packs 0.500 bytes a token fewer than one, which may be chance"),
    ],
)
def test_one_difference_is_told_as_one(difference, p, message):
    row = {"tokenizer": "two", "base": "one", "difference": difference, "p_holm": p}
    assert tokenizer_figures.differences("x", [row]).message == message


def premium(group, basis, value):
    return {
        "tokenizer": "t", "group": group, "basis": basis, "premium": value, "low": None,
        "high": None,
    }  # fmt: skip


def test_premiums_are_by_lines_only_where_these_are_parallel():
    rows = [premium(g, b, v) for g, b, v in (("en", "bytes", 1.0), ("fr", "bytes", 1.5))]
    lines = [premium("en", "lines", 1.0), premium("fr", "lines", 1.25)]
    nulls = [premium("en", "lines", None), premium("fr", "lines", None)]
    assert "1.500 times" in tokenizer_figures.premiums("x", rows + nulls, "en").message
    figure = tokenizer_figures.premiums("x", rows + lines, "en")
    assert figure.message == "fr pays 1.250 times what en pays under t"
    assert "Tokens a line over those of en" in figure.svg


def test_one_group_is_no_figure():
    assert tokenizer_figures.premiums("x", [premium("", "bytes", 1.0)], "") is None


def test_nothing_to_draw_is_no_figure():
    assert tokenizer_figures.compression("x", []) is None
    assert tokenizer_figures.vocabulary_use("x", [], [], "") is None
    assert tokenizer_figures.lorenz("x", [], []) is None
    assert vocabulary_figures.lengths("x", []) is None
    assert vocabulary_figures.frequencies("x", [], []) is None
    assert vocabulary_figures.numbers("x", []) is None
    assert sweep_figures.front("x", [], "") is None
    assert sweep_figures.costs("x", []) is None


def test_the_front_is_filled_and_what_is_beaten_hollow():
    def point(size, value, pareto):
        return {
            "pretokenizer": "gpt2", "vocab_size": size, "tokens": size, "bytes_per_token": value,
            "low": value - 0.1, "high": value + 0.1, "input_parameters": 768 * size,
            "pareto": pareto,
        }  # fmt: skip

    figure = sweep_figures.front("x", [point(1000, 3.0, True), point(2000, 2.9, False)], "here")
    assert figure.message == "gpt2 with 1,000 tokens compresses best: 3.000 bytes a token"
    assert "0.768M" in figure.svg
    hollow = sweep_figures.front("x", [point(1000, 3.0, False), point(2000, 2.9, False)], "here")
    fill = "fill: var(--paper)"
    assert hollow.svg.count(fill) == figure.svg.count(fill) + 1


def test_subjects_differ_and_are_no_more_than_a_figure_holds():
    found = subjects_of([{"tokenizer": f"t{place}"} for place in range(40)])
    assert len(found) == MAX_SUBJECTS
    assert len({(subject.colour, subject.marker) for subject in found}) == MAX_SUBJECTS


def test_a_long_hostile_name_is_cut_and_escaped():
    (subject,) = subjects_of([{"tokenizer": HOSTILE * 9}])
    assert len(subject.label) <= 40
    assert "\u202e" not in subject.label
