"""Much text in parts: what is in files of several formats, cut so that several workers can answer it, each part once.

Answers to a part are a file of their own, put in place when they are whole: what was finished stays finished.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deberta_core.files import settle, write_text
from deberta_tasks.records import FORMATS, format_of

PARQUET = "parquet"
PLAN = "run.json"  # in the folder of answers: what is asked, and of which files
PART_BYTES = 1 << 24  # of a file of lines that one part reads: some ten thousand texts


@dataclass(frozen=True)
class Part:
    """A piece of a file.

    Attributes:
        file: path of the file.
        format: ``text``, ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        first: byte, or row group of Parquet, that it begins at.
        last: byte or row group that the next part begins at; ``None``: to the end.
        stamp: size of the file in bytes and time of its last change in nanoseconds.
    """

    file: str
    format: str
    first: int
    last: int | None
    stamp: tuple[int, int]

    def name(self) -> str:
        """Of the part, for people."""
        if self.first == 0 and self.last is None:
            return self.file
        return f"{self.file}, from {'row group' if self.format == PARQUET else 'byte'} {self.first} on"

    def lines(self) -> Iterator[bytes]:
        """Its lines; those of Parquet are rows as JSON objects. A line belongs to the part that it begins in."""
        if self.format == PARQUET:
            with opened_parquet(self.file) as file:
                for batch in file.iter_batches(1024, row_groups=[self.first]):
                    yield from (json.dumps(row, default=str).encode() for row in batch.to_pylist())
            return
        with open(self.file, "rb") as stream:
            if self.first:
                stream.seek(self.first - 1)
                stream.readline()  # begun in the part before
            place = stream.tell()
            while (self.last is None or place < self.last) and (line := stream.readline()):
                place += len(line)
                yield line


def plan(pattern: str, format: str | None) -> list[Part]:
    """The parts of the files that a pattern names, in order.

    Args:
        pattern: a file, a folder, or a pattern such as ``data/*.parquet``.
        format: of all files; default by their names, which end in .parquet, .csv, .tsv, .jsonl or .txt.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if there is Parquet to read, and nothing to read it with.
        ValueError: for a Parquet file that is damaged.
    """
    return [part for file in files_of([pattern]) for part in _parts(os.path.abspath(file), format)]


def files_of(patterns: Iterable[str]) -> list[str]:
    """The files that patterns name, in order; of a folder those whose names end as files of texts do.

    Raises:
        FileNotFoundError: if there is none for one of them.
    """
    found = []
    for pattern in patterns:
        inside = os.path.join(glob.escape(pattern), "*") if os.path.isdir(pattern) else pattern
        files = [path for path in sorted(glob.glob(inside, recursive=True)) if os.path.isfile(path)]
        if inside != pattern:  # a folder, which often holds marks of other programs, too
            files = [path for path in files if Path(path).suffix.lower() in (*FORMATS, f".{PARQUET}")]
        if not files:
            raise FileNotFoundError(
                f"there is no file {pattern}; give a file, a folder, or a pattern such as 'data/*.csv'"
            )
        found += files
    return found


def format_with_parquet(path: str) -> str:
    """As ``format_of``, or ``parquet``."""
    return PARQUET if Path(path).suffix.lower() == f".{PARQUET}" else format_of(path)


@contextmanager
def opened_parquet(path: str) -> Iterator[Any]:
    """A Parquet file, open.

    Raises:
        ImportError: if there is nothing to read it with.
        ValueError: if it is damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        reason = "pyarrow is not installed, and Parquet needs it: pip install 'deberta-zoo[ray]'"
        raise ImportError(reason) from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _parts(file: str, format: str | None) -> Iterator[Part]:
    found = os.stat(file)
    format, stamp = format or format_with_parquet(file), (found.st_size, found.st_mtime_ns)
    if format == PARQUET:
        with opened_parquet(file) as table:
            groups = table.num_row_groups
        yield from (Part(file, format, group, group + 1, stamp) for group in range(groups))
    elif format in ("text", "jsonl") and found.st_size > PART_BYTES:
        starts = range(0, found.st_size, PART_BYTES)
        yield from (Part(file, format, start, start + PART_BYTES, stamp) for start in starts)
    else:  # a quoted cell of CSV may hold line ends: where a row begins is seen from the start alone
        yield Part(file, format, 0, None, stamp)


def begin(folder: str, asked: argparse.Namespace, parts: list[Part]) -> list[int]:
    """Make the folder of answers, or go on with it.

    Args:
        folder: where answers go.
        asked: what is asked of each part.
        parts: all of them.

    Returns:
        Numbers of the parts that have no answers yet.

    Raises:
        ValueError: if the folder holds something else, or answers to something else.
    """
    place = Path(folder) / PLAN
    wanted = json.loads(json.dumps({"asked": vars(asked), "parts": [asdict(part) for part in parts]}))
    if place.is_file():
        try:
            found: Any = json.loads(place.read_text(encoding="utf-8"))
        except ValueError:
            found = None
        if found != wanted:
            before = found if isinstance(found, dict) else {}
            changed = [name for name in wanted if before.get(name) != wanted[name]]
            raise ValueError(
                f"{folder} holds answers of another run: {' and '.join(changed)} differ from {place}; give another "
                "--output, or remove it"
            )
    else:
        os.makedirs(folder, exist_ok=True)
        if settle(Path(folder)):
            raise ValueError(f"{folder} holds something else than answers of such a run; give another --output")
        write_text(place, json.dumps(wanted, indent=2) + "\n")
    return [number for number in range(len(parts)) if not answers_of(folder, number).is_file()]


def answers_of(folder: str, number: int) -> Path:
    """File of the answers to a part."""
    return Path(folder) / f"part-{number:05}.jsonl"
