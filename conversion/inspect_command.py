"""``deberta inspect``."""

from __future__ import annotations

import argparse

from conversion.command_line import FINE, add_report_options, print_report
from conversion.inspection import inspect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", help="folder, weights file, or index of shards, of any format")
    parser.add_argument("--values", action="store_true", help="read all elements and count NaN and infinity")
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect, and print what was found."""
    print_report(inspect(args.path, values=args.values, isolate_h5=True), args)
    return FINE
