"""`tokkit tokenizer audit` and `compare`, end to end on a small corpus."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from tokkit.cli.main import run
from tokkit.cli.tokenizer import tokenizer as group
from tokkit.cli.tokenizer_audit import audit, load_named
from tokkit.cli.tokenizer_compare import compare
from tokkit.report.long import COLUMNS
from tokkit.results import read_result
from tokkit.tokenizer import train
from tokkit.tokenizer.counting import count

TEXTS = [
    f"straw berry strawberry {number} how many r's ({number * 7919})\n" * 20 for number in range(97)
]


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.setitem(group.commands, "audit", audit)
    monkeypatch.setitem(group.commands, "compare", compare)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = [
        json.dumps({"text": text.upper() if number % 2 else text, "lang": "ab"[number % 2]})
        for number, text in enumerate(TEXTS)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for name, size in (("gpt2", 300), ("o200k", 320), ("none", 290)):
        tokenizer = train(TEXTS[:20], vocab_size=size, pretokenizer=name)
        tokenizer.save(folder / name / "tokenizer.json")
    return folder


def strict(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def invoke(*words):
    return run(["tokenizer", *map(str, words)])


def test_audit_writes_everything(made, corpus, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--on", corpus, "--group-field", "lang", "--out", out, "--resamples", 50]
    assert invoke("audit", made / "gpt2", made / "o200k", *words) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("Tokenizer\tVocabulary\tBytes a token\t")
    assert [line.split("\t")[:2] for line in lines[1:]] == [["gpt2", "300"], ["o200k", "320"]]
    assert f"page: {out / 'index.html'}" in printed.err
    assert sorted(path.name for path in out.iterdir()) == [
        "audit.csv", "audit.md", "figures", "index.html", "result.json",
    ]  # fmt: skip
    strict((out / "result.json").read_text())
    result = read_result(out)
    assert result.settings["on"] == [str(corpus)]
    assert set(result.provenance["input_sha256"]) == {"gpt2", "o200k", "corpus"}
    with (out / "audit.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    first = next(row for row in rows if row["metric"] == "bytes_per_token")
    efficiency = result.tables["efficiency"].records()[0]
    assert float(first["value"]) == efficiency["value"]
    assert float(first["low"]) == efficiency["low"]


def test_audit_json_is_the_record(made, corpus, tmp_path, capsys):
    words = ["--on", corpus, "--out", tmp_path / "out", "--resamples", 20, "--json", "-q"]
    assert invoke("audit", made / "gpt2", *words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert strict(printed.out)["kind"] == "tokenizer.audit"


def test_a_saved_table_gives_the_same_numbers(made, corpus, tmp_path, capsys):
    count([corpus]).save(tmp_path / "table.npz")
    found = []
    for source in (["--on", corpus], ["--table", tmp_path / "table.npz"]):
        words = [*source, "--out", tmp_path / "out", "--resamples", 20, "--json", "-q"]
        assert invoke("audit", made / "gpt2", *words) == 0
        found.append(strict(capsys.readouterr().out)["tables"])
    assert found[0] == found[1]


def test_a_tokenizer_that_the_table_cannot_follow_is_counted_from_the_text(
    made, corpus, tmp_path, capsys
):
    words = ["--out", tmp_path / "out", "--resamples", 20, "--json"]
    assert invoke("audit", made / "none", "--on", corpus, *words) == 0
    printed = capsys.readouterr()
    assert "none: splits text in a way of its own" in printed.err
    result = strict(printed.out)
    assert any("counted from the text" in note for note in result["values"]["notes"]["none"])
    count([corpus]).save(tmp_path / "table.npz")
    assert invoke("audit", made / "none", "--table", tmp_path / "table.npz", *words) == 2
    assert "needs the text itself: give its files with --on" in capsys.readouterr().err


def test_parallel_lines_are_checked(made, corpus, tmp_path, capsys):
    words = ["--on", corpus, "--group-field", "lang", "--parallel-lines", "--json", "-q"]
    assert invoke("audit", made / "gpt2", *words, "--out", tmp_path, "--resamples", 20) == 0
    tables = strict(capsys.readouterr().out)["tables"]
    assert len(tables["alignment"]["rows"]) == 2


def test_sweep_writes_one_table(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--sizes", "257,290", "--pretokenizers", "gpt2,whitespace", "--resamples", 20]
    assert invoke("audit", "--sweep", "--on", corpus, "--out", out, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines[1:]] == [
        ["gpt2", "257"], ["gpt2", "290"], ["whitespace", "257"], ["whitespace", "290"],
    ]  # fmt: skip
    with (out / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    result = read_result(out)
    assert [float(row["bytes_per_token"]) for row in rows] == [
        row["bytes_per_token"] for row in result.tables["sweep"].records()
    ]
    assert (out / "figures" / "sweep-front.png").exists()


def test_compare_prints_rows_and_writes_nothing(made, corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--on", corpus, "--text", "straw\x1b[31m", "--resamples", 20]
    assert invoke("compare", made / "gpt2", made / "o200k", *words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("what\tof\tvalue\t95% interval\nshared tokens\t\t")
    assert "Words cut identically" in printed.out
    assert "\x1b" not in printed.out
    assert r"\x1b" in printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_compare_without_a_corpus(made, tmp_path, capsys):
    assert invoke("compare", made / "gpt2", made / "gpt2", "--json", "-q") == 0
    record = strict(capsys.readouterr().out)
    assert record["settings"] == {
        "first": "gpt2", "second": "gpt2-2", "seed": 0, "resamples": 1000, "level": 0.95,
    }  # fmt: skip
    assert record["values"]["vocabulary"]["jaccard"] == 1.0


def test_compare_writes_its_page(made, corpus, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--on", corpus, "--out", out, "--resamples", 20, "--text", "<b>"]
    assert invoke("compare", made / "gpt2", made / "o200k", *words) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["compare.md", "figures", "index.html", "result.json"]
    assert "<b>" not in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["audit", "--on", "{corpus}"], 2, "either TOKENIZER... or --sweep, and not both"),
        (["audit", "{made}/gpt2", "--sweep", "--on", "{corpus}"], 2, "and not both"),
        (["audit", "{made}/gpt2"], 2, "give a corpus: --on FILE, or --table TABLE"),
        (["audit", "{made}/nowhere", "--on", "{corpus}"], 1, "nowhere"),
        (["audit", "{made}/gpt2", "--on", "{corpus}s"], 1, "does not exist"),
        (["audit", "{made}/gpt2", "--table", "{corpus}"], 1, "is not a whole table of pretokens"),
        (["audit", "{made}/gpt2", "--on", "{corpus}", "--base", "x"], 2, "unknown base tokenizer"),
        (["audit", "{made}/gpt2", "--on", "{corpus}", "--reference", "x"], 2, "unknown reference"),
        (["audit", "--sweep", "--on", "{corpus}", "--sizes", "9"], 2, "256 or more"),
        (["audit", "--sweep", "--on", "{corpus}", "--sizes", "x"], 2, "no list of whole numbers"),
        (["audit", "--sweep", "--on", "{corpus}", "--pretokenizers", "gtp2"], 2, "mean 'gpt2'"),
        (["compare", "{made}/gpt2", "{made}/nowhere"], 1, "nowhere"),
        (["compare", "{made}/gpt2"], 2, "Missing argument 'B'"),
    ],
)
def test_faults(made, corpus, tmp_path, capsys, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    filled = [word.format(made=made, corpus=corpus) for word in words]
    assert invoke(*filled) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(
    "where",
    [
        "tokkit.tokenizer.counting.count_shard",
        "tokkit.tokenizer.audit.record.count_all",
        "tokkit.report.outputs.render_report",
    ],
)
def test_an_interrupted_audit_leaves_nothing(made, corpus, tmp_path, capsys, monkeypatch, where):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    out = tmp_path / "out"
    assert invoke("audit", made / "gpt2", "--on", corpus, "--out", out, "--jobs", 1) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_first(made, corpus, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert invoke("audit", made / "gpt2", "--on", corpus, "--out", tmp_path / "out") == 1
    assert "it is a file; give the name of a folder" in capsys.readouterr().err


def test_names_tell_files_apart(made, tmp_path):
    for place in ("one/tokenizer.json", "two/tokenizer.json", "plain.json", "three/plain.json"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes((made / "gpt2" / "tokenizer.json").read_bytes())
    paths = [tmp_path / "one", tmp_path / "two" / "tokenizer.json"]
    paths += [tmp_path / "plain.json", tmp_path / "three" / "plain.json"]
    assert list(load_named(paths)) == ["one", "two", "plain", "plain-2"]


def test_the_same_seed_gives_the_same_record(made, corpus, tmp_path, capsys):
    found = []
    for _ in range(2):
        words = ["--on", corpus, "--out", tmp_path / "out", "--resamples", 30, "--json", "-q"]
        assert invoke("audit", made / "gpt2", made / "o200k", *words, "--seed", 5) == 0
        found.append(strict(capsys.readouterr().out))
    assert found[0]["tables"] == found[1]["tables"]
    assert np.isfinite(found[0]["tables"]["efficiency"]["rows"][0][6])
