"""`tokkit tokenizer train` and `count`, from options and odd inputs to exit codes and files."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tokkit.cli.main import run
from tokkit.tokenizer import Tokenizer, merges_of, train
from tokkit.tokenizer.table import PretokenTable

LINE = "strawberry straw raw berry how many r's <|end|> é\r\n"
TEXT = LINE * 40


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """Each test in a folder of its own with a corpus, a table of it, and names without a path."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_bytes(TEXT.encode())


@pytest.fixture
def table():
    assert run(["tokenizer", "count", "corpus.txt", "--out", "table.npz", "-q"]) == 0
    return Path("table.npz")


def words(command, *arguments):
    return ["tokenizer", command, *arguments]


def training(*arguments, out="t.json", size="280"):
    return words("train", *arguments, "--out", out, "--vocab-size", size)


def files():
    return sorted(path.name for path in Path().iterdir() if path.name != "corpus.txt")


def strict_json(text):
    """Parse one object, with names that differ and numbers that are numbers."""

    def unique(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def expected(texts, size=280, **options):
    return train(texts, vocab_size=size, pretokenizer=options.pop("cut", "gpt2"), **options).digest


def test_a_table_takes_the_place_of_the_text(table, capsys):
    assert run(training("--table", "table.npz", "-q")) == 0
    assert capsys.readouterr().out == ""
    assert Tokenizer.load("t.json").digest == expected([TEXT])
    assert files() == ["t.json", "t.training.json", "table.npz"]


def test_a_table_given_twice_counts_twice(table):
    assert run(training("--table", "table.npz", "--table", "table.npz", "-q")) == 0
    record = json.loads(Path("t.training.json").read_text())
    assert record["bytes"] == 2 * len(TEXT.encode())
    assert record["corpus_sha256"].count("+") == 1
    assert Tokenizer.load("t.json").digest == expected([TEXT, TEXT])


def test_counted_tables_add_up(table, capsys):
    assert run(words("count", "corpus.txt", "--add", "table.npz", "--out", "sum.npz", "-q")) == 0
    assert run(words("count", "--add", "sum.npz", "--add", "table.npz", "--out", "s3.npz")) == 0
    assert "s3.npz: " in capsys.readouterr().out
    one, three = PretokenTable.load("table.npz"), PretokenTable.load("s3.npz")
    assert three.totals.tolist() == (3 * one.totals).tolist()
    assert three.origin.documents == 3


def test_count_as_json(capsys):
    assert run(words("count", "corpus.txt", "--out", "a.npz", "--json", "-q")) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    described = strict_json(printed.out)
    loaded = PretokenTable.load("a.npz")
    assert described == {
        "path": "a.npz",
        "unit": "atoms",
        "distinct": len(loaded),
        "blocks": len(loaded.blocks),
        "groups": [""],
        "documents": 1,
        "bytes": len(TEXT.encode()),
        "replaced": 0,
        "skipped": 0,
        "corpus_sha256": list(loaded.origin.corpus_sha256),
    }


def test_train_as_json_is_one_object_without_the_trace(capsys):
    assert run([*training("corpus.txt", "--sizes", "270,260"), "--json", "--verify"]) == 0
    record = strict_json(capsys.readouterr().out)
    assert record["sizes"] == {"t-270.json": 270, "t-260.json": 260}
    assert record["verification"]["reason"] is None
    written = json.loads(Path("t.training.json").read_text())
    assert len(written.pop("trace")["left"]) == 280 - 257
    assert record == written


def test_smaller_sizes_are_told_with_what_they_came_to(capsys):
    assert run([*training("corpus.txt", "--sizes", "258,4000", size="5000")]) == 0
    reached = Tokenizer.load("t.json").vocab_size
    assert reached < 4000
    said = capsys.readouterr().out
    assert "t-258.json: 258 tokens" in said
    assert f"t-4000.json: {reached:,} tokens" in said


def test_text_from_stdin(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(TEXT.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run(training("-", "-q")) == 0
    assert Tokenizer.load("t.json").digest == expected([TEXT])


def test_packed_text(capsys):
    zstandard = pytest.importorskip("zstandard")
    Path("c.txt.zst").write_bytes(zstandard.compress(TEXT.encode()))
    assert run(training("c.txt.zst", "-q")) == 0
    assert Tokenizer.load("t.json").digest == expected([TEXT])
    Path("cut.txt.zst").write_bytes(zstandard.compress(TEXT.encode())[:40])
    assert run(training("cut.txt.zst", "-q", out="u.json")) == 1
    assert "error: cut.txt.zst" in capsys.readouterr().err
    assert "u.json" not in files()


def test_a_pattern_of_ones_own_is_slower_and_says_so(capsys):
    assert run(training("corpus.txt", "--pattern", r"\w+|\W", "--special", "<s>")) == 0
    assert "cut through tokenizers, some 30 times slower" in capsys.readouterr().err
    written = json.loads(Path("t.training.json").read_text())["options"]
    assert (written["pretokenizer"], written["pattern"]) == ("custom", [r"\w+|\W"])
    joined = {left + right for left, right in merges_of(Tokenizer.load("t.json"))}
    assert b"straw" in joined
    assert not [token for token in joined if b" " in token]


def test_a_veto_and_why_it_is_not_verified(capsys):
    assert run(training("corpus.txt", "--veto", "^ |aw", "--verify")) == 0
    assert "not verified: merges are restricted" in capsys.readouterr().out
    joined = [left + right for left, right in merges_of(Tokenizer.load("t.json"))]
    assert joined
    assert not [token for token in joined if token.startswith(b" ") or b"aw" in token]


def test_verification_is_told(capsys):
    assert run(training("corpus.txt", "--verify")) == 0
    assert "verified: " in capsys.readouterr().out
    assert json.loads(Path("t.training.json").read_text())["verification"]["checked_steps"]


def test_extending_goes_on_from_a_tokenizer():
    assert run(training("corpus.txt", "-q", out="base.json", size="265")) == 0
    assert run(training("corpus.txt", "-q", "--extend", "base.json")) == 0
    assert Tokenizer.load("t.json").digest == expected([TEXT])


def test_weights_by_group(capsys):
    records = [{"text": "zyx " * 9, "lang": "xx"}, {"text": TEXT, "lang": "en"}]
    Path("c.jsonl").write_text("\n".join(map(json.dumps, records)))
    weighed = ["c.jsonl", "--group-field", "lang", "-q", "--weight"]
    assert run(training(*weighed, "xx=0")) == 0
    assert Tokenizer.load("t.json").digest == expected([TEXT])
    assert run(training(*weighed, "fr=1", out="u.json")) == 2
    assert "unknown group 'fr'" in capsys.readouterr().err
    assert run(training(*weighed, "xx=0", "--weight", "en=0", out="z.json")) == 0
    assert Tokenizer.load("z.json").vocab_size == 257


@pytest.mark.parametrize("model", ["unigram", "wordpiece"])
def test_other_models(capsys, model):
    assert run(training("corpus.txt", "--model", model, "--json")) == 0
    printed = capsys.readouterr()
    assert strict_json(printed.out)["model"] == model
    assert f"training {model} through tokenizers" in printed.err
    assert json.loads(Path("t.json").read_text())["model"]["type"].lower() == model


@pytest.mark.parametrize(
    "option",
    [
        ["--sizes", "260"],
        ["--veto", "a"],
        ["--extend", "x.json"],
        ["--weight", "a=1"],
        ["--min-gain", "0.1"],
        ["--min-frequency", "3"],
        ["--added", "berry"],
        ["--verify"],
        ["--save-table", "a.npz"],
        ["--limit-alphabet", "9"],
        ["--errors", "skip"],
        ["--group-by-folder"],
    ],
    ids=lambda option: option[0],
)
def test_options_that_another_model_would_ignore_are_refused(capsys, option):
    assert run(training("corpus.txt", "--model", "wordpiece", *option)) == 2
    assert f"error: {option[0]} is for --model bpe, not for wordpiece" in capsys.readouterr().err
    assert files() == []


BAD = b"\x1b[31m".decode()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train"], 2, "give either FILE... or --table TABLE, and not both"),
        (["train", "corpus.txt", "--table", "table.npz"], 2, "and not both"),
        (["train", "--table", "corpus.txt"], 1, "error: corpus.txt is not a whole table of"),
        (["train", "--table", "none.npz"], 1, "error: table none.npz does not exist"),
        (["train", "--table", "table.npz", "--special", "<s>"], 2, "'<s>' was not; count again"),
        (["train", "--table", "table.npz", "--pretokenizer", "none"], 2, "cannot be cut as 'none'"),
        (["train", "--table", "table.npz", "--model", "unigram"], 2, "trained on text, not on a"),
        (["train", "corpus.txt", "--vocab-size", "1" + "0" * 12], 2, "2,147,483,647 tokens at"),
        (["train", "corpus.txt", "--vocab-size", "1" + "0" * 30], 2, "2,147,483,647 tokens at"),
        (["train", "corpus.txt", "--vocab-size", "-5"], 2, "at least 257 tokens"),
        (["train", "corpus.txt", "--min-frequency", "0"], 2, "'--min-frequency': 0 is not in"),
        (["train", "corpus.txt", "--sizes", "a,b"], 2, "no list of whole numbers such as"),
        (["train", "corpus.txt", "--sizes", "281"], 2, "may not be larger, got 281"),
        (["train", "corpus.txt", "--sizes", "9" * 5000], 2, "no list of whole numbers"),
        (["train", "corpus.txt", "--weight", "en"], 2, "not of the form GROUP=NUMBER"),
        (["train", "corpus.txt", "--weight", "en=1"], 2, "the text has no groups to weigh"),
        (["train", "corpus.txt", "--weight", "=nan"], 2, "is 0 to 1e9, got nan"),
        (["train", "corpus.txt", "--weight", "=-1"], 2, "is 0 to 1e9, got -1"),
        (["train", "corpus.txt", "--min-gain", "nan"], 2, "from 0 to below 1, got nan"),
        (["train", "corpus.txt", "--min-gain", "1"], 2, "from 0 to below 1, got 1.0"),
        (["train", "corpus.txt", "--veto", "("], 2, "a veto is a regular expression over bytes"),
        (["train", "corpus.txt", "--veto", "\udcff"], 2, "a veto is a regular expression over"),
        (["train", "corpus.txt", "--special", "\udcff"], 2, "must be Unicode text, got"),
        (["train", "corpus.txt", "--added", ""], 2, "must hold text, got an empty one"),
        (["train", "corpus.txt", "--added", "<|end|>"], 2, "must differ, got '<|end|>' twice"),
        (["train", "corpus.txt", "--pattern", "("], 2, "an Oniguruma regular expression, got '('"),
        (["train", "corpus.txt", "--extend", "corpus.txt"], 1, "corpus.txt is not valid JSON"),
        (["train", "corpus.txt", "--extend", "none.json"], 1, "none.json does not exist"),
        (["train", "corpus.txt", "--save-table", "t.json"], 2, "may not take the tokenizer's pl"),
        (["train", "corpus.txt", "--save-table", "/proc/a.npz"], 1, "cannot write /proc"),
        (["train", "corpus.txt", "--checkpoint", "t.json"], 2, "the checkpoint may not take the"),
        (["train", "--table", "table.npz", "--errors", "skip"], 2, "is for reading text, not for"),
        (["train", "--table", "table.npz", "--group-field", "a"], 2, "is for reading text, not"),
        (["train", "corpus.txt", "--checkpoint", "table.npz"], 1, "table.npz is not whole"),
        (["count", "--add", "table.npz", "--pretokenizer", "gpt2"], 2, "no FILE was given"),
        (["train", "corpus.txt", "--jobs", "0"], 2, "'--jobs': 0 is not in the range"),
        (["train", "corpus.txt", "--model", "unigrm"], 2, "did you mean 'unigram'"),
        (["train", "corpus.txt", "--group-field", "l", "--group-by-folder"], 2, "from one place"),
        (["train", f"no{BAD}.txt"], 1, "no\\x1b[31m.txt"),
        (["count"], 2, "give FILE... to count, or --add TABLE, or both"),
        (["count", "--add", "corpus.txt"], 1, "corpus.txt is not a whole table"),
        (
            ["count", "corpus.txt", "--add", "table.npz", "--special", "<s>"],
            2,
            "same texts cut out",
        ),
        (["count", "corpus.txt", "--add", "table.npz", "--pretokenizer", "gpt2"], 2, "one unit"),
        (["count", "corpus.txt", "--special", "\udcff"], 2, "a text to remove must be Unicode"),
        (["count", "corpus.txt", "--pretokenizer", "atms"], 2, "did you mean 'atoms'"),
        (["count", "none.txt"], 1, "none.txt does not exist"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_faults_are_one_line_with_their_exit_code_and_leave_nothing(
    table, capsys, arguments, code, said
):
    command, *rest = arguments
    size = ["--vocab-size", "280"] if command == "train" else []
    out = {"train": "t.json", "count": "t.npz"}[command]
    capsys.readouterr()
    assert run(words(command, "--out", out, *size, *rest)) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert "\x1b" not in printed.err
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert files() == ["table.npz"]


def test_a_table_of_empty_documents_trains_to_the_bytes(capsys):
    Path("empty.jsonl").write_text('{"text": ""}\n' * 3)
    assert run(words("count", "empty.jsonl", "--out", "e.npz")) == 0
    assert "0 distinct atoms of 0 bytes" in capsys.readouterr().out
    assert run(training("--table", "e.npz", "--verify")) == 0
    assert Tokenizer.load("t.json").vocab_size == 257


def test_a_long_line_without_a_space_is_learned_from(capsys):
    """A pretoken of 256 kB, longer than a part of text: letters by chance, over and over."""
    unit = "".join(random.Random(1).choices("acgt", k=1024))
    Path("long.txt").write_text(unit * 257)
    assert run(training("long.txt", "--verify", "--json", size="400")) == 0
    record = strict_json(capsys.readouterr().out)
    assert (record["distinct_pretokens"], record["pretokens"]) == (1, 1)
    assert record["vocab_size"] == 400
    assert record["verification"]["sampled_merges"] == 0


@pytest.mark.parametrize("command", ["train", "count"])
def test_a_full_disk_leaves_nothing(monkeypatch, capsys, command):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    arguments = (
        training("corpus.txt", "--save-table", "kept.npz")
        if command == "train"
        else words("count", "corpus.txt", "--out", "a.npz")
    )
    assert run(arguments) == 1
    assert "no space left on device; choose another place" in capsys.readouterr().err
    assert files() == []


def started(arguments):
    """The command in a process of its own that can be interrupted."""
    return subprocess.Popen(
        [sys.executable, "-m", "tokkit", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(process, said):
    for line in process.stderr:
        if said in line:
            return
    pytest.fail(f"the command ended without saying {said!r}")


def waiting_count():
    """`count` on a pipe that nobody ends, once it reads."""
    os.mkfifo("pipe.txt")
    writer = os.open("pipe.txt", os.O_RDWR)
    os.write(writer, LINE.encode())
    process = started(words("count", "corpus.txt", "pipe.txt", "--out", "a.npz", "--jobs", "2"))
    wait_for(process, "reading text")
    return process, writer


def busy_training():
    """`train` in the midst of learning very many merges from one pretoken of random text."""
    letters = random.Random(2).choices("abcdefghijklmnop", k=1_500_000)
    Path("random.txt").write_text("".join(letters))
    process = started(
        training("random.txt", "--checkpoint", "state.npz", "--pretokenizer", "none", size="200000")
    )
    wait_for(process, "learning merges")
    return process


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_count_that_is_ended_leaves_no_table(ending):
    process, writer = waiting_count()
    time.sleep(0.2)
    process.send_signal(ending)
    _, said = process.communicate(timeout=20)
    os.close(writer)
    assert process.returncode == (130 if ending == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    assert files() == ["pipe.txt"]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_training_that_is_ended_leaves_no_tokenizer(ending):
    process = busy_training()
    process.send_signal(ending)
    _, said = process.communicate(timeout=20)
    assert process.returncode == (130 if ending == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in said
    kept = ["state.npz"] if ending == signal.SIGINT else []
    assert files() == ["random.txt", *kept]


@pytest.mark.parametrize("command", ["train", "count"])
def test_help_names_the_options(capsys, command):
    assert run(words(command, "--help")) == 0
    said = capsys.readouterr().out
    assert f"Usage: tokkit tokenizer {command} [OPTIONS] [FILE...]" in said
    for option in ("--out", "--special", "--errors", "--group-field", "--jobs", "--json"):
        assert option in said
