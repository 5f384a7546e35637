"""Rows of a CSV file, with cells of any length: the csv module's limit of a cell holds for the whole process."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator


def rows(lines: Iterable[str], name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of each row, and the line that the row begins in: a quoted cell may hold line ends.

    Args:
        lines: with their ends.
        name: of the file, for errors.
        delimiter: what stands between cells.

    Raises:
        ValueError: for a row that is no CSV; the text names the line.
    """
    taken: list[str] = []  # lines of the row under way
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for line in source:
            count += 1
            taken.append(line)
            yield line

    source, start, more = iter(lines), 1, True
    while more:
        more = False
        try:
            for cells in csv.reader(counted(), delimiter=delimiter, strict=True):
                yield start, cells
                taken.clear()
                start = count + 1
        except csv.Error as error:
            try:
                if "field limit" not in str(error):
                    raise
                begun, more = list(taken), True
                yield start, _long_row(itertools.chain(begun, counted()), delimiter)
            except csv.Error as reason:
                raise ValueError(f"{name}, line {start} cannot be read as CSV: {reason}") from None
            taken.clear()
            start = count + 1


def _long_row(lines: Iterable[str], delimiter: str) -> list[str]:
    """The row that lines begin with, by the rules of the csv module's strict ``excel`` dialect.

    Raises:
        csv.Error: as there.
    """
    end = re.compile(f"[{re.escape(delimiter)}\r\n]")
    cells: list[str] = []
    parts: list[str] = []  # of a quoted cell
    quoted = False
    for line in lines:
        at = 0
        while True:
            if not quoted and line.startswith('"', at):
                quoted, at = True, at + 1
            if quoted:
                stop = line.find('"', at)
                if stop < 0:
                    parts.append(line[at:])
                    break
                parts.append(line[at:stop])
                if line.startswith('""', stop):
                    parts.append('"')
                    at = stop + 2
                    continue
                cells.append("".join(parts))
                quoted, parts, stop = False, [], stop + 1
                if line[stop : stop + 1] not in (delimiter, "\r", "\n", ""):
                    raise csv.Error(f"'{delimiter}' expected after '\"'")
            else:
                found = end.search(line, at)
                stop = found.start() if found else len(line)
                cells.append(line[at:stop])
            if not line.startswith(delimiter, stop):
                if line[stop:] not in ("\r\n", "\n", "\r", ""):
                    raise csv.Error("new-line character seen in unquoted field")
                return cells
            at = stop + 1
    raise csv.Error("unexpected end of data")
