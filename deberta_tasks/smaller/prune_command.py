"""``deberta prune``."""

from __future__ import annotations

import argparse

from conversion.command_line import FINE, locate, print_report, terminate_cleanly
from deberta_core.pruning import WAYS
from deberta_tasks.smaller.arguments import add_common, command_line, texts_of
from deberta_tasks.smaller.pruning import prune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common(parser, "some texts of its kind")
    parser.add_argument("--layers", type=int, metavar="N", help="how many layers stay")
    parser.add_argument("--heads", type=float, metavar="SHARE", help="of the attention heads that is cut")
    parser.add_argument("--intermediate", type=float, metavar="SHARE", help="of the feed-forward columns that is cut")
    parser.add_argument(
        "--by", choices=WAYS, default="gradient",
        help="how heads are measured: by a gradient, or by taking them out one by one, default %(default)s",
    )  # fmt: skip
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt", help="default %(default)s")


def run(args: argparse.Namespace) -> int:
    """Prune, and print what was cut."""
    terminate_cleanly()
    report = prune(
        locate(args.model, args), args.out, texts=texts_of(args), layers=args.layers, heads=args.heads,
        intermediate=args.intermediate, by=args.by, framework=args.framework, note=command_line(),
    )  # fmt: skip
    print_report(report, args)
    return FINE
