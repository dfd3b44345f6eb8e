"""The page of models: from the record alone, foreign text as data, nothing that breaks it."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ElementTree

import pytest

from tokkit.model.config import ModelConfig
from tokkit.model.info import Described, describe, of_preset
from tokkit.model.presets import PRESETS
from tokkit.report import model_figures, models
from tokkit.report.page import render_report
from tokkit.results import Table, read_result, write_result

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e|`*"
TINY = ModelConfig(vocab_size=23, width=30, layers=2, query_heads=3, context=13)


@pytest.fixture(scope="module")
def every():
    return describe([of_preset(preset) for preset in PRESETS.values()], claims=True)


@pytest.fixture(scope="module")
def page(every):
    return render_report([every])


@pytest.fixture(scope="module")
def one():
    return describe([of_preset(PRESETS["llama-2-70b"])], claims=True)


def text_of(page):
    return page["index.html"].decode()


def section(html, title):
    """One section of the page, by its title."""
    return html.partition(f">{title}</h2>")[2].partition("</section>")[0]


def rows_of(html):
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_what_each_family_sets(page):
    html = section(text_of(page), "What each family sets")
    headings = re.findall(r"<th scope[^>]*>(.*?)</th>", html)
    assert headings == ["Setting", "Plain skeleton", "gpt2", "llama", "mistral", "mixtral",
                        "gemma", "gemma2", "gemma3", "qwen2", "qwen3", "qwen3_moe"]  # fmt: skip
    rows = {row[0]: row[1:] for row in rows_of(html) if row}
    assert rows["norm"] == ["rmsnorm", "layernorm", *["·"] * 9]
    assert rows["norm_place"] == ["pre", *["·"] * 5, "sandwich", "sandwich", *["·"] * 3]
    assert rows["qk_norm"] == ["no", *["·"] * 6, "yes", "·", "yes", "yes"]
    assert rows["rope_base"][2] == "10k / 500k / 100k"
    assert rows["attention_scale"][6] == "1/√256 / 1/√144"
    # What no family changes has no row; sizes are no family's.
    assert not {"rope_share", "token_features", "width", "vocab_size"} & rows.keys()


def test_one_model_in_full(one):
    html = text_of(render_report([one]))
    assert "68,976,648,192" in html
    assert "That is what its published files hold." in html
    assert ["key_value_heads", "64", "8"] in rows_of(section(html, "Settings of the model"))
    assert "safetensors files of meta-llama/Llama-2-70b-hf" in html


def test_both_figures_say_what_they_show(page):
    html = text_of(page)
    assert "more than half of the parameters in 22 of 24 dense models" in html
    assert "llama-2-70b 8-fold: 2,560 to 320 KiB a token" in html
    drawn = {re.sub(r".*-|\.png", "", name) for name in page if name.endswith(".png")}
    assert drawn == {"shares", "caches"}
    for name, content in page.items():
        if name.endswith(".svg"):
            ElementTree.fromstring(content)


def test_figures_follow_the_theme(page):
    for name in ("info-shares", "info-caches"):
        svg = page[f"figures/{name}.svg"].decode()
        assert "currentColor" in svg
        assert model_figures.INK not in svg.partition("</style>")[2]
        assert "prefers-color-scheme: dark" in svg


def test_the_same_record_gives_the_same_page(every, page, tmp_path):
    write_result(every, tmp_path)
    assert render_report([read_result(tmp_path)]) == page


def test_foreign_names_are_data():
    page = render_report([describe([Described(HOSTILE, HOSTILE, TINY), Described("b", "x", TINY)])])
    html = text_of(page)
    assert "<script>alert" not in html
    for part in (html, page["report.md"].decode()):
        assert not {"\x1b", "\u202e"} & set(part)
    for name, content in page.items():
        if name.endswith(".svg"):
            assert not [e for e in ElementTree.fromstring(content).iter() if "script" in e.tag]


@pytest.mark.parametrize("missing", ["models", "parameters", "flops", "settings"])
def test_a_record_without_one_of_its_tables(one, missing):
    tables = {name: table for name, table in one.tables.items() if name != missing}
    assert "index.html" in render_report([dataclasses.replace(one, tables=tables)])


@pytest.mark.parametrize("value", [None, "x", 0, -1, 1e300, True])
def test_a_record_with_odd_values(one, value):
    def spoilt(table):
        return Table(table.title, table.columns, tuple((value,) * len(r) for r in table.rows))

    tables = {name: spoilt(table) for name, table in one.tables.items()}
    assert "index.html" in render_report([dataclasses.replace(one, tables=tables)])


def test_more_models_than_a_figure_holds():
    count = model_figures.MAX_MODELS + 3
    result = describe([Described(f"m{place}", "x", TINY) for place in range(count)])
    page = render_report([result])
    svg = page["figures/info-shares.svg"].decode()
    assert f">m{model_figures.MAX_MODELS - 1}<" in svg
    assert f">m{model_figures.MAX_MODELS}<" not in svg
    assert f"m{count - 1}" in text_of(page)


@pytest.mark.parametrize("chosen", [["mixtral-8x7b"], ["mixtral-8x7b", "qwen-3-30b-a3b"]])
def test_mixtures_alone(chosen):
    page = render_report([describe([of_preset(PRESETS[name]) for name in chosen])])
    words = "Feed-forward layers hold 96.6%" if len(chosen) == 1 else "mixtures of experts sit"
    assert words in text_of(page)


def test_sentences_name_what_one_token_uses():
    result = describe([of_preset(PRESETS["mixtral-8x7b"])])
    said = " ".join(models.sentences(result))
    assert "46,702,792,704 parameters, of which one token uses 12,879,925,248" in said


@pytest.mark.parametrize(
    ("value", "shown"),
    [(999_499, "999,499"), (999_499_999, "999M"), (999_500_000, "1.00B"), (2e15, "2e+15"),
     (124_439_808, "124M"), (13_015_864_320, "13.0B"), (None, "–"), ("x", "–")],
)  # fmt: skip
def test_large_numbers(value, shown):
    assert model_figures.large(value) == shown
