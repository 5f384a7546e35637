"""``deberta distill``: train a smaller model on what a larger one says, for a task or on plain text."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conversion.command_line import FINE, add_json_option, telling, terminate_cleanly
from deberta_tasks.distill.lessons import SUBJECTS, Lessons
from deberta_tasks.distill.recipe import distill
from deberta_tasks.finetune.request import Request as TaskRequest
from deberta_tasks.pretrain.command import DEFAULTS as OF_TEXT
from deberta_tasks.pretrain.command import GOING_ON
from deberta_tasks.pretrain.command import NOT_USED as NOT_OF_TEXT
from deberta_tasks.pretrain.request import Request as TextRequest
from deberta_tasks.smaller.arguments import command_line
from deberta_tasks.tasks import TRAINABLE, task_named
from deberta_tasks.tasks.options import listed
from deberta_tasks.training.options import Options, add_options, given_options

OF_TASK: dict[str, Any] = {"rate": 5e-5, "epochs": 5.0}
OF_MLM = {**OF_TEXT, **GOING_ON}  # it goes on from the teacher's layers
NOT_USED = ("by_length",)
OF_FILES = ("train", "validation", "test")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--teacher", required=True, metavar="DIR", help="model to learn from, with its tokenizer")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder; an existing run is resumed")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--layers", type=int, metavar="N", help="make the student from N of the teacher's layers")
    who.add_argument("--student", metavar="DIR", help="the student, such as a pruned teacher")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--task", metavar="TASK", help=", ".join(TRAINABLE))
    what.add_argument("--mlm", action="store_true", help="predict masked words in the text of --text")
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt", help="default %(default)s")
    lessons = parser.add_argument_group("what is learnt")
    usual = Lessons("")
    lessons.add_argument("--learn", nargs="+", choices=SUBJECTS, default=usual.learn, help="default logits hidden")
    lessons.add_argument("--temperature", type=float, default=usual.temperature, help="default %(default)s")
    lessons.add_argument(
        "--labels-share", type=float, default=usual.labels_share, metavar="SHARE",
        help="weight of the true labels, the teacher's logits have the rest, default %(default)s",
    )  # fmt: skip
    files = parser.add_argument_group("data")
    files.add_argument("--text", type=Path, metavar="FILE", help="for --mlm: UTF-8, a sentence or more a line")
    for name in OF_FILES:
        files.add_argument(f"--{name}", type=Path, metavar="FILE", help="for --task: as of finetune")
    files.add_argument("--labels", nargs="+", metavar="NAME", help="of labels that are numbers in the files, from 0 on")
    how = parser.add_argument_group("training", "defaults in brackets are those of --mlm")
    of_task = asdict(Options(**OF_TASK))
    differ = {name: f"{of_task[name]} ({value})" for name, value in OF_MLM.items() if value != of_task[name]}
    add_options(how, {**OF_TASK, **differ}, without=NOT_USED)
    many = parser.add_argument_group("several devices: torchrun for PyTorch")
    many.add_argument("--devices", type=int, default=0, metavar="N", help="for TensorFlow; default all GPUs")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done. A run that was interrupted goes on when the same command is given again."""
    terminate_cleanly()
    if args.framework == "tf":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    lessons = Lessons(args.teacher, tuple(args.learn), args.temperature, args.labels_share)
    common: dict[str, Any] = {
        "output": args.output, "framework": args.framework, "model": args.student, "devices": args.devices,
    }  # fmt: skip
    request: TaskRequest | TextRequest
    if args.mlm:
        if args.text is None or args.train is not None:
            raise ValueError("--mlm learns from plain text, given by --text and not by --train")
        of_task = [name for name in (*OF_FILES[1:], "labels", *NOT_OF_TEXT) if getattr(args, name, None) is not None]
        if of_task:
            raise ValueError(f"--{of_task[0].replace('_', '-')} is for --task; --mlm has no use for it")
        request, start = TextRequest("mlm", text=args.text, **common), OF_MLM
    else:
        if args.text is not None:
            raise ValueError("--text is for --mlm; the examples of a task are given by --train")
        given = listed(args.labels[0]) if args.labels and len(args.labels) == 1 else args.labels or ()
        request, start = TaskRequest(
            task_named(args.task, trainable=True), train=args.train, validation=args.validation, test=args.test,
            labels=tuple(given), **common,
        ), OF_TASK  # fmt: skip
    options = Options(**{**start, **given_options(args)})
    with telling(args.json) as tell:
        distill(request, options, lessons, layers=args.layers, note=command_line(), tell=tell)
    return FINE
