"""``deberta trim``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from conversion.command_line import (
    FINE,
    add_hub_options,
    add_report_options,
    locate,
    print_report,
    terminate_cleanly,
)
from deberta_tasks.records import read_records
from deberta_tasks.smaller.trimming import trim


class TextsOfFile:
    """The texts of a file, read anew each time they are gone through.

    Args:
        path: text, CSV or JSONL.
        column: where the texts stand.
    """

    def __init__(self, path: str, column: str) -> None:
        self.path, self.column = path, column

    def __iter__(self) -> Iterator[str]:
        for record in read_records(self.path, text_column=self.column, required=[self.column]):
            if not isinstance(record[self.column], str):
                raise ValueError(f"{record.place}: {self.column} is {record[self.column]!r}, expected a text")
            yield record[self.column]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="folder with model and tokenizer, or a name on the hub")
    parser.add_argument("out", help="folder to write; it does not exist yet")
    parser.add_argument("--texts", required=True, metavar="FILE", help="what the model is to read: text, CSV or JSONL")
    parser.add_argument("--column", default="text", metavar="NAME", help="where the texts of CSV and JSONL stand")
    parser.add_argument("--min-count", type=int, default=1, metavar="N", help="how often a token has to occur")
    parser.add_argument("--keep", metavar="FILE", help="further tokens, or texts whose tokens are kept, one a line")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Trim, and print what was cut."""
    terminate_cleanly()
    keep = [] if args.keep is None else Path(args.keep).read_text(encoding="utf-8").splitlines()
    report = trim(
        locate(args.model, args), args.out, texts=TextsOfFile(args.texts, args.column), min_count=args.min_count,
        keep=[line for line in keep if line], note=f"    deberta {shlex.join(sys.argv[1:])}",
    )  # fmt: skip
    print_report(report, args)
    return FINE
