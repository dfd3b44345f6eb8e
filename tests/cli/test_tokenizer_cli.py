import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from tokkit.cli.main import cli, run
from tokkit.tokenizer import Tokenizer

TEXT = "strawberry straw raw berry how many r's <|end|> é\r\n" * 40


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def trained(tmp_path, corpus, capsys):
    out = tmp_path / "trained" / "tokenizer.json"
    assert run(["tokenizer", "train", str(corpus), "--out", str(out), "--vocab-size", "280"]) == 0
    capsys.readouterr()
    return out


def train(out, *files, size="280", **options):
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["tokenizer", "train", *map(str, files), "--out", str(out), "--vocab-size", size, *words]


def test_train_writes_tokenizer_and_record(tmp_path, corpus, capsys):
    out = tmp_path / "new" / "tokenizer.json"
    assert run(train(out, corpus)) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(
        f"{out}: 280 tokens from 1 documents, {len(TEXT.encode()):,} bytes"
    )
    assert "learning merges (" in printed.err
    record = json.loads((out.parent / "training.json").read_text())
    assert record["options"]["pretokenizer"] == "gpt2"
    assert record["documents"] == 1
    assert record["bytes"] == len(TEXT.encode())
    assert record["vocab_size"] == Tokenizer.load(out).vocab_size == 280
    assert record["tokenizer_sha256"] == Tokenizer.load(out).digest
    assert record["ran_out_of_pairs"] is False
    assert sorted(path.name for path in out.parent.iterdir()) == ["tokenizer.json", "training.json"]


def test_jsonl_gz_gives_the_same_tokenizer_and_digest_as_text(tmp_path, corpus, capsys):
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps({"body": TEXT}).encode()))
    records = []
    for out, arguments in (
        (tmp_path / "a.json", [corpus]),
        (tmp_path / "b.json", [packed, "--text-field", "body"]),
    ):
        assert run([*train(out, *arguments), "--json", "-q"]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        records.append(json.loads(printed.out))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.training.json").exists()
    assert records[0]["corpus_sha256"] == records[1]["corpus_sha256"]


def test_running_out_of_pairs_is_said(tmp_path, corpus, capsys):
    assert run(train(tmp_path / "t.json", corpus, size="5000")) == 0
    assert "of 5000 tokens: no pair stands 2 times or more" in capsys.readouterr().err
    assert json.loads((tmp_path / "t.training.json").read_text())["ran_out_of_pairs"] is True


def test_special_and_added_tokens(tmp_path, corpus, capsys):
    out = tmp_path / "t.json"
    extra = ["--special", "<s>", "--special", "</s>", "--added", "how many "]
    assert run([*train(out, corpus), *extra]) == 0
    tokenizer = Tokenizer.load(out)
    assert (tokenizer.special_ids, tokenizer.added_ids) == ({0, 1}, {2})
    assert tokenizer.token_bytes(2) == b"how many "


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["--vocab-size", "100"],
            2,
            "at least 257 tokens (256 bytes, 1 special, 0 added), got 100",
        ),
        (["--pretokenizer", "chrs"], 2, "unknown pretokenizer 'chrs': did you mean 'chars'?"),
        (["--vocab-siz", "300"], 2, "Did you mean '--vocab-size'"),
        (["--vocab-size", "many"], 2, "'many' is not a valid integer"),
        (["--special", "?"], 2, "'?' cannot be an added or special token"),
        (["--out", "/proc/t.json"], 1, "error: cannot write /proc"),
        (["--out", "/dev/full"], 1, "error: cannot write /dev/full: it is no regular file"),
    ],
)
def test_training_faults(tmp_path, corpus, capsys, arguments, code, said):
    assert run([*train(tmp_path / "t.json", corpus), *arguments]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("corpsu.txt", None, "does not exist: did you mean"),
        ("empty.txt", b"", "is empty: give a file that holds text"),
        ("bad.txt", b"abc\xff", "is not UTF-8: invalid start byte at byte 3 (0xff)"),
        ("bad.jsonl", b"[]\n", "line 1: a JSONL line must be an object"),
    ],
)
def test_input_faults_write_nothing(tmp_path, corpus, capsys, name, data, said):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    out = tmp_path / "new" / "t.json"
    assert run(train(out, corpus, path)) == 1
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert printed.out == ""
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, corpus, capsys, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run(train(tmp_path / "t.json", corpus)) == 1
    assert "no space left on device; choose another place with --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_encode_and_decode_are_exact(trained, corpus):
    runner = CliRunner()
    encoded = runner.invoke(cli, ["tokenizer", "encode", str(trained), "--file", str(corpus)])
    assert encoded.exit_code == 0
    ids = encoded.output.split()
    assert list(map(int, ids)) == Tokenizer.load(trained).encode(TEXT)
    decoded = runner.invoke(cli, ["tokenizer", "decode", str(trained.parent), *ids])
    assert decoded.stdout_bytes == TEXT.encode()


