"""Several texts in one row, that see only themselves: no padding is computed.

For models whose positions are only relative, and for absolute ones with the positions given here, the states of each
text equal those of a run of its own; the convolution of v2 does not reach across borders. Heads that read the first
token of a row (sequence classification, multiple choice) see one text per row, so they do not pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PADDING = -1


class Packed(NamedTuple):
    """Rows of packed texts, ready to be made tensors.

    Attributes:
        input_ids: int64 ``[B, L]``.
        attention_mask: bool ``[B, L, L]``, true where two tokens belong to one text.
        position_ids: int64 ``[B, L]``, from 0 in each text.
        segment_ids: int64 ``[B, L]``, number of the text in the order given; -1 for padding.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.bool_]
    position_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]

    def unpack(self, states: NDArray[Any]) -> list[NDArray[Any]]:
        """States ``[B, L, ...]`` of the rows -> states ``[length, ...]`` of each text, in the order given."""
        texts = range(int(self.segment_ids.max()) + 1)
        return [states[self.segment_ids == text] for text in texts]


def segment_mask(segment_ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Which tokens see each other: those of one segment.

    Args:
        segment_ids: ``[B, L]``; negative for padding.

    Returns:
        Bool ``[B, L, L]``, an ``attention_mask``.
    """
    same: NDArray[np.bool_] = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same & (segment_ids >= 0)[:, :, None]


def segment_positions(segment_ids: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Positions ``[B, L]`` that start from 0 in each run of equal ``segment_ids`` ``[B, L]``."""
    place = np.broadcast_to(np.arange(segment_ids.shape[1]), segment_ids.shape)
    starts = np.concatenate([np.ones_like(segment_ids[:, :1]), np.diff(segment_ids, axis=1)], 1) != 0
    return (place - np.maximum.accumulate(np.where(starts, place, 0), 1)).astype(np.int64)


def fit(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Numbers of the texts of each row, in as few rows as a longest-first fit finds.

    Args:
        lengths: tokens of each text, none above ``max_length``.
        max_length: tokens in a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        row = next((r for r, free in enumerate(room) if free >= lengths[number]), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(max_length)
        rows[row].append(number)
        room[row] -= lengths[number]
    return rows


def pack(texts: Sequence[Sequence[int]], *, max_length: int, pad_token_id: int = 0) -> Packed:
    """Put texts into as few rows as a longest-first fit finds.

    Args:
        texts: token ids of each text, special tokens included.
        max_length: tokens in a row.
        pad_token_id: what fills the ends of rows.

    Raises:
        ValueError: for a text that is empty or longer than a row.
    """
    for number, text in enumerate(texts):
        if not 0 < len(text) <= max_length:
            raise ValueError(f"text {number} has {len(text)} tokens, expected 1 to max_length {max_length}")
    rows = fit([len(text) for text in texts], max_length)
    length = max((sum(len(texts[n]) for n in row) for row in rows), default=0)
    ids = np.full((len(rows), length), pad_token_id, np.int64)
    segments = np.full((len(rows), length), PADDING, np.int64)
    for row, numbers in enumerate(rows):
        used = 0
        for number in numbers:
            place = slice(used, used + len(texts[number]))
            ids[row, place], segments[row, place] = texts[number], number
            used = place.stop
    return Packed(ids, segment_mask(segments), segment_positions(segments), segments)
