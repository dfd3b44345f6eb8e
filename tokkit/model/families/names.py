"""What each family calls its tensors, and how they are put together into tokkit's parameters.

One table a family, from our name to theirs: N stands for the layer, E for the expert, and
".weight" or ".bias" follows on both sides. A parameter is made of one stretch of a tensor in the
file, or of as many tensors as there are experts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tokkit.model.config import ModelConfig

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a parameter, or one expert's share of it, lies: part of a tensor in the file."""

    name: str
    axis: int = 0  # of the tensor in the file, along which it holds `parts` equal parts
    part: int = 0
    parts: int = 1
    transposed: bool = False  # the file holds (in, out)

    def shape_in_file(self, ours: Shape) -> Shape:
        """The shape that the whole tensor has in the file."""
        shape = list(reversed(ours)) if self.transposed else list(ours)
        shape[self.axis] *= self.parts
        return tuple(shape)


@dataclass(frozen=True, slots=True)
class Names:
    """One family's table."""

    prefix: str  # which files of the model without its unembedding lack
    plain: Mapping[str, str]
    experts: Mapping[str, str] = field(default_factory=dict)  # gate, up, down: a tensor an expert
    joined: Mapping[str, int] = field(default_factory=dict)  # which third of a fused tensor
    transposed: bool = False


LLAMA = Names(
    prefix="model.",
    plain={
        "embedding": "model.embed_tokens.weight",
        "unembedding": "lm_head.weight",
        "final_norm": "model.norm",
        "blocks.N.attention_norm": "model.layers.N.input_layernorm",
        "blocks.N.feedforward_norm": "model.layers.N.post_attention_layernorm",
        "blocks.N.attention.query": "model.layers.N.self_attn.q_proj",
        "blocks.N.attention.key": "model.layers.N.self_attn.k_proj",
        "blocks.N.attention.value": "model.layers.N.self_attn.v_proj",
        "blocks.N.attention.output": "model.layers.N.self_attn.o_proj",
        "blocks.N.attention.query_norm": "model.layers.N.self_attn.q_norm",
        "blocks.N.attention.key_norm": "model.layers.N.self_attn.k_norm",
        "blocks.N.feedforward.gate": "model.layers.N.mlp.gate_proj",
        "blocks.N.feedforward.up": "model.layers.N.mlp.up_proj",
        "blocks.N.feedforward.down": "model.layers.N.mlp.down_proj",
    },
)
GEMMA2 = replace(
    LLAMA,
    plain={
        **LLAMA.plain,
        "blocks.N.attention_post_norm": "model.layers.N.post_attention_layernorm",
        "blocks.N.feedforward_norm": "model.layers.N.pre_feedforward_layernorm",
        "blocks.N.feedforward_post_norm": "model.layers.N.post_feedforward_layernorm",
    },
)
MIXTRAL = replace(
    LLAMA,
    plain={
        **LLAMA.plain,
        "blocks.N.feedforward.router": "model.layers.N.block_sparse_moe.gate",
    },
    experts={
        "gate": "model.layers.N.block_sparse_moe.experts.E.w1",
        "up": "model.layers.N.block_sparse_moe.experts.E.w3",
        "down": "model.layers.N.block_sparse_moe.experts.E.w2",
    },
)
QWEN_MOE = replace(
    LLAMA,
    plain={
        **LLAMA.plain,
        "blocks.N.feedforward.router": "model.layers.N.mlp.gate",
        "blocks.N.feedforward.shared.gate": "model.layers.N.mlp.shared_expert.gate_proj",
        "blocks.N.feedforward.shared.up": "model.layers.N.mlp.shared_expert.up_proj",
        "blocks.N.feedforward.shared.down": "model.layers.N.mlp.shared_expert.down_proj",
        "blocks.N.feedforward.shared_gate": "model.layers.N.mlp.shared_expert_gate",
    },
    experts={
        "gate": "model.layers.N.mlp.experts.E.gate_proj",
        "up": "model.layers.N.mlp.experts.E.up_proj",
        "down": "model.layers.N.mlp.experts.E.down_proj",
    },
)
GPT2 = Names(
    prefix="transformer.",
    plain={
        "embedding": "transformer.wte.weight",
        "unembedding": "lm_head.weight",
        "position_embedding": "transformer.wpe.weight",
        "final_norm": "transformer.ln_f",
        "blocks.N.attention_norm": "transformer.h.N.ln_1",
        "blocks.N.feedforward_norm": "transformer.h.N.ln_2",
        "blocks.N.attention.query": "transformer.h.N.attn.c_attn",
        "blocks.N.attention.key": "transformer.h.N.attn.c_attn",
        "blocks.N.attention.value": "transformer.h.N.attn.c_attn",
        "blocks.N.attention.output": "transformer.h.N.attn.c_proj",
        "blocks.N.feedforward.up": "transformer.h.N.mlp.c_fc",
        "blocks.N.feedforward.down": "transformer.h.N.mlp.c_proj",
    },
    joined={
        "blocks.N.attention.query": 0,
        "blocks.N.attention.key": 1,
        "blocks.N.attention.value": 2,
    },
    transposed=True,
)

# What files hold besides the weights, and may: tables that follow from the settings.
HARMLESS = (
    r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq",
    r"(model\.)?rotary_emb\.inv_freq",
    r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",
)


def pieces(
    names: Names, config: ModelConfig, parameter: str, *, fused_experts: bool = False
) -> tuple[Piece, ...]:
    """Where `parameter`, by our name, lies: one piece, or one an expert, in their order.

    `fused_experts`: the layout that transformers 5 has in memory, and writes where it is asked
    not to revert it: the experts of a layer in one tensor, gate above up.
    """
    words = parameter.split(".")
    layer = words[1] if words[0] == "blocks" else ""
    words[1:2] = ["N"] if layer else words[1:2]
    if ".".join(words) in names.plain:  # tables of rows: the name is whole
        return (Piece(names.plain[".".join(words)]),)
    stem, kind = ".".join(words[:-1]), words[-1]
    part = stem.rpartition(".")[2]
    is_mixture = layer and config.has_experts(int(layer))
    if is_mixture and part in names.experts and stem == f"blocks.N.feedforward.{part}":
        return _of_experts(names.experts[part], config.experts, layer, part, fused_experts)
    theirs = names.plain[stem].replace("N", layer)
    if fused_experts:
        theirs = theirs.replace(".block_sparse_moe.", ".mlp.")
    is_matrix = names.transposed and kind == "weight" and not stem.endswith("_norm")
    if stem in names.joined:
        axis = 1 if is_matrix else 0
        return (Piece(f"{theirs}.{kind}", axis, names.joined[stem], 3, is_matrix),)
    return (Piece(f"{theirs}.{kind}", transposed=is_matrix),)


def _of_experts(stem: str, experts: int, layer: str, part: str, fused: bool) -> tuple[Piece, ...]:
    stem = stem.replace("N", layer)
    if not fused:
        return tuple(Piece(f"{stem.replace('E', str(e))}.weight") for e in range(experts))
    before = stem.partition("E")[0].replace(".block_sparse_moe.", ".mlp.")
    if part == "down":
        return (Piece(f"{before}down_proj"),)
    return (Piece(f"{before}gate_up_proj", axis=1, part=int(part == "up"), parts=2),)


def without_prefix(prefix: str, found: Sequence[str]) -> bool:
    """Whether a file leaves out `prefix`, as files of the model without unembedding do."""
    return not any(name.startswith(prefix) for name in found)
