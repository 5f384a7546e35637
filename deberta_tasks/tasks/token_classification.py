"""Names in texts: a tag for each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deberta_core.checks import IGNORED
from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Feature, Limits, Outputs, Task, rows_of, warn_of_cuts


class TokenClassification(Task):
    """A tag for each word, such as ``B-PER``, ``I-PER`` and ``O``.

    Words and tags are lists, or texts with a space between two words. The first token of a word has its tag; the loss
    passes over the others.
    """

    name = "token-classification"
    head = "ForTokenClassification"
    columns = ("tokens", "tags")
    bundled = "names.jsonl"
    best = "f1"

    def check(self, example: Record) -> None:
        """As many tags as words, of each at least one."""
        for column in self.columns:
            value = example[column]
            words = value.split() if isinstance(value, str) else value
            if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
                raise ValueError(f"{example.place}: {column} is {value!r}, expected a list of words")
            example[column] = words
        words, tags = example["tokens"], example["tags"]
        if len(words) != len(tags) or not words:
            raise ValueError(
                f"{example.place} has {len(words)} tokens and {len(tags)} tags, expected one tag for each token"
            )

    def texts(self, example: Record) -> list[str]:
        """The words with spaces."""
        return [" ".join(example["tokens"])]

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """The tags, sorted; ``O`` first."""
        return sorted({tag for example in examples for tag in example["tags"]}, key=lambda tag: (tag != "O", tag))

    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """One row an example."""
        words = [example["tokens"] for example in examples]
        batch = tokenizer(words, is_split_into_words=True, truncation=True, max_length=limits.max_length)
        numbers = {name: number for number, name in enumerate(names)}
        found, cut = [], 0
        for i, (row, example) in enumerate(zip(rows_of(batch), examples, strict=True)):
            tags = example["tags"]
            firsts: list[int | None] = [None] * len(tags)
            labels = [IGNORED] * len(row["input_ids"])
            for place, word in enumerate(batch.word_ids(i)):
                if word is not None and firsts[word] is None:
                    firsts[word], labels[place] = place, numbers[tags[word]]
            cut += firsts[-1] is None
            found.append(Feature(row, {"labels": labels}, i, firsts))
        warn_of_cuts(cut, len(found), limits)
        return found

    def weight(self, feature: Feature) -> int:
        """Words that are in the row."""
        return sum(label != IGNORED for label in feature.labels["labels"])

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The likeliest tag of each word; ``O``, or else the first tag, where it was cut off."""
        return [
            [names[0] if place is None else names[int(output["logits"][place].argmax())] for place in feature.spans]
            for output, feature in zip(outputs, features, strict=True)
        ]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Of whole spans; and the share of words whose tag is right."""
        right = [example["tags"] for example in examples]
        pairs = [(g, r) for answer, tags in zip(answers, right, strict=True) for g, r in zip(answer, tags, strict=True)]
        return {**metrics.span_f1(answers, right), "accuracy": sum(g == r for g, r in pairs) / len(pairs)}
