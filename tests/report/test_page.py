import copy
import dataclasses
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from strawberry_record import HOSTILE, accuracy_table, column, strawberry_result

from tokkit.errors import ArtifactError, OutputError
from tokkit.report import formatting
from tokkit.report.page import render_report, write_report
from tokkit.results import Claim, Evidence, Result, Table, write_result

VOID = {"meta", "br", "link", "img", "hr", "input"}
LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """What a browser would see: tags that nest, attributes, text."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def small(result: Result, *tables: str) -> Result:
    """The record with few tables, quick to draw."""
    return dataclasses.replace(result, tables={name: result.tables[name] for name in tables})


def html_of(*results: Result) -> str:
    return render_report(results)["index.html"].decode()


@pytest.fixture(scope="module")
def whole():
    return render_report([strawberry_result()])


@pytest.fixture(scope="module")
def page(whole):
    return Page(whole["index.html"].decode())


def hostile_result() -> Result:
    """The record with foreign text wherever a string can stand."""
    raw = json.loads(json.dumps(dataclasses.asdict(small(strawberry_result(), "accuracy"))))
    plain = strawberry_result()
    arms = {HOSTILE: {"letters": HOSTILE, "length": HOSTILE, "how": HOSTILE}}
    chips = {
        HOSTILE: [
            {"text": HOSTILE, "ids": [1], "letters": letters, "shown": HOSTILE}
            for letters in ("hidden", "visible", "wrong", HOSTILE)
        ]
    }
    names = [entry["name"] for entry in raw["tables"]["accuracy"]["columns"]]
    row = (HOSTILE, "count C", 5, 1, 0.5, 0.4, 0.6, 0.3, 0.2, 0.1, 0.3)
    odd = (HOSTILE, HOSTILE, 5, 1, 0.5, None, None, None, None, None, None)
    asked = plain.tables["strawberry"].columns
    return dataclasses.replace(
        plain,
        title=HOSTILE,
        settings={"arms": [HOSTILE], HOSTILE: HOSTILE},
        values={"question": HOSTILE, "truth": 3, "arms": arms, "chips": chips, HOSTILE: HOSTILE},
        tables={
            "accuracy": Table(HOSTILE, tuple(column(name) for name in names), (row, odd)),
            "strawberry": Table(HOSTILE, asked, ((HOSTILE, 0, HOSTILE, HOSTILE, 3, False, 0.5),)),
        },
        claims=(
            Claim(HOSTILE, HOSTILE, "inconclusive", HOSTILE, (Evidence(HOSTILE, 1.0, HOSTILE),),
                  (), (HOSTILE,)),
        ),
        provenance={"command": HOSTILE, "git_commit": HOSTILE, HOSTILE: [HOSTILE]},
    )  # fmt: skip


def test_nothing_is_loaded_from_anywhere(page):
    for name in LOADING:
        for target in page.attributes(name):
            assert target.startswith("#")
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"} == set()


def test_css_loads_nothing(whole):
    html = whole["index.html"].decode()
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert "http" not in html.replace("http-equiv", "")


def test_every_id_is_unique_and_every_link_has_its_target(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {target.removeprefix("#") for target in page.attributes("href")} <= set(ids)


def test_figures_have_accessible_names(page):
    drawings = page.named("svg")
    assert len(drawings) == 6
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_every_number_of_the_accuracy_table_is_there(whole, name):
    text = whole[name].decode()
    table = accuracy_table()
    for row in table.rows:
        for value, col in zip(row, table.columns, strict=True):
            assert formatting.cell(value, col.name, col.unit) in text


def test_markdown_rows_stand_under_their_headings(whole):
    lines = whole["report.md"].decode().splitlines()
    row = "| bpe | count C | 1,200 | 2 | 51.7 | 48.5 | 55.0 | 40.3 | 19.1 | 13.8 | 24.6 |"
    wanted = next(line for line in lines if line.startswith("| bpe | count C | 1,200 |"))
    assert wanted.split("|")[5].strip() == row.split("|")[5].strip()
    heading = next(line for line in lines if line.startswith("| Arm | Measure | N |"))
    assert wanted.count("|") == heading.count("|")


def test_markdown_links_every_figure_that_is_written(whole):
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", whole["report.md"].decode()))
    assert linked == {name for name in whole if name.endswith(".png")}


def test_svg_files_are_whole_and_png_files_are_opaque(whole):
    for name, content in whole.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(content).tag.endswith("svg")
            assert b"<dc:date>" not in content
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")


def test_sections_stand_in_the_order_of_the_argument(whole):
    html = whole["index.html"].decode()
    sections = re.findall(r'<h2 id="strawberry-(\w+)-section">', html)
    assert sections == [
        "word", "question", "accuracy", "rescue", "effects", "learning", "confusion", "breakdown",
        "evidence", "numbers", "settings", "provenance",
    ]  # fmt: skip


def test_the_verdict_is_in_words(page):
    assert "✓ supported" in "".join(page.text)


def test_the_opening_sentence_holds_the_numbers(page):
    text = "".join(page.text)
    assert "51.7% [48.5, 55.0] (bpe)" in text
    assert "99.5% [98.8, 100.0] (char)" in text


def test_the_placebo_shows_the_wrong_letters_struck(whole):
    assert '<s class="letters">plumb</s>' in whole["index.html"].decode()


def test_hidden_letters_are_blocks(whole):
    html = whole["index.html"].decode()
    assert '<span class="ids">812</span><span class="blocks"' in html
    assert html.count("<i></i>") == 4 * 5 + 3  # straw and berry, in bpe and opaque; the legend


def test_a_failed_control_is_said(page):
    text = "".join(page.text)
    assert "✓ holds" in text
    assert "✗ fails" in text


def test_same_input_same_bytes_in_another_process(tmp_path):
    result = small(strawberry_result(), "rescue", "strawberry")
    write_result(result, tmp_path)
    code = (
        "import sys, pathlib; from tokkit.report.page import write_report; "
        "write_report([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    for name, content in render_report([result]).items():
        assert (tmp_path / name).read_bytes() == content


def test_hostile_text_is_data_in_html():
    html = html_of(hostile_result())
    assert "<script" not in html
    assert "\u202e" not in html
    page = Page(html)
    shown = "".join(page.text)
    assert r"<script>alert(1)</script>|\n**x** [a](javascript:b) \u202eRTL $x^2$" in shown
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all(target.startswith("#") for target in page.attributes("href"))


def test_hostile_text_is_data_in_markdown():
    text = render_report([hostile_result()])["report.md"].decode()
    assert "<script" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    assert not re.search(r"(?<!\\)\*\*x", text)
    for line in text.splitlines():
        if line.startswith("|") and r"count C" in line:
            assert len(re.findall(r"(?<!\\)\|", line)) == 12


def test_hostile_labels_are_data_in_svg_files():
    files = render_report([hostile_result()])
    drawings = [content for name, content in files.items() if name.endswith(".svg")]
    assert drawings
    for content in drawings:
        tree = ElementTree.fromstring(content)
        assert not [element for element in tree.iter() if "script" in element.tag]


def test_nulls_are_dashes_and_draw_no_whisker():
    result = small(strawberry_result(), "accuracy")
    table = result.tables["accuracy"]
    empty = tuple((*row[:4], *(None,) * 7) for row in table.rows)
    bare = dataclasses.replace(
        result, tables={"accuracy": dataclasses.replace(table, rows=empty)}, claims=()
    )
    html = html_of(bare)
    assert "<td>–</td>" in html
    assert "Share of right answers by arm and task" in html
    assert "nan" not in "".join(Page(html).text).lower().split()


@pytest.mark.parametrize("table", ["rescue", "by_length", "curves", "confusion", "strawberry"])
def test_a_table_of_nulls_is_drawn_empty(table):
    result = small(strawberry_result(1), table)
    old = result.tables[table]
    keep = {"arm", "measure", "letters", "truth", "answer", "seed", "step", "question"}
    kept = [place for place, entry in enumerate(old.columns) if entry.name in keep]
    rows = tuple(
        tuple(value if place in kept else None for place, value in enumerate(row))
        for row in old.rows
    )
    emptied = dataclasses.replace(result, tables={table: dataclasses.replace(old, rows=rows)})
    Page(html_of(emptied))


def test_absent_tables_are_left_out_and_named():
    html = html_of(small(strawberry_result(), "rescue"))
    assert "Not in this record: accuracy, curves, confusion" in html
    assert "Learning curves" not in html


def test_a_record_of_nothing_is_still_a_page():
    bare = dataclasses.replace(
        strawberry_result(), settings={}, values={}, tables={}, claims=(), provenance={}
    )
    assert Page(html_of(bare)).named("h1")


def test_values_of_the_wrong_type_are_left_out():
    odd = dataclasses.replace(
        small(strawberry_result(), "strawberry"),
        values={"chips": {"bpe": "straw"}, "arms": ["bpe"], "truth": None},
    )
    assert "One word" not in html_of(odd)


def test_two_runs_stand_on_one_page_with_their_own_figures():
    first = small(strawberry_result(), "rescue")
    second = dataclasses.replace(copy.deepcopy(first), title="A second run")
    files = render_report([first, second])
    page = Page(files["index.html"].decode())
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert len(page.named("h1")) == 2
    assert {"figures/strawberry-1-rescue.png", "figures/strawberry-2-rescue.png"} <= set(files)


def test_another_kind_gets_claims_tables_settings_provenance():
    table = Table(
        "Cache", (column("heads"), column("cache", "bytes")), ((8, 4096), (1, None))
    )  # fmt: skip
    ratio = Evidence("ratio", 0.125, "", 0.1, 0.2, 3, "t", 0.5)
    claim = Claim("x", "Fewer heads.", "contradicted", "a rule", (ratio,), (), ("one shape",))
    result = Result(
        "experiment.unknown", "Heads", {"seed": 5}, {"width": {"model": 64}}, {"cache": table},
        (claim,), {"python": "3.11"},
    )  # fmt: skip
    files = render_report([result])
    text = "".join(Page(files["index.html"].decode()).text)
    for wanted in ("✗ contradicted", "Cache (bytes)", "4,096", "width.model", "one shape", ".500"):
        assert wanted in text
    assert set(files) == {"report.md", "index.html"}
    assert "| 8 | 4,096 |" in files["report.md"].decode()


def test_a_long_table_is_cut_and_says_so():
    table = Table("Long", (column("n"),), tuple((place,) for place in range(1000)))
    result = Result("x.y", "T", {}, {}, {"long": table}, (), {})
    assert "400 of 1,000 rows; all are in result.json." in html_of(result)


def test_write_report_returns_the_page_and_leaves_other_files_alone(tmp_path):
    write_result(small(strawberry_result(), "rescue"), tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    page = write_report([tmp_path], tmp_path)
    assert page == tmp_path / "index.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "figures", "index.html", "report.md", "result.json",
    ]  # fmt: skip
    assert (tmp_path / "result.json").read_bytes() == before
    assert sorted(path.suffix for path in (tmp_path / "figures").iterdir()) == [".png", ".svg"]


def test_a_run_that_cannot_be_read_leaves_nothing_behind(tmp_path):
    write_result(small(strawberry_result(), "accuracy"), tmp_path / "good")
    with pytest.raises(ArtifactError, match=r"holds no result\.json"):
        write_report([tmp_path / "good", tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    write_result(small(strawberry_result(), "accuracy"), tmp_path)
    taken = Path(tmp_path / "taken")
    taken.write_text("mine")
    with pytest.raises(OutputError, match="it is a file; give the name of a folder"):
        write_report([tmp_path], taken)
    assert taken.read_text() == "mine"


def test_differences_are_points_even_where_the_record_calls_them_proportions():
    result = small(strawberry_result(), "effects")
    table = result.tables["effects"]
    columns = tuple(
        dataclasses.replace(entry, unit="proportion" if entry.unit else "")
        for entry in table.columns
    )
    plain = dataclasses.replace(table, columns=columns)
    html = html_of(dataclasses.replace(result, tables={"effects": plain}))
    assert "Estimate (% points)" in html


@pytest.mark.parametrize(("seeds", "text"), [([0, 1], "2 seeds"), (1, "1 seed")])
def test_seeds_may_be_listed_or_counted(seeds, text):
    result = Result("x.y", "T", {"seeds": seeds}, {}, {}, (), {})
    assert f"<span>{text}</span>" in html_of(result)
