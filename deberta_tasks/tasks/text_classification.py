"""A label for a text or a pair of texts, or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from deberta_core.config import BaseConfig
from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Array, Arrays, Feature, Kept, Reader, best, combined, sigmoid, softmax
from deberta_tasks.tasks.options import ScoreOptions, check_count, option
from deberta_tasks.tasks.trainable import Limits, Outputs, TrainableTask, label_named, text_of

ONE = 0  # top_k: the best label, not in a list


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(ScoreOptions):
    """Options of text classification.

    Attributes:
        top_k: number of labels, best first, as a list; ``None``: all; default the best one, not in a list.
        threshold: of the labels asked for, those whose score is at least this; for texts with several labels.
    """

    top_k: int | None = option(ONE, "number of labels, best first, or all; default the best one")
    threshold: float | None = option(None, "only labels whose score is at least this, such as 0.5")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k, least=ONE, optional=True)


def scores_of(logits: Array, config: BaseConfig | None, function: str | None = None) -> Array:
    """Scores from the logits ``[..., Y]`` of sequence classification, as the model was trained.

    Args:
        logits: of one text or more.
        config: with ``problem_type`` and ``num_labels``.
        function: overrules the config.
    """
    if function is None and config is not None:
        # A single output that is no regression is a score by itself, as rankers are trained: softmax would make it 1.
        several = config.problem_type == "multi_label_classification" or config.num_labels == 1
        function = "none" if config.problem_type == "regression" else "sigmoid" if several else "softmax"
    if function == "none":
        return np.asarray(logits, np.float64)
    return sigmoid(logits) if function == "sigmoid" else softmax(logits)


class TextClassification(TrainableTask):
    """``{"label", "score"}`` for a text, or a pair where there is a ``text_pair``; with ``top_k`` a list of them."""

    name = "text-classification"
    head = "ForSequenceClassification"
    options_class = TextClassificationOptions
    optional: ClassVar[tuple[str, ...]] = ("text_pair",)
    bundled = "topics.csv"
    best = "accuracy"

    def parts(self, example: Record) -> list[str]:
        """The columns of the texts: one, or two."""
        return [*self.fields, *(name for name in self.optional if example.get(name) is not None)]

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature, or one for each window; the notes are how their scores become one."""
        found = reader.features(*self.texts(example))
        return [replace(feature, notes=reader.options.combine) for feature in found]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Array:
        """Scores ``[Y]``."""
        return scores_of(output["logits"], reader.config, reader.options.function_to_apply)

    def decode(self, example: Record, kept: Kept, reader: Reader) -> Any:
        """Labels with scores, best first."""
        options = reader.options
        scores = combined([scores for _, scores in kept], options.combine)
        alone = options.top_k == ONE and options.threshold is None
        places = best(scores, 1 if alone else options.top_k or None)
        if options.threshold is not None:
            places = [place for place in places if scores[place] >= options.threshold]
        found = [{"label": reader.names[place], "score": float(scores[place])} for place in places]
        return found[0] if alone else found

    def alone(self, answer: Any) -> Any:
        """A list, as scripts expect that read ``answer[0]["label"]``."""
        return [answer] if isinstance(answer, dict) else answer

    def describe(self, example: Record, answer: Any) -> str:
        """Labels with scores, and the text."""
        found = answer if isinstance(answer, list) else [answer]
        labels = ", ".join(f"{label['label']} {label['score']:.3f}" for label in found)
        return f"{labels or '-'}\t{example[self.columns[0]]}"

    # Learning.

    def check(self, example: Record) -> None:
        """Texts must have content and labels be there."""
        for part in self.parts(example):
            text_of(example, part)
        label = str("" if example["label"] is None else example["label"]).strip()
        if not label:
            raise ValueError(f"{example.place}: the row has no label; fill it in or drop the row")
        if isinstance(example["label"], (list, dict)):
            raise ValueError(f"{example.place}: label is {label}, expected a single one, a text or a number")
        example["label"] = self.read_label(label, example.place)

    def read_label(self, label: str, place: str) -> Any:
        """A label as it stands in a file, and as examples hold it."""
        return label

    def name_labels(self, example: Record, labels: Sequence[str]) -> None:
        """Its label."""
        example["label"] = label_named(example["label"], labels, example.place)

    def texts(self, example: Record) -> list[str]:
        """One text, or two."""
        return [example[part] for part in self.parts(example)]

    def labels_of(self, example: Record) -> list[str]:
        """The one."""
        return [example["label"]]

    def strata(self, example: Record) -> Any:
        """Labels occur evenly in all parts."""
        return example["label"]

    def pairs(self, example: Record) -> list[tuple[str, str | None]]:
        """The one."""
        first, *second = self.texts(example)
        return [(first, second[0] if second else None)]

    def windows(self, limits: Limits) -> dict[str, Any]:
        """Where scores of windows are combined, they are read."""
        return {"stride": limits.stride, "combine": limits.combine} if limits.combine else {}

    def check_alike(self, example: Record, first: Record) -> None:
        """All examples are texts, or all are pairs."""
        if self.parts(example) != self.parts(first):
            raise ValueError(f"{example.place}: some rows have {self.columns[1]!r} and some have not")

    def learnt(self, features: list[Feature], example: Record, names: Sequence[str]) -> list[Feature]:
        """Every window has the label of its text."""
        return [replace(feature, labels={"labels": self.number(example["label"], names)}) for feature in features]

    def number(self, label: Any, names: Sequence[str]) -> Any:
        """A label as the loss takes it."""
        return names.index(label)

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The likeliest label."""
        return [names[int(scores.argmax())] for scores in self.judged(outputs, features, softmax)]

    def judged(self, outputs: Outputs, features: Sequence[Feature], function: Callable[[Array], Array]) -> list[Array]:
        """Scores ``[Y]`` of each example, from the logits of its windows."""
        found: dict[int, list[Array]] = {}
        for output, feature in zip(outputs, features, strict=True):
            found.setdefault(feature.example, []).append(function(output["logits"]))
        return [combined(found[number], features[0].notes) for number in sorted(found)]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Accuracy and the mean F1 of the labels."""
        guessed = [names.index(answer) for answer in answers]
        right = [names.index(example["label"]) for example in examples]
        return {"accuracy": metrics.accuracy(guessed, right), "f1": metrics.macro_f1(guessed, right)}


TASK = TextClassification()
