"""Markdown of the benchmarks: tables of records, sections of a file, places between two marks."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.timing import Record

PACKAGES = (
    "torch", "tensorflow", "transformers", "onnxruntime", "keras-hub", "triton", "flashdeberta", "disentangled-flash",
)  # fmt: skip


def replace_section(path: Path, heading: str, lines: list[str]) -> None:
    """Writes a section of a Markdown file under this kind of processor, in place of the one with the same heading.

    Each kind is headed with commit and date of what was measured last; other kinds keep what they have, marked as older
    where their commit is another.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    title, *parts = re.split(r"^(?=## )", text, flags=re.M)
    kinds = {part[3:].partition("\n")[0]: re.split(r"^(?=### )", part, flags=re.M) for part in parts}
    kind, today = processor_kind(), f"Measured at commit {commit()}, {datetime.date.today()}"
    _, *sections = kinds.pop(kind, [""])
    sections = [part for part in sections if not part.startswith(f"### {heading}\n")]
    sections.append("\n".join([f"### {heading}", "", *lines]))
    for name, (head, *_) in kinds.items():
        measured = next((line for line in head.splitlines() if line.startswith("Measured at ")), "")
        measured = measured.partition(";")[0].rstrip(".")
        kinds[name][0] = f"## {name}\n\n{measured}{'; older.' if measured != today else '.'}"
    kinds = {kind: [f"## {kind}\n\n{today}.", *sections], **kinds}
    blocks = [title, *(block for blocks in kinds.values() for block in blocks)]
    path.write_text("\n\n".join(block.strip("\n") for block in blocks) + "\n", encoding="utf-8")


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
    """The lines of a table, known by its first cell, in the first section of a heading; none if it is not there."""
    section = re.split(r"^##", text.partition(f"\n### {heading}\n")[2], maxsplit=1, flags=re.M)[0]
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
    """Processor, threads, versions, commit and date in one line."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{processor()}, {processor_kind()}; {os.cpu_count()} cores, {threads} thread(s); "
        f"Python {platform.python_version()}, {', '.join(versions)}; commit {commit()}, {datetime.date.today()}."
    )


def commit() -> str:
    """The commit that is measured, with a ``+`` if files differ from it; ``unknown`` outside a checkout."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Name of the processor."""
    return next((line.partition(":")[2].strip() for line in cpuinfo() if line.startswith("model name")), "") or (
        platform.processor() or platform.machine()
    )


def processor_kind() -> str:
    """What decides which products are quick: the widest instructions."""
    flags = next((line.split() for line in cpuinfo() if line.startswith("flags")), [])
    kinds = {"amx_tile": "AVX-512 and AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
    return next((kind for flag, kind in kinds.items() if flag in flags), platform.machine())


def cpuinfo() -> list[str]:
    """What Linux says of the first processors; nothing elsewhere."""
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8").splitlines() if info.exists() else []
