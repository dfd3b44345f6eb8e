"""Hugging Face folders, in and out: the settings of eleven families and their weights.

FAMILIES         name -> Family, with its architecture and model_type
config_from_hf   config.json's object -> ModelConfig
config_to_hf     ModelConfig -> config.json's object, of a family that can express it
load_hf          a folder with config.json and safetensors files -> Transformer
export_hf        a Transformer -> such a folder
"""

from __future__ import annotations

from tokkit.model.families.config import config_from_hf, config_to_hf
from tokkit.model.families.files import export_hf, load_hf
from tokkit.model.families.table import FAMILIES, Family

__all__ = ["FAMILIES", "Family", "config_from_hf", "config_to_hf", "export_hf", "load_hf"]