def test_encode_as_json_and_with_special(trained, capsys):
    assert run(["tokenizer", "encode", str(trained), "<|end|>", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert 0 not in document["ids"]
    assert document["tokens"] == len(document["ids"])
    assert run(["tokenizer", "encode", str(trained), "<|end|>", "--allow-special"]) == 0
    assert capsys.readouterr().out == "0\n"


def test_decode_as_json_keeps_bytes_that_are_no_text(trained, capsys):
    half = Tokenizer.load(trained).token_id(b"\xc3")
    assert run(["tokenizer", "decode", str(trained), str(half), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "\ufffd", "bytes": "c3"}


def test_show_is_a_plain_table_in_a_pipe(trained, capsys):
    assert run(["tokenizer", "show", str(trained), "berry \x1b[31mx", "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert "".join(token["text"] for token in described["tokens"]) == "berry \x1b[31mx"
    assert run(["tokenizer", "show", str(trained), "berry \x1b[31mx"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["position", "id", "text", "bytes", "letters"]
    assert [int(row[0]) for row in rows[1:]] == list(range(len(described["tokens"])))
    assert "\x1b" not in str(rows)
    first = described["tokens"][0]
    assert rows[1][3] == bytes.fromhex(first["bytes"]).hex(" ")
    assert rows[1][4] == " ".join(f"{name}:{n}" for name, n in first["letters"].items())
    assert sum(token["letters"].get("r", 0) for token in described["tokens"]) == 2


def test_show_on_a_terminal_is_coloured_and_escaped(trained):
    """A real pseudo-terminal: chips, a table, and no control character of the text."""
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "tokkit", "tokenizer", "show", str(trained), "raw[b]\x07"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=child, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(child)
        shown = b""
        try:
            while block := os.read(parent, 65536):
                shown += block
        except OSError:
            pass
        assert process.wait() == 0
    os.close(parent)
    assert b"\x1b[" in shown
    assert b"\x07" not in shown
    assert b"\\x07" in shown
    assert b"[b]" in shown or (b"[" in shown and b"]" in shown)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["decode", "T", "99999"],
            1,
            "unknown token id 99999: ids of this tokenizer run from 0 to 279",
        ),
        (["decode", "T", "x"], 2, "'x' is not a valid integer"),
        (["encode", "T"], 2, "give either TEXT or --file FILE, and not both"),
        (["encode", "T", "a", "--file", "b"], 2, "give either TEXT or --file FILE, and not both"),
        (["encode", "nowhere", "a"], 1, "error: tokenizer nowhere does not exist"),
        (["encode", "T", "a\udcff"], 1, "is half of a surrogate pair"),
        (["shw", "T", "a"], 2, "Did you mean 'show'"),
    ],
)
def test_faults_of_the_other_commands(trained, capsys, arguments, code, said):
    words = [str(trained) if word == "T" else word for word in arguments]
    assert run(["tokenizer", *words]) == code
    assert said in capsys.readouterr().err


def test_a_truncated_tokenizer_is_one_line_on_stderr(trained, capsys):
    trained.write_text(trained.read_text()[:500])
    assert run(["tokenizer", "encode", str(trained), "a"]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "is not valid JSON" in printed


def interrupted(command, wait_for):
    """Start a command, interrupt it once stderr says `wait_for`; its exit code and seconds."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if wait_for in line:
            break
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    return process.wait(timeout=20), time.monotonic() - started, said


@pytest.mark.parametrize("stage", ["reading text", "learning merges"])
def test_ctrl_c_ends_at_once_and_leaves_nothing(tmp_path, stage):
    source = tmp_path / "in" / "corpus.txt"
    source.parent.mkdir()
    out = tmp_path / "out" / "tokenizer.json"
    writer = None
    if stage == "reading text":
        # A pipe that nobody ends: training waits for more text.
        os.mkfifo(source)
        writer = os.open(source, os.O_RDWR)
        os.write(writer, b"some text\n")
    else:
        from pydoc_data.topics import topics

        source.write_text("".join(topics[name] for name in sorted(topics)) * 4)
    command = [
        sys.executable,
        "-m",
        "tokkit",
        *train(out, source, size="9000", pretokenizer="none"),
    ]
    code, seconds, said = interrupted(command, stage)
    if writer is not None:
        os.close(writer)
    assert code == 130
    assert seconds < 5
    assert "interrupted" in said
    assert "Traceback" not in said
    assert list(out.parent.glob("*")) == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys, tokkit.cli.tokenizer, tokkit.cli.corpus\n"
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [[], ["train"], ["encode"], ["decode"], ["show"]])
def test_help(words, capsys):
    assert run(["tokenizer", *words, "--help"]) == 0
    assert "Usage: tokkit tokenizer" in capsys.readouterr().out
