"""Which share of a model's parameters the feed-forward layers are, by family and by width.

Counts are those of `tokkit.model.anatomy`; no weights are looked at.
"""

from __future__ import annotations

from tokkit.analysis.section import Section
from tokkit.model import anatomy
from tokkit.model.config import ModelConfig
from tokkit.model.presets import PRESETS
from tokkit.results import Column, Table

WIDTHS = tuple(1 << power for power in range(6, 15))
WIDTH_A_LAYER = 64  # as GPT-2 small has it: 768 / 12
VOCABULARIES = (4_096, 32_000, 128_256)
_PARTS = (
    Column("parameters", "Parameters"),
    Column("feedforward", "Feed-forward", "proportion"),
    Column("attention", "Attention", "proportion"),
    Column("tables", "Tables of tokens and positions", "proportion"),
    Column("feedforward_of_layers", "Feed-forward, of the layers", "proportion"),
)


def shares_section(name: str, config: ModelConfig) -> Section:
    """The model's own shares, the presets', and those of a usual shape by width."""
    own = _shares(config)
    rows = [(name, "this model", config.width, *own)]
    rows += [(p.name, p.family, p.config.width, *_shares(p.config)) for p in PRESETS.values()]
    columns = (Column("model", "Model"), Column("family", "Family"), Column("width", "Width"))
    by_width = tuple(
        (vocabulary, width, config.layers, *_shares(config))
        for vocabulary in VOCABULARIES
        for width in WIDTHS
        for config in (usual_shape(width, vocabulary),)
    )
    shape = (Column("vocab_size", "Vocabulary"), Column("width", "Width"))
    return Section(
        {
            "parameters": own[0],
            "feedforward_share": own[1],
            "tables_share": own[3],
            "feedforward_share_of_layers": own[4],
        },
        {
            "shares": Table("Shares of parameters", (*columns, *_PARTS), tuple(rows)),
            "shares_by_width": Table(
                "Shares by width: gated, hidden 8/3 of the width, a layer for each "
                f"{WIDTH_A_LAYER} of width, one table for embedding and unembedding",
                (*shape, Column("layers", "Layers"), *_PARTS),
                by_width,
            ),
        },
    )


def usual_shape(width: int, vocabulary: int) -> ModelConfig:
    """A gated, tied model of this width with the usual ratios.

    A gated layer of 8/3 of the width has the parameters of a plain one of 4 (Shazeer 2020).

    >>> usual_shape(768, 50_257).layers, usual_shape(768, 50_257).hidden_width
    (12, 2048)
    """
    return ModelConfig(
        vocab_size=vocabulary, width=width, layers=max(1, width // WIDTH_A_LAYER),
        query_heads=max(1, width // 64), hidden_width=round(8 * width / 3), tied=True,
    )  # fmt: skip


def _shares(config: ModelConfig) -> tuple[int, float, float, float, float]:
    counts, total = anatomy.parameters(config), anatomy.total(config)
    held = anatomy.feedforward_parameters(config)
    tables = sum(counts.get(part, 0) for part in anatomy.TABLES)
    layers = anatomy.outside_tables(config)
    return total, held / total, counts["attention"] / total, tables / total, held / layers
