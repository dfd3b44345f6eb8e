"""Facts in a model: where they are held, and how one is changed."""
