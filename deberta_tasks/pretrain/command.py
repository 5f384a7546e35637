"""``deberta pretrain``: train a model on plain text, with masked or replaced tokens, in either framework."""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path

from conversion.command_line import FINE, add_json_option, telling, terminate_cleanly
from deberta_core.pretraining import SHARING
from deberta_tasks.pretrain.corpus import ROWS
from deberta_tasks.pretrain.recipe import pretrain
from deberta_tasks.pretrain.request import OBJECTIVES, OWN, Request
from deberta_tasks.training.options import Options, add_options, given_options

DEFAULTS = {"steps": 10000, "batch_size": 32, "rate": 5e-4, "warmup": 0.05, "save_every": 500}
GOING_ON = {"steps": 1000, "batch_size": 16, "rate": 1e-4, "save_every": 200}  # from a checkpoint
NOT_USED = ("epochs", "stride", "by_length", "evaluate_every", "patience")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    read = parser.add_mutually_exclusive_group(required=True)
    read.add_argument("--text", type=Path, metavar="FILE", help="UTF-8, a sentence or more a line; held in memory")
    read.add_argument(
        "--texts", nargs="+", default=(), metavar="FILE",
        help="files, folders or patterns: .txt, .jsonl, .csv, .tsv, .parquet; read as a stream, kept as numbers",
    )  # fmt: skip
    parser.add_argument("--column", default="text", metavar="NAME", help="of --texts, default %(default)s")
    parser.add_argument(
        "--rows", choices=ROWS, default="joined",
        help="of --texts: documents one behind the other as if they were one (joined), several in a row that do not "
        "see each other (packed), or a row for each, with others of similar lengths (single); default %(default)s",
    )  # fmt: skip
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder; an existing run is resumed")
    parser.add_argument(
        "--objective", choices=tuple(OBJECTIVES), default="rtd",
        help="masked tokens (mlm), or replaced ones as in DeBERTa v3 (rtd), default %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--continue", "--model", dest="model", metavar="DIR",
        help="checkpoint to go on from; default: a new vocabulary and model",
    )  # fmt: skip
    parser.add_argument(
        "--generator", nargs="?", default="", const=OWN, metavar="DIR",
        help="for mlm: train the generator in the folder; for rtd: another generator, or new for one made anew "
        "(default: the one in the folder, or a new one)",
    )  # fmt: skip
    parser.add_argument("--framework", choices=("pt", "tf"), default="pt", help="default %(default)s")
    how = parser.add_argument_group("training", "defaults in brackets are those for going on from a checkpoint")
    add_options(how, {k: f"{v} ({GOING_ON[k]})" if k in GOING_ON else v for k, v in DEFAULTS.items()}, NOT_USED)
    hide = parser.add_argument_group("hidden words")
    hide.add_argument("--masked", type=float, default=0.15, metavar="SHARE", help="of the tokens, default %(default)s")
    hide.add_argument("--span", type=int, default=0, metavar="N", help="most neighbouring words hidden together; "
                      "default 3 for mlm, 1 for rtd")  # fmt: skip
    hide.add_argument("--pieces", action="store_true", help="hide pieces of words by themselves, not whole words")
    pair = parser.add_argument_group("replaced tokens")
    pair.add_argument("--sharing", choices=SHARING, default="gdes", help="of the embedding tables, default %(default)s")
    pair.add_argument("--rtd-lambda", type=float, default=10.0, help="weight of the discriminator's loss, default 10")
    many = parser.add_argument_group("several devices, for masked tokens")
    many.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="under torchrun, default %(default)s")
    many.add_argument("--devices", type=int, default=0, metavar="N", help="for TensorFlow; default all GPUs")
    new = parser.add_argument_group("a model from scratch")
    new.add_argument("--vocab-size", type=int, default=8000, help="tokens of its vocabulary, default %(default)s")
    new.add_argument("--hidden-size", type=int, default=256, help="its width, 64 for each head, default %(default)s")
    new.add_argument("--layers", type=int, default=6, help="default %(default)s; a generator has half")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when done. A run that was interrupted goes on when the same command is given again."""
    terminate_cleanly()
    if args.framework == "tf":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    given = {field.name: getattr(args, field.name) for field in fields(Request) if field.name in args}
    request = Request(**{**given, "texts": tuple(args.texts)})
    start = DEFAULTS if args.model is None else {**DEFAULTS, **GOING_ON}
    with telling(args.json) as tell:
        pretrain(request, Options(**{**start, **given_options(args)}), tell=tell)
    return FINE
