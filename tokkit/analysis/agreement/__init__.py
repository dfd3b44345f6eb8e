"""Agreement at a distance: where the verb looks, and what decides it."""
