"""The model card of a run: what was trained, on what, how, and how well it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deberta_core.config import AutoConfig
from deberta_core.file_names import CARD
from deberta_core.files import Replacement
from deberta_core.hub.card import model_card
from deberta_tasks.finetune.request import Request
from deberta_tasks.training.options import Options

SCORES, CURVES = "scores.json", "curves.png"


def write_card(
    folder: Path,
    request: Request,
    options: Options,
    part: str,
    scores: Mapping[str, float],
    step: int,
    count: int,
    plot: Path | None,
) -> None:
    """Write ``README.md``, ``scores.json`` and the curves beside a checkpoint.

    Args:
        folder: of the checkpoint.
        request: what was trained, on what.
        options: how.
        part: what the scores are of: ``test`` or ``validation``.
        scores: by name.
        step: of the best checkpoint.
        count: examples that were judged.
        plot: the curves, if they were drawn.
    """
    start = request.model or "random weights, with a vocabulary from the training texts"
    data = request.train or f"the bundled set {request.task.bundled}"
    by = "`deberta distill`" if request.lessons else "`deberta finetune`"
    differ = {**options.changed(), **request.perturbation.changed()}
    changed = ", ".join(f"`{name}={value}`" for name, value in differ.items())
    lines = [
        "## Training",
        "",
        f"Task `{request.task.name}`, from {start}, on {data}, with {by}.",
        f"Options that differ from the defaults: {changed or 'none'}.",
        "",
        f"## Scores on {count} {part} examples, of step {step}",
        "",
        "| score | value |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in scores.items()),
        "",
        *([request.note, ""] if request.note else []),
    ]
    record = {"task": request.task.name, "part": part, "examples": count, "step": step, "scores": dict(scores)}
    with Replacement(folder) as files:
        if plot is not None:
            files.write(CURVES, plot.read_bytes())
            lines += [f"![losses and scores]({CURVES})", ""]
        files.write(SCORES, json.dumps(record, indent=2) + "\n")
        files.write(CARD, model_card(AutoConfig.from_pretrained(folder), str(folder), note="\n".join(lines)))
        files.commit()
