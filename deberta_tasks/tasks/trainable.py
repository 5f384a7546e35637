"""What a task needs to be learnt: files of labelled examples, labels of features, answers and their scores."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deberta_core.wording import near
from deberta_tasks.records import Record, read_records, whole_number
from deberta_tasks.tasks.base import Feature, Task

DATA = Path(__file__).parents[1] / "data"
AHEAD = 1000  # examples whose texts are encoded in one call
Outputs = Sequence[Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Limits:
    """How long features may be.

    Attributes:
        max_length: tokens of a feature, special ones included; longer texts are cut, contexts of questions into
            windows.
        stride: tokens that two windows share.
        combine: read long texts, too, in windows, and take the ``mean``, ``max`` or ``first`` of their scores; empty:
            cut them.
    """

    max_length: int = 128
    stride: int = 32
    combine: str = ""


class TrainableTask(Task):
    """A task that can be learnt.

    Attributes:
        targets: what every labelled example must have beside the fields.
        training_names: further old names, in files of labelled examples.
        bundled: file in ``deberta_tasks/data``.
        best: the score that decides which checkpoint is best; larger is better.
    """

    targets: ClassVar[tuple[str, ...]] = ("label",)
    training_names: ClassVar[Mapping[str, str]] = {}
    bundled: ClassVar[str]
    best: ClassVar[str]

    @property
    def labelled(self) -> tuple[str, ...]:
        """Columns of a file of labelled examples."""
        return (*self.fields, *self.targets)

    def read(self, path: str | os.PathLike[str], labels: Sequence[str] = ()) -> list[Record]:
        """The examples of a CSV or JSONL file, each checked.

        Args:
            path: of the file.
            labels: names of labels that are numbers in the file; empty: they are called as they stand there.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for what cannot be learnt from; the text names file and line.
        """
        names = {**self.old_names, **self.training_names}
        examples = list(read_records(path, required=self.labelled, old_names=names, known=self.columns))
        for example in examples:
            try:
                self.read_lists(example)
            except ValueError as error:
                raise ValueError(f"{example.place}: {error}") from None
            self.check(example)
        if labels and not self.label_names(examples):
            raise ValueError(f"labels of {self.name} have no names; leave out labels (--labels)")
        for example in examples:
            self.name_labels(example, labels)
        return examples

    @abstractmethod
    def check(self, example: Record) -> None:
        """Bring the values of a record into one form.

        Raises:
            ValueError: for a value that does not fit.
        """

    def name_labels(self, example: Record, labels: Sequence[str]) -> None:
        """Call labels that are numbers by their names.

        Raises:
            ValueError: for a number without a name.
        """

    @abstractmethod
    def texts(self, example: Record) -> list[str]:
        """The texts of an example, to train a vocabulary on."""

    def labels_of(self, example: Record) -> list[str]:
        """The labels of an example; none for tasks without names for labels."""
        return []

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """The labels that occur, sorted."""
        return in_order(label for example in examples for label in self.labels_of(example))

    def check_labels(self, examples: Sequence[Record], names: Sequence[str]) -> None:
        """Refuse labels that are not among ``names``.

        Raises:
            ValueError: for the first such label.
        """
        for example in examples:
            for label in self.labels_of(example):
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

    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """Features with their labels.

        Args:
            examples: that ``read`` gave.
            tokenizer: of this project, or one with the same methods.
            names: labels by number.
            limits: of the features.

        Raises:
            ValueError: for an example that leaves no room, or does not fit the first one.
        """
        options = self.options_class(truncation=True, max_length=limits.max_length, **self.windows(limits))
        reader = self.reader(tokenizer, options)
        found: list[Feature] = []
        cut = of = 0
        for number, example in enumerate(examples):
            self.check_alike(example, examples[0])
            if number % AHEAD == 0:
                reader.ahead.clear()
                reader.read_ahead([pair for later in examples[number : number + AHEAD] for pair in self.pairs(later)])
            try:
                parts = self.encode(example, reader)
            except ValueError as error:
                raise ValueError(f"{example.place}: {error}") from None
            cut, of = cut + sum(part.cut > 0 for part in parts), of + len(parts)
            found += [replace(part, example=number) for part in self.learnt(parts, example, names)]
        if cut:
            warnings.warn(
                f"{cut} of {of} texts are longer than {limits.max_length} tokens and were cut; "
                "a larger max_length keeps more of them",
                stacklevel=2,
            )
        return found

    def pairs(self, example: Record) -> list[tuple[str, str | None]]:
        """The texts and pairs that its features are made of, where they can be encoded together."""
        return []

    def windows(self, limits: Limits) -> dict[str, Any]:
        """The options that say how long texts are read.

        Raises:
            ValueError: where they are never read in windows.
        """
        if limits.combine:
            raise ValueError(f"{self.name} does not read texts in windows; leave out combine (--combine)")
        return {}

    def check_alike(self, example: Record, first: Record) -> None:
        """Refuse an example that cannot be learnt beside the first one.

        Raises:
            ValueError: with what differs.
        """

    @abstractmethod
    def learnt(self, features: list[Feature], example: Record, names: Sequence[str]) -> list[Feature]:
        """The features of an example with their labels."""

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


def split(task: TrainableTask, examples: Sequence[Record], *, every: int) -> tuple[list[Record], list[Record]]:
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


def label_named(label: str, labels: Sequence[str], place: str) -> str:
    """The name of a label that is a number; others are names already.

    Raises:
        ValueError: for a number that has none, or another name than those that are given.
    """
    if not labels or label in labels:
        return label
    number = whole_number(label)
    if number is None:
        known = ", ".join(labels)
        raise ValueError(
            f"{place}: label is {label!r}, expected one of labels ({known}) or its number{near(label, labels)}"
        )
    if not 0 <= number < len(labels):
        raise ValueError(f"{place}: label is {label}, but labels has {len(labels)} names, for 0 to {len(labels) - 1}")
    return labels[number]


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels sorted, those that are all whole numbers by their size: the label 10 comes after the label 9."""
    found = set(labels)
    return sorted(found, key=int) if all(label.isdecimal() for label in found) else sorted(found)


def text_of(example: Record, column: str) -> str:
    """A value that has to be a text with something in it.

    Raises:
        ValueError: if it is not.
    """
    value = example[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{example.place}: {column} is {value!r}, expected a text; fill it in or drop the row")
    return value
