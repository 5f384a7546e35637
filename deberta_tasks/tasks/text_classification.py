"""Tasks with one label, or one number, for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Feature, Limits, Outputs, Task, encode, text_of, warn_of_cuts


class TextClassification(Task):
    """A label for each text, or pair of texts where there is a column ``text_pair``."""

    name = "text-classification"
    head = "ForSequenceClassification"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    bundled = "topics.csv"
    best = "accuracy"
    parts: ClassVar[tuple[str, str]] = ("text", "text_pair")

    def check(self, example: Record) -> None:
        """Texts must have content and labels be there."""
        for part in self.parts:
            if part in example:
                text_of(example, part)
        label = str("" if example["label"] is None else example["label"]).strip()
        if not label:
            raise ValueError(f"{example.place}: the row has no label; fill it in or drop the row")
        example["label"] = self.read_label(label, example.place)

    def read_label(self, label: str, place: str) -> Any:
        """A label as it stands in a file, and as examples hold it."""
        return label

    def texts(self, example: Record) -> list[str]:
        """One text, or two."""
        return [example[part] for part in self.parts if part in example]

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """The labels, sorted."""
        return sorted({example["label"] for example in examples})

    def strata(self, example: Record) -> Any:
        """Labels occur evenly in all parts."""
        return example["label"]

    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """One row an example."""
        first, second = self.parts
        for example in examples:
            if (second in example) != (second in examples[0]):
                raise ValueError(f"{example.place}: some rows have {second!r} and some have not")
        seconds = [example[second] for example in examples] if second in examples[0] else None
        rows, cut = encode(tokenizer, [example[first] for example in examples], seconds, limits)
        warn_of_cuts(cut, len(rows), limits)
        return [
            Feature(row, {"labels": self.number(example["label"], names)}, i)
            for i, (row, example) in enumerate(zip(rows, examples, strict=True))
        ]

    def number(self, label: Any, names: Sequence[str]) -> Any:
        """A label as the loss takes it."""
        return names.index(label)

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The likeliest label."""
        return [names[int(output["logits"].argmax())] for output in outputs]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Accuracy and the mean F1 of the labels."""
        guessed = [names.index(answer) for answer in answers]
        right = [names.index(example["label"]) for example in examples]
        return {"accuracy": metrics.accuracy(guessed, right), "f1": metrics.macro_f1(guessed, right)}


class Inference(TextClassification):
    """Whether a premise entails a hypothesis."""

    name = "nli"
    columns = ("premise", "hypothesis", "label")
    bundled = "pairs.csv"
    parts = ("premise", "hypothesis")


class Regression(TextClassification):
    """A number for each text, or pair of texts."""

    name = "regression"
    bundled = "stays.csv"
    best = "pearson"

    def read_label(self, label: str, place: str) -> Any:
        """A number.

        Raises:
            ValueError: for anything else.
        """
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{place}: label is {label!r}, expected a number")
        return number

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """None."""
        return []

    def strata(self, example: Record) -> Any:
        """Nothing."""
        return None

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """One output, squared error."""
        return {"num_labels": 1, "id2label": {0: "value"}, "label2id": {"value": 0}, "problem_type": "regression"}

    def number(self, label: Any, names: Sequence[str]) -> Any:
        """As it is."""
        return label

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The number."""
        return [float(output["logits"][0]) for output in outputs]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Correlations and the root of the mean squared error."""
        right = [example["label"] for example in examples]
        error = float(np.sqrt(np.mean(np.square(np.subtract(answers, right)))))
        pearson, spearman = metrics.pearson(answers, right), metrics.spearman(answers, right)
        return {"pearson": pearson, "spearman": spearman, "rmse": error}
