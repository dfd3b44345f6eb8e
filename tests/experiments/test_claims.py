"""Where each of the fifteen claims stands by the results that there are: record, page, CLI."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tokkit.cli.demo_full import STEPS, Step, run_steps
from tokkit.cli.main import cli, run
from tokkit.errors import ArtifactError
from tokkit.experiments.catalogue import ENTRIES
from tokkit.experiments.claims import CLAIMS, find_results, gather, standing
from tokkit.report.page import render_report
from tokkit.results import Claim, Evidence, Result, write_result

IDS = [known.id for known in CLAIMS]


def a_claim(name: str, verdict: str = "supported") -> Claim:
    evidence = Evidence("a number", 0.5, "share", 0.4, 0.6, 11, "bootstrap", 0.01)
    return Claim(name, f"{name} <b>holds</b>", verdict, "the rule", (evidence,), (), ("a limit",))


def a_result(*claims: Claim, title: str = "A run") -> Result:
    return Result(
        kind="test.kind", title=title, settings={}, values={}, tables={}, claims=claims,
        provenance={"command": "tokkit test --out here", "git_commit": "0123456789abcdef"},
    )  # fmt: skip


def saved(folder: Path, *claims: Claim, **named: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return write_result(a_result(*claims, **named), folder)


def test_there_are_fifteen_and_each_says_how_it_is_judged():
    assert len(set(IDS)) == len(CLAIMS) == 15
    assert all(known.commands and known.statement.endswith(".") for known in CLAIMS)
    assert {claim for entry in ENTRIES for claim in entry.claims} <= set(IDS)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "no run"),
        (("supported",), "supported"),
        (("contradicted", "contradicted"), "contradicted"),
        (("supported", "contradicted", "inconclusive"), "mixed"),
        (("supported", "inconclusive"), "inconclusive"),
        (("inconclusive",), "inconclusive"),
    ],
)
def test_standing_over_several_results(tmp_path, verdicts, expected):
    for number, verdict in enumerate(verdicts):
        saved(tmp_path / str(number), a_claim("lookup", verdict))
    result = gather(find_results(tmp_path))
    rows = {row["id"]: row for row in result.tables["claims"].records()}
    assert rows["lookup"]["standing"] == expected
    assert rows["lookup"]["results"] == len(verdicts)
    assert standing([]) == rows["causal-mask"]["standing"] == "no run"
    assert result.values[expected.replace(" ", "_")] >= 1


def test_each_claim_stands_beside_where_it_is_from(tmp_path):
    saved(tmp_path / "b", a_claim("lookup"), a_claim("of my own"), title="Second")
    saved(tmp_path / "a" / "deep", a_claim("causal-mask"), a_claim("lookup"), title="First")
    result = gather(find_results(tmp_path))
    rows = result.tables["results"].records()
    assert [row["id"] for row in rows] == [claim.id for claim in result.claims]
    assert [(row["id"], row["title"]) for row in rows] == [
        ("lookup", "First"), ("lookup", "Second"), ("causal-mask", "First"),
        ("of my own", "Second"),
    ]  # fmt: skip
    assert rows[0]["command"] == "tokkit test --out here"
    assert rows[0]["commit"] == "0123456789"


def test_what_cannot_be_read_is_told_and_pages_of_claims_are_not_gathered(tmp_path):
    saved(tmp_path / "good", a_claim("lookup"))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text("{")
    first = gather(find_results(tmp_path))
    assert len(first.values["results_unread"]) == 1
    assert "bad" in first.values["results_unread"][0]
    write_result(first, tmp_path)
    again = gather(find_results(tmp_path))
    assert len(again.claims) == 1
    with pytest.raises(ArtifactError, match="no folder of runs"):
        find_results(tmp_path / "nowhere")


def test_the_page_holds_every_claim_and_escapes_them(tmp_path):
    saved(tmp_path, a_claim("lookup"), a_claim("ids-not-words", "contradicted"), a_claim("mine"))
    files = render_report([gather(find_results(tmp_path))])
    page = files["index.html"].decode()
    assert all(name in page for name in IDS)
    assert "<b>holds</b>" not in page
    assert "Of 15 claims: 1 supported, 1 contradicted and 13 without a run." in page
    assert "tokkit test --out here" in page
    assert "a limit" in page
    assert "Claims beside the fifteen" in page
    for known in CLAIMS:
        assert known.commands[0].split(" --out")[0] in page.replace("&#34;", '"')


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    none = CliRunner().invoke(cli, ["claims"])
    assert none.stdout.count("no run") == 15, "there is no reports/"
    saved(tmp_path / "reports" / "x", a_claim("lookup"))
    shown = CliRunner().invoke(cli, ["claims", "--out", "page"])
    assert "lookup                    supported" in shown.stdout
    assert (tmp_path / "page" / "index.html").exists()
    loud = CliRunner().invoke(cli, ["claims", "-v", "reports/x/result.json"])
    assert "supported: A run, reports/x" in loud.stdout
    record = json.loads(CliRunner().invoke(cli, ["claims", "--json", "reports"]).stdout)
    assert (record["values"]["supported"], record["values"]["no_run"]) == (1, 14)
    assert run(["claims", "nowhere"]) == 1
    assert "no folder of runs" in capsys.readouterr().err


def test_the_full_demo_runs_what_is_missing_and_tells_what_failed(tmp_path, capfd):
    steps = (
        Step("models", ("model", "info", "gpt2"), 0.1),
        Step("tiny-world", ("corpus", "check", str(tmp_path / "nothing")), 0.1),
        Step("done", ("no", "such", "command"), 0.1),
    )
    saved(tmp_path / "done", a_claim("lookup"))
    assert run_steps(tmp_path, steps) == ["tiny-world"]
    assert (tmp_path / "models" / "result.json").exists()
    told = capfd.readouterr()
    assert told.out == ""
    assert "done before" in told.err
    assert run_steps(tmp_path, tuple(replace(s, arguments=()) for s in steps[::2])) == []


def test_the_full_demo_judges_all_claims_that_need_no_other_package():
    commands = {words for step in STEPS for words in [" ".join(step.arguments[:2])]}
    for known in CLAIMS:
        if known.id != "one-skeleton":
            assert any(
                " ".join(command.split()[1:3]).replace("models/tiny-world", "{tiny}") in commands
                for command in known.commands
            ), known.id
