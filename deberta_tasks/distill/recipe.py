"""Distilling: a student made of its teacher's layers, or of another folder, trained as any model is, on its teacher."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conversion.folder import Target
from conversion.reports import Table, as_markdown
from conversion.source import open_source
from deberta_core.config import AutoConfig
from deberta_core.file_names import CONFIG
from deberta_core.files import settle
from deberta_core.pruning import evenly_to_cut
from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.finetune.recipe import finetune
from deberta_tasks.finetune.request import Request as TaskRequest
from deberta_tasks.pretrain.recipe import pretrain
from deberta_tasks.pretrain.request import Request as TextRequest
from deberta_tasks.smaller.folders import refuse_integers, source_folder, widest, write_smaller
from deberta_tasks.smaller.pruning import FRAMEWORKS, PruneReport, types_as_stored
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import say

STUDENT = "student"


def distill(
    request: TaskRequest | TextRequest,
    options: Options,
    lessons: Lessons,
    *,
    layers: int | None = None,
    note: str = "",
    tell: Callable[[str, Mapping[str, Any]], None] = say,
) -> None:
    """Train a student, or go on with a run that was interrupted; it is in ``output/model``.

    Args:
        request: of ``finetune`` or ``pretrain``; its model is the student, ``None`` to make it of the teacher.
        options: how it is trained.
        lessons: what it learns, from whom.
        layers: of a student that is made of the teacher, spread evenly over it.
        note: a line for the card, such as the command.
        tell: gets what the run came to: in a sentence, and as what JSON can hold.

    Raises:
        FileNotFoundError: if a file or folder is not there.
        ValueError: for data, models or options that do not fit.
    """
    if (request.model is None) == (layers is None):
        raise ValueError("who learns is said by --student or by --layers, one of them; got " + (
            "neither" if layers is None else "both"
        ))  # fmt: skip
    teacher = source_folder(lessons.teacher, words=isinstance(request, TextRequest))
    with open_source(teacher) as opened:
        refuse_integers(opened, "distil from")
    folder = request.model or os.fspath(request.output / STUDENT)
    if layers is not None and os.environ.get("RANK", "0") == "0":
        make_student(teacher, Path(folder), layers, request.framework)
    while layers is not None and not (Path(folder) / CONFIG).is_file():  # until the first process has made it
        time.sleep(0.1)
    report = as_markdown([_report(lessons, folder)])
    request = replace(request, model=folder, lessons=lessons, note=f"{report}\n{note}\n" if note else report)
    try:
        if isinstance(request, TaskRequest):
            finetune(request, options, tell=tell)
        else:
            pretrain(request, options, tell=tell)
    except (OSError, ValueError):
        if layers is not None and settle(request.output) == [STUDENT]:  # refused before there was a run
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                request.output.rmdir()
        raise


def make_student(teacher: Path, folder: Path, layers: int, framework: str) -> None:
    """Write a model of some of a teacher's layers, unless it is there.

    Raises:
        ValueError: there is one of another number of layers.
    """
    if CONFIG in settle(folder):
        there = AutoConfig.from_pretrained(folder).num_hidden_layers
        if there != layers:
            raise ValueError(f"{folder} has {there} layers, now layers is {layers}; start in a new folder")
        return
    target = Target(folder, overwrite=None)
    with open_source(teacher, isolate_h5=True) as opened:
        model = FRAMEWORKS[framework][1](opened, opened.head, widest(opened))
        before = model.num_parameters()
        gone = evenly_to_cut(model.config, layers)
        model.prune_layers(gone)
        size = model.config.intermediate_size
        report = PruneReport(
            os.fspath(teacher), os.fspath(folder), 0, gone, {}, (size, size), (before, model.num_parameters())
        )
        dtypes = types_as_stored(opened, model, gone, framework)
        write_smaller(target, teacher, opened.file.paths, model, report, "", dtypes)


def _report(lessons: Lessons, student: str) -> Table:
    facts = [("teacher", lessons.teacher), ("student", student), ("learnt", ", ".join(lessons.learn)),
             ("temperature", f"{lessons.temperature:g}"),
             ("weight of the true labels", f"{lessons.labels_share:g}")]  # fmt: skip
    return Table("Distilled", rows=list(facts))
