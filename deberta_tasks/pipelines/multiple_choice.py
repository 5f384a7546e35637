"""Which of several texts goes on with a prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import best, softmax


class MultipleChoice(Pipeline[Options]):
    """``{"index", "choice", "score", "scores"}`` for a prompt and its choices; the scores add up to 1."""

    task = "multiple-choice"
    head = "ForMultipleChoice"
    fields = ("prompt", "choices")
    list_fields = ("choices",)

    def encode(self, record: Record, options: Options) -> list[Row]:
        """One row for each choice; truncation cuts the longer text."""
        return [self.tokens(options, record["prompt"], choice) for choice in record["choices"]]

    def run(self, inputs: Arrays) -> list[Arrays]:
        """Each row as a question with one choice: what the head says of a choice does not depend on the others."""
        return super().run({name: array[:, None] for name, array in inputs.items()})  # [B, 1, L]

    def digest(self, row: Row, output: Arrays, options: Options) -> float:
        """The logit."""
        return float(output["logits"][0])

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: Options) -> dict[str, Any]:
        """The likeliest choice, and the scores of all."""
        scores = softmax(np.array([logit for _, logit in rows]))
        place = best(scores, 1)[0]
        return {
            "index": place, "choice": record["choices"][place], "score": float(scores[place]),
            "scores": [float(score) for score in scores],
        }  # fmt: skip

    def describe(self, record: Record, result: Any) -> str:
        """The choice with its score."""
        return f"{result['choice']} ({result['score']:.3f})\t{record['prompt']}"
