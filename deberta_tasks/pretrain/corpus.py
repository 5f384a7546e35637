"""Text of any size for pretraining: read once as a stream, kept on the disk as numbers, mapped into memory.

A row is asked for by its number, as a list would be, so that order, masking and resuming are those of texts in memory.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.files import Replacement
from deberta_core.packing import fit
from deberta_core.wording import listed, near, some
from deberta_tasks.parts import PARQUET, format_with_parquet, opened_parquet
from deberta_tasks.records import read_records

ROWS = ("joined", "packed", "single")
LINE = 1 << 26  # bytes of a line at most: a file without line ends would fill the memory
MOST_SHOWN = 60  # characters of a value that is no text
AHEAD, WINDOW = 64, 512  # documents that are encoded together; pieces of which rows are packed together
CONTINUES, BEGINS, NONE = 0, 1, 2  # what a token is to its word
TOKENS, WORDS, ENDS, ABOUT = "tokens.bin", "words.bin", "ends.bin", "texts.json"


def documents(files: Iterable[str], column: str = "text") -> Iterator[str]:
    """The texts of files, one at a time; empty ones are left out, and counted in a warning.

    Args:
        files: .txt (a text a line), .jsonl, .csv, .tsv or .parquet, by their names; others are taken for .txt.
        column: where the text is, of all but .txt.

    Raises:
        ImportError: for Parquet without pyarrow.
        ValueError: if a file is damaged or not UTF-8, has no such column, no text at all, or a line without end.
    """
    for path in files:
        count = empty = 0
        for place, text in _texts(path, column):
            if not isinstance(text, str | None):
                raise ValueError(f"{place}: {column} is {repr(text)[:MOST_SHOWN]}, expected a text")
            count += 1
            if text is None or not text.strip():
                empty += 1
            else:
                yield text.strip()
        if empty == count:
            raise ValueError(f"{path} has no text; expected a document a line or row")
        if empty and format_with_parquet(path) != "text":  # between lines they are usual
            warnings.warn(f"{path}: {empty} of {count} documents are empty and left out", stacklevel=2)


def _texts(path: str, column: str) -> Iterator[tuple[str, Any]]:
    format = format_with_parquet(path)
    if format == PARQUET:
        yield from _parquet(path, column)
    elif format == "text":
        for number, line in enumerate(_lines(path), 1):
            try:
                yield f"{path}, line {number}", line.decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
            except UnicodeDecodeError as error:
                reason = f"{path}, line {number} is not UTF-8 (byte {error.start} of it); save it as UTF-8"
                raise ValueError(reason) from None
    else:
        for record in read_records(_lines(path), format=format, name=path, required=(column,)):
            yield record.place, record[column]


def _lines(path: str) -> Iterator[bytes]:
    """Raises ``ValueError`` for a line that is too long to be a text."""
    number = 0
    with open(path, "rb") as stream:
        while line := stream.readline(LINE + 1):
            number += 1
            if len(line) > LINE:
                raise ValueError(
                    f"{path}, line {number} is longer than {LINE >> 20} MiB; expected a sentence, a paragraph or a "
                    "document a line"
                )
            yield line


def _parquet(path: str, column: str) -> Iterator[tuple[str, Any]]:
    with opened_parquet(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise ValueError(f"{path} has no column {column!r}; it has {listed(names)}{near(column, names)}")
        number = 0
        for batch in file.iter_batches(AHEAD, columns=[column]):
            for text in batch.column(0).to_pylist():
                number += 1
                yield f"{path}, row {number}", text


def read_texts(files: Sequence[str], column: str, tokenizer: Any, folder: Path) -> Path:
    """Encode all texts into a folder, unless it holds them already.

    Args:
        files: see ``documents``.
        column: likewise.
        tokenizer: of this project.
        folder: made if needed.

    Returns:
        The folder: token ids, what each is to its word, where documents end, and what they are of.

    Raises:
        OSError: if it cannot be written.
        ValueError: see ``documents``.
    """
    stamps = [[os.path.abspath(path), os.stat(path).st_size, os.stat(path).st_mtime_ns] for path in files]
    vocabulary = zlib.crc32(repr(sorted(tokenizer.get_vocab().items())).encode())
    about = {"files": stamps, "column": column, "vocabulary": vocabulary}
    try:
        known = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        whole = os.path.getsize(folder / TOKENS) == 4 * known["tokens"] == 4 * os.path.getsize(folder / WORDS)
        if whole and {name: known[name] for name in about} == about:
            return folder
    except (OSError, ValueError, LookupError, TypeError):
        pass
    with Replacement(folder) as made:
        count = checksum = 0
        with (
            open(made.create(TOKENS), "wb") as tokens,
            open(made.create(WORDS), "wb") as words,
            open(made.create(ENDS), "wb") as ends,
        ):
            read = documents(files, column)
            while texts := list(islice(read, AHEAD)):
                encoded = tokenizer(texts, add_special_tokens=False)
                for number, ids in enumerate(encoded["input_ids"]):
                    count += len(ids)
                    for file, data in (
                        (tokens, np.asarray(ids, np.uint32)), (words, _kinds(encoded.word_ids(number))),
                        (ends, np.int64(count)),
                    ):  # fmt: skip
                        file.write(data.tobytes())
                        checksum = zlib.crc32(data.tobytes(), checksum)
        if not count:
            raise ValueError(
                f"the tokenizer makes no token of the texts in {some(files)}; expected text in the tokenizer's language"
            )
        made.write(ABOUT, json.dumps({**about, "tokens": count, "checksum": f"{checksum:08x}"}) + "\n")
        made.commit()
    return folder


def _kinds(words: Sequence[int | None]) -> NDArray[np.uint8]:
    numbers = np.array([-1 if word is None else word for word in words], np.int64)
    begins = np.diff(numbers, prepend=-2) != 0
    return np.where(numbers < 0, NONE, np.where(begins, BEGINS, CONTINUES)).astype(np.uint8)


class Corpus:
    """Rows of texts that ``read_texts`` has encoded; as a list of them would be.

    Args:
        folder: that it gave.
        tokenizer: the same.
        length: tokens of a row, special ones included.
        rows: ``joined``: documents one behind the other, as if they were one; ``packed``: several in a row, that do
            not see each other; ``single``: a row for each, longer ones in several.

    Raises:
        ValueError: if a row has no room for text.
    """

    def __init__(self, folder: Path, tokenizer: Any, length: int, rows: str = "joined") -> None:
        if length < 3:
            raise ValueError(f"length is {length}, expected at least 3 tokens: [CLS], one of the text, [SEP]")
        self.first, self.last = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.rows, self.length = rows, length
        self.checksum = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["checksum"]
        self.tokens = np.memmap(folder / TOKENS, np.uint32, "r")
        self.words = np.memmap(folder / WORDS, np.uint8, "r")
        ends = np.array([len(self.tokens)]) if rows == "joined" else np.memmap(folder / ENDS, np.int64, "r")
        starts = np.concatenate([[0], ends[:-1]])
        room = length - 2
        # A document in pieces that fit: where each begins and ends.
        counts = -(-(ends - starts) // room)
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.starts = np.repeat(starts, counts) + number * room
        self.ends = np.minimum(self.starts + room, np.repeat(ends, counts))
        self.order, self.bounds = np.arange(len(self.starts)), np.arange(len(self.starts) + 1)
        if rows == "packed":
            self._pack()

    def _pack(self) -> None:
        """Neighbours into rows: all pieces at once would put the long ones first and take forever."""
        order, sizes = [], [0]
        needed = self.ends - self.starts + 2
        for start in range(0, len(needed), WINDOW):
            for row in fit(needed[start : start + WINDOW].tolist(), self.length):
                order += [start + number for number in row]
                sizes.append(len(row))
        self.order, self.bounds = np.array(order, np.int64), np.cumsum(sizes)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def length_of(self, number: int) -> int:
        """Tokens of a row."""
        pieces = self._pieces(number)
        return int((self.ends[pieces] - self.starts[pieces] + 2).sum())

    def _pieces(self, number: int) -> NDArray[np.int64]:
        return self.order[self.bounds[number] : self.bounds[number + 1]]

    def __getitem__(self, number: int) -> dict[str, Any]:
        """``input_ids`` and ``word_ids`` of a row; of packed ones also ``segment_ids``, the number of each document."""
        ids: list[int] = []
        words: list[int | None] = []
        segments: list[int] = []
        for segment, piece in enumerate(self._pieces(number)):
            place = slice(self.starts[piece], self.ends[piece])
            kinds = self.words[place]
            numbers = np.cumsum(kinds == BEGINS).tolist()
            ids += [self.first, *self.tokens[place].tolist(), self.last]
            within = (None if kind == NONE else n for kind, n in zip(kinds.tolist(), numbers, strict=True))
            words += [None, *within, None]
            segments += [segment] * (len(ids) - len(segments))
        row: dict[str, Any] = {"input_ids": ids, "word_ids": words}
        return {**row, "segment_ids": segments} if self.rows == "packed" else row
