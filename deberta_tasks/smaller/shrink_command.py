"""``deberta shrink``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conversion.command_line import FINE, OVER_LIMIT, locate, print_report, terminate_cleanly
from deberta_tasks.distill.command import OF_TASK
from deberta_tasks.smaller.arguments import add_common, command_line, texts_of
from deberta_tasks.smaller.shrinking import shrink
from deberta_tasks.tasks import TRAINABLE, task_named
from deberta_tasks.training.options import Options, add_options, given_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common(parser, "what the model is to read")
    parser.add_argument("--train", required=True, type=Path, metavar="FILE", help="labelled examples to learn from")
    parser.add_argument("--validation", type=Path, metavar="FILE", help="to judge by; default one in eight of --train")
    parser.add_argument(
        "--budget", type=float, default=0.25, metavar="SHARE", help="of the bytes of the weights, default %(default)s"
    )
    parser.add_argument(
        "--loss", type=float, default=1.0, metavar="POINTS",
        help="of the score, of a hundred, that may be lost; the step that loses more is the end, default %(default)s",
    )  # fmt: skip
    parser.add_argument("--task", metavar="TASK", help=f"default by the model's head; {', '.join(TRAINABLE)}")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep the steps here; the same command resumes there")
    add_options(parser.add_argument_group("training"), OF_TASK, without=("by_length",))


def run(args: argparse.Namespace) -> int:
    """Shrink, and print the table; 1 if the budget was not met."""
    terminate_cleanly()
    report = shrink(
        locate(args.model, args), args.out, texts=texts_of(args), train=args.train, validation=args.validation,
        budget=args.budget, loss=args.loss, task=task_named(args.task, trainable=True) if args.task else None,
        options=Options(**{**OF_TASK, **given_options(args)}), work=args.work,
        say=lambda line: print(line, file=sys.stderr, flush=True), note=command_line(),
    )  # fmt: skip
    print_report(report, args)
    return FINE if report.met else OVER_LIMIT
