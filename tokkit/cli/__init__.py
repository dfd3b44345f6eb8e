"""The command line: a thin edge over the packages beside it."""
