"""A teacher loaded, and the loss that it takes part in, in the framework of its student."""

from __future__ import annotations

import importlib
from typing import Any

from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.pipelines.loading import CLASSES


def make_lesson(lessons: Lessons, head: str, framework: str, student: Any) -> Any:
    """What computes the loss of a student; see ``Lesson`` of the frameworks' modules.

    Args:
        lessons: what is learnt, from whom.
        head: of both, a key of ``deberta_core.heads.HEADS``.
        framework: ``pt`` or ``tf``.
        student: config of the student.

    Raises:
        FileNotFoundError: there is no teacher.
        ValueError: it has no such head, or the student cannot learn from it.
    """
    package, prefix = CLASSES[framework]
    cls = getattr(importlib.import_module(package), f"{prefix}AutoModel{head}")
    teacher, info = cls.from_pretrained(lessons.teacher, output_loading_info=True)
    if info["missing_keys"]:
        raise ValueError(
            f"the teacher {lessons.teacher} lacks {', '.join(info['missing_keys'][:2])}: it has not learnt what it is "
            "to teach; train it for the task first"
        )
    return importlib.import_module(f"deberta_tasks.distill.{framework}").Lesson(lessons, teacher, student)
