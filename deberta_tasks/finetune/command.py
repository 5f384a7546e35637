"""``deberta finetune``: train a model for a task on labelled texts, in either framework."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from conversion.command_line import FINE, add_json_option, telling, terminate_cleanly
from deberta_core.perturbation import Perturbation
from deberta_tasks.finetune.recipe import finetune
from deberta_tasks.finetune.request import Request
from deberta_tasks.finetune.start import Size
from deberta_tasks.tasks import TRAINABLE, task_named
from deberta_tasks.tasks.options import COMBINATIONS, listed
from deberta_tasks.training.options import Options, add_options, given_options

FROM_SCRATCH = {"rate": 2e-3, "epochs": 12.0}  # which learn faster than published ones may


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--task", required=True, metavar="TASK", help=", ".join(TRAINABLE))
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder; an existing run is resumed")
    parser.add_argument("--model", metavar="DIR", help="checkpoint to start from; default: a small model from scratch")
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt", help="default %(default)s")
    files = parser.add_argument_group("data", "CSV or JSONL files; default the set that comes with the package")
    for name, what in (
        ("train", "examples to learn from"),
        ("validation", "examples to choose the best checkpoint by; default one in eight of --train"),
        ("test", "examples to judge the best checkpoint by"),
    ):
        files.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    files.add_argument("--labels", nargs="+", metavar="NAME", help="of labels that are numbers in the files, from 0 on")
    how = parser.add_argument_group("training")
    usual = Options()
    shown = {name: f"{getattr(usual, name)}, from scratch {value}" for name, value in FROM_SCRATCH.items()}
    add_options(how, shown, without=("by_length",))
    how.add_argument("--any-length", action="store_true", help="do not put examples of similar lengths together")
    how.add_argument("--combine", choices=COMBINATIONS, help="judge long texts in windows; default: cut them")
    against = parser.add_argument_group("perturbations", "that a model is trained against; can be combined")
    for option in fields(Perturbation):
        name, kind = f"--{option.name.replace('_', '-')}", type(option.default)
        text = option.metadata["help"] + (f"; default {option.default}" if option.default else "")
        against.add_argument(name, type=kind, default=option.default, metavar="N", help=text)
    many = parser.add_argument_group("several devices")
    many.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="under torchrun, default %(default)s")
    many.add_argument("--devices", type=int, default=0, metavar="N", help="for TensorFlow; default all GPUs")
    size = parser.add_argument_group("a model from scratch")
    for field in fields(Size):
        name = f"--{field.name.replace('_', '-')}"
        size.add_argument(name, type=int, default=field.default, help="default %(default)s")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done. A run that was interrupted goes on when the same command is given again."""
    terminate_cleanly()
    if args.framework == "tf":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    request = Request(
        task=task_named(args.task, trainable=True), output=args.output, framework=args.framework, model=args.model,
        train=args.train, validation=args.validation, test=args.test, parallel=args.parallel, devices=args.devices,
        size=Size(args.hidden_size, args.layers, args.heads), combine=args.combine or "",
        perturbation=Perturbation(**{option.name: getattr(args, option.name) for option in fields(Perturbation)}),
        labels=tuple(listed(args.labels[0]) if args.labels and len(args.labels) == 1 else args.labels or ()),
    )  # fmt: skip
    start = FROM_SCRATCH if args.model is None else {}
    with telling(args.json) as tell:
        finetune(request, Options(**{**start, **given_options(args)}, by_length=not args.any_length), tell=tell)
    return FINE
