"""The heads experiment: what heads are, how many are needed, and how few keys and values will do.

Small models of text (`text_arms`): heads free, forced to be slices of the vector, sparse at random
places, and sharing key-value heads (`heads_arms`). The free ones are read (`heads_reading`,
`heads_rotation`), pruned and compared (`heads_redundancy`, `heads_agreement`). Other trained
models may be read beside them. `heads_findings` makes tables of it, `heads_verdict` verdicts.

A run folder holds settings.json, text/, training/, models/ARM-SEED/, measured/ARM-SEED.json,
measured/redundancy-SEED.json and result.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.errors import ConfigError, unknown_choice
from tokkit.experiments.heads_arms import FREE, MASKED, build, designs, measure
from tokkit.experiments.position_text import FOLDER, RECORD
from tokkit.experiments.running import Progress
from tokkit.experiments.text_arms import (
    Arm,
    TextSettings,
    WindowText,
    jobs_of,
    read_measured,
    run_arms,
)
from tokkit.files import ensure_folder, read_json, write_json
from tokkit.model.config import ModelConfig
from tokkit.parallel import run_all
from tokkit.results import Result, collect_provenance, write_result

if TYPE_CHECKING:
    from tokkit.model.transformer import Transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsConfig:
    """Everything that a run of the experiment depends on; checked when made (ConfigError)."""

    profile: str = "quick"
    seeds: int = 2
    width: int = 64
    layers: int = 2
    heads: int = 8
    hidden_width: int = 128
    text: str = "world and english"
    megabytes: float = 2.0
    vocab_size: int = 512
    length: int = 128  # tokens of a row
    rows: int = 8  # windows a step
    steps: int = 500
    rate: float = 4e-3
    windows: int = 64  # held out, of 4 x length tokens

    def __post_init__(self) -> None:
        for name, bound in (("seeds", 1), ("heads", 2), ("windows", 4), ("length", 8)):
            if getattr(self, name) < bound:
                raise ConfigError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        designs(self.base)
        self.text_settings  # noqa: B018 - checks its own

    @property
    def base(self) -> ModelConfig:
        """The model whose heads are free, with a key-value head for each query head."""
        return ModelConfig(
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            query_heads=self.heads,
            hidden_width=self.hidden_width,
            context=self.length,
            tied=True,
        )

    @property
    def text_settings(self) -> TextSettings:
        """The text and the training that all arms share."""
        return TextSettings(
            text=self.text,
            megabytes=self.megabytes,
            vocab_size=self.vocab_size,
            length=self.length,
            rows=self.rows,
            steps=self.steps,
            windows=self.windows,
            keep_models=True,
        )


PROFILES = {
    "quick": HeadsConfig(),
    "full": HeadsConfig(profile="full", seeds=6, steps=750),
}


def profile(name: str, *, seeds: int | None = None) -> HeadsConfig:
    """The settings of a profile, with another number of seeds if given."""
    if name not in PROFILES:
        raise ConfigError(unknown_choice("profile", name, PROFILES))
    chosen = PROFILES[name]
    return chosen if seeds is None else replace(chosen, seeds=seeds)


def arms_of(config: HeadsConfig) -> list[Arm]:
    """All that is trained. Masks live in hooks that a stack would not see: masked arms go alone."""
    seeds = tuple(range(config.seeds))
    return [
        Arm(name, design.config, config.rate, seeds, alone=name in MASKED)
        for name, design in designs(config.base).items()
    ]


def run_heads(
    config: HeadsConfig,
    folder: str | os.PathLike[str],
    *,
    models: Mapping[str, Transformer] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run the experiment in `folder`, or what is left of it, and write result.json.

    The weights of `models`, by name, are read beside those of the trained ones. `jobs` processes
    work side by side, each on one thread; None takes all cores. `progress(steps_done, steps_total,
    message)` is called about once a second. A folder with another run's settings is refused
    (ConfigError).
    """
    from tokkit.experiments.heads_findings import find
    from tokkit.training.lock import locked
    from tokkit.training.run_folder import claim

    started = time.monotonic()
    given = dict(models or {})
    place = ensure_folder(folder)
    with locked(place):
        claim(place, _settings(config))
        arms = arms_of(config)
        _check_names(given, arms)
        run_arms(place, arms, config.text_settings, build=build, measure=measure, jobs=jobs,
                 progress=progress)  # fmt: skip
        trained = time.monotonic()
        _measure_redundancy(place, config, jobs, progress)
        pruned = time.monotonic()
        found = find(place, config, given)
        seconds = {
            "train_and_measure": trained - started,
            "prune": pruned - trained,
            "analyse": time.monotonic() - pruned,
        }
        result = Result(
            kind="experiment.heads",
            title="What are attention heads, and how few will do?",
            settings=_settings(config) | {"models": list(given)},
            provenance=collect_provenance(
                seeds=range(config.seeds),
                inputs=_input_digests(place, given),
                wall_seconds=seconds,
            ),
            **found,
        )
        write_result(result, place)
    return result


def _settings(config: HeadsConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return settings | {"seeds": list(range(config.seeds))}


def _check_names(given: Mapping[str, Transformer], arms: Sequence[Arm]) -> None:
    for arm in arms:
        if arm.name in given:
            raise ConfigError(f"a model may not be called {arm.name!r} as an arm is: rename it")


def _input_digests(place: Path, given: Mapping[str, Transformer]) -> dict[str, str]:
    text = read_json(place / FOLDER / RECORD, what="text record")
    models = {f"model {name}": weights_digest(model) for name, model in given.items()}
    return {"text": text["documents_sha256"], **models}


def weights_digest(model: Transformer) -> str:
    """SHA-256 over the names and numbers of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().contiguous().numpy().data)
    return digest.hexdigest()


# Redundancy -------------------------------------------------------------------------------------


def redundancy_path(place: Path, seed: int) -> Path:
    """Where what pruning one free model told is kept."""
    return place / "measured" / f"redundancy-{seed}.json"


def learned_seeds(place: Path, config: HeadsConfig, arm: str) -> list[int]:
    """The seeds of an arm whose training did not diverge."""
    return [s for s in range(config.seeds) if not read_measured(place, arm, s)["diverged"]]


def _measure_redundancy(
    place: Path, config: HeadsConfig, jobs: int | None, progress: Progress | None
) -> None:
    seeds = learned_seeds(place, config, FREE)
    trainings = [job for arm in arms_of(config) for job in jobs_of(arm, config.text_settings)]
    total = config.steps * len(trainings)
    work = [(place, config, seed) for seed in seeds]
    for done, _ in enumerate(run_all(redundancy_job, work, workers=jobs), start=1):
        if progress is not None:
            progress(total, total, f"pruned heads of {done} of {len(seeds)} models")


def redundancy_job(place: Path, config: HeadsConfig, seed: int) -> None:
    """Take the heads out of one free model; skip what is done already."""
    path = redundancy_path(place, seed)
    if path.exists():
        return
    import torch

    from tokkit.experiments.heads_redundancy import measure_redundancy
    from tokkit.experiments.position_text import load_text
    from tokkit.model.transformer import Transformer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = trained_model(place, FREE, seed)
        untrained = Transformer(model.config, seed=seed).eval()
        asked = WindowText(load_text(place), config.length)
        write_json(path, measure_redundancy(model, untrained, asked, seed))
    finally:
        torch.set_num_threads(threads)


def trained_model(place: Path, arm: str, seed: int) -> Transformer:
    """A model that the run left."""
    from tokkit.model.checkpoint import load_checkpoint

    return load_checkpoint(place / "models" / f"{arm}-{seed}").model.eval()
