"""Inference over many texts: batches of like lengths within a budget of tokens, results in the order of the texts.

Padding is what uneven texts cost. Rows are read ahead, sorted by length and packed so that a batch, padding included,
stays within the budget; only the rows read ahead are held, so a stream of any length takes constant memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Row = TypeVar("Row")
Result = TypeVar("Result")

SECONDS_BEFORE_BAR = 2.0


def token_batches(lengths: Sequence[int], *, max_tokens: int, max_rows: int | None = None) -> list[list[int]]:
    """Numbers of the rows of each batch, longest rows first.

    Args:
        lengths: tokens of each row.
        max_tokens: most tokens of a batch, padding included; a longer row is a batch of its own.
        max_rows: most rows of a batch.

    Raises:
        ValueError: for a budget below one.
    """
    if max_tokens < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(f"max_tokens is {max_tokens} and max_rows {max_rows}, expected at least 1")
    batches: list[list[int]] = []
    room = 0  # rows that the open batch still takes
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if room < 1:
            room = max(max_tokens // max(lengths[number], 1), 1)
            room = room if max_rows is None else min(room, max_rows)
            batches.append([])
        batches[-1].append(number)
        room -= 1
    return batches


def run_by_length(
    rows: Iterable[Row],
    run: Callable[[list[Row]], Sequence[Result]],
    *,
    length: Callable[[Row], int],
    max_tokens: int = 4096,
    max_rows: int | None = None,
    read_ahead: int | None = None,
    progress: bool | None = False,
    total: int | None = None,
) -> Iterator[Result]:
    """Run a model over rows in batches of like lengths; the results come in the order of the rows.

    If reading the rows fails in the middle, the results of all rows before are given first.

    Args:
        rows: a list, or a stream of any length.
        run: takes the rows of a batch and gives a result for each.
        length: tokens of a row.
        max_tokens: most tokens of a batch, padding included; a longer row is a batch of its own.
        max_rows: most rows of a batch.
        read_ahead: tokens to read before running; default that of eight full batches. 1: each row at once.
        progress: show a bar: always, never, or (``None``) on a terminal where the work takes some seconds.
        total: number of rows, for the bar, where ``rows`` has no length.

    Raises:
        ValueError: for a budget below one, or if ``run`` does not give a result for each row.
    """
    token_batches((), max_tokens=max_tokens, max_rows=max_rows)

    def results() -> Iterator[Result]:
        for group, failure in _groups(rows, length, 8 * max_tokens if read_ahead is None else read_ahead):
            done: dict[int, Result] = {}
            for numbers in token_batches([length(row) for row in group], max_tokens=max_tokens, max_rows=max_rows):
                found = run([group[n] for n in numbers])
                done.update(zip(numbers, found, strict=True))
            yield from (done[n] for n in range(len(group)))
            if failure is not None:
                raise failure

    if total is None and isinstance(rows, Sequence):
        total = len(rows)
    return with_bar(results(), progress=progress, total=total)


def _groups(
    rows: Iterable[Row], length: Callable[[Row], int], size: int
) -> Iterator[tuple[list[Row], Exception | None]]:
    """Rows read ahead, up to ``size`` tokens each time, and what ended the reading too soon."""
    group: list[Row] = []
    tokens = 0
    try:
        for row in rows:
            group.append(row)
            tokens += length(row)
            if tokens >= size:
                yield group, None
                group, tokens = [], 0
    except Exception as failure:
        yield group, failure
    else:
        yield group, None


def with_bar(
    items: Iterable[Result], *, progress: bool | None, total: int | None = None, unit: str = "text"
) -> Iterator[Result]:
    """Items as they come, with a progress bar on the error stream.

    Args:
        items: anything.
        progress: show it: always, never, or (``None``) on a terminal where the work takes some seconds.
        total: number of items, if known.
        unit: what is counted.
    """
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, total=total, unit=unit, dynamic_ncols=True, delay=0 if progress else SECONDS_BEFORE_BAR)


def pad_rows(rows: Sequence[Mapping[str, Sequence[int]]], *, fill: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Rows of one batch as int64 arrays ``[B, L]``, padded on the right, with their ``attention_mask``.

    Args:
        rows: ``input_ids`` and what else the tokenizer gives, all of one length in a row.
        fill: what pads each input; 0 where it is not named.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    inputs: dict[str, NDArray[np.int64]] = {}
    for name in rows[0]:
        inputs[name] = np.full((len(rows), longest), fill.get(name, 0), np.int64)
        for array, row in zip(inputs[name], rows, strict=True):
            array[: len(row[name])] = row[name]
    if "attention_mask" not in inputs:
        lengths: Any = np.array([len(row["input_ids"]) for row in rows])
        inputs["attention_mask"] = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    return inputs
