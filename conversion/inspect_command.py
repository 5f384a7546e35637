"""``deberta inspect``."""

from __future__ import annotations

import argparse

from conversion.command_line import FINE, add_hub_options, add_report_options, locate, print_report
from conversion.inspection import inspect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", help="folder, weights file, index of shards, or name on the hub")
    parser.add_argument("--values", action="store_true", help="read all elements and count NaN and infinity")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Inspect, and print what was found."""
    print_report(inspect(locate(args.path, args), values=args.values, isolate_h5=True), args)
    return FINE
