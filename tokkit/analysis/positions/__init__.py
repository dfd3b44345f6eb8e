"""Where order comes into a model, what is exact about it, and what the model does with it."""
