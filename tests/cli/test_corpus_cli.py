import json
import subprocess
import sys

import pytest

from tokkit.cli.main import run


def test_words_are_made_with_a_record(tmp_path, capsys):
    out = tmp_path / "words.tsv"
    assert run(["corpus", "make", "words", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: 82,834 documents, ")
    assert printed.err == ""
    assert json.loads((tmp_path / "words.tsv.record.json").read_text())["documents"] == 82_834
    assert out.read_text().startswith("the\t")


def test_json_is_one_object_alone(tmp_path, capsys):
    out = tmp_path / "words.txt"
    assert run(["corpus", "make", "words", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["source"] == "words"
    assert len(record["file_sha256"]) == 64


def test_a_world_is_made_in_a_folder(tmp_path, capsys):
    out = tmp_path / "world"
    arguments = ["corpus", "make", "world", "--out", str(out), "--megabytes", "1", "--seed", "7"]
    assert run([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["source"], record["seed"], record["megabytes"]) == ("world", 7, 1.0)
    assert abs(record["bytes"] - 1e6) < 1e4
    assert sorted(path.name for path in out.iterdir()) == [
        "record.json",
        "truth.json",
        "world.jsonl",
    ]
    assert json.loads((out / "record.json").read_text()) == record
    first = json.loads((out / "world.jsonl").read_text().splitlines()[0])
    assert first["origin"] == "world:0"
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{out}: {record['documents']:,} documents, ")


def test_a_world_of_wrong_settings(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    world = ["corpus", "make", "world", "--out"]
    for arguments, code, said in (
        ([*world, str(tmp_path / "w"), "--megabytes", "0"], 2, "from 1 to 20 megabytes, got 0"),
        ([*world, str(tmp_path / "w"), "--seed", "-1"], 2, "from 0 to 2147483647, got -1"),
        ([*world, str(tmp_path / "w"), "--seed", "x"], 2, "'--seed'"),
        ([*world, str(tmp_path / "file")], 1, "it is a file; give the name of a folder"),
        (
            ["corpus", "make", "words", "--out", str(tmp_path / "a.tsv"), "--seed", "1"],
            2,
            "--seed goes with the source world alone, which is generated; 'words' is as it is",
        ),
        (
            ["corpus", "make", "code", "--out", str(tmp_path / "a.txt"), "--megabytes", "2"],
            2,
            "--megabytes goes with the source world alone",
        ),
    ):
        assert run(arguments) == code
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_wrong_usage(tmp_path, capsys):
    out = str(tmp_path / "a.tsv")
    for arguments, said in (
        (["corpus", "make", "wrds", "--out", out], "unknown source 'wrds': did you mean 'words'?"),
        (["corpus", "make", "words"], "Missing option '--out'"),
        (["corpus", "make", "words", "--outt", out], "'--out'"),
        (["corpus", "mak"], "Did you mean 'make'"),
        (["corpus", "make", "words", "--out", "a.md"], "is written as .tsv or .txt, got 'a.md'"),
    ):
        assert run(arguments) == 2
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(capsys):
    assert run(["corpus", "make", "words", "--out", "/proc/words.tsv"]) == 1
    assert "error: cannot write /proc/words.tsv" in capsys.readouterr().err


def test_check_of_a_clean_corpus(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("the cat, the hat\nthe 3 cats\n")
    assert run(["corpus", "check", str(path), "--strict"]) == 0
    printed = capsys.readouterr()
    rows = dict(line.split("\t") for line in printed.out.splitlines()[:-1])
    assert rows["files"] == "1, 28 bytes stored"
    assert rows["text"] == "28 bytes, 28 characters, 2 lines"
    assert rows["longest line"] == f"16 bytes ({path}, line 1 of the document)"
    assert rows["longest pretoken"] == "5 bytes, starts with ' cats'"
    assert rows["distinct pretokens"] == "8"
    assert printed.out.splitlines()[-1] == "no findings"
    assert printed.err == ""


@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_check_tells_what_would_stop_a_training(tmp_path, capsys, strict, code):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine \xff\x1b[31m<|end|>\n")
    assert run(["corpus", "check", str(path), *strict]) == code
    printed = capsys.readouterr().out
    assert "stops training: 1 × invalid UTF-8 or half surrogate pairs: repair them" in printed
    assert f"  {path}, line 1, byte 5: invalid start byte (0xff)" in printed
    assert "note: 1 × texts that spell a special token" in printed
    assert "\x1b" not in printed


def test_check_as_json_is_one_object(tmp_path, capsys):
    (tmp_path / "de").mkdir()
    (tmp_path / "de" / "a.txt").write_text("x")
    (tmp_path / "b.jsonl").write_text('{"body": "y\\ud800"}\n3\n')
    arguments = ["--text-field", "body", "--group-by-folder", "--special", "y", "--json"]
    assert run(["corpus", "check", str(tmp_path), *arguments]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["files"], record["documents"], record["bytes"]) == (2, 2, 5)
    assert record["groups"] == {
        tmp_path.name: {"documents": 1, "bytes": 4},
        "de": {"documents": 1, "bytes": 1},
    }
    assert record["special_tokens"] == {"y": 1}
    assert record["stops_training"] is True
    assert [finding["count"] for finding in record["findings"]] == [1, 1, 1]


def test_check_shows_the_largest_groups_and_no_escape_from_their_names(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    lines = [{"text": "x" * (40 - n), "lang": f"\x1b]{n}\x07"} for n in range(23)]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert run(["corpus", "check", str(path), "--group-field", "lang"]) == 0
    printed = capsys.readouterr().out
    assert "group \\x1b]0\\x07\t1 documents, 40 bytes" in printed
    assert "group \\x1b]20" not in printed
    assert "more groups\t3; see --verbose" in printed
    assert "\x1b" not in printed
    assert run(["corpus", "check", str(path), "--group-field", "lang", "--verbose"]) == 0
    assert "group \\x1b]22\\x07\t" in capsys.readouterr().out


def test_check_on_a_terminal_is_a_table(tmp_path, capsys, monkeypatch):
    path = tmp_path / "[red]a.txt"
    path.write_text("one [bold]two")
    monkeypatch.setattr("tokkit.cli.corpus.is_terminal", lambda: True)
    assert run(["corpus", "check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "13 bytes, 13 characters, 1 lines" in printed
    assert "[red]a.txt" in "".join(printed.split())


def test_check_of_wrong_usage(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("x")
    for arguments, code, said in (
        ([], 2, "Missing argument 'FILE...'"),
        ([str(path), "--pretokenizer", "gpt3"], 2, "did you mean 'gpt2'?"),
        ([str(path), "--vocab-size", "3"], 2, "'--vocab-size'"),
        ([str(tmp_path / "b.txt")], 1, f"b.txt does not exist: did you mean {path}?"),
        ([str(path), "--group-field", "x", "--group-by-folder"], 2, "groups come from one place"),
    ):
        assert run(["corpus", "check", *arguments]) == code
        printed = capsys.readouterr()
        assert said in printed.err
        assert printed.out == ""


def test_check_reads_a_url_and_a_glob(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("xy")
    assert run(["corpus", "check", f"file://{tmp_path}/a.txt", f"{tmp_path}/*.txt"]) == 0
    assert "text\t4 bytes, 4 characters, 2 lines" in capsys.readouterr().out


def test_help_loads_no_compiler():
    code = (
        "import sys, tokkit.cli.corpus; print([m for m in ('numba', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
