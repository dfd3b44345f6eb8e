"""Questions put to a model, and what it answers."""
