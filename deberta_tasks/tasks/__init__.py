"""What the tasks are: of each its columns, features, head, answers and scores, in a file of its own."""

from __future__ import annotations

from deberta_core.config import near
from deberta_tasks.tasks.base import DATA, Feature, Limits, Task, split
from deberta_tasks.tasks.multiple_choice import MultipleChoice
from deberta_tasks.tasks.question_answering import QuestionAnswering
from deberta_tasks.tasks.text_classification import Inference, Regression, TextClassification
from deberta_tasks.tasks.token_classification import TokenClassification

__all__ = ["DATA", "TRAINABLE", "Feature", "Limits", "Task", "split", "task_named"]

TRAINABLE: dict[str, Task] = {
    task.name: task
    for task in (
        TextClassification(), Regression(), Inference(), TokenClassification(), QuestionAnswering(), MultipleChoice(),
    )
}  # fmt: skip


def task_named(name: str) -> Task:
    """A task.

    Raises:
        ValueError: for an unknown name; the text lists the known ones.
    """
    if name not in TRAINABLE:
        raise ValueError(f"unknown task {name!r}{near(name, TRAINABLE)}; expected one of {', '.join(TRAINABLE)}")
    return TRAINABLE[name]
