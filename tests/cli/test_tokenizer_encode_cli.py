"""`tokkit tokenizer encode` and `decode`, printed and in bulk."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tokkit.cli import tokenizer as group
from tokkit.cli.main import run
from tokkit.cli.tokenizer_encode import decode, encode
from tokkit.tokenizer import Pretokenizer, Tokenizer, assemble, train

TEXT = "strawberry straw raw berry how many r's <|end|> é\r\n" * 40


@pytest.fixture(autouse=True)
def commands(monkeypatch):
    monkeypatch.setitem(group.tokenizer.commands, "encode", encode)
    monkeypatch.setitem(group.tokenizer.commands, "decode", decode)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.fixture
def trained(tmp_path, corpus):
    path = tmp_path / "trained" / "tokenizer.json"
    train([TEXT], vocab_size=290, pretokenizer="gpt2").save(path)
    return path


def test_encode_to_a_file_and_back(tmp_path, trained, corpus, capsys):
    more = tmp_path / "more.jsonl"
    more.write_text('{"body": "raw"}\n{"body": "a <|end|>"}\n')
    out = tmp_path / "out" / "ids.npy"
    words = ["tokenizer", "encode", str(trained), str(corpus), str(more), "--out", str(out)]
    assert run([*words, "--text-field", "body", "--end", "<|end|>", "--jobs", "2"]) == 0
    printed = capsys.readouterr()
    documents = Tokenizer.load(trained).encode_batch([TEXT, "raw", "a <|end|>"])
    count = sum(map(len, documents)) + 3
    assert printed.out.startswith(
        f"{out}: {count} ids as uint16 from 3 documents, {len(TEXT.encode()) + 12:,} bytes, in "
    )
    assert "MB/s)" in printed.out
    assert "encoding: " in printed.err
    ids, offsets = np.load(out), np.load(out.with_name("ids.offsets.npy"))
    assert ids.tolist() == [token for document in documents for token in [*document, 0]]
    assert offsets.tolist() == np.cumsum([0, *(len(d) + 1 for d in documents)]).tolist()
    back = tmp_path / "back.txt"
    words = ["tokenizer", "decode", str(trained), "--file", str(out), "--out", str(back)]
    assert run(words) == 0
    assert capsys.readouterr().out == f"{back}: {back.stat().st_size:,} bytes\n"
    assert back.read_bytes() == f"{TEXT}<|end|>raw<|end|>a <|end|><|end|>".encode()
    assert run([*words, "--document", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(back), "bytes": 10}
    assert back.read_bytes() == b"raw<|end|>"


def test_the_record_as_json(tmp_path, trained, corpus, capsys):
    out = tmp_path / "ids.npy"
    words = ["tokenizer", "encode", str(trained), "--file", str(corpus), "--out", str(out)]
    options = ["--dropout", "0.2", "--stochastok", "0.1", "--seed", "9", "--allow-special"]
    assert run([*words, *options, "--json", "-q"]) == 0
    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert printed.err == ""
    assert record == json.loads((tmp_path / "ids.json").read_text())
    assert record["options"] == {
        "end": None,
        "allow_special": True,
        "dropout": 0.2,
        "stochastok": 0.1,
        "seed": 9,
        "text_field": "text",
        "errors": "strict",
    }
    assert record["merges_left_out"] > 0
    assert record["splits_made"] > 0
    assert Tokenizer.load(trained).decode_bytes(np.load(out).tolist()) == TEXT.encode()


def test_the_library_is_told(tmp_path, corpus, capsys):
    path = tmp_path / "own.json"
    assemble([], pretokenizer=Pretokenizer("own", "[a-z]+")).save(path)
    assert run(["tokenizer", "encode", str(path), str(corpus), "--out", "/dev/null"]) == 2
    out = tmp_path / "ids.npy"
    assert run(["tokenizer", "encode", str(path), str(corpus), "--out", str(out)]) == 0
    assert "MB/s, by the tokenizers library)" in capsys.readouterr().out


def test_ids_are_printed_without_out(trained, corpus, capsys):
    assert run(["tokenizer", "encode", str(trained), "raw <|end|>"]) == 0
    assert capsys.readouterr().out.split() == [
        str(token) for token in Tokenizer.load(trained).encode("raw <|end|>")
    ]
    assert run(["tokenizer", "encode", str(trained), "--file", str(corpus), "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert document["ids"] == Tokenizer.load(trained).encode(TEXT)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["encode", "T"], 2, "give either TEXT or --file FILE, and not both"),
        (["encode", "T", "a", "b"], 2, "give either TEXT or --file FILE, and not both"),
        (["encode", "T", "a", "--file", "b"], 2, "give either TEXT or --file FILE, and not both"),
        (["encode", "T", "a", "--dropout", "0.1"], 2, "--dropout goes with --out"),
        (["encode", "T", "a", "--end", "<|end|>"], 2, "--end goes with --out"),
        (["encode", "T", "--out", "ids.npy"], 2, "give the files to encode to --out"),
        (["encode", "T", "C", "--out", "ids.txt"], 2, "a name that ends in .npy, got 'ids.txt'"),
        (["encode", "T", "C", "--out", "O", "--dropout", "7"], 2, "from 0 to 1, got 7.0"),
        (["encode", "T", "C", "--out", "O", "--end", "<|edn|>"], 2, "did you mean '<|end|>'?"),
        (["encode", "T", "C", "--out", "O", "--errors", "ignor"], 2, "unknown errors 'ignor'"),
        (["encode", "T", "C", "--out", "O", "--jobs", "0"], 2, "0 is not in the range x>=1"),
        (["encode", "T", "missing.txt", "--out", "O"], 1, "missing.txt does not exist"),
        (["encode", "T", "C", "--out", "/proc/ids.npy"], 1, "cannot write /proc"),
        (["decode", "T"], 2, "give either IDS, or --file IDS.npy with --out FILE"),
        (["decode", "T", "1", "--file", "x.npy"], 2, "give either IDS, or --file IDS.npy"),
        (["decode", "T", "--file", "x.npy"], 2, "give either IDS, or --file IDS.npy with --out"),
        (["decode", "T", "1", "--document", "0"], 2, "--document goes with --file"),
        (["decode", "T", "--file", "x.npy", "--out", "O"], 1, "cannot read ids from x.npy"),
        (["decode", "T", "99999"], 1, "unknown token id 99999: ids of this tokenizer run from 0"),
    ],
)
def test_faults(tmp_path, trained, corpus, capsys, arguments, code, said):
    named = {"T": str(trained), "C": str(corpus), "O": str(tmp_path / "ids.npy")}
    before = sorted(tmp_path.rglob("*"))
    assert run(["tokenizer", *(named.get(word, word) for word in arguments)]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_leaves_nothing(tmp_path, trained):
    """A pipe that nobody ends: encoding waits for more text."""
    code = (
        "import sys; from tokkit.cli import tokenizer as group, main\n"
        "from tokkit.cli.tokenizer_encode import encode\n"
        "group.tokenizer.commands['encode'] = encode\n"
        "print('ready', file=sys.stderr, flush=True); sys.exit(main.run(sys.argv[1:]))"
    )
    out = tmp_path / "out" / "ids.npy"
    words = ["tokenizer", "encode", str(trained), "-", "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr.readline() == "ready\n"
    process.stdin.write(TEXT)
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not list(out.parent.glob(".tokkit-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "Traceback" not in process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert list(out.parent.iterdir()) == []


def test_help_loads_nothing_heavy():
    code = (
        "import sys, tokkit.cli.tokenizer_encode\n"
        "print([m for m in ('numba', 'torch', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_help(command, capsys):
    assert run(["tokenizer", command, "--help"]) == 0
    printed = capsys.readouterr().out
    assert f"Usage: tokkit tokenizer {command} [OPTIONS] TOKENIZER" in printed
    assert "--out" in printed
