"""`python -m tokkit` is the `tokkit` command."""

from tokkit.cli.main import main

if __name__ == "__main__":
    main()
