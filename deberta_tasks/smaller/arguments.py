"""What the commands that make models smaller ask for alike."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator

from conversion.command_line import add_hub_options, add_report_options
from deberta_tasks.records import read_records


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


def add_common(parser: argparse.ArgumentParser, texts: str) -> None:
    """Declare what all of them take.

    Args:
        parser: of the command.
        texts: what the texts are, for its help.
    """
    parser.add_argument("model", help="folder with model and tokenizer, or a name on the hub")
    parser.add_argument("out", help="folder to write; it does not exist yet")
    parser.add_argument("--texts", required=True, metavar="FILE", help=f"{texts}: text, CSV or JSONL")
    parser.add_argument("--column", default="text", metavar="NAME", help="column of CSV and JSONL that holds the texts")
    add_hub_options(parser)
    add_report_options(parser)


def texts_of(args: argparse.Namespace) -> TextsOfFile:
    """The texts that were asked for."""
    return TextsOfFile(args.texts, args.column)


def command_line() -> str:
    """The command as it was typed, for a card."""
    return f"    deberta {shlex.join(sys.argv[1:])}"
