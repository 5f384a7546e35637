"""What is to be trained, on what: files read, examples held back, labels numbered, before any framework is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deberta_core.config import AutoConfig
from deberta_core.perturbation import Perturbation
from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.finetune.start import Size
from deberta_tasks.records import Record
from deberta_tasks.tasks import DATA, TrainableTask, split

TEST_EVERY, VALIDATION_EVERY = 5, 8


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what.

    Attributes:
        task: which task.
        output: folder of the run.
        framework: ``pt`` or ``tf``.
        model: checkpoint to start from; ``None`` for a small model from scratch.
        train: CSV or JSONL file; ``None`` for the bundled set.
        validation: file to choose the best checkpoint by; ``None`` holds one in eight examples of ``train`` back.
        test: file to judge the best checkpoint by; ``None``: of the bundled set what is held back, else none.
        size: of a model from scratch.
        parallel: ``ddp`` or ``fsdp``, for several processes of PyTorch.
        devices: of this host, for TensorFlow; 0 for all GPUs, or one CPU.
        labels: names of the labels, by number; for files that have numbers. Empty: as the files have them.
        combine: how the scores of a long text's windows become one when the model is judged: ``mean``, ``max`` or
            ``first``; empty: long texts are cut.
        lessons: of a teacher, that the model learns from beside the labels.
        note: further Markdown for the card.
        perturbation: what the model is trained against.
    """

    task: TrainableTask
    output: Path
    framework: str = "pt"
    model: str | None = None
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    size: Size = field(default_factory=Size)
    parallel: str = "ddp"
    devices: int = 0
    labels: tuple[str, ...] = ()
    combine: str = ""
    lessons: Lessons | None = None
    note: str = ""
    perturbation: Perturbation = field(default_factory=Perturbation)


@dataclass(frozen=True)
class Splits:
    """Examples to learn from, to choose the best checkpoint by, and to judge that by (there may be none)."""

    train: Sequence[Record]
    validation: Sequence[Record]
    test: Sequence[Record]


def read_splits(request: Request) -> Splits:
    """Read all files, and hold back what is not given as a file.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: for what cannot be learnt from; the text names file and line.
    """
    task = request.task
    learnt = task.read(request.train or DATA / task.bundled, request.labels)
    test: list[Record] = task.read(request.test, request.labels) if request.test else []
    if request.train is None and not test:
        learnt, test = split(task, learnt, every=TEST_EVERY)
    if request.validation:
        validation = task.read(request.validation, request.labels)
    else:
        learnt, validation = split(task, learnt, every=VALIDATION_EVERY)
    return Splits(learnt, validation, test)


def names_in_order(request: Request, names: list[str]) -> list[str]:
    """The labels by number: as they were given, or as the checkpoint has them if it has the same ones, else sorted.

    Args:
        request: with the checkpoint.
        names: labels of the training data, sorted.

    Raises:
        ValueError: for a single label, with which there is nothing to tell apart.
    """
    if request.labels:
        twice = [name for name in request.labels if request.labels.count(name) > 1]
        if twice:
            raise ValueError(f"labels has {twice[0]!r} twice; give each number a name of its own")
        return list(request.labels)
    if len(names) == 1:
        where = request.train or request.task.bundled
        raise ValueError(f"{where}: all labels are {names[0]!r}, expected at least two different ones")
    if request.model and names:
        in_model = names_in_model(request.model)
        if sorted(in_model) == sorted(names):
            return in_model  # its head goes on: a row of it is a label, and sorted anew all of them would be mixed up
    return names


def names_in_model(model: str) -> list[str]:
    """The labels of a checkpoint, by number."""
    known = AutoConfig.from_pretrained(model).id2label or {}
    return [str(known[number]) for number in sorted(known)]
