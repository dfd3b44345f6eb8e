"""`tokkit demo --full`: everything that judges a claim, in its quick form, onto one page."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from tokkit.cli.common import say
from tokkit.results import RESULT_FILE

TINY, PAGE = "tiny-world", "claims"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the demo; its result lies in the folder `name` of the demo's.

    In `arguments`, {tiny} is the small model that the first step trains. `minutes` are those of
    two cores with nothing else to do.
    """

    name: str
    arguments: tuple[str, ...]
    minutes: float


STEPS = (
    Step(TINY, ("model", "train", "--preset", "tiny-world"), 8),
    Step("ids", ("probe", "ids", "{tiny}"), 0.2),
    Step("generation", ("model", "generate", "{tiny}", "The cat", "--max-new-tokens", "24"), 0.2),
    Step("models", ("model", "info", "--all"), 0.2),
    Step("embeddings", ("analyze", "embeddings", "{tiny}"), 1),
    Step("positions", ("analyze", "positions", "{tiny}"), 1),
    Step("attention", ("analyze", "attention", "{tiny}"), 1),
    Step("feedforward", ("analyze", "feedforward", "{tiny}"), 1),
    Step("editing", ("edit", "{tiny}", "--study"), 5),
    Step("strawberry", ("experiment", "strawberry", "--quick"), 4),
    Step("position-schemes", ("experiment", "positions", "--quick"), 4),
    Step("heads", ("experiment", "heads", "--quick"), 4),
    Step("ladder", ("experiment", "ladder", "--quick"), 5),
)


def run_steps(out: Path, steps: tuple[Step, ...] = STEPS, *, quiet: bool = False) -> list[str]:
    """Run what has no result in `out` yet; return the names of the steps that failed.

    Each is a process of its own, as if its command had been given: its output goes to stderr, and
    what it left behind when stopped is gone on from. Raises KeyboardInterrupt where one was.
    """
    failed = []
    for place, step in enumerate(steps, start=1):
        folder = out / step.name
        if (folder / RESULT_FILE).exists():
            say(f"{place}/{len(steps)} {step.name}: done before", quiet=quiet)
            continue
        arguments = [word.format(tiny=out / TINY) for word in step.arguments]
        arguments += ["--out", str(folder), *(["--quiet"] if quiet else [])]
        say(
            f"{place}/{len(steps)} {step.name}, about {step.minutes:g} minutes: "
            f"tokkit {' '.join(arguments)}",
            quiet=quiet,
        )
        code = subprocess.run(
            [sys.executable, "-m", "tokkit", *arguments], stdout=sys.stderr, check=False
        ).returncode
        if code == 130:
            raise KeyboardInterrupt
        if code:
            failed.append(step.name)
            say(f"{step.name} failed; going on: its claims will have no run")
    return failed


def run_full(out: Path, *, as_json: bool, quiet: bool) -> None:
    """All steps, then the page of the claims in `out`/claims; fails where a step did."""
    from dataclasses import asdict

    from tokkit.cli.claims import gather_claims, print_claims
    from tokkit.cli.common import print_json
    from tokkit.files import ensure_folder
    from tokkit.report.outputs import save_outputs

    ensure_folder(out)
    failed = run_steps(out, quiet=quiet)
    result = gather_claims((out,))
    page = save_outputs(result, out / PAGE, "claims")[-1]
    if as_json:
        print_json(asdict(result))
    else:
        print_claims(result)
        click.echo(str(page))
    if failed:
        raise click.ClickException(
            f"{len(failed)} of {len(STEPS)} steps failed ({', '.join(failed)}): see above, mend "
            "what they say, and give the same command again for these alone"
        )
