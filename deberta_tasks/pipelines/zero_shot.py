"""Labels that the model has never seen, by asking a model of entailment whether a text entails "This is ..."."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_core.config import near
from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import Array, best, softmax


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions(Options):
    """Options of zero-shot classification.

    Attributes:
        candidate_labels: the labels, as a list or with commas between; a record may bring its own.
        hypothesis_template: a sentence with ``{}`` where the label goes.
        multi_label: each label is judged by itself, so that several may hold.
        entailment_label: name of the model's label for it; default the one that begins with "entail".
        contradiction_label: the same for contradiction; default the one that begins with "contra", or the other of two.
    """

    candidate_labels: Sequence[str] | str | None = option(None, "the labels to choose among")
    hypothesis_template: str = option("This example is {}.", "a sentence with {} where the label goes")
    multi_label: bool = option(False, "judge each label by itself, so that several may hold")
    entailment_label: str | None = option(None, "the model's label for entailment, where its name does not tell")
    contradiction_label: str | None = option(None, "the model's label for contradiction, where its name does not tell")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hypothesis_template.format("x") == self.hypothesis_template.format("y"):
            raise ValueError(f"hypothesis_template is {self.hypothesis_template!r}, expected {{}} where the label goes")


class ZeroShotClassification(Pipeline[ZeroShotOptions]):
    """``{"sequence", "labels", "scores"}`` for a text, the likeliest label first."""

    task = "zero-shot-classification"
    head = "ForSequenceClassification"
    options_class = ZeroShotOptions

    def __call__(self, inputs: Any = None, /, candidate_labels: Any = None, **given: Any) -> Any:
        """As for all pipelines; the labels may be the second argument, for all texts."""
        if candidate_labels is not None:
            given["candidate_labels"] = candidate_labels
        return super().__call__(inputs, **given)

    def check(self, options: ZeroShotOptions) -> None:
        """The model must know what entailment is."""
        super().check(options)
        self._place("entail", options.entailment_label, "entailment_label")
        if options.multi_label:
            self._contradiction(options)

    def _place(self, start: str, name: str | None, option_name: str) -> int:
        labels = self.runner.config.id2label or {}
        for place, label in labels.items():
            if label == name or (name is None and label.lower().startswith(start)):
                return place
        known = ", ".join(labels.values())
        if name is not None:
            raise ValueError(f"{option_name} is {name!r}{near(name, labels.values())}; the model's labels are {known}")
        raise ValueError(
            f"none of the model's labels ({known}) begins with {start!r}: zero-shot classification needs a model of "
            f"natural language inference; if it is one, name its label with {option_name}"
        )

    def _contradiction(self, options: ZeroShotOptions) -> int:
        if options.contradiction_label is None and self.runner.config.num_labels == 2:
            return 1 - self._place("entail", options.entailment_label, "entailment_label")
        return self._place("contra", options.contradiction_label, "contradiction_label")

    def labels(self, record: Record, options: ZeroShotOptions) -> list[str]:
        """The labels to choose among for a record."""
        given = record.get("candidate_labels") or options.candidate_labels
        if isinstance(given, str):
            given = [label.strip() for label in given.split(",") if label.strip()]
        if not given:
            raise ValueError("there are no labels to choose among; give candidate_labels (--candidate-labels)")
        for label in given:
            self._check_text("a label of candidate_labels", label)
        return list(given)

    def encode(self, record: Record, options: ZeroShotOptions) -> list[Row]:
        """One row for each label."""
        template = options.hypothesis_template
        return [
            self.tokens(options, record["text"], template.format(label), cut="only_first")
            for label in self.labels(record, options)
        ]

    def digest(self, row: Row, output: Arrays, options: ZeroShotOptions) -> Array:
        """Logits ``[Y]``."""
        return output["logits"]

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: ZeroShotOptions) -> dict[str, Any]:
        """All labels, the likeliest first."""
        labels = self.labels(record, options)
        logits = np.stack([kept for _, kept in rows])
        entailment = self._place("entail", options.entailment_label, "entailment_label")
        if options.multi_label or len(labels) == 1:
            scores = softmax(logits[:, [self._contradiction(options), entailment]])[:, 1]
        else:
            scores = softmax(logits[:, entailment])
        places = best(scores)
        return {
            "sequence": record["text"], "labels": [labels[p] for p in places],
            "scores": [float(scores[p]) for p in places],
        }  # fmt: skip

    def describe(self, record: Record, result: Any) -> str:
        """Labels with scores, and the text."""
        found = zip(result["labels"], result["scores"], strict=True)
        labels = ", ".join(f"{label} {score:.3f}" for label, score in found)
        return f"{labels}\t{record['text']}"
