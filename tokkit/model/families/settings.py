"""Reading a Hugging Face config.json: every value checked, every one accounted for.

A setting is read, or known to have no part in the logits, or refused by name: nothing that is set
is passed over in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tokkit.errors import ArtifactError
from tokkit.model.config import LARGEST_SIZE
from tokkit.model.strict_json import shown

REQUIRED = object()

# Of training, of generation, of the library that wrote the file: no part in the logits.
_WITHOUT_EFFECT = frozenset(
    [
        "architectures",
        "model_type",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "initializer_range",
        "attention_dropout",
        "attn_pdrop",
        "resid_pdrop",
        "embd_pdrop",
        "hidden_dropout",
        "classifier_dropout",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "output_router_logits",
        "router_jitter_noise",
        "router_aux_loss_coef",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "use_return_dict",
        "torchscript",
        "use_bfloat16",
        "tf_legacy_loss",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "finetuning_task",
        "tokenizer_class",
        "prefix",
        "task_specific_params",
        "chunk_size_feed_forward",
        "is_decoder",
        "max_length",
        "min_length",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "return_dict_in_generate",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
        "cache_implementation",
        "pretraining_tp",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "n_ctx",
        "reorder_and_upcast_attn",
        "gradient_checkpointing",
        "is_llama_config",
        "transformers.js_config",
        "unsloth_version",
        "unsloth_fixed",
        "max_window_layers",
    ]
)
# Settings that other models have, and that change the logits where they are on.
_MUST_BE_OFF = (
    "is_encoder_decoder",
    "add_cross_attention",
    "rope_interleaved",
    "use_bidirectional_attention",
    "scale_attn_by_inverse_layer_idx",
    "use_mrope",
)


class Settings:
    """The values of one config.json (or of one object inside it), and which of them were read."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.where = where
        self._values = dict(values)
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """The value as it is; `default` where it is absent or null; ArtifactError if required."""
        self._read.add(name)
        value = self._values.get(name)
        if value is not None:
            return value
        if default is REQUIRED:
            raise ArtifactError(f"{self.where} lacks {name!r}: get the whole model again")
        return default

    def is_null(self, name: str) -> bool:
        """Whether the setting is there and null, which can mean another thing than absent."""
        self._read.add(name)
        return name in self._values and self._values[name] is None

    def count(self, name: str, default: Any = REQUIRED, *, least: int = 1) -> int:
        """A whole number of `least` or more."""
        value = self.get(name, default)
        if name not in self:
            return int(value)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= LARGEST_SIZE:
            raise self.refuse(name, f"a whole number in {least}..{LARGEST_SIZE}")
        return int(value)

    def number(self, name: str, default: Any = REQUIRED) -> float:
        """A number above 0 that a float holds."""
        value = self.get(name, default)
        if name not in self:
            return float(value)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not 0 < value <= sys.float_info.max:
            raise self.refuse(name, "a finite number above 0")
        return float(value)

    def cap(self, name: str, default: float) -> float:
        """A soft cap: 0 where it is null, `default` where it is absent."""
        return 0.0 if self.is_null(name) else self.number(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def choice(self, name: str, choices: Mapping[str, str], default: Any = REQUIRED) -> str:
        """What one of the words that can be expressed stands for."""
        value = self.get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.refuse(name, f"one of {', '.join(choices)}, which are all tokkit has")
        return choices[value]

    def words(self, name: str) -> list[str]:
        """A list of words; empty where it is absent."""
        value = self.get(name, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise self.refuse(name, "a list of words")
        return value

    def part(self, name: str) -> Settings | None:
        """An object inside; None where it is absent, null or empty."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(name, "an object")
        return Settings(value, f"{self.where}: {name}") if value else None

    def refuse(self, name: str, rule: str) -> ArtifactError:
        """The error for a value that breaks `rule`."""
        value = self._values.get(name)
        return ArtifactError(
            f"{self.where}: {name!r} must be {rule}, got {shown(value)}: tokkit cannot express "
            "that model"
        )

    def check_all_read(self, without_effect: Iterable[str] = _WITHOUT_EFFECT) -> None:
        """Raise ArtifactError for what is set, was not read, and may change the logits.

        Null and empty values set nothing; names that begin with "_" are the library's own.
        """
        passed_over = self._read.union(without_effect)
        for name, value in self._values.items():
            if name in _MUST_BE_OFF and value in (False, None):
                continue
            if name in passed_over or name.startswith("_") or value is None or value in ({}, []):
                continue
            raise ArtifactError(
                f"{self.where} sets {shown(name)} to {shown(value)}, which tokkit cannot express: "
                "use another model, or take the setting out if it has no part in the logits"
            )
