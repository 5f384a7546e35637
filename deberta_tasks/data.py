"""Labelled texts: reading them from CSV and keeping some of them back."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deberta_tasks.records import Record, read_records

BUNDLED = Path(__file__).parent / "data" / "topics.csv"
COLUMNS = ("label", "text")


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with one label each.

    Attributes:
        texts: the texts.
        labels: for each text, the index of its label in ``names``.
        names: the labels, sorted.
    """

    texts: list[str]
    labels: list[int]
    names: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def most_frequent(self) -> float:
        """Share of the most frequent label: what always guessing it would get right."""
        return max(Counter(self.labels).values()) / len(self)

    def take(self, places: list[int]) -> LabelledTexts:
        """The texts at ``places``, in that order."""
        return LabelledTexts([self.texts[i] for i in places], [self.labels[i] for i in places], self.names)


def read_csv(path: str | os.PathLike[str]) -> LabelledTexts:
    """Texts and labels of a CSV file with a heading.

    Args:
        path: UTF-8 file whose columns ``label`` and ``text`` are read; other columns are not.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no UTF-8, a column is missing, or a row has no label or no text.
    """
    rows = [_checked(record) for record in read_records(path, format="csv", required=COLUMNS)]
    names = sorted({label for label, _ in rows})
    return LabelledTexts([text for _, text in rows], [names.index(label) for label, _ in rows], names)


def _checked(record: Record) -> tuple[str, str]:
    label, text = (record[column].strip() for column in COLUMNS)
    if not label or not text:
        missing = "text" if label else "label"
        raise ValueError(f"{record.place}: the row has no {missing}; fill it in or drop the row")
    return label, text


def hold_back(data: LabelledTexts, *, every: int = 5) -> tuple[LabelledTexts, LabelledTexts]:
    """Texts to train on and texts to judge by: of each label, the first of every so many is held back.

    Args:
        data: at least two labels, each with at least ``every`` texts.
        every: one text in so many is held back.

    Raises:
        ValueError: if there are too few labels or texts.
    """
    counts = Counter(data.labels)
    if len(counts) < 2:
        raise ValueError(f"all texts have the label {data.names[0]!r}; a classifier needs at least two labels")
    scarce, fewest = min(counts.items(), key=lambda item: item[1])
    if fewest < every:
        name = data.names[scarce]
        raise ValueError(f"label {name!r} has {fewest} texts, expected at least {every}; add some or drop the label")
    seen: Counter[int] = Counter()
    kept: list[int] = []
    held: list[int] = []
    for place, label in enumerate(data.labels):
        (held if seen[label] % every == 0 else kept).append(place)
        seen[label] += 1
    return data.take(kept), data.take(held)
