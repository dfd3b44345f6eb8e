"""Training that repeats bit for bit."""
