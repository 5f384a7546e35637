"""Markdown of the benchmarks: tables of records, sections of a file, places between two marks."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.timing import Record

PACKAGES = ("torch", "tensorflow", "transformers", "onnxruntime", "keras-hub", "flashdeberta")


def replace_section(path: Path, heading: str, lines: list[str]) -> None:
    """Writes a section of a Markdown file, in place of the one with the same heading."""
    before = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    start = before.find(f"\n## {heading}\n")
    if start >= 0:
        end = before.find("\n## ", start + 1)
        before = before[:start] + (before[end:] if end >= 0 else "")
    path.write_text(before.rstrip("\n") + "\n\n" + "\n".join([f"## {heading}", "", *lines]) + "\n", encoding="utf-8")


def split_at(path: Path, mark: str) -> tuple[str, str]:
    """The text up to and with ``<!-- mark -->``, and from ``<!-- /mark -->`` on.

    Raises:
        ValueError: if the file lacks one of them.
    """
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{path} holds no place for the table, expected the lines {begin} and {end}")
    return before + begin, end + after


def fill(path: Path, mark: str, lines: Iterable[str]) -> None:
    """Replaces what stands between the two marks; raises as ``split_at``."""
    before, after = split_at(path, mark)
    path.write_text("\n".join([before, "", *lines, "", after]), encoding="utf-8")


def find_table(text: str, heading: str, corner: str) -> list[str]:
    """The lines of a table, known by its first cell, in a section of a Markdown text; none if it is not there."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    _, found, rest = section.partition(f"\n| {corner} |")
    return f"| {corner} |{rest.partition(chr(10) * 2)[0]}".splitlines() if found else []


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table."""
    head = list(columns)
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def pivot(records: Iterable[Record], cell: Callable[[Record], str], corner: str) -> list[str]:
    """A row for each case and a column for each side, without the columns and rows that stay empty."""
    cells = {(record.case, record.side): cell(record) for record in records if record.case}
    cells = {key: text for key, text in cells.items() if text}
    cases, sides = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    if not cells:
        return []
    return markdown([corner, *sides], [[case, *(cells.get((case, side), "") for side in sides)] for case in cases])


def ratios(records: list[Record], base: Callable[[str], str], corner: str, *, inverse: bool = False) -> list[str]:
    """How many times as fast as its base each side is, or with ``inverse`` how many times its time it takes."""
    seconds = {(record.case, record.side): record.seconds for record in records if record.seconds}

    def cell(record: Record) -> str:
        other = seconds.get((record.case, base(record.side)))
        if not record.seconds or not other or base(record.side) == record.side:
            return ""
        return f"{record.seconds / other if inverse else other / record.seconds:.2f}"

    return pivot(records, cell, corner)


def machine(threads: int) -> str:
    """Processor, threads, versions and date in one line."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{processor()}; {os.cpu_count()} cores, {threads} thread(s); Python {platform.python_version()}, "
        f"{', '.join(versions)}; {datetime.date.today()}."
    )


def processor() -> str:
    """Name of the processor and the widest instructions that PyTorch uses on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    try:
        import torch
    except ImportError:
        return name or platform.machine()
    return f"{name or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
