"""A label for a text, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_core.config import BaseConfig
from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options, check_choice, check_count, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import Array, best, sigmoid, softmax

FUNCTIONS = ("softmax", "sigmoid", "none")
ONE = 0  # top_k: the best label, not in a list


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(Options):
    """Options of text classification.

    Attributes:
        top_k: number of labels, best first, as a list; ``None``: all; default the best one, not in a list.
        threshold: of the labels asked for, those whose score is at least this; for texts with several labels.
        function_to_apply: ``softmax``, ``sigmoid`` or ``none``; default by the model's ``problem_type``.
    """

    top_k: int | None = option(ONE, "number of labels, best first, or all; default the best one")
    threshold: float | None = option(None, "only labels whose score is at least this, such as 0.5")
    function_to_apply: str | None = option(None, f"{', '.join(FUNCTIONS)}; default by the model's problem_type")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k, least=ONE, optional=True)
        if self.function_to_apply is not None:
            check_choice("function_to_apply", self.function_to_apply, FUNCTIONS)


def scores_of(logits: Array, config: BaseConfig, function: str | None = None) -> Array:
    """Scores from the logits ``[..., Y]`` of sequence classification, as the model was trained.

    Args:
        logits: of one row or more.
        config: with ``problem_type`` and ``num_labels``.
        function: overrules the config.
    """
    if function is None:
        several = config.problem_type == "multi_label_classification" or config.num_labels == 1
        function = "none" if config.problem_type == "regression" else "sigmoid" if several else "softmax"
    if function == "none":
        return np.asarray(logits, np.float64)
    return softmax(logits) if function == "softmax" else sigmoid(logits)


class TextClassification(Pipeline[TextClassificationOptions]):
    """``{"label", "score"}`` for a text or pair; with ``top_k`` a list of them."""

    task = "text-classification"
    head = "ForSequenceClassification"
    options_class = TextClassificationOptions
    optional_fields = ("text_pair",)

    def encode(self, record: Record, options: TextClassificationOptions) -> list[Row]:
        """One row."""
        return [self.tokens(options, record["text"], record.get("text_pair"))]

    def digest(self, row: Row, output: Arrays, options: TextClassificationOptions) -> Array:
        """Scores ``[Y]``."""
        return scores_of(output["logits"], self.runner.config, options.function_to_apply)

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: TextClassificationOptions) -> Any:
        """Labels with scores, best first."""
        scores, names = rows[0][1], self.runner.config.id2label or {}
        alone = options.top_k == ONE and options.threshold is None
        places = best(scores, 1 if alone else options.top_k or None)
        if options.threshold is not None:
            places = [place for place in places if scores[place] >= options.threshold]
        found = [{"label": names[place], "score": float(scores[place])} for place in places]
        return found[0] if alone else found

    def present(self, result: Any, *, alone: bool) -> Any:
        """A lone text gets a list, as scripts expect that read ``result[0]["label"]``."""
        return [result] if alone and isinstance(result, dict) else result

    def describe(self, record: Record, result: Any) -> str:
        """Labels with scores, and the text."""
        rows = result if isinstance(result, list) else [result]
        labels = ", ".join(f"{row['label']} {row['score']:.3f}" for row in rows)
        return f"{labels or '-'}\t{record['text']}"
