"""``deberta export``."""

from __future__ import annotations

import argparse
import sys

from conversion.command_line import (
    FINE,
    add_hub_options,
    add_report_options,
    locate,
    print_report,
    terminate_cleanly,
)
from conversion.exports.exporting import export
from conversion.exports.formats import FORMATS
from deberta_core.heads import TASK_HEADS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="folder, weights file, index of shards, or name on the hub")
    parser.add_argument("out", help="folder to make")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument(
        "--dtype", help="of the graph: float32 (default), float16, bfloat16 or int8, of what deberta quantize wrote "
        "or, for tflite, of any folder; as the runtime has them",
    )  # fmt: skip
    parser.add_argument("--task", metavar="TASK", help=f"default: the checkpoint's head; else {', '.join(TASK_HEADS)}")
    parser.add_argument("--quiet", action="store_true", help="do not say what is being done")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Export, and print the table of differences."""
    terminate_cleanly()

    def tell(text: str) -> None:
        if not args.quiet:
            print(text, file=sys.stderr, flush=True)

    model = locate(args.model, args, words=TASK_HEADS.get(args.task) == "ForMaskedLM")
    report = export(model, args.out, to=args.to, dtype=args.dtype, task=args.task, progress=tell, isolate_h5=True)
    print_report(report, args)
    return FINE
