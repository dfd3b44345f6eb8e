"""What can be asked: a trained tokkit model with its tokenizer, text in, text out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokkit.errors import ArtifactError, unknown_choice
from tokkit.model.checkpoint import is_checkpoint, load_checkpoint
from tokkit.model.generation import Step, generate
from tokkit.model.transformer import Transformer
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.opaque import OpaqueIds

END_TOKEN = "<|end|>"
MAX_ANSWER_TOKENS = 3
ID_SCHEMES = ("plain", "opaque")
_BATCH_QUESTIONS = 256

Codec = Tokenizer | OpaqueIds


def codec_of(tokenizer: Tokenizer, ids: str) -> Codec:
    """The way from text to ids and back: the tokenizer itself, or opaque sub-ids over it."""
    if ids not in ID_SCHEMES:
        raise ArtifactError(unknown_choice("scheme of ids", ids, ID_SCHEMES))
    return OpaqueIds(tokenizer) if ids == "opaque" else tokenizer


def decode_ids(codec: Codec, ids: Sequence[int]) -> str:
    """The text of ids that a model produced; what is no token of the codec shows as U+FFFD."""
    if isinstance(codec, OpaqueIds):
        known = [token for token in ids if token < codec.size]
        return codec.decode(known, strict=False)
    return "".join(codec.decode([t]) if t < codec.vocab_size else "\ufffd" for t in ids)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said: the text, the steps it took, and the probability of the whole text."""

    text: str
    steps: tuple[Step, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Target:
    """A model that answers questions."""

    name: str
    model: Transformer
    tokenizer: Tokenizer
    codec: Codec
    arm: str | None = None
    seed: int | None = None

    @property
    def end_id(self) -> int:
        """The id that ends an answer. Raises ArtifactError when the tokenizer has none."""
        end = self.tokenizer.token_id(END_TOKEN)
        if end is None:
            raise ArtifactError(
                f"the tokenizer of {self.name} has no {END_TOKEN} token: train anew"
            )
        return end

    def answer(self, questions: Sequence[str], *, candidates: int = 1) -> list[Answer]:
        """Answer each question greedily, in batches; texts that spell special tokens are text."""
        answers: list[Answer] = []
        for start in range(0, len(questions), _BATCH_QUESTIONS):
            prompts = self.codec.encode_batch(list(questions[start : start + _BATCH_QUESTIONS]))
            rows = generate(
                self.model,
                prompts,
                max_new_tokens=MAX_ANSWER_TOKENS,
                stop_ids=(self.end_id,),
                candidates=candidates,
            )
            answers += [self._answer(steps) for steps in rows]
        return answers

    def _answer(self, steps: Sequence[Step]) -> Answer:
        ids = [step.id for step in steps if step.id != self.end_id]
        probability = 1.0
        for step in steps:
            probability *= step.probability
        return Answer(decode_ids(self.codec, ids), tuple(steps), probability)


def load_target(folder: str | os.PathLike[str]) -> Target:
    """Load a checkpoint with its tokenizer. Raises ArtifactError when they do not fit together."""
    checkpoint = load_checkpoint(folder)
    tokenizer = Tokenizer.load(checkpoint.tokenizer_path)
    codec = codec_of(tokenizer, str(checkpoint.about.get("ids", "plain")))
    size = codec.size if isinstance(codec, OpaqueIds) else codec.vocab_size
    rows = checkpoint.model.config.vocab_size
    if size > rows:
        raise ArtifactError(
            f"the tokenizer in {folder} has {size} ids, but the model only {rows} rows: "
            "they are not of the same training"
        )
    arm, seed = checkpoint.about.get("arm"), checkpoint.about.get("seed")
    return Target(
        Path(folder).name,
        checkpoint.model,
        tokenizer,
        codec,
        str(arm) if arm is not None else None,
        int(seed) if isinstance(seed, int) else None,
    )


def find_checkpoints(place: str | os.PathLike[str], *, seed: int | None = None) -> list[Path]:
    """The checkpoint at `place`, or all those under its models/ folder, sorted by name.

    `seed` keeps those whose name ends in that seed. Raises ArtifactError when there is none.
    """
    folder = Path(place)
    if is_checkpoint(folder) and (seed is None or folder.name.endswith(f"-{seed}")):
        return [folder]
    if not folder.exists():
        raise ArtifactError(f"model {folder} does not exist: give a checkpoint or a run folder")
    found = sorted(path for path in (folder / "models").glob("[!.]*") if is_checkpoint(path))
    if seed is not None:
        found = [path for path in found if path.name.endswith(f"-{seed}")]
    if not found:
        wanted = "" if seed is None else f" of seed {seed}"
        raise ArtifactError(
            f"{folder} holds no trained model{wanted}: give the folder of a checkpoint or of a "
            "finished run (tokkit experiment strawberry --out RUN)"
        )
    return found
