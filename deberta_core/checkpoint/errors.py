"""The one error that reading or writing a checkpoint raises for what is wrong with a file."""

from __future__ import annotations

import os

from deberta_core.wording import harmless

AGAIN = "it is cut short or damaged; download or save it again"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or written as asked; the text names the file, the fault and the remedy."""

    def __init__(self, path: str | os.PathLike[str], problem: str, remedy: str = "") -> None:
        self.path = os.fspath(path)
        self.problem = problem
        self.remedy = remedy
        # What a file says of itself may hold signs that a terminal obeys.
        super().__init__(f"{self.path}: {harmless(problem)}" + (f"; {harmless(remedy)}" if remedy else ""))
