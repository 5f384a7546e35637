"""Multiple choice: which of several texts belongs to a context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Feature, Limits, Outputs, Task, encode, text_of, warn_of_cuts


class MultipleChoice(Task):
    """The number of the right one of several choices, counted from 0.

    In JSONL ``choices`` is a list; in CSV there are columns ``choice0``, ``choice1``, and so on.
    """

    name = "multiple-choice"
    head = "ForMultipleChoice"
    columns = ("context", "choices", "label")
    bundled = "endings.jsonl"
    best = "accuracy"

    def check(self, example: Record) -> None:
        """At least two choices with content, and a label that is one of them."""
        text_of(example, "context")
        choices = example["choices"]
        if (
            not isinstance(choices, list) or len(choices) < 2
            or not all(isinstance(choice, str) and choice.strip() for choice in choices)
        ):  # fmt: skip
            raise ValueError(f"{example.place}: choices is {choices!r}, expected a list of at least two texts")
        label, last = str(example["label"]).strip(), len(choices) - 1
        if not label.isascii() or not label.isdigit() or int(label) > last:
            raise ValueError(f"{example.place}: label is {label!r}, expected the number of a choice, 0 to {last}")
        example["label"] = int(label)

    def texts(self, example: Record) -> list[str]:
        """Context and choices."""
        return [example["context"], *example["choices"]]

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: choices have no names."""
        return {}

    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """One row of pairs an example.

        Raises:
            ValueError: if not all examples have as many choices.
        """
        count = len(examples[0]["choices"])
        for example in examples:
            if len(example["choices"]) != count:
                raise ValueError(
                    f"{example.place} has {len(example['choices'])} choices, the first row has {count}; "
                    "expected as many in all rows"
                )
        contexts = [example["context"] for example in examples for _ in range(count)]
        rows, cut = encode(tokenizer, contexts, [c for example in examples for c in example["choices"]], limits)
        warn_of_cuts(cut, len(rows), limits)
        found = []
        for i, example in enumerate(examples):
            own = rows[i * count : (i + 1) * count]
            inputs = {name: [row[name] for row in own] for name in own[0]}
            found.append(Feature(inputs, {"labels": example["label"]}, i))
        return found

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The number of the likeliest choice."""
        return [int(output["logits"].argmax()) for output in outputs]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Share of right choices."""
        return {"accuracy": metrics.accuracy(answers, [example["label"] for example in examples])}
