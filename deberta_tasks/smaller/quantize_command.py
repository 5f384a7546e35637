"""``deberta quantize``."""

from __future__ import annotations

import argparse
import shlex
import sys

from conversion.command_line import FINE, add_hub_options, add_report_options, locate, print_report, terminate_cleanly
from deberta_tasks.smaller.quantizing import quantize
from deberta_tasks.smaller.trim_command import TextsOfFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", help="folder with model and tokenizer, or a name on the hub")
    parser.add_argument("out", help="folder to write; it does not exist yet")
    parser.add_argument("--texts", required=True, metavar="FILE", help="some texts of its kind: text, CSV or JSONL")
    parser.add_argument("--column", default="text", metavar="NAME", help="where the texts of CSV and JSONL stand")
    add_hub_options(parser)
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Quantise, and print what became integers."""
    terminate_cleanly()
    texts = TextsOfFile(args.texts, args.column)
    report = quantize(locate(args.model, args), args.out, texts=texts, note=f"    deberta {shlex.join(sys.argv[1:])}")
    print_report(report, args)
    return FINE
