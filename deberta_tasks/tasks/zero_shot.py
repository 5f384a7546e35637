"""Labels that the model has never seen, by asking a model of entailment whether a text entails "This is ..."."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deberta_core.wording import near
from deberta_tasks.records import Record
from deberta_tasks.tasks.base import Array, Arrays, Feature, Kept, Reader, Task, best, check_text, combined, softmax
from deberta_tasks.tasks.options import WindowOptions, listed, option


@dataclass(frozen=True, kw_only=True)
class ZeroShotOptions(WindowOptions):
    """Options of zero-shot classification.

    Attributes:
        candidate_labels: the labels, as a list or with commas between; an example may bring its own.
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
        try:
            without = self.hypothesis_template.format("x") == self.hypothesis_template.format("y")
        except (ValueError, LookupError, AttributeError):  # braces alone, or another name between them
            without = True
        if without:
            raise ValueError(f"hypothesis_template is {self.hypothesis_template!r}, expected {{}} where the label goes")


class ZeroShotClassification(Task):
    """``{"sequence", "labels", "scores"}`` for a text, the likeliest label first."""

    name = "zero-shot-classification"
    head = "ForSequenceClassification"
    options_class = ZeroShotOptions
    second = "candidate_labels"

    def check_options(self, reader: Reader) -> None:
        """The model must know what entailment is."""
        self._place(reader, "entail", reader.options.entailment_label, "entailment_label")
        if reader.options.multi_label:
            self._contradiction(reader)

    def _place(self, reader: Reader, start: str, name: str | None, option_name: str) -> int:
        for place, label in enumerate(reader.names):
            if label == name or (name is None and label.lower().startswith(start)):
                return place
        known = ", ".join(reader.names)
        if name is not None:
            raise ValueError(f"{option_name} is {name!r}{near(name, reader.names)}; the model's labels are {known}")
        raise ValueError(
            f"none of the model's labels ({known}) begins with {start!r}: zero-shot classification needs a model of "
            f"natural language inference; if it is one, name its label with {option_name}"
        )

    def _contradiction(self, reader: Reader) -> int:
        if reader.options.contradiction_label is None and len(reader.names) == 2:
            return 1 - self._place(reader, "entail", reader.options.entailment_label, "entailment_label")
        return self._place(reader, "contra", reader.options.contradiction_label, "contradiction_label")

    def labels(self, example: Record, options: ZeroShotOptions) -> list[str]:
        """The labels to choose among for an example."""
        given = listed(example.get("candidate_labels") or options.candidate_labels or ())
        if not given:
            raise ValueError("there are no labels to choose among; give candidate_labels (--candidate-labels)")
        for label in given:
            check_text("a label of candidate_labels", label)
        return given

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature for each label, or one for each window of the text beside it; the notes are the label's number."""
        template = reader.options.hypothesis_template
        return [
            replace(feature, notes=number)
            for number, label in enumerate(self.labels(example, reader.options))
            for feature in reader.features(example["text"], template.format(label), cut="only_first")
        ]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Array:
        """Logits ``[Y]``."""
        return output["logits"]

    def decode(self, example: Record, kept: Kept, reader: Reader) -> dict[str, Any]:
        """All labels, the likeliest first."""
        labels = self.labels(example, reader.options)
        entailment = self._place(reader, "entail", reader.options.entailment_label, "entailment_label")
        alone = reader.options.multi_label or len(labels) == 1
        found: list[list[float]] = [[] for _ in labels]
        for feature, logits in kept:
            # Alone, a label holds as far as entailment wins over contradiction, neutral left aside; among others the
            # labels share out their logits of entailment. Source: Yin et al. 2019 (arXiv 1909.00161).
            judged = softmax(logits[[self._contradiction(reader), entailment]])[1] if alone else logits[entailment]
            found[feature.notes].append(float(judged))
        # Hypotheses differ in length, so windows of one text do, too, and shares are taken of what is combined.
        scores = np.array([combined(windows, reader.options.combine) for windows in found])
        scores = scores if alone else softmax(scores)
        places = best(scores)
        return {
            "sequence": example["text"], "labels": [labels[p] for p in places],
            "scores": [float(scores[p]) for p in places],
        }  # fmt: skip

    def describe(self, example: Record, answer: Any) -> str:
        """Labels with scores, and the text."""
        found = zip(answer["labels"], answer["scores"], strict=True)
        labels = ", ".join(f"{label} {score:.3f}" for label, score in found)
        return f"{labels}\t{example['text']}"


TASK = ZeroShotClassification()
