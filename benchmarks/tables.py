"""What the tables are called, who measures them, and how their records become Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import machine, pivot, ratios
from benchmarks.settings import Settings, label
from benchmarks.timing import Record


def same_mode(side: str) -> str:
    """The side of transformers in the mode of a side: with XLA, with the optimizer, or plain."""
    for mode in (" + AdamW", " XLA", " graph"):
        if side.endswith(mode):
            return "transformers" + mode
    return "transformers"


@dataclass(frozen=True)
class Kind:
    """A table: heading, ``module:function`` that measures it, and the side that others are compared with."""

    title: str
    function: str
    text: str
    base: Callable[[str], str] = same_mode
    floor: str = ""


FROM_PT, FROM_TF = "benchmarks.models_pt", "benchmarks.models_tf"
TABLES = {
    "inference-pt": Kind(
        "Inference, PyTorch",
        f"{FROM_PT}:inference",
        "12 layers, float32 unless said otherwise",
        floor="matrix products",
    ),
    "training-pt": Kind(
        "Training, PyTorch",
        f"{FROM_PT}:training",
        "4 layers, forward and backward pass with dropout 0.1, float32, with and without a fused AdamW step",
    ),
    "inference-tf": Kind("Inference, TensorFlow", f"{FROM_TF}:inference", "12 layers, float32"),
    "training-tf": Kind(
        "Training, TensorFlow",
        f"{FROM_TF}:training",
        "4 layers, forward and backward pass with dropout 0.1 as a graph, float32, with and without an AdamW step",
    ),
}


def command(name: str, settings: Settings) -> str:
    """The words that measure a table again."""
    words = ["python -m benchmarks", f"--only {name}", f"--rounds {settings.rounds}", f"--threads {settings.threads}"]
    if settings.layers:
        words.append(f"--layers {settings.layers}")
    if settings.shapes:
        words.append("--shapes " + ",".join(label(shape).replace(" ", "") for shape in settings.shapes))
    return f"`{' '.join(words)}`"


def describe(name: str, records: list[Record], settings: Settings, folder: Path | None) -> list[str]:
    """The section of a table."""
    kind = TABLES[name]
    text = f"{kind.text.replace('12 layers', f'{settings.layers} layers') if settings.layers else kind.text}"
    lines = [f"Sizes of v3-base; {text}. {machine(settings.threads)}", ""]
    lines += block("", pivot(records, milliseconds, "milliseconds"))
    lines += block("", ratios(records, kind.base, "times as fast as transformers"))
    if kind.floor:
        lines += block("", ratios(records, lambda _: kind.floor, "times the matrix products", inverse=True))
    lines += block("", pivot(records, megabytes, "MB above the model"))
    lines += [f"- {record.note}" for record in records if record.note]
    return lines


def block(title: str, lines: list[str]) -> list[str]:
    """Lines of a table with an empty one after; nothing if there is no table."""
    return [*([title, ""] if title else []), *lines, ""] if lines else []


def milliseconds(record: Record) -> str:
    """The time of a record as text."""
    if record.seconds is None:
        return ""
    value = record.seconds * 1000
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def megabytes(record: Record) -> str:
    """The memory of a record as text."""
    return "" if record.megabytes is None else f"{record.megabytes:.0f}"


def short(results: dict[str, list[Record]], settings: Settings, folder: Path | None, home: Path) -> list[str]:
    """For the README: how many times as fast as transformers, by shape, and the plots."""
    lines = [machine(settings.threads), ""]
    for name in ("inference-pt", "inference-tf", "training-pt", "training-tf"):
        if name in results:
            lines += [f"{TABLES[name].title}:", ""]
            lines += block("", ratios(results[name], TABLES[name].base, "times as fast as transformers"))
    if folder:
        for file in ("time.png", "memory.png"):
            if (folder / file).exists():
                lines.append(f"![{file.partition('.')[0]} by length]({os.path.relpath(folder / file, home)})")
    return lines
