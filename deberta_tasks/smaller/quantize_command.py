"""``deberta quantize``."""

from __future__ import annotations

import argparse

from conversion.command_line import FINE, locate, print_report, terminate_cleanly
from deberta_tasks.smaller.arguments import add_common, command_line, texts_of
from deberta_tasks.smaller.quantizing import quantize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_common(parser, "some texts of its kind")


def run(args: argparse.Namespace) -> int:
    """Quantise, and print what became integers."""
    terminate_cleanly()
    print_report(quantize(locate(args.model, args), args.out, texts=texts_of(args), note=command_line()), args)
    return FINE
