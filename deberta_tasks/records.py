"""Records from text, CSV and JSONL files, one at a time: what every command reads.

A record is a dict that knows which file and line it came from, so that whoever finds fault with a value can say where
it stands. Files are read as a stream, in constant memory, and every error names the line.
"""

from __future__ import annotations

import ast
import io
import itertools
import json
import os
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from deberta_core.wording import listed, near
from deberta_tasks.cells import rows

FORMATS = {".txt": "text", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Record(dict[str, Any]):
    """Values by name.

    Attributes:
        place: where they stand, such as ``reviews.csv, line 3``.
    """

    def __init__(self, values: Mapping[str, Any], place: str = "") -> None:
        super().__init__(values)
        self.place = place


def with_old_names(values: Mapping[str, Any], old_names: Mapping[str, str]) -> Record:
    """A record whose values have the names they have here; a name that is there is left alone.

    Args:
        values: by name.
        old_names: by another name of a value, its name here.
    """
    record = Record(values, getattr(values, "place", ""))
    for old, name in old_names.items():
        if old in record and name not in record:
            record[name] = record.pop(old)
    return record


def meant(wanted: Iterable[str], found: Iterable[str], known: Collection[str] = ()) -> str:
    """Which of the names that were found may be another spelling of one that is wanted; ``known`` ones are not."""
    hints = ((name, near(name, wanted)) for name in found if name not in known)
    return next((h.replace("did you mean", f"did you mean {name!r} to be") for name, h in hints if h), "")


def written_list(text: str) -> list[Any] | None:
    """The list that a cell holds, as JSON or as Python writes it; ``None`` for a text that is none.

    Brackets that stand alone between spaces, as in ``[ 1 ]``, are words, unless all between them are quoted, and so is
    one word in brackets, as ``[MASK]``.

    Raises:
        ValueError: for what looks like a list and cannot be read, such as a printed NumPy array.
    """
    bare = text.strip()
    broken = f'{text!r} looks like a list and is none that can be read; write it as JSON, such as ["a", "b"]'
    if re.match(r"\[\s*['\"]", bare) and not bare.endswith("]"):
        raise ValueError(broken)  # cut short
    if bare[:1] + bare[-1:] not in ("[]", "()"):
        return None
    found = literal(bare)
    apart = bare.split()[0] + bare.split()[-1] in ("[]", "()")
    if isinstance(found, (list, tuple)) and not (apart and not all(isinstance(item, str) for item in found)):
        return list(found)
    if apart or bare[0] == "(" or not re.fullmatch(r"[^][]*[\s,'\"][^][]*", bare[1:-1]):
        return None
    raise ValueError(broken)


def literal(text: str) -> Any:
    """What a text means in JSON or in Python; two strings with nothing between, which NumPy prints, mean nothing."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        kinds = [token.type for token in tokens if token.type not in (tokenize.NL, tokenize.COMMENT)]
        glued = any(one == two == tokenize.STRING for one, two in itertools.pairwise(kinds))
        return None if glued else ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None


def whole_number(value: Any) -> int | None:
    """A whole number, also written as a float or a text (``2``, ``2.0``, ``"2"``, ``"2.0"``); ``None`` for others."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}(\.0*)?", value.strip()):
        return int(value.strip().split(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def format_of(path: str | os.PathLike[str]) -> str:
    """``text``, ``csv``, ``tsv`` or ``jsonl`` by the name of a file; ``text`` for other names."""
    return FORMATS.get(Path(path).suffix.lower(), "text")


def detect_format(stream: IO[bytes]) -> tuple[str, Iterable[bytes]]:
    """``jsonl`` if a stream's first line is a JSON object, else ``text``; and its lines, the first one included."""
    first = stream.readline()
    try:
        found = "jsonl" if isinstance(json.loads(first), dict) else "text"
    except (ValueError, RecursionError):
        found = "text"
    return found, itertools.chain([first] if first else [], stream)


def read_records(
    source: str | os.PathLike[str] | Iterable[bytes],
    *,
    format: str | None = None,
    name: str | None = None,
    columns: Mapping[str, str] | None = None,
    required: Sequence[str] = (),
    text_column: str = "text",
    old_names: Mapping[str, str] | None = None,
    known: Collection[str] = (),
) -> Iterator[Record]:
    """The records of a file, as a stream.

    CSV and TSV files have a heading and as many cells in each row; cells are strings, and columns named ``choice0``,
    ``choice1``, ... also stand for a list ``choices``. JSONL files hold an object a line. Each line of a text file is a
    record of one value; empty lines are passed over at the end only, because answers are told apart by their number.

    Args:
        source: path, or an open binary stream, or its lines.
        format: ``text``, ``csv``, ``tsv`` or ``jsonl``; default by the name of the file.
        name: what errors call the source; default its path.
        columns: name in the file by name of the value, for files that call them otherwise.
        required: values that every record must have.
        text_column: name of the value that a line of a text file is.
        old_names: by another name that files may have for a value, its name.
        known: names of other values, which are no misspelling of a required one.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not UTF-8, a column is missing, a row has more or fewer cells than the heading, a line is
            no JSON object, or there are no records; the text names the line.
    """
    if isinstance(source, (str, os.PathLike)):
        format = format or format_of(source)
        name = os.fspath(source) if name is None else name
    read = _READERS.get(format or "text")
    if read is None:
        raise ValueError(f"format is {format!r}, expected one of {', '.join(_READERS)}")
    name, renamed, others = name or "input", dict(columns or {}), {*known, *required}

    def records() -> Iterator[Record]:
        empty = True
        with _opened(source) as stream:
            for line, values in read(_lines(stream, name), name, text_column):
                place, empty = f"{name}, line {line}", False
                for value, column in renamed.items():
                    if column not in values:
                        found = listed(values)
                        raise ValueError(f"{place} has no column {column!r}; it has {found}{near(column, values)}")
                    values[value] = values.pop(column)
                record = with_old_names(Record(values, place), old_names or {})
                for value in required:
                    if value not in record:
                        found = listed(values)
                        spelt = [value, *(old for old, new in (old_names or {}).items() if new == value)]
                        hint = meant(spelt, values, others)
                        raise ValueError(f"{place} has no column {value!r}; it has {found}{hint}")
                yield record
        if empty:
            raise ValueError(f"{name} has no records; expected one text, row or object a line")

    return records()


@contextmanager
def _opened(source: Any) -> Iterator[Iterable[bytes]]:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as stream:
            yield stream
    else:
        yield source


def _lines(stream: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines with their ends, as text, without a byte order mark."""
    start = 0
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, line {number} is not UTF-8 (byte {start + error.start} of the file); save it as UTF-8"
            ) from None
        start += len(line)
        yield text.removeprefix("\ufeff") if number == 1 else text


def _text_rows(lines: Iterable[str], name: str, column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    empty = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if text.strip():
            if empty:
                raise ValueError(f"{name}, line {empty} is empty; expected a text on every line")
            yield number, {column: text}
        else:
            empty = empty or number


def _csv_rows(lines: Iterable[str], name: str, _: str, delimiter: str = ",") -> Iterator[tuple[int, dict[str, Any]]]:
    found = rows(lines, name, delimiter)
    heading = next(found, (1, []))[1]
    seen: set[str] = set()
    for column in heading:
        if column in seen:
            raise ValueError(f"{name} has two columns {column!r}; give each a name of its own")
        seen.add(column)
    numbered = _numbered(heading)
    for start, cells in found:
        if cells and len(cells) != len(heading):
            raise ValueError(
                f"{name}, line {start} has {len(cells)} cells, the heading has {len(heading)}; "
                "quote cells that hold the separator"
            )
        if cells:
            yield start, _with_lists(dict(zip(heading, cells, strict=True)), numbered)


def _tsv_rows(lines: Iterable[str], name: str, column: str) -> Iterator[tuple[int, dict[str, Any]]]:
    return _csv_rows(lines, name, column, delimiter="\t")


def _numbered(heading: Iterable[str]) -> dict[str, list[str]]:
    """Numbered columns by the name of their list: ``choice0`` and ``choice1`` by ``choices``.

    By their numbers, however the columns stand: sorted by name, ``choice10`` comes before ``choice2``.
    """
    lists: dict[str, list[tuple[int, str]]] = {}
    for column in heading:
        match = re.fullmatch(r"(.*[^\d])(\d{1,9})", column)
        if match:
            lists.setdefault(match[1] + "s", []).append((int(match[2]), column))
    return {name: [column for _, column in sorted(columns, key=lambda one: one[0])] for name, columns in lists.items()}


def _with_lists(row: dict[str, Any], numbered: Mapping[str, list[str]]) -> dict[str, Any]:
    """Numbered columns also as a list, empty cells at its end left out."""
    for name, columns in numbered.items():
        cells = [row[column] for column in columns]
        while cells and not cells[-1]:
            cells.pop()
        row.setdefault(name, cells)
    return row


def _jsonl_rows(lines: Iterable[str], name: str, _: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{name}, line {number} is not JSON: {error}; expected an object a line") from None
        except RecursionError:
            raise ValueError(f"{name}, line {number} is nested too deeply; expected an object a line") from None
        if not isinstance(values, dict):
            raise ValueError(f"{name}, line {number} is a JSON {_KINDS[type(values)]}, expected an object")
        yield number, values


_KINDS: dict[type, str] = {
    list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null",
}  # fmt: skip
_READERS: dict[str, Any] = {"text": _text_rows, "csv": _csv_rows, "tsv": _tsv_rows, "jsonl": _jsonl_rows}
