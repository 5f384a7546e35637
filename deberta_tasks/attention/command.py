"""``deberta attention``."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from conversion.command_line import FINE, add_hub_options
from deberta_tasks.attention import attention_maps, write_page, write_picture
from deberta_tasks.pipelines.loading import choose_framework
from deberta_tasks.quiet import start_tensorflow_quietly

ENDINGS = (".html", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--model", required=True, help="folder with a checkpoint and its tokenizer, or name on the hub")
    parser.add_argument("--text", required=True, help="the text to look at")
    parser.add_argument("--pair", help="a second text, after a separator")
    parser.add_argument("--out", required=True, action="append", type=Path, help="FILE.html or FILE.png; or both")
    parser.add_argument("--layer", type=int, help="this layer only, counted from 0")
    parser.add_argument("--head", type=int, help="this head only, counted from 0")
    parser.add_argument("--framework", choices=("pt", "tf"), help="default: PyTorch where it is installed")
    add_hub_options(parser)


def run(args: argparse.Namespace) -> int:
    """Draw, and say what was written."""
    for path in args.out:
        if path.suffix.lower() not in ENDINGS:
            raise ValueError(f"--out is {path}, expected a file that ends in {' or '.join(ENDINGS)}")
        if path.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
            raise ImportError("a PNG needs matplotlib (pip install 'deberta-zoo[draw]'); an HTML page needs nothing")
    if choose_framework(args.framework, args.model) == "tf":
        start_tensorflow_quietly()
    options = {name: value for name, value in (("revision", args.revision), ("subfolder", args.subfolder)) if value}
    maps = attention_maps(args.model, args.text, args.pair, framework=args.framework, **options)
    maps = maps.only(args.layer, args.head)
    for path in args.out:
        (write_page if path.suffix.lower() == ".html" else write_picture)(maps, path)
        print(f"{path}: {len(maps.tokens)} tokens, {len(maps.layers)} layers")
    return FINE
