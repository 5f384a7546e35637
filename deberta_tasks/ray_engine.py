"""``deberta run --engine ray``: the parts of much text on Ray Data, one model for each worker."""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from deberta_core.batching import with_bar
from deberta_core.files import replacing
from deberta_tasks.parts import Part, answers_of, begin, plan
from deberta_tasks.pipelines import pipeline

Reply = Callable[[argparse.Namespace, Any, Iterable[bytes], IO[str]], None]  # the command's own: lines in, lines out
CPUS = 4  # cores for a model where nobody says how many workers there are


class Worker:
    """A process with a model, which answers one part after the other.

    Args:
        asked: arguments of ``deberta run``.
        wanted: arguments of ``pipeline``.
        parts: all parts.
        folder: where answers go.
        reply: answers lines.
    """

    def __init__(
        self, asked: argparse.Namespace, wanted: Mapping[str, Any], parts: list[Part], folder: str, reply: Reply
    ) -> None:
        self.asked, self.wanted, self.parts, self.folder, self.reply = asked, wanted, parts, folder, reply
        self.pipe: Any = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the parts of these numbers; what is wrong with one is said beside it, and the others go on."""
        errors = [self.answer(int(number)) for number in batch["item"]]
        return {"item": batch["item"], "error": np.array(errors, dtype=object)}

    def answer(self, number: int) -> str:
        """Write the answers to a part; what is wrong with it, or nothing."""
        try:
            if self.pipe is None:
                self.pipe = pipeline(**self.wanted)
            self.write(self.parts[number], answers_of(self.folder, number), self.pipe)
        except (ValueError, TypeError, OSError, ImportError, LookupError) as error:
            return f"{self.parts[number].name()}: {error}"
        return ""

    def write(self, part: Part, place: Path, pipe: Any) -> None:
        """Answers appear when they are whole."""
        lines = part.lines()
        first = next(lines, None)
        with replacing(place) as made, made.open("w", encoding="utf-8") as stream:
            if first is not None:  # no line begins inside a long one
                given = argparse.Namespace(**{**vars(self.asked), "format": _format(part), "input": part.name()})
                self.reply(given, pipe, itertools.chain([first], lines), stream)


def _format(part: Part) -> str:
    return "jsonl" if part.format == "parquet" else part.format


def run_on_ray(
    asked: argparse.Namespace, wanted: Mapping[str, Any], folder: str, workers: int | None, reply: Reply
) -> str:
    """Answer all parts that have no answers yet.

    Args:
        asked: arguments of ``deberta run`` that answers depend on.
        wanted: arguments of ``pipeline``.
        folder: where answers go, a file for each part.
        workers: how many processes hold a model; default one for each GPU, else for each four cores.
        reply: answers lines.

    Returns:
        What was done, in a line.

    Raises:
        FileNotFoundError: if there is nothing to read.
        ImportError: if Ray is not installed.
        ValueError: if any part could not be answered; all others were.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise ImportError("ray is not installed, and --engine ray needs it: pip install 'deberta-zoo[ray]'") from None
    parts, folder = plan(asked.input, asked.format), os.path.abspath(folder)
    todo = begin(folder, asked, parts)
    text = f"{len(parts)} parts, of which {len(parts) - len(todo)} were there, are answered in {folder}"
    if not todo:
        return text
    own = not ray.is_initialized()
    if own:  # a cluster that is running is named by RAY_ADDRESS
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        have = ray.cluster_resources()
        gpus, cpus = int(have.get("GPU", 0)), max(1, int(have.get("CPU", 1)))
        count = min(len(todo), workers or gpus or max(1, cpus // CPUS))
        each = {"num_gpus": 1} if gpus >= count else {"num_cpus": max(1, cpus // count)}
        rows = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            Worker,
            fn_constructor_args=(asked, wanted, parts, folder, reply),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=count),
            **each,
        )
        wrong = [row["error"] for row in with_bar(rows.iter_rows(), progress=None, total=len(todo)) if row["error"]]
    finally:
        if own:
            ray.shutdown()
    if wrong:
        rest = f"; {len(wrong) - 1} more parts failed" if len(wrong) > 1 else ""
        raise ValueError(f"{sorted(wrong)[0]}{rest}; the other parts are answered, and kept when this is run again")
    return text
