"""What a model of given settings holds, keeps and computes: integers alone, without torch.

Letters as in `tokkit.model.transformer`; L layers, W the window of a sliding layer, n tokens.
Sources of the counts of operations: Kaplan et al. 2020, section 2.1 and table 1; Hoffmann et al.
2022, appendix F. As there, only matrix products count, at two operations a multiplication with
its addition; norms, nonlinearities, softmax, rotations and additions do not.
"""

from __future__ import annotations

from tokkit.errors import ConfigError, unknown_choice
from tokkit.model.config import ModelConfig

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}
TABLES = ("embedding", "unembedding", "positions", "features")
BACKWARD_AND_FORWARD = 3  # the backward pass takes two products for each one of the forward pass


def parameters(config: ModelConfig) -> dict[str, int]:
    """Parameters by part, in the order of the way through the model; absent parts are left out.

    embedding V D; unembedding V D unless tied; positions (learned) context D; features F D;
    attention: D (H + 2 G) K + H K D and its biases; feedforward (dense, or the expert that all
    tokens share with its gate): 2 or, gated, 3 D M and its biases; experts 3 E D M; router E D;
    norms: D each (2 D with LayerNorm), two a layer, four with norm_place "sandwich", K for each of
    queries and keys with qk_norm, and the final one.
    """
    width, layers = config.width, config.layers
    mixtures = _mixtures(config)
    table = config.vocab_size * width
    counts = {
        "embedding": table,
        "positions": config.context * width if config.positions == "learned" else 0,
        "features": config.token_features * width,
        "attention": layers * (_attention_weights(config) + _attention_biases(config)),
        "feedforward": (layers - mixtures) * _feedforward(config, config.hidden_width)
        + mixtures * _shared_expert(config),
        "experts": mixtures * config.experts * _expert(config),
        "router": mixtures * config.experts * width,
        "norms": _norms(config),
        "unembedding": 0 if config.tied else table,
    }
    return {name: count for name, count in counts.items() if count}


def total(config: ModelConfig) -> int:
    """All parameters; a table that is both embedding and unembedding counts once."""
    return sum(parameters(config).values())


def active(config: ModelConfig) -> int:
    """Parameters that one token uses: of E experts those of the k that are chosen for it.

    As published counts do (Jiang et al. 2024), this has the whole embedding in it.
    """
    idle = parameters(config).get("experts", 0)
    if idle:
        idle = idle // config.experts * (config.experts - config.experts_per_token)
    return total(config) - idle


def outside_tables(config: ModelConfig) -> int:
    """Parameters of the layers: all but those of tables with a row a token or a position."""
    return sum(count for name, count in parameters(config).items() if name not in TABLES)


def feedforward_parameters(config: ModelConfig) -> int:
    """Parameters of the feed-forward layers, experts and their router among them."""
    counts = parameters(config)
    return sum(counts.get(name, 0) for name in ("feedforward", "experts", "router"))


def cache_bytes(
    config: ModelConfig, length: int, dtype: str = "bfloat16", *, multi_head: bool = False
) -> int:
    """Bytes that the keys and values of one text of `length` tokens take.

    2 G K bytes a layer and token (Shazeer 2019; Ainslie et al. 2023); a sliding layer keeps
    min(n, W) tokens (Beltagy et al. 2020). With `multi_head`, what the same model would need if
    each query head had a key-value head of its own: H instead of G.
    """
    heads = config.query_heads if multi_head else config.key_value_heads
    return 2 * heads * config.head_width * _seen(config, length) * dtype_bytes(dtype)


def cache_bytes_a_token(
    config: ModelConfig, dtype: str = "bfloat16", *, multi_head: bool = False
) -> int:
    """Bytes that one more token takes while no window is full: `cache_bytes` of one token."""
    return cache_bytes(config, 1, dtype, multi_head=multi_head)


def dtype_bytes(dtype: str) -> int:
    """Bytes of one number; ConfigError for a type that no cache is kept in."""
    if dtype not in DTYPE_BYTES:
        raise ConfigError(unknown_choice("dtype", dtype, DTYPE_BYTES))
    return DTYPE_BYTES[dtype]


def forward_flops(config: ModelConfig, length: int) -> dict[str, int]:
    """Operations of a forward pass for the last of `length` tokens, those before it cached.

    attention: 2 in out of its four maps; scores: 2 H K a key that is seen, and as much to mix the
    values; feedforward: 2 in out of its maps, of the experts that are chosen and of the router;
    unembedding: 2 D V.
    """
    return _flops(config, tokens=1, pairs=_seen(config, length))


