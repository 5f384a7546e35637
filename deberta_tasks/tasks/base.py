"""What a task is: how its examples are read, turned into rows of tokens with labels, and judged.

Nothing here knows a framework: rows hold lists of integers, outputs are NumPy arrays.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deberta_tasks.records import Record, read_records

DATA = Path(__file__).parents[1] / "data"
Outputs = Sequence[Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Limits:
    """How long rows may be.

    Attributes:
        max_length: tokens of a row, special ones included; longer texts are cut, contexts of questions into windows.
        stride: tokens that two windows share.
    """

    max_length: int = 128
    stride: int = 32


@dataclass(frozen=True)
class Feature:
    """A row for the model, not padded yet.

    Attributes:
        inputs: ``input_ids`` and the like: integers ``[L]``, or for multiple choice ``[C][L]``.
        labels: by input name: a number, or integers ``[L]``.
        example: number of the example that it was made of.
        spans: for question answering the characters of each token of the context, ``None`` for others; for token
            classification the token of each word, ``None`` for words that were cut off.
    """

    inputs: dict[str, Any]
    labels: dict[str, Any]
    example: int
    spans: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        """Tokens; of the longest choice."""
        ids = self.inputs["input_ids"]
        return max(map(len, ids)) if isinstance(ids[0], list) else len(ids)


class Task(ABC):
    """A kind of question that a model is trained to answer.

    Attributes:
        name: what users type.
        head: key of ``deberta_core.heads.HEADS``.
        columns: values that every record must have.
        bundled: file in ``deberta_tasks/data``.
        best: the score that decides which checkpoint is best; larger is better.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    bundled: ClassVar[str]
    best: ClassVar[str]

    def read(self, path: str | os.PathLike[str]) -> list[Record]:
        """The examples of a CSV or JSONL file, each checked.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for what cannot be learnt from; the text names file and line.
        """
        examples = list(read_records(path, required=self.columns))
        for example in examples:
            self.check(example)
        return examples

    @abstractmethod
    def check(self, example: Record) -> None:
        """Bring the values of a record into one form.

        Raises:
            ValueError: for a value that does not fit.
        """

    @abstractmethod
    def texts(self, example: Record) -> list[str]:
        """The texts of an example, to train a vocabulary on."""

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """The labels that occur, sorted; none for tasks without names for labels."""
        return []

    def check_labels(self, examples: Sequence[Record], names: Sequence[str]) -> None:
        """Refuse labels that are not among ``names``.

        Raises:
            ValueError: for the first such label.
        """
        for example in examples:
            for label in self.label_names([example]):
                if label not in names:
                    raise ValueError(
                        f"{example.place}: label {label!r} does not occur in the training data, which has "
                        f"{', '.join(names)}; add examples of it there, or drop the row"
                    )

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """Fields of the model's config."""
        return {
            "num_labels": len(names), "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
        }  # fmt: skip

    def strata(self, example: Record) -> Any:
        """What has to be spread evenly when examples are held back; by default nothing."""
        return None

    @abstractmethod
    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """Rows of tokens with aligned labels.

        Args:
            examples: that ``read`` gave.
            tokenizer: of this project, or one with the same methods.
            names: labels by number.
            limits: of the rows.
        """

    def weight(self, feature: Feature) -> int:
        """How many labels of a row the loss counts."""
        return 1

    @abstractmethod
    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """What the model says to each example: a label, tags, an answer, a number.

        Args:
            outputs: for each feature the model's entries, such as ``logits``, cut to its length.
            features: that ``features`` gave.
            examples: likewise.
            names: labels by number.
        """

    @abstractmethod
    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """How good answers are."""


def split(task: Task, examples: Sequence[Record], *, every: int) -> tuple[list[Record], list[Record]]:
    """Examples to learn from, and every so-manyth, beginning with the first, to judge by.

    Args:
        task: says what has to occur evenly in both.
        examples: at least ``every``.
        every: one in so many is held back.

    Raises:
        ValueError: if one part would be empty.
    """
    seen: dict[Any, int] = {}
    kept: list[Record] = []
    held: list[Record] = []
    for example in examples:
        kind = task.strata(example)
        (kept if seen.get(kind, 0) % every else held).append(example)
        seen[kind] = seen.get(kind, 0) + 1
    if not kept or not held:
        raise ValueError(
            f"{len(examples)} examples are too few to hold one in {every} back for judging; "
            "add some, or give files of your own for validation and test"
        )
    return kept, held


def encode(
    tokenizer: Any, firsts: list[str], seconds: list[str] | None, limits: Limits
) -> tuple[list[dict[str, list[int]]], int]:
    """Texts or pairs as rows of ids, cut at the limit.

    Returns:
        For each text ``input_ids`` and what else the model is given, and how many texts were cut.
    """
    batch = tokenizer(firsts, seconds)
    fits = [len(ids) <= limits.max_length for ids in batch["input_ids"]]
    if not all(fits):
        batch = tokenizer(firsts, seconds, truncation=True, max_length=limits.max_length)
    return rows_of(batch), fits.count(False)


def rows_of(batch: Mapping[str, Any]) -> list[dict[str, list[int]]]:
    """The rows of a tokenizer's output; masks are made when rows are padded."""
    names = [name for name in ("input_ids", "token_type_ids") if name in batch]
    return [{name: batch[name][i] for name in names} for i in range(len(batch["input_ids"]))]


def warn_of_cuts(cut: int, of: int, limits: Limits) -> None:
    """Say how many texts lost their end."""
    if cut:
        warnings.warn(
            f"{cut} of {of} texts are longer than {limits.max_length} tokens and were cut; "
            "a larger max_length keeps more of them",
            stacklevel=3,
        )


def text_of(example: Record, column: str) -> str:
    """A value that has to be a text with something in it.

    Raises:
        ValueError: if it is not.
    """
    value = example[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{example.place}: {column} is {value!r}, expected a text; fill it in or drop the row")
    return value
