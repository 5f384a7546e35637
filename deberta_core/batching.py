"""Batches: of like lengths within a budget of tokens, with results in the order of the texts; and their padding.

Padding is what uneven texts cost. Texts are read ahead, sorted by length and put together so that a batch, padding
included, stays within the budget; only those read ahead are held, so a stream of any length takes constant memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from numpy.typing import NDArray

Item = TypeVar("Item")
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
    rows: Iterable[Item],
    run: Callable[[list[Item]], Sequence[Result]],
    *,
    length: Callable[[Item], int],
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
    rows: Iterable[Item], length: Callable[[Item], int], size: int
) -> Iterator[tuple[list[Item], Exception | None]]:
    """Rows read ahead, up to ``size`` tokens each time, and what ended the reading too soon."""
    group: list[Item] = []
    tokens = 0
    try:
        for row in rows:
            tokens += length(row)
            group.append(row)
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


def pad_lists(lists: Sequence[Sequence[Any]], length: int, fill: Any, side: str = "right") -> list[list[Any]]:
    """Lists filled up to one length; longer ones stay as they are.

    Args:
        lists: one for each text.
        length: to fill up to, tokens.
        fill: what stands in the place of tokens.
        side: ``right`` or ``left``.
    """
    fillings = ([fill] * (length - len(values)) for values in lists)
    if side == "left":
        return [[*filling, *values] for filling, values in zip(fillings, lists, strict=True)]
    return [[*values, *filling] for filling, values in zip(fillings, lists, strict=True)]


def pad_batch(
    features: Sequence[Mapping[str, Any]], *, fill: Mapping[str, int], length: int | None = None, multiple: int = 1,
    side: str = "right",
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """The features of one batch as arrays, with their ``attention_mask``.

    Args:
        features: of each example ``input_ids`` and what else the model is given: a list ``[L]``, for multiple choice
            lists ``[C][L]``, or a number.
        fill: what each list is filled up with; 0 where it is not named.
        length: of the batch, tokens; default that of the longest list.
        multiple: the length is rounded up to a multiple of this, tokens.
        side: ``right`` or ``left``.

    Returns:
        Lists ``[B, L]`` or ``[B, C, L]`` and numbers ``[B]``, as int64, or as float32 where one of them is a fraction.
    """
    import numpy as np  # here: tokenizers fill lists up without arrays

    ids = [feature["input_ids"] for feature in features]
    by_choice = len(ids[0]) > 0 and not np.isscalar(ids[0][0])
    columns: dict[str, list[Any]] = {name: [feature[name] for feature in features] for name in features[0]}
    if "attention_mask" not in columns:
        columns["attention_mask"] = [[[1] * len(c) for c in i] if by_choice else [1] * len(i) for i in ids]
    if length is None:
        length = max(len(choice) for choices in ids for choice in choices) if by_choice else max(map(len, ids))
    length = -(-length // multiple) * multiple
    batch: dict[str, NDArray[Any]] = {}
    for name, values in columns.items():
        value = fill.get(name, 0)
        if np.isscalar(values[0]):
            batch[name] = np.array(values)
        elif by_choice:
            batch[name] = np.array([pad_lists(choices, length, value, side) for choices in values])
        else:
            batch[name] = np.array(pad_lists(values, length, value, side))
    fractions = {name for name, array in batch.items() if array.dtype.kind == "f" and array.size}
    return {name: array.astype(np.float32 if name in fractions else np.int64) for name, array in batch.items()}
