"""The commands `tokkit model import` and `export`, there and back."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tokkit.cli.main import run
from tokkit.errors import ConfigError
from tokkit.model.checkpoint import load_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.families import export_hf
from tokkit.model.transformer import Transformer
from tokkit.probes.conversion import card, shard_bytes
from tokkit.results import read_result
from tokkit.tokenizer import train

TEXTS = ["straw berry strawberry how many r's in it " * 3] * 5
TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}"
END = "<|end|>"
CARD = '---\nlanguage: en\nlicense: "apache-2.0"\nmodel_name: Berry\n---\n# Berry\nlicense: no\n'


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A Hugging Face folder: a small Llama with a tokenizer, a template and a card."""
    folder = tmp_path_factory.mktemp("hf") / "berry"
    tokenizer = train(TEXTS, vocab_size=280, pretokenizer="gpt2", special_tokens=[END])
    config = ModelConfig(
        vocab_size=283, width=30, layers=2, query_heads=3, key_value_heads=1, hidden_width=17,
        context=13, norm_epsilon=1e-5,
    )  # fmt: skip
    model = Transformer(config, seed=3)
    settings = {"chat_template": TEMPLATE, "eos_token": END, "tokenizer_class": "X"}
    files = {"tokenizer.json": tokenizer.to_json(), "README.md": CARD}
    export_hf(model, folder, family="llama", files=files)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def ids_of():
    return torch.randint(283, (3, 11), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def reference(source, tmp_path_factory):
    """Logits as transformers computes them."""
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        logits = model(ids_of()).logits
    save_file({"ids": ids_of(), "logits": logits.contiguous()}, path)
    return path


def call(capsys, *arguments):
    code = run(["model", *(str(argument) for argument in arguments)])
    return code, *capsys.readouterr()


def test_import_keeps_all_that_came_along(source, tmp_path, capsys):
    out = tmp_path / "out"
    code, output, error = call(capsys, "import", source, "--out", out)
    assert code == 0
    assert output == f"{out}\n"
    assert "licence apache-2.0" in error
    checkpoint = load_checkpoint(out)
    about = checkpoint.about
    assert about["name"] == "Berry"
    assert about["licence"] == "apache-2.0"
    assert about["chat_template"] == TEMPLATE
    assert about["special_tokens"]["eos_token"] == END
    assert set(about["sha256"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    theirs = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(checkpoint.model.embedding, theirs)
    assert json.loads(checkpoint.tokenizer_path.read_text()) == json.loads(
        (source / "tokenizer.json").read_text()
    )


def test_import_export_and_back_through_transformers(source, tmp_path, capsys):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    assert call(capsys, "import", source, "--out", ours)[0] == 0
    code, output, _ = call(
        capsys, "export", ours, "--out", theirs, "--max-shard-size", "20KB", "--family", "mistral"
    )
    assert (code, output) == (0, f"{theirs}\n")
    assert len(list(theirs.glob("model-*.safetensors"))) > 1
    model = transformers.AutoModelForCausalLM.from_pretrained(theirs, dtype=torch.float32)
    assert isinstance(model, transformers.MistralForCausalLM)
    with torch.no_grad():
        expected = load_checkpoint(ours).model(ids_of())
        found = model(ids_of()).logits
    assert (found - expected).abs().max() <= 1e-4 * expected.std()
    tokenizer = transformers.AutoTokenizer.from_pretrained(theirs)
    text = "how many strawberries"
    own = transformers.AutoTokenizer.from_pretrained(source)
    assert tokenizer(text)["input_ids"] == own(text)["input_ids"]
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.eos_token == END
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids(END)


def test_the_reference_is_given(source, reference, tmp_path, capsys):
    out, report = tmp_path / "out", tmp_path / "report"
    code, _, error = call(
        capsys, "import", source, "--out", out, "--check", reference, "--report", report
    )
    assert code == 0
    assert "the reference's logits: largest difference" in error
    (claim,) = read_result(report).claims
    assert (claim.id, claim.verdict) == ("one-skeleton", "supported")
    assert claim.evidence[0].value < 1e-5
    assert (report / "index.html").is_file()


def test_another_reference_is_told_apart(source, reference, tmp_path, capsys):
    held = load_file(reference)
    held["logits"][0, 0, 0] += 0.01
    other = tmp_path / "other.safetensors"
    save_file(held, other)
    out = tmp_path / "out"
    code, _, error = call(capsys, "import", source, "--out", out, "--check", other)
    assert code == 1
    assert "does not give the logits" in error
    assert not out.exists()


@pytest.mark.parametrize("spoil", ["names", "shape", "type"])
def test_a_file_that_is_no_reference(source, reference, tmp_path, capsys, spoil):
    held = load_file(reference)
    if spoil == "names":
        held = {"x": held["ids"]}
    elif spoil == "shape":
        held["logits"] = held["logits"][:, :, 1:].contiguous()
    else:
        held["ids"] = held["ids"].float()
    other = tmp_path / "other.safetensors"
    save_file(held, other)
    code, _, error = call(capsys, "import", source, "--out", tmp_path / "o", "--check", other)
    assert code == 1
    assert ("lacks ids" if spoil == "names" else "must hold ids") in error


def test_a_tokenizer_larger_than_the_embedding(source, tmp_path, capsys):
    folder = tmp_path / "berry"
    config = ModelConfig(vocab_size=270, width=30, layers=1, query_heads=3, hidden_width=17)
    text = (source / "tokenizer.json").read_text()
    export_hf(Transformer(config), folder, files={"tokenizer.json": text})
    code, _, error = call(capsys, "import", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "270" in error
    assert not (tmp_path / "out").exists()


def test_json_tells_what_was_loaded(source, tmp_path, capsys):
    code, output, _ = call(capsys, "import", source, "--out", tmp_path / "out", "--json")
    assert code == 0
    record = json.loads(output)
    assert record["model"]["key_value_heads"] == 1
    assert record["about"]["licence"] == "apache-2.0"
    assert record["check"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "x", "--out", "y", "--max-shard-size", "5 parsecs"], "try 5GB"),
        (["export", "x", "--out", "y", "--family", "lama"], "did you mean 'llama'"),
        (["export", "x", "--out", "y", "--format", "hff"], "did you mean 'hf'"),
        (["import", "x", "--out", "y", "--report", "z"], "give both"),
        (["import", "x"], "--out"),
    ],
)
def test_wrong_usage(capsys, arguments, said):
    code, _, error = call(capsys, *arguments)
    assert code == 2
    assert said in error


def test_a_source_that_is_not_there(tmp_path, capsys):
    code, _, error = call(capsys, "import", tmp_path / "none", "--out", tmp_path / "out")
    assert code in (1, 2)
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_a_pipe_instead_of_a_file_is_told_at_once(source, tmp_path, capsys, name):
    folder = tmp_path / "berry"
    shutil.copytree(source, folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    code, _, error = call(capsys, "import", folder, "--out", tmp_path / "out")
    assert code == 1
    assert f"{name}: it is a device or pipe" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_no_model_and_no_card(tmp_path, capsys):
    os.mkfifo(tmp_path / "README.md")
    assert card(str(tmp_path)) == {}
    code, _, error = call(capsys, "import", tmp_path / "README.md", "--out", tmp_path / "out")
    assert code == 1
    assert "is a device or pipe" in error


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (CARD, {"licence": "apache-2.0", "name": "Berry"}),
        ("# Berry\nlicense: mit\n", {}),
        ("---\nlicense: mit\n", {}),
        ("---\nlicense:\n---\n", {}),
        ("text\n---\nlicense: mit\n---\n", {}),
    ],
)
def test_the_card_is_read_at_its_head(tmp_path, text, found):
    (tmp_path / "README.md").write_text(text)
    assert card(str(tmp_path)) == found
    assert card(str(tmp_path / "none")) == {}


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("20 kb", 20_000), ("7mb", 7 * 10**6), ("300", 300)]
)
def test_sizes(text, size):
    assert shard_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "0", "-1GB", "1.5GB", "5TB", "9" * 400, "٥GB"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="try 5GB"):
        shard_bytes(text)
