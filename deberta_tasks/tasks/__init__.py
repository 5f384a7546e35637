"""What the tasks are: of each its columns, features, head, answers and scores, in a file of its own.

A new task is a new file here that ends in ``TASK = ...``: pipelines, the command line and fine-tuning find it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from deberta_core.wording import near
from deberta_tasks.tasks.base import Feature, Task
from deberta_tasks.tasks.trainable import DATA, Limits, TrainableTask, split

__all__ = ["DATA", "TASKS", "TRAINABLE", "Feature", "Limits", "Task", "TrainableTask", "split", "task_named"]


def find_tasks() -> dict[str, Task]:
    """The tasks of all files in this folder, by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return {module.TASK.name: module.TASK for module in modules if hasattr(module, "TASK")}


TASKS = find_tasks()
TRAINABLE = {name: task for name, task in TASKS.items() if isinstance(task, TrainableTask)}
OLD_NAMES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_named(name: str, *, trainable: bool = False) -> Any:
    """A task.

    Args:
        name: its name, or one that it has elsewhere.
        trainable: it is to be learnt.

    Raises:
        ValueError: for an unknown name; the text lists the known ones.
    """
    known = TRAINABLE if trainable else TASKS
    name = OLD_NAMES.get(name, name)
    if name not in known:
        raise ValueError(f"unknown task {name!r}{near(name, known)}; expected one of {', '.join(known)}")
    return known[name]
