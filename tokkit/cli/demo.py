"""`tokkit demo`: the main job, end to end, small."""

from __future__ import annotations

from pathlib import Path

import click

from tokkit.cli.common import escape, jobs_option, json_option, print_json, say, verbosity_options
from tokkit.cli.experiment_progress import training_progress
from tokkit.cli.experiment_strawberry import print_summary


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reports/demo"),
    show_default=True,
    help="Folder of the run and its page.",
)
@click.option(
    "--full", is_flag=True, help="Every analysis and experiment in its quick form: all claims."
)
@jobs_option
@json_option
@verbosity_options
def demo(
    out: Path, full: bool, jobs: int | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Train tokenizers and models, ask how many r's are in strawberry, and explain the answers.

    The quick strawberry experiment (every arm, one seed), then its page: OUT/index.html. With
    --full (some 35 minutes on two cores) everything that judges one of the fifteen claims, then
    their page: OUT/claims/index.html. Stopped and started again, it goes on where it was.
    """
    if full:
        from tokkit.cli.demo_full import run_full

        run_full(out, as_json=as_json, quiet=quiet)
        return
    from tokkit.experiments.strawberry import profile, run_strawberry
    from tokkit.report.page import write_report

    say("training two tokenizers and five small transformers: some minutes", quiet=quiet)
    with training_progress(quiet=quiet) as progress:
        result = run_strawberry(profile("quick"), out, jobs=jobs, progress=progress)
    page = write_report([out], out)
    if as_json:
        claims = {claim.id: claim.verdict for claim in result.claims}
        print_json({"page": str(page), "result": str(out / "result.json"), "claims": claims})
        return
    print_summary(result)
    for row in result.tables["strawberry"].records():
        mark = "right" if row["correct"] else "wrong"
        click.echo(f"{row['arm']:10}{row['question']}  {escape(row['answer'])}  ({mark})")
    click.echo(str(page))
    say(
        "to watch one of them answer: "
        f'tokkit probe ask "{result.values["question"]}" --model {out / "models" / "bpe-0"}',
        quiet=quiet,
    )
