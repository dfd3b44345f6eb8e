import json

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
