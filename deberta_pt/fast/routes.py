"""Which of two libraries computes a product: raced once for a kind of processor, and kept in the user's cache.

Both give the same numbers but for their last bits. A race that each process held for itself might end differently in
the next one, and results with it; and it would take its half a second there again.

``DEBERTA_ROUTES=default`` takes the framework's own library everywhere, the same bits in every run on every machine of
a kind. Any other value is the path of another table, which is written as it is needed. A table that cannot be read or
written is done without.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deberta_core.files import write_text

VARIABLE, DEFAULT = "DEBERTA_ROUTES", "default"


def is_default() -> bool:
    """Whether nothing is to be raced, and the framework's own library computes everything."""
    return os.environ.get(VARIABLE) == DEFAULT


def place() -> Path:
    """Where the table is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get(VARIABLE) or Path(cache) / "deberta" / "routes.json")


@functools.cache
def machine() -> str:
    """What a race depends on: processor, its instructions, threads, and the version of PyTorch."""
    names: list[str] = []
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:  # another system than Linux
        pass
    name = names[0] if names else platform.processor() or platform.machine()
    instructions = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {instructions}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}"


def known() -> dict[str, bool]:
    """What was decided on this machine, by question."""
    return _answers(_read())


def decide(question: str, race: Callable[[], bool]) -> bool:
    """The answer that the table has, or that a race gives.

    Args:
        question: what is raced.
        race: holds it; called where the table has no answer.
    """
    answers = known()
    if question not in answers:
        found, table = race(), _read()  # again: another process may have added to it, whose answer then stands
        table[machine()] = answers = {question: found, **_answers(table)}
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # a full disk, a home that nobody may write to
            write_text(place(), json.dumps(table, indent=2, sort_keys=True) + "\n")
    return answers[question]


def _answers(table: dict[str, Any]) -> dict[str, bool]:
    found = table.get(machine())
    return {str(key): value is True for key, value in found.items()} if isinstance(found, dict) else {}


def _read() -> dict[str, Any]:
    try:
        found = json.loads(place().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
