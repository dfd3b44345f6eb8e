"""One model's training step in a process of its own: python training_peers.py MODEL SHAPE_JSON.

Says on stdout, as one JSON object a line, how many parameters it has; then, for each line "N" on
stdin, the wall and CPU seconds of N steps; at the end of stdin the peak memory of a step in bytes,
beyond what the process held before its first. Where nothing is asked, it waits without computing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Shape = dict[str, Any]
Loss = Callable[[Tensor, Tensor], Tensor]


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.joint(self.first_norm(x)).chunk(3, dim=-1)
        sides = [side.unflatten(-1, (self.heads, -1)).transpose(1, 2) for side in split]
        heads = functional.scaled_dot_product_attention(*sides, is_causal=True)
        x = x + self.mixed(heads.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.second_norm(x))))


class PlainGPT(nn.Module):
    """What a careful hand writes with torch's own layers, in the manner of nanoGPT."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape["width"]
        self.rows, self.places = (
            nn.Embedding(shape["vocab"], width),
            nn.Embedding(shape["length"], width),
        )
        self.blocks = nn.ModuleList(
            PlainBlock(width, shape["heads"]) for _ in range(shape["layers"])
        )
        self.norm = nn.LayerNorm(width)
        for table in (self.rows, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.rows(ids) + self.places.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.rows.weight)


def tokkit_model(shape: Shape, kind: str) -> tuple[nn.Module, Loss]:
    from tokkit.model.config import ModelConfig
    from tokkit.model.transformer import Transformer
    from tokkit.training.objective import Batch, next_token_loss

    gpt2: dict[str, Any] = {
        "norm": "layernorm",
        "positions": "learned",
        "feedforward": "gelu",
        "linear_bias": True,
        "tied": True,
    }
    llama = {"key_value_heads": shape["groups"], "hidden_width": shape["hidden"]}
    config = ModelConfig(
        vocab_size=shape["vocab"],
        width=shape["width"],
        layers=shape["layers"],
        query_heads=shape["heads"],
        context=shape["length"],
        **(llama if kind == "llama" else gpt2),
    )
    model = Transformer(config)
    try:  # as the training loop does
        from tokkit.model.allocation import keep_freed_memory
    except ImportError:
        pass
    else:
        keep_freed_memory()

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        return next_token_loss(model, Batch(ids, None, None, targets))

    return model, loss


def transformers_model(shape: Shape) -> tuple[nn.Module, Loss]:
    import transformers

    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=shape["vocab"],
            hidden_size=shape["width"],
            intermediate_size=shape["hidden"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["groups"],
            max_position_embeddings=shape["length"],
            use_cache=False,
            tie_word_embeddings=False,
        )
    )
    model.train()
    return model, lambda ids, targets: functional.cross_entropy(
        model(ids).logits.flatten(0, 1), targets.flatten()
    )


def plain_model(shape: Shape) -> tuple[nn.Module, Loss]:
    model = PlainGPT(shape)
    return model, lambda ids, targets: functional.cross_entropy(
        model(ids).flatten(0, 1), targets.flatten()
    )


MODELS: dict[str, Callable[[Shape], tuple[nn.Module, Loss]]] = {
    "tokkit llama": lambda shape: tokkit_model(shape, "llama"),
    "transformers llama": transformers_model,
    "tokkit gpt2": lambda shape: tokkit_model(shape, "gpt2"),
    "plain gpt2": plain_model,
}


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def most_resident_bytes() -> int:
    """The most this process held; getrusage would count its parent's memory before the start."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(name: str, shape: Shape) -> None:
    torch.set_num_threads(shape["threads"])
    torch.manual_seed(0)
    model, loss_of = MODELS[name](shape)
    ids = torch.randint(shape["vocab"], (shape["batch"], shape["length"]))
    targets = torch.randint(shape["vocab"], ids.shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> float:
        loss = loss_of(ids, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    before = resident_bytes()
    print(json.dumps({"parameters": sum(p.numel() for p in model.parameters())}), flush=True)
    first = step()
    for line in sys.stdin:
        started = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)
    peak = most_resident_bytes()
    print(json.dumps({"peak_bytes": peak - before, "first_loss": first}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
