import json
import subprocess
import sys

import pytest

from tokkit.cli.main import run
from tokkit.results import Claim, Column, Result, Table, write_result


@pytest.fixture
def finished(tmp_path):
    claim = Claim("c", "It holds.", "supported", "a rule", (), (), ())
    table = Table("Numbers", (Column("n", "n"),), ((7,),))
    result = Result("analysis.x", "A run", {"seed": 1}, {}, {"numbers": table}, (claim,), {})
    folder = tmp_path / "run"
    write_result(result, folder)
    return folder


def test_the_page_lands_in_the_run_folder_and_its_path_on_stdout(finished, capsys):
    assert run(["report", str(finished)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{finished}/report/index.html\n"
    assert err == ""
    assert (finished / "report" / "report.md").exists()


def test_a_result_file_will_do(finished, capsys):
    assert run(["report", str(finished / "result.json")]) == 0
    assert capsys.readouterr().out == f"{finished}/report/index.html\n"


def test_several_runs_go_to_reports(finished, capsys, monkeypatch):
    monkeypatch.chdir(finished.parent)
    assert run(["report", "run", "run"]) == 0
    assert capsys.readouterr().out == "reports/index.html\n"
    assert (finished.parent / "reports" / "index.html").read_text().count("<h1>") == 2


def test_json_is_one_object_on_stdout(finished, tmp_path, capsys):
    out = tmp_path / "page"
    assert run(["report", str(finished), "--out", str(out), "--json", "-v"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "page": f"{out}/index.html",
        "markdown": f"{out}/report.md",
        "figures": [],
    }
    assert "drawing to" in captured.err


def test_quiet_says_nothing_but_the_result(finished, capsys):
    assert run(["report", str(finished), "-q", "-v"]) == 0
    assert capsys.readouterr().err == ""


def test_usage_without_a_run(capsys):
    assert run(["report"]) == 2
    assert "Missing argument 'RUN...'" in capsys.readouterr().err


def test_help_names_the_options(capsys):
    assert run(["report", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("RUN...", "--out", "--json", "--quiet", "--verbose", "[default: RUN/report"):
        assert word in out


def refused(args, capsys):
    code = run(["report", *map(str, args)])
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    return code, err


def test_a_folder_without_result(tmp_path, capsys):
    code, err = refused([tmp_path], capsys)
    assert code == 1
    assert err == f"error: {tmp_path} holds no result.json: give the folder of a finished run\n"


def test_a_path_that_is_not_there(tmp_path, capsys):
    code, err = refused([tmp_path / "nowhere"], capsys)
    assert code == 1
    assert err == f"error: result {tmp_path}/nowhere does not exist: check the path\n"


def test_broken_json(tmp_path, capsys):
    (tmp_path / "result.json").write_text('{"schema": ')
    code, err = refused([tmp_path], capsys)
    assert code == 1
    assert "is not valid JSON" in err


def test_another_schema(tmp_path, capsys):
    (tmp_path / "result.json").write_text('{"schema": "tokkit/99"}')
    code, err = refused([tmp_path], capsys)
    assert code == 1
    assert "is not a result of schema 'tokkit/1'" in err


def test_a_place_that_cannot_be_written(finished, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, err = refused([finished, "--out", tmp_path / "file" / "page"], capsys)
    assert code == 1
    assert "cannot write" in err
    assert "--out" in err


def test_the_command_loads_no_heavy_package_before_it_needs_it():
    code = (
        "import sys, tokkit.cli.report; "
        "print(sorted({'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
