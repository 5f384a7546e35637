"""``deberta convert``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from conversion.command_line import (
    FINE,
    OVER_LIMIT,
    add_hub_options,
    add_report_options,
    locate,
    print_report,
    terminate_cleanly,
)
from conversion.converting import FORMATS, convert
from conversion.transfer import FLOATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", help="folder, weights file, index of shards, or name on the hub")
    parser.add_argument("target", help="folder to write; made with its parents")
    parser.add_argument("--to", required=True, choices=sorted(FORMATS), help="whose names and axes the target has")
    formats = sorted({format for row in FORMATS.values() for format in row})
    parser.add_argument("--format", choices=formats, help="default: safetensors for pt, h5 for tf")
    parser.add_argument("--dtype", choices=FLOATS, help="store all floating-point tensors in this type")
    parser.add_argument("--max-shard-size", metavar="SIZE", help="bytes per file, such as 5GB; default: one file")
    parser.add_argument("--overwrite", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("--verify", action="store_true", help="then run both in every installed framework and compare")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was done."""
    terminate_cleanly()
    source = locate(args.source, args)
    bar = ByteBar("converting", quiet=args.quiet)
    try:
        report = convert(
            source, args.target, to=args.to, format=args.format, dtype=args.dtype,
            max_shard_size=args.max_shard_size, overwrite=args.overwrite, verify=args.verify, progress=bar.update,
            isolate_h5=True,
        )  # fmt: skip
    finally:
        bar.close()
    print_report(report, args)
    return FINE if report.verification is None or report.verification.ok else OVER_LIMIT


class ByteBar:
    """A progress bar in bytes on the error stream, if that is a terminal.

    Args:
        label: what is done.
        quiet: show nothing.
    """

    def __init__(self, label: str, *, quiet: bool) -> None:
        self._label = label
        self._quiet = quiet or not sys.stderr.isatty()
        self._bar: Any = None

    def update(self, done: int, total: int) -> None:
        """Show that so many bytes of all are done."""
        if self._quiet:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="B", unit_scale=True, desc=self._label, file=sys.stderr)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