def text_flops(config: ModelConfig, length: int) -> dict[str, int]:
    """Operations of a forward pass over a whole text of `length` tokens, as `forward_flops`.

    Causal: the token at place t sees t keys, min(t, W) in a sliding layer; masked scores, which
    some programs compute, do not count.
    """
    return _flops(config, tokens=length, pairs=_pairs(config, length))


def training_flops_a_token(config: ModelConfig, length: int) -> float:
    """Operations of forward and backward pass a token of a text of `length`: 3 times forward.

    For long models this nears 6 N, N the parameters outside of the embedding (Kaplan et al. 2020).
    """
    return BACKWARD_AND_FORWARD * sum(text_flops(config, length).values()) / length


def _flops(config: ModelConfig, *, tokens: int, pairs: int) -> dict[str, int]:
    """By part: `tokens` through every map, and `pairs` of a query and a key over all layers."""
    width = config.width
    mixtures = _mixtures(config)
    chosen = config.experts_per_token * _expert(config) + config.experts * width
    feedforward = (config.layers - mixtures) * _feedforward_weights(config, config.hidden_width)
    feedforward += mixtures * (chosen + _shared_expert(config))
    counts = {
        "features": tokens * 2 * config.token_features * width,
        "attention": tokens * 2 * config.layers * _attention_weights(config),
        "scores": pairs * 4 * config.query_heads * config.head_width,
        "feedforward": tokens * 2 * feedforward,
        "unembedding": tokens * 2 * width * config.vocab_size,
    }
    return {name: count for name, count in counts.items() if count}


def _seen(config: ModelConfig, length: int) -> int:
    """Keys that the last of `length` tokens sees, itself among them, over all layers."""
    slide = _layers_of(config.attention_pattern, "s", config.layers)
    return slide * min(length, config.window) + (config.layers - slide) * length


def _pairs(config: ModelConfig, length: int) -> int:
    """Pairs of a token and a key that it sees, over a text and all layers."""
    slide = _layers_of(config.attention_pattern, "s", config.layers)
    rising = min(length, config.window)  # so many tokens see one key more than the one before
    in_window = rising * (rising + 1) // 2 + (length - rising) * rising
    return slide * in_window + (config.layers - slide) * (length * (length + 1) // 2)


def _mixtures(config: ModelConfig) -> int:
    """Layers whose feed-forward is a mixture."""
    return _layers_of(config.expert_pattern, "e", config.layers) if config.experts else 0


def _layers_of(pattern: str, letter: str, layers: int) -> int:
    """How often a letter comes in a pattern that is repeated over the layers."""
    whole, rest = divmod(layers, len(pattern))
    return whole * pattern.count(letter) + pattern[:rest].count(letter)


def _attention_weights(config: ModelConfig) -> int:
    queries = config.query_heads * config.head_width
    keys = config.key_value_heads * config.head_width
    return config.width * (2 * queries + 2 * keys)


def _attention_biases(config: ModelConfig) -> int:
    queries = config.query_heads * config.head_width
    keys = config.key_value_heads * config.head_width
    inner = config.linear_bias or config.attention_bias != "none"
    outer = config.linear_bias or config.attention_bias == "all"
    return inner * (queries + 2 * keys) + outer * config.width


def _feedforward_weights(config: ModelConfig, hidden: int) -> int:
    return (3 if config.gated else 2) * config.width * hidden


def _feedforward(config: ModelConfig, hidden: int) -> int:
    biases = (2 if config.gated else 1) * hidden + config.width
    return _feedforward_weights(config, hidden) + config.linear_bias * biases


def _expert(config: ModelConfig) -> int:
    return _feedforward_weights(config, config.expert_width)


def _shared_expert(config: ModelConfig) -> int:
    """The expert that every token goes through, with the row that gates it."""
    if not config.shared_expert_width:
        return 0
    return _feedforward_weights(config, config.shared_expert_width) + config.width


def _norms(config: ModelConfig) -> int:
    per_width = 2 if config.norm == "layernorm" else 1
    layer = (4 if config.norm_place == "sandwich" else 2) * config.width
    if config.qk_norm:
        layer += 2 * config.head_width
    final = config.width if config.norm_place != "post" else 0
    return per_width * (config.layers * layer + final)
