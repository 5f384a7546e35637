"""Which of several texts goes on with a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from deberta_tasks.records import Record, whole_number
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Arrays, Feature, Kept, Reader, Runner, best, softmax
from deberta_tasks.tasks.trainable import Outputs, TrainableTask, text_of


class MultipleChoice(TrainableTask):
    """``{"index", "choice", "score", "scores"}`` for a prompt and its choices; the scores add up to 1.

    In JSONL ``choices`` is a list; in CSV there are columns ``choice0``, ``choice1``, and so on. The label is the
    number of the right choice, counted from 0.
    """

    name = "multiple-choice"
    head = "ForMultipleChoice"
    fields = ("prompt", "choices")
    lists = ("choices",)
    old_names: ClassVar[dict[str, str]] = {"context": "prompt"}
    bundled = "endings.jsonl"
    best = "accuracy"

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature for each choice; truncation cuts the longer text."""
        return [part for choice in example["choices"] for part in reader.features(example["prompt"], choice)]

    def run(self, runner: Runner, inputs: Arrays, reader: Reader) -> list[Arrays]:
        """Each as a question with one choice: what the head says of a choice does not depend on the others."""
        return super().run(runner, {name: array[:, None] for name, array in inputs.items()}, reader)  # [B, 1, L]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> float:
        """The logit."""
        return float(output["logits"][0])

    def decode(self, example: Record, kept: Kept, reader: Reader) -> dict[str, Any]:
        """The likeliest choice, and the scores of all."""
        scores = softmax(np.array([logit for _, logit in kept]))
        place = best(scores, 1)[0]
        return {
            "index": place, "choice": example["choices"][place], "score": float(scores[place]),
            "scores": [float(score) for score in scores],
        }  # fmt: skip

    def describe(self, example: Record, answer: Any) -> str:
        """The choice with its score."""
        return f"{answer['choice']} ({answer['score']:.3f})\t{example['prompt']}"

    # Learning.

    def check(self, example: Record) -> None:
        """At least two choices with content, and a label that is one of them."""
        text_of(example, "prompt")
        choices = example["choices"]
        texts = choices if isinstance(choices, list) else []
        if len(texts) < 2 or not all(isinstance(choice, str) and choice.strip() for choice in texts):
            raise ValueError(f"{example.place}: choices is {choices!r}, expected a list of at least two texts")
        label, last = whole_number(example["label"]), len(choices) - 1
        if label is None or not 0 <= label <= last:
            given = str(example["label"]).strip()
            raise ValueError(f"{example.place}: label is {given!r}, expected the number of a choice, 0 to {last}")
        example["label"] = label

    def texts(self, example: Record) -> list[str]:
        """Prompt and choices."""
        return [example["prompt"], *example["choices"]]

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: choices have no names."""
        return {}

    def pairs(self, example: Record) -> list[tuple[str, str | None]]:
        """Prompt and choice."""
        return [(example["prompt"], choice) for choice in example["choices"]]

    def check_alike(self, example: Record, first: Record) -> None:
        """All examples have as many choices."""
        if len(example["choices"]) != len(first["choices"]):
            raise ValueError(
                f"{example.place} has {len(example['choices'])} choices, the first row has {len(first['choices'])}; "
                "expected as many in all rows"
            )

    def learnt(self, features: list[Feature], example: Record, names: Sequence[str]) -> list[Feature]:
        """One feature ``[C][L]``, for the loss compares the choices."""
        inputs = {name: [part.inputs[name] for part in features] for name in features[0].inputs}
        return [Feature(inputs, {"labels": example["label"]})]

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The number of the likeliest choice."""
        return [int(output["logits"].argmax()) for output in outputs]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Share of right choices."""
        return {"accuracy": metrics.accuracy(answers, [example["label"] for example in examples])}


TASK = MultipleChoice()
