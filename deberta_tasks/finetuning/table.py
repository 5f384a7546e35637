"""The tasks by name."""

from __future__ import annotations

from deberta_core.config import near
from deberta_tasks.finetuning.answers import QuestionAnswering
from deberta_tasks.finetuning.choices import MultipleChoice
from deberta_tasks.finetuning.task import Task
from deberta_tasks.finetuning.texts import Inference, Regression, TextClassification
from deberta_tasks.finetuning.tokens import TokenClassification

TASKS: dict[str, Task] = {
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
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}{near(name, TASKS)}; expected one of {', '.join(TASKS)}")
    return TASKS[name]
