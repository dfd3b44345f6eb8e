"""What GGUF files call the tensors that tokkit's parameters are made of.

One table for all architectures: N stands for the layer, and ".weight" or ".bias" follows on both
sides. The names are those of the format ("Standardized tensor names" in docs/gguf.md of ggml).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tokkit.model.config import ModelConfig

ROPE_FACTORS = "rope_freqs.weight"
# Tables that follow from the settings, and that old files hold.
HARMLESS = re.compile(r"blk\.\d+\.attn_rot_embd(\.\w+)*|rope_freqs\.weight")

_TABLES = {
    "embedding": "token_embd.weight",
    "unembedding": "output.weight",
    "position_embedding": "position_embd.weight",
}
_STEMS = {
    "final_norm": "output_norm",
    "blocks.N.attention_norm": "blk.N.attn_norm",
    "blocks.N.attention_post_norm": "blk.N.post_attention_norm",
    "blocks.N.attention.query": "blk.N.attn_q",
    "blocks.N.attention.key": "blk.N.attn_k",
    "blocks.N.attention.value": "blk.N.attn_v",
    "blocks.N.attention.output": "blk.N.attn_output",
    "blocks.N.attention.query_norm": "blk.N.attn_q_norm",
    "blocks.N.attention.key_norm": "blk.N.attn_k_norm",
    "blocks.N.feedforward_norm": "blk.N.ffn_norm",
    "blocks.N.feedforward_post_norm": "blk.N.post_ffw_norm",
    "blocks.N.feedforward.gate": "blk.N.ffn_gate",
    "blocks.N.feedforward.up": "blk.N.ffn_up",
    "blocks.N.feedforward.down": "blk.N.ffn_down",
    "blocks.N.feedforward.router": "blk.N.ffn_gate_inp",
    "blocks.N.feedforward.shared.gate": "blk.N.ffn_gate_shexp",
    "blocks.N.feedforward.shared.up": "blk.N.ffn_up_shexp",
    "blocks.N.feedforward.shared.down": "blk.N.ffn_down_shexp",
    "blocks.N.feedforward.shared_gate": "blk.N.ffn_gate_inp_shexp",
}
_OF_EXPERTS = ("gate", "up", "down")
_JOINED = ("query", "key", "value")  # in this order, one above the other, where they are joined


@dataclass(frozen=True, slots=True)
class Source:
    """Where a parameter lies: in a tensor, or in one of `parts` equal parts of its rows.

    `heads` above 0: the rows of each head are pairs for an interleaved rotation, (first, second)
    beside each other, and belong apart.
    """

    name: str
    part: int = 0
    parts: int = 1
    heads: int = 0

    def shape_in_file(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that the whole tensor has in the file."""
        return (ours[0] * self.parts, *ours[1:])


def source_of(config: ModelConfig, architecture: str, parameter: str) -> Source:
    """Where `parameter`, by our name, lies in a file of that architecture."""
    if parameter in _TABLES:
        return Source(_TABLES[parameter])
    stem, _, kind = parameter.rpartition(".")
    words = stem.split(".")
    layer = words[1] if words[0] == "blocks" else ""
    words[1:2] = ["N"] if layer else words[1:2]
    theirs = _STEMS[".".join(words)].replace("N", layer)
    last = words[-1]
    if architecture == "gpt2" and last in _JOINED:
        return Source(f"blk.{layer}.attn_qkv.{kind}", _JOINED.index(last), len(_JOINED))
    if words[-2:] == ["feedforward", last] and last in _OF_EXPERTS:
        theirs += "_exps" if config.has_experts(int(layer)) else ""
    heads = {"query": config.query_heads, "key": config.key_value_heads}.get(last, 0)
    return Source(f"{theirs}.{kind}", heads=heads if architecture == "llama" else 0)


def left_over(names: Mapping[str, object], used: set[str]) -> list[str]:
    """Tensors that no parameter is made of, tables of known contents apart."""
    return [name for name in names if name not in used and not HARMLESS.fullmatch(name)]
