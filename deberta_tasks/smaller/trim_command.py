"""``deberta trim``."""

from __future__ import annotations

import argparse
from pathlib import Path

from conversion.command_line import FINE, locate, print_report, terminate_cleanly
from deberta_tasks.smaller.arguments import add_common, command_line, texts_of
from deberta_tasks.smaller.trimming import trim


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common(parser, "what the model is to read")
    parser.add_argument("--min-count", type=int, default=1, metavar="N", help="how often a token has to occur")
    parser.add_argument("--keep", metavar="FILE", help="further tokens, or texts whose tokens are kept, one a line")


def run(args: argparse.Namespace) -> int:
    """Trim, and print what was cut."""
    terminate_cleanly()
    keep = [] if args.keep is None else Path(args.keep).read_text(encoding="utf-8").splitlines()
    report = trim(
        locate(args.model, args), args.out, texts=texts_of(args), min_count=args.min_count,
        keep=[line for line in keep if line], note=command_line(),
    )  # fmt: skip
    print_report(report, args)
    return FINE
