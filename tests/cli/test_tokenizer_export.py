"""The command `tokkit tokenizer export`, on its own."""

import json

from click.testing import CliRunner

from tokkit.cli.tokenizer_export import export
from tokkit.tokenizer import assemble


def run(*arguments):
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


def test_export_names_what_it_wrote(tmp_path):
    tokenizer = assemble([(b"r", b"r")], pretokenizer="gpt2", special_tokens=["<e>"])
    tokenizer.save(tmp_path / "tokenizer.json")
    ranks = tmp_path / "out.tiktoken"
    result = run(tmp_path, "--format", "tiktoken", "--out", ranks)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [str(ranks), f"{ranks}.json"]
    result = run(ranks, "--format", "vocab-merges", "--out", tmp_path / "gpt2", "--json")
    record = json.loads(result.stdout)
    assert record["files"] == [str(tmp_path / "gpt2" / f) for f in ("vocab.json", "merges.txt")]
    assert record["vocab_size"] == 258
    assert len(record["tokenizer_sha256"]) == 64
    assert run(ranks, "--format", "tokenizer.json", "--out", tmp_path / "x.json", "-q").stdout == ""


def test_a_rank_file_without_a_pattern_asks_for_one(tmp_path):
    assemble([], pretokenizer="gpt2", special_tokens=[]).save(tmp_path / "tokenizer.json")
    ranks = tmp_path / "mine.tiktoken"
    run(tmp_path / "tokenizer.json", "--format", "tiktoken", "--out", ranks)
    (tmp_path / "mine.tiktoken.json").unlink()
    out = tmp_path / "t.json"
    failed = run(ranks, "--format", "tokenizer.json", "--out", out)
    assert failed.exit_code == 1
    assert "does not say how text is cut" in str(failed.exception)
    assert not out.exists()
    done = run(ranks, "--format", "tokenizer.json", "--out", out, "--pretokenizer", "cl100k")
    assert done.exit_code == 0
    assert out.exists()


def test_an_unknown_format_names_the_nearest():
    result = run("x", "--format", "titkoken", "--out", "y")
    assert result.exit_code == 2
    assert "did you mean 'tiktoken'" in result.stderr
