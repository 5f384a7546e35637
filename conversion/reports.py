"""Results as text for people: plain, or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deberta_core.wording import one_line

Row = Sequence[str]


@dataclass
class Table:
    """Rows under a heading.

    Attributes:
        title: heading.
        columns: names of the columns; empty for a table of names and values.
        rows: cells.
    """

    title: str
    columns: Row = ()
    rows: list[Row] = field(default_factory=list)


def as_text(tables: Sequence[Table]) -> str:
    """Tables in aligned columns."""
    parts = []
    for table in tables:
        given = (table.columns, *table.rows) if table.columns else table.rows
        rows = [[one_line(cell) for cell in row] for row in given]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        parts.append("\n".join([*([table.title] if table.title else []), *(f"  {line}" for line in lines)]))
    return "\n\n".join(parts)


def as_markdown(tables: Sequence[Table]) -> str:
    """The same tables in Markdown."""
    parts = []
    for table in tables:
        width = len(table.columns) or (len(table.rows[0]) if table.rows else 0)
        head = [_line(table.columns or [""] * width), "|" + "---|" * width]
        lines = [*head, *(_line(row) for row in table.rows)] if width else []
        parts.append("\n".join([*([f"## {table.title}", ""] if table.title else []), *lines]))
    return "\n\n".join(parts) + "\n"


def _line(cells: Row) -> str:
    shown = (one_line(cell).replace("|", "\\|").replace("<", "&lt;") for cell in cells)  # no markup of a file acts
    return "| " + " | ".join(shown) + " |"


def in_bytes(count: int) -> str:
    """A number of bytes for people."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
