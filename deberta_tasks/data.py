"""Labelled texts of a CSV file, as the demo takes them: read, and some of them kept back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from deberta_tasks.records import Record, read_records
from deberta_tasks.tasks import DATA, TRAINABLE, split

TASK = TRAINABLE["text-classification"]
BUNDLED = DATA / TASK.bundled
COLUMNS = ("label", "text")


def read_csv(path: str | os.PathLike[str]) -> list[Record]:
    """Texts and labels of a CSV file with a heading.

    Args:
        path: UTF-8 file whose columns ``label`` and ``text`` are read; other columns are not.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no UTF-8, a column is missing, or a row has no label or no text.
    """
    examples = []
    for record in read_records(path, format="csv", required=COLUMNS):
        example = Record({column: record[column].strip() for column in COLUMNS}, record.place)
        TASK.check(example)
        examples.append(example)
    return examples


def hold_back(examples: Sequence[Record], *, every: int = 5) -> tuple[list[Record], list[Record]]:
    """Texts to train on and texts to judge by: of each label, the first of every so many is held back.

    Args:
        examples: at least two labels, each with at least ``every`` texts.
        every: one text in so many is held back.

    Raises:
        ValueError: if there are too few labels or texts.
    """
    counts = Counter(example["label"] for example in examples)
    if len(counts) < 2:
        raise ValueError(f"all texts have the label {next(iter(counts))!r}; a classifier needs at least two labels")
    scarce, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < every:
        raise ValueError(f"label {scarce!r} has {fewest} texts, expected at least {every}; add some or drop the label")
    return split(TASK, examples, every=every)


def most_frequent(examples: Sequence[Record]) -> float:
    """Share of the most frequent label: what always guessing it would get right."""
    return max(Counter(example["label"] for example in examples).values()) / len(examples)
