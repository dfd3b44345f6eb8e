"""`python -m tokkit` is the `tokkit` command."""

from tokkit.cli.main import main

main()
