"""``deberta verify``."""

from __future__ import annotations

import argparse
import sys

from conversion.command_line import FINE, OVER_LIMIT, add_hub_options, add_report_options, locate, print_report
from conversion.verification import DTYPES, HALF_LIMIT, LIMIT, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("first", help="folder, weights file, index of shards, or name on the hub")
    parser.add_argument("second", nargs="?", help="another one; without it, the first is run in both frameworks")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="largest difference in float32, relative to a layer's largest value"
    )
    parser.add_argument("--half-limit", type=float, default=HALF_LIMIT, help="the same for bfloat16")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="run in this type only; default: all of them")
    parser.add_argument("--framework", choices=("torch", "tensorflow"), action="append", help="default: all installed")
    parser.add_argument("--quiet", action="store_true", help="do not say what is being run")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Verify, and print the tables."""

    def tell(text: str) -> None:
        if not args.quiet:
            print(f"running {text}", file=sys.stderr, flush=True)

    second = None if args.second is None else locate(args.second, args)
    result = verify(
        locate(args.first, args), second, limit=args.limit, half_limit=args.half_limit, dtypes=args.dtype or DTYPES,
        frameworks=args.framework, progress=tell, isolate_h5=True,
    )  # fmt: skip
    print_report(result, args)
    return FINE if result.ok else OVER_LIMIT
