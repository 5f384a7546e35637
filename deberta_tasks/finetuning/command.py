"""``deberta finetune``: train a model for a task on labelled texts, in either framework."""

from __future__ import annotations

import argparse
import os
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from conversion.command_line import FINE, terminate_cleanly
from deberta_tasks.finetuning.options import PRECISIONS, SCHEDULES, Options
from deberta_tasks.finetuning.recipe import Request, finetune
from deberta_tasks.finetuning.start import Size
from deberta_tasks.tasks import TRAINABLE, task_named

# Of an option: what it is. Options from scratch learn faster than published ones may.
HELP = {
    "epochs": "passes over the training data",
    "steps": "number of steps, instead of --epochs",
    "batch_size": "rows of a step, over all processes",
    "accumulate": "parts of a step that are computed one after the other, to save memory",
    "rate": "largest learning rate; default 2e-5, from scratch 2e-3",
    "warmup": "share of the steps during which the rate rises",
    "schedule": "how the rate falls",
    "weight_decay": "of matrices and tables",
    "layer_decay": "rate of a layer as a multiple of that of the layer above",
    "clip": "largest norm of the gradient, 0 for no limit",
    "precision": "of the products; weights stay float32",
    "checkpointing": "compute layers again in the backward pass, to save memory",
    "max_length": "tokens of a row",
    "stride": "tokens that two windows of a context share",
    "evaluate_every": "steps between evaluations; default an epoch",
    "save_every": "steps between checkpoints, beside those of evaluations",
    "patience": "evaluations without a better score after which to stop; 0 never stops",
    "seed": "of starting weights, dropout and order",
}
CHOICES = {"schedule": SCHEDULES, "precision": PRECISIONS}
FROM_SCRATCH = {"rate": 2e-3, "epochs": 12.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--task", required=True, metavar="TASK", help=", ".join(TRAINABLE))
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder; the same resumes the run")
    parser.add_argument("--model", metavar="DIR", help="checkpoint to start from; default: a small model from scratch")
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt", help="default %(default)s")
    files = parser.add_argument_group("data", "CSV or JSONL files; default the set that comes with the package")
    for name, what in (
        ("train", "examples to learn from"),
        ("validation", "examples to choose the best checkpoint by; default one in eight of --train"),
        ("test", "examples to judge the best checkpoint by"),
    ):
        files.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    how = parser.add_argument_group("training")
    for field in fields(Options):
        if field.name in HELP:
            _add(how, field)
    how.add_argument("--any-length", action="store_true", help="do not put rows of similar lengths together")
    many = parser.add_argument_group("several devices")
    many.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="under torchrun, default %(default)s")
    many.add_argument("--devices", type=int, default=0, metavar="N", help="for TensorFlow; default all GPUs")
    size = parser.add_argument_group("a model from scratch")
    for field in fields(Size):
        name = f"--{field.name.replace('_', '-')}"
        size.add_argument(name, type=int, default=field.default, help="default %(default)s")


def _add(group: Any, field: Any) -> None:
    name, shown = f"--{field.name.replace('_', '-')}", HELP[field.name]
    assert field.default is not MISSING
    if isinstance(field.default, bool):
        group.add_argument(name, action="store_true", help=shown)
        return
    shown = shown if "default" in shown else f"{shown}; default {field.default}"
    group.add_argument(name, type=type(field.default), choices=CHOICES.get(field.name), help=shown)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done. A run that was interrupted goes on when the same command is given again."""
    terminate_cleanly()
    if args.framework == "tf":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    request = Request(
        task=task_named(args.task, trainable=True), output=args.output, framework=args.framework, model=args.model,
        train=args.train, validation=args.validation, test=args.test, parallel=args.parallel, devices=args.devices,
        size=Size(args.hidden_size, args.layers, args.heads),
    )  # fmt: skip
    given = {name: getattr(args, name) for name in HELP if getattr(args, name) is not None}
    start = FROM_SCRATCH if args.model is None else {}
    finetune(request, Options(**{**start, **given}, by_length=not args.any_length))
    return FINE
