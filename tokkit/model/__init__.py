"""The transformer: ids in, logits out."""
