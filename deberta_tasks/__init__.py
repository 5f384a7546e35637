"""What people do with DeBERTa: tasks in one call, training, the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deberta_tasks.pipelines import pipeline

__all__ = ["pipeline"]


def __getattr__(name: str) -> Any:
    """Imports ``pipeline`` when it is first used, so that importing the package costs nothing."""
    if name != "pipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deberta_tasks.pipelines import pipeline

    return pipeline
