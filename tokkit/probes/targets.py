"""What can be asked: a model with its tokenizer, text in, text out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokkit.errors import ArtifactError, unknown_choice
from tokkit.model.checkpoint import is_checkpoint
from tokkit.model.generation import Step, generate
from tokkit.model.transformer import Transformer
from tokkit.probes.models import NAMES, OpenModel, open_model
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.opaque import OpaqueIds

END_TOKEN = "<|end|>"
MAX_ANSWER_TOKENS = 3  # of the models trained to count letters
LONG_ANSWER_TOKENS = 64  # of all others
ID_SCHEMES = ("plain", "opaque")
_BATCH_QUESTIONS = 256

Codec = Tokenizer | LibraryTokenizer | OpaqueIds


def codec_of(tokenizer: Tokenizer, ids: str) -> Tokenizer | OpaqueIds:
    """The way from text to ids and back: the tokenizer itself, or opaque sub-ids over it."""
    if ids not in ID_SCHEMES:
        raise ArtifactError(unknown_choice("scheme of ids", ids, ID_SCHEMES))
    return OpaqueIds(tokenizer) if ids == "opaque" else tokenizer


def decode_ids(codec: Codec, ids: Sequence[int]) -> str:
    """The text of ids that a model produced; what is no token of the codec shows as U+FFFD."""
    if isinstance(codec, OpaqueIds):
        known = [token for token in ids if token < codec.size]
        return codec.decode(known, strict=False)
    if isinstance(codec, LibraryTokenizer):
        return "".join(_token_text(codec, token) for token in ids)
    return "".join(codec.decode([t]) if t < codec.vocab_size else "\ufffd" for t in ids)


def _token_text(tokenizer: LibraryTokenizer, token: int) -> str:
    if token >= tokenizer.vocab_size or token in tokenizer.unused_ids:
        return "\ufffd"
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said: the text, the steps it took, and the probability of the whole text."""

    text: str
    steps: tuple[Step, ...]
    probability: float


@dataclass(frozen=True, slots=True)
class Target:
    """A model that answers questions.

    `end_ids` end an answer; where None, END_TOKEN does. With a `chat_template` a question is put
    into it as a user's message, else it stands behind the `start_ids`. Without an `arm` the model
    was not trained to answer in MAX_ANSWER_TOKENS, and may take LONG_ANSWER_TOKENS.
    """

    name: str
    model: Transformer
    tokenizer: Tokenizer | LibraryTokenizer
    codec: Codec
    arm: str | None = None
    seed: int | None = None
    end_ids: tuple[int, ...] | None = None
    start_ids: tuple[int, ...] = ()
    chat_template: str | None = None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    max_answer_tokens: int = MAX_ANSWER_TOKENS

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
        ends = (self.end_id,) if self.end_ids is None else self.end_ids
        answers: list[Answer] = []
        for start in range(0, len(questions), _BATCH_QUESTIONS):
            prompts = self._prompts(list(questions[start : start + _BATCH_QUESTIONS]))
            rows = generate(
                self.model,
                prompts,
                max_new_tokens=self._room(prompts),
                stop_ids=ends,
                candidates=candidates,
            )
            answers += [self._answer(steps, ends) for steps in rows]
        return answers

    def _prompts(self, questions: list[str]) -> list[list[int]]:
        if self.chat_template is None:
            batch = self.codec.encode_batch(questions)
            return [[*self.start_ids, *ids] for ids in batch] if self.start_ids else batch
        from tokkit.probes.chat import chat_ids

        names = self.special_tokens
        return [
            chat_ids(self.codec, self.chat_template, question, special_tokens=names)
            for question in questions
        ]

    def _room(self, prompts: Sequence[Sequence[int]]) -> int:
        """How long an answer may become; a long one ends where the context does."""
        if self.max_answer_tokens == MAX_ANSWER_TOKENS:
            return MAX_ANSWER_TOKENS
        left = self.model.config.context + 1 - max(map(len, prompts))
        return max(1, min(self.max_answer_tokens, left))

    def _answer(self, steps: Sequence[Step], ends: Sequence[int]) -> Answer:
        ids = [step.id for step in steps if step.id not in ends]
        probability = 1.0
        for step in steps:
            probability *= step.probability
        if self.max_answer_tokens == MAX_ANSWER_TOKENS:
            return Answer(decode_ids(self.codec, ids), tuple(steps), probability)
        return Answer(_joined_text(self.codec, ids), tuple(steps), probability)


def _joined_text(codec: Codec, ids: Sequence[int]) -> str:
    """The text of ids together: a character's bytes can lie in several tokens."""
    from tokkit.tokenizer.streaming import TextStream

    stream = TextStream(codec)
    return "".join(stream.feed(token) for token in ids) + stream.finish()


def load_target(source: str | os.PathLike[str]) -> Target:
    """Open a model, as `open_model` does, to ask it.

    Raises ArtifactError when there is none, or when its parts do not fit together.
    """
    opened = open_model(source)
    codec = _codec(opened)
    size = codec.size if isinstance(codec, OpaqueIds) else codec.vocab_size
    rows = opened.model.config.vocab_size
    if size > rows:
        raise ArtifactError(
            f"the tokenizer in {source} has {size} ids, but the model only {rows} rows: "
            "they are not of the same training"
        )
    arm, seed = opened.about.get("arm"), opened.about.get("seed")
    counts_letters = arm is not None
    return Target(
        opened.name,
        opened.model,
        opened.tokenizer,
        codec,
        str(arm) if counts_letters else None,
        int(seed) if isinstance(seed, int) else None,
        end_ids=None if counts_letters else opened.end_ids,
        start_ids=opened.start_ids,
        chat_template=opened.chat_template,
        special_tokens=opened.special_tokens,
        max_answer_tokens=MAX_ANSWER_TOKENS if counts_letters else LONG_ANSWER_TOKENS,
    )


def _codec(opened: OpenModel) -> Codec:
    ids = str(opened.about.get("ids", "plain"))
    if isinstance(opened.tokenizer, Tokenizer):
        return codec_of(opened.tokenizer, ids)
    if ids != "plain":
        raise ArtifactError(f"opaque ids need a byte-level tokenizer, which {opened.name} has not")
    return opened.tokenizer


def find_checkpoints(place: str | os.PathLike[str], *, seed: int | None = None) -> list[Path]:
    """The model at `place`, or all checkpoints under its models/ folder, sorted by name.

    A file or a name of NAMES is taken for a model. `seed` keeps those whose name ends in that
    seed. Raises ArtifactError when there is none.
    """
    folder = Path(place)
    if seed is None and (folder.is_file() or (str(place) in NAMES and not folder.exists())):
        return [folder]
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
