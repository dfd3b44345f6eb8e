"""Models trained side by side to test a claim."""
