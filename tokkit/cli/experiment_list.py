"""`tokkit experiment list`: the experiments that there are."""

from __future__ import annotations

from dataclasses import asdict

import click

from tokkit.cli.common import json_option, print_json


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the experiments: what they claim, what they cost on two cores, and what they need."""
    from tokkit.experiments.catalogue import ENTRIES

    if as_json:
        print_json({"experiments": [asdict(entry) for entry in ENTRIES]})
        return
    for entry in ENTRIES:
        click.echo(f"{entry.name}: {entry.question}")
        click.echo(f"  claims  {', '.join(entry.claims)}")
        click.echo(f"  --quick {entry.quick}")
        click.echo(f"  --full  {entry.full}")
        click.echo(f"  needs   {entry.needs}")
