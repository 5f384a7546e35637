"""What people do with DeBERTa: tasks in one call, training, the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy

if TYPE_CHECKING:
    from deberta_tasks.pipelines import pipeline

__all__ = ["pipeline"]

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(__name__, {"deberta_tasks.pipelines": ("pipeline",)})
