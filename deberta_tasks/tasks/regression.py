"""A number for a text or a pair of texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Feature
from deberta_tasks.tasks.text_classification import TextClassification
from deberta_tasks.tasks.trainable import Outputs


class Regression(TextClassification):
    """``{"label", "score"}`` for a text, or a pair where there is a ``text_pair``; the score is the number."""

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

    def labels_of(self, example: Record) -> list[str]:
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
        return [float(scores[0]) for scores in self.judged(outputs, features, np.asarray)]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Correlations and the root of the mean squared error."""
        right = [example["label"] for example in examples]
        error = float(np.sqrt(np.mean(np.square(np.subtract(answers, right)))))
        pearson, spearman = metrics.pearson(answers, right), metrics.spearman(answers, right)
        return {"pearson": pearson, "spearman": spearman, "rmse": error}


TASK = Regression()
