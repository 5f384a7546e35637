"""What the tables are called, who measures them, and how their records become Markdown."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floor import FLOOR
from benchmarks.plots import draw
from benchmarks.report import find_table, machine, pivot, ratios
from benchmarks.settings import PLAIN, Settings, label
from benchmarks.timing import Record

STEP = " + AdamW"


def mode_of(side: str) -> str:
    """How a side is run, as its name ends: with XLA, with the optimizer, or plain."""
    alone = side.removesuffix(STEP)
    return next((mode for mode in (" XLA", " graph") if alone.endswith(mode)), "") + side[len(alone) :]


def same_mode(side: str) -> str:
    """The side of transformers in the mode of a side."""
    return "transformers" + mode_of(side)


def same_runtime(side: str) -> str:
    """The graph of transformers in the runtime of a side, or in ONNX Runtime."""
    _, _, runtime = side.partition(", ")
    return f"transformers, {'ONNX Runtime' if runtime in ('', 'PyTorch') else runtime}"


def floor_of(side: str) -> str:
    """The side of the matrix products in the mode of a side; no optimizer has any."""
    return FLOOR + mode_of(side).removesuffix(STEP)


@dataclass(frozen=True)
class Kind:
    """A table: heading, ``module:function`` that measures it, the side that others are compared with, and how.

    After ``seconds`` the process that measures is ended, and what it has measured is the table.
    """

    title: str
    function: str
    layers: int
    text: str
    base: Callable[[str], str] = same_mode
    costs: str = ""  # what the times that a side needs of the other's are called, in the place of how much faster it is
    seconds: float | None = None


FASTER, ABOVE = "times as fast as transformers", "MB above the model"
MEMORY = {
    "kept": "Memory that a call frees stays with the process, for every side.",
    "returned": "Large memory that a call frees goes back to the system, for every side.",
    "default": "Whether freed memory goes back to the system is as glibc decides, which depends on what ran before.",
}
UNEVEN = "texts from an eighth of a length on, padded to it; forward, or forward and backward pass with dropout 0.1"
PRETRAINING = (
    "a step of masked-LM training with dropout 0.1 and AdamW, float32, a vocabulary of 32,000, 15% of tokens hidden; "
    "ours as deberta pretrain does it, with logits of hidden tokens alone"
)
PERTURBATION = "a step of deberta finetune for text classification, dropout 0.1, float32"
FROM_PT, FROM_TF = "benchmarks.models_pt", "benchmarks.models_tf"
TABLES = {
    "inference-pt": Kind("Inference, PyTorch", f"{FROM_PT}:inference", 12, "float32 unless said otherwise"),
    "training-pt": Kind(
        "Training, PyTorch",
        f"{FROM_PT}:training",
        4,
        "forward and backward pass with dropout 0.1, float32, with and without a fused AdamW step",
    ),
    "inference-tf": Kind("Inference, TensorFlow", f"{FROM_TF}:inference", 12, "float32"),
    "training-tf": Kind(
        "Training, TensorFlow",
        f"{FROM_TF}:training",
        4,
        "forward and backward pass with dropout 0.1, float32, as a graph with and without an AdamW step, and compiled",
    ),
    "padding-pt": Kind("Padding, PyTorch", f"{FROM_PT}:padding", 4, f"{UNEVEN}, float32"),
    "padding-tf": Kind("Padding, TensorFlow", f"{FROM_TF}:padding", 4, f"{UNEVEN}, float32, as graphs"),
    "pretraining-pt": Kind("Pretraining, PyTorch", f"{FROM_PT}:pretraining", 4, PRETRAINING),
    "pretraining-tf": Kind("Pretraining, TensorFlow", f"{FROM_TF}:pretraining", 4, f"{PRETRAINING}, as graphs"),
    "perturbation-pt": Kind(
        "Perturbations, PyTorch", f"{FROM_PT}:perturbation", 4, PERTURBATION, lambda _: PLAIN, f"times the {PLAIN} step"
    ),
    "perturbation-tf": Kind(
        "Perturbations, TensorFlow", f"{FROM_TF}:perturbation", 4, f"{PERTURBATION}, as graphs", lambda _: PLAIN,
        f"times the {PLAIN} step",
    ),
    "memory": Kind("Memory, PyTorch", "benchmarks.memory:memory", 4, "float32, each figure in its own process"),
    "growth": Kind("Growth with length and batch, PyTorch", "benchmarks.memory:growth", 4, "inference, float32"),
    "inside-transformers": Kind(
        "Inside transformers", "benchmarks.inside:inside", 12, "its pipelines and cross-encoders, float32"
    ),
    "throughput": Kind(
        "Many texts, PyTorch",
        "benchmarks.throughput:throughput",
        4,
        "from text to answer, by a classifier, float32",
        lambda _: "transformers pipeline",
    ),
    "exports": Kind("Exports", "benchmarks.exports:exports", 12, "float32, by graphs of both libraries", same_runtime),
    "exports-tf": Kind(
        "Exports, TensorFlow Lite",
        "benchmarks.exports_tf:exports_tf",
        4,
        "float32, by graphs of both libraries",
        same_runtime,
    ),
    "int8": Kind(
        "8-bit integers",
        "benchmarks.integers:integers",
        12,
        "random weights; float32 beside integers",
        lambda side: "transformers int8, ONNX Runtime",
    ),
    "gpu": Kind(
        "GPU", "benchmarks.models_gpu:gpu", 12, "bfloat16, batches of 8192 tokens, without dropout", seconds=470.0
    ),
}


# What --only takes for several.
GROUPS = {name: (f"{name}-pt", f"{name}-tf") for name in ("pretraining", "perturbation")}


def command(name: str, settings: Settings) -> str:
    """The words that measure a table again."""
    words = ["python -m benchmarks", f"--only {name}", f"--rounds {settings.rounds}", f"--threads {settings.threads}"]
    if settings.allocator != Settings.allocator:
        words.append(f"--allocator {settings.allocator}")
    if settings.quick:
        words.append("--quick")
    if settings.layers:
        words.append(f"--layers {settings.layers}")
    if settings.shapes:
        words.append("--shapes " + ",".join(label(shape).replace(" ", "") for shape in settings.shapes))
    return f"`{' '.join(words)}`"


def describe(name: str, records: list[Record], settings: Settings, folder: Path | None) -> list[str]:
    """The section of a table."""
    kind = TABLES[name]
    layers = settings.layers or kind.layers
    lines = [
        f"Sizes of v3-base, {layers} {'layers' if layers > 1 else 'layer'}; {kind.text}. {MEMORY[settings.allocator]} "
        + machine(settings.threads),
        "",
    ]
    lines += block(pivot(records, milliseconds, "milliseconds"))
    lines += block(ratios(records, kind.base, kind.costs or FASTER, inverse=bool(kind.costs)))
    lines += block(ratios(records, floor_of, f"times the {FLOOR}", inverse=True))
    lines += block(pivot(records, megabytes, ABOVE))
    lines += [f"- {record.note}" for record in records if record.note]
    if name == "growth" and folder and any(record.seconds for record in records):
        try:
            lines += ["", *(f"![{path.stem} by length and by batch]({path.name})" for path in draw(records, folder))]
        except ImportError as error:
            lines.append(f"- plots: not drawn ({error})")
    return lines


def block(lines: list[str]) -> list[str]:
    """Lines of a table with an empty one after; nothing if there is no table."""
    return [*lines, ""] if lines else []


def milliseconds(record: Record) -> str:
    """The time of a record as text, with the least and the most of its rounds."""
    if record.seconds is None:
        return ""
    least, most = (rounded(value) for value in record.spread or (record.seconds, record.seconds))
    return rounded(record.seconds) + (f" ({least} to {most})" if record.spread else "")


def rounded(seconds: float) -> str:
    """Milliseconds with three digits or more."""
    value = seconds * 1000
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def megabytes(record: Record) -> str:
    """The memory of a record as text."""
    return "" if record.megabytes is None else f"{record.megabytes:.0f}"


SHORT = {  # what the README shows of a section: the table with this first cell
    **dict.fromkeys(
        ("inference-pt", "inference-tf", "throughput", "training-pt", "training-tf", "padding-pt", "padding-tf"), FASTER
    ),
    "memory": ABOVE,
    "gpu": FASTER,
}


def short(results: Path, home: Path) -> list[str]:
    """For the README in folder ``home``: some tables of the file of results, and the plots beside it."""
    text = results.read_text(encoding="utf-8")
    lines = []
    for name, corner in SHORT.items():
        found = find_table(text, TABLES[name].title, corner)
        lines += [f"{TABLES[name].title}:", "", *found, ""] if found else []
    for file in ("time.png", "memory.png"):
        image = results.parent / file
        if image.exists():
            lines += [f"![{image.stem} by length and by batch]({os.path.relpath(image, home)})", ""]
    name = f"{results.parent.name}/{results.name}"
    return [*lines, f"Machine, versions, commands and all figures: [{name}]({os.path.relpath(results, home)})."]
