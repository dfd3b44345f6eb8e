"""Where attention looks, what it may not see, and what of it the answers need."""
