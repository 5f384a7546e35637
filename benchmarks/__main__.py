"""Every table of speed and memory, side by side with the peers that are installed, in one command.

``python -m benchmarks`` runs them all, each in a process of its own, and prints Markdown; ``--quick`` is a trial of a
minute. Sides take turns within each round, the first rounds do not count, and the median of the others does. A call
below half a second is made twice in a turn, and the second counts: that of a service at work, with warm caches.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import fill, replace_section, split_at
from benchmarks.settings import ALLOCATORS, Settings, Shape
from benchmarks.tables import GROUPS, TABLES, command, describe, short
from benchmarks.timing import Record, Recorder, read_records

MARK = "speed"  # of the place in the README


def main(words: list[str] | None = None) -> int:
    """Run the tables that are asked for; 1 if one of them broke off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=names, default=tuple(TABLES), help=f"some of {','.join(TABLES)}")
    parser.add_argument("--rounds", type=positive, help="rounds that count (default 7)")
    parser.add_argument("--layers", type=positive, help="layers of all models (default 12 or 4: each table says)")
    parser.add_argument("--shapes", type=shapes, help="texts x tokens, such as 1x32,8x128, of inference and training")
    parser.add_argument("--threads", type=positive, default=os.cpu_count(), help="of every side (default all cores)")
    parser.add_argument(
        "--allocator", choices=tuple(ALLOCATORS), default="kept",
        help="memory that a call frees stays with the process (default), goes back to the system, or as glibc decides",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="2 layers, few rounds, small shapes")
    parser.add_argument(
        "--write", type=Path, help="Markdown file for the sections, such as benchmarks/RESULTS.md; plots beside it"
    )
    parser.add_argument("--readme", type=Path, help="file whose place <!-- speed --> gets short tables")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.child:
        return child(*given.child)
    settings = Settings(
        rounds=given.rounds or (2 if given.quick else 7),
        threads=given.threads,
        layers=given.layers or (2 if given.quick else None),
        shapes=given.shapes or (((1, 32),) if given.quick else None),
        quick=given.quick,
        allocator=given.allocator,
    )
    if given.readme and not given.write:
        parser.error("--readme shows what --write has written; give both")
    if given.readme:
        try:
            split_at(given.readme, MARK)  # before hours of measuring
        except (OSError, ValueError) as error:
            parser.error(f"cannot fill {given.readme}: {error}")
    if given.write and not given.write.parent.is_dir():
        parser.error(f"there is no folder {given.write.parent}; make it, or write elsewhere")
    return run(given.only, settings, given.write, given.readme)


def run(names: tuple[str, ...], settings: Settings, write: Path | None, readme: Path | None) -> int:
    """Each table in a process of its own; what a broken one measured is kept."""
    failed = 0
    for name in names:
        print(f"{name}: {TABLES[name].title}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "records"
            words = [sys.executable, "-m", "benchmarks", "--child", name, settings.to_json(), str(path)]
            broke_off = ""
            try:
                subprocess.run(words, env=environment(name, settings), timeout=TABLES[name].seconds, check=True)
            except subprocess.CalledProcessError as error:
                failed, broke_off = 1, f"broke off with exit status {error.returncode}"
            except subprocess.TimeoutExpired as error:
                broke_off = f"ended after {error.timeout:.0f} seconds"
            records = read_records(path)
        if broke_off:
            records.append(Record(note=broke_off))
        lines = describe(name, records, settings, write.parent if write else None)
        print("\n".join([f"## {TABLES[name].title}", "", command(name, settings), "", *lines, ""]), flush=True)
        if write:
            replace_section(write, TABLES[name].title, [command(name, settings), "", *lines])
    if write and readme:
        fill(readme, MARK, short(write, readme.parent))
    return failed


def child(name: str, settings: str, path: str) -> int:
    """Measure one table."""
    module, function = TABLES[name].function.split(":")
    getattr(importlib.import_module(module), function)(Settings.from_json(settings), Recorder(Path(path)))
    return 0


def environment(name: str, settings: Settings) -> dict[str, str]:
    """Variables that must be set before a framework is imported: threads, memory, one framework for transformers."""
    count = str(settings.threads)
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    other = {"USE_TORCH": "0", "TF_USE_LEGACY_KERAS": "1"} if name.endswith("-tf") else {"USE_TF": "0"}
    return {**os.environ, **dict.fromkeys(pools, count), **quiet, **other, **ALLOCATORS[settings.allocator]}


def names(text: str) -> tuple[str, ...]:
    """Names of tables, for argparse; those of TensorFlow's exports, where it is installed, come with the others."""
    found = [name for word in text.split(",") for name in GROUPS.get(word, (word,))]
    for name in found:
        if name not in TABLES:
            raise argparse.ArgumentTypeError(f"there is no table {name!r}, expected some of {','.join(TABLES)}")
    beside = {"exports": ["exports-tf"]} if importlib.util.find_spec("tensorflow") else {}
    return tuple(table for name in found for table in (name, *beside.get(name, [])))


def shapes(text: str) -> tuple[Shape, ...]:
    """``1x32,8x128`` as numbers, for argparse."""
    try:
        pairs = [tuple(int(part) for part in word.split("x")) for word in text.split(",")]
        if any(min(texts, tokens) < 1 for texts, tokens in pairs):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} names no shapes, expected texts x tokens as 1x32,8x128") from None
    return tuple((texts, tokens) for texts, tokens in pairs)


def positive(text: str) -> int:
    """A number above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
