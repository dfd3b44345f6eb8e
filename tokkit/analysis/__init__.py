"""Measurements of a model's layers."""
