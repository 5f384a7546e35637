"""The sets that come with the package are those that their generator writes."""

from __future__ import annotations

import json

import pytest

from deberta_tasks.finetune import bundled


@pytest.mark.parametrize("name", sorted(bundled.SETS))
def test_the_files_are_what_the_generator_writes(name: str) -> None:
    assert (bundled.FOLDER / name).read_text(encoding="utf-8") == bundled.text_of(name)


@pytest.mark.parametrize("name", sorted(bundled.SETS))
def test_no_row_occurs_twice(name: str) -> None:
    rows = [json.dumps(row) for row in bundled.examples(name)]
    assert len(set(rows)) == len(rows) == bundled.SETS[name][1]


def test_answers_stand_where_they_are_said_to_stand() -> None:
    for row in bundled.examples("answers.jsonl"):
        start = row["answer_start"]
        assert row["context"][start : start + len(row["answer"])] == row["answer"]


def test_labels_are_balanced() -> None:
    endings = [row["label"] for row in bundled.examples("endings.jsonl")]
    pairs = [row["label"] for row in bundled.examples("pairs.csv")]
    for labels in (endings, pairs):
        shares = [labels.count(label) / len(labels) for label in set(labels)]
        assert len(shares) == 3
        assert max(shares) < 0.39
