"""From a plain text file to an endless stream of masked batches whose place can be saved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deberta_tasks.masking import MaskingCollator


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file that are not empty.

    Args:
        path: UTF-8 file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not UTF-8, or has no text.
    """
    name = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise ValueError(f"{name} has no text; expected a plain text file, one paragraph or sentence a line")
    return lines


def blocks(tokenizer: Any, lines: Sequence[str], length: int) -> list[dict[str, Any]]:
    """Lines one after the other, cut into rows of ``length`` tokens, the last one shorter.

    Args:
        tokenizer: of this project.
        lines: texts; all are held in memory.
        length: tokens of a row, [CLS] and [SEP] included.

    Returns:
        Rows with ``input_ids`` and ``word_ids``, as ``MaskingCollator`` takes them.

    Raises:
        ValueError: if a row has no room for text.
    """
    if length < 3:
        raise ValueError(f"length is {length}, expected at least 3 tokens: [CLS], one of the text, [SEP]")
    batch = tokenizer(list(lines), add_special_tokens=False)
    ids: list[int] = []
    words: list[int | None] = []
    before = 0
    for row, tokens in enumerate(batch["input_ids"]):
        numbers = batch.word_ids(row)
        ids += tokens
        words += [None if n is None else before + n for n in numbers]
        before += 1 + max((n for n in numbers if n is not None), default=0)
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return [
        {"input_ids": [first, *ids[i : i + length - 2], last], "word_ids": [None, *words[i : i + length - 2], None]}
        for i in range(0, len(ids), length - 2)
    ]


class MaskedStream:
    """Batches of masked rows, without end: each pass over the rows in a new order, batches always full.

    Args:
        rows: texts or encoded rows.
        collator: pads and hides.
        batch_size: rows in a batch.
        seed: of the order.

    Raises:
        ValueError: for no rows.
    """

    def __init__(self, rows: Sequence[Any], collator: MaskingCollator, batch_size: int, *, seed: int = 0) -> None:
        if not rows or batch_size < 1:
            raise ValueError(f"got {len(rows)} rows and batch_size {batch_size}, expected at least one of each")
        self.rows, self.collator, self.batch_size = rows, collator, batch_size
        self.seed, self.position = seed, 0
        self._epoch = -1  # whose order is at hand

    def __iter__(self) -> MaskedStream:
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch."""
        chosen = [self.rows[self._place(self.position + i)] for i in range(self.batch_size)]
        self.position += self.batch_size
        return self.collator(chosen)

    def _place(self, number: int) -> int:
        """Which row is the ``number``-th of all that are ever drawn."""
        epoch, place = divmod(number, len(self.rows))
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return int(self._order[place])

    def state_dict(self) -> dict[str, Any]:
        """Place in the rows and state of the masking; fits into JSON."""
        return {
            "seed": self.seed, "position": self.position, "rows": len(self.rows),
            "collator": self.collator.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: if the rows are not as many as then.
        """
        if state["rows"] != len(self.rows):
            raise ValueError(
                f"the saved run had {state['rows']} rows of text, now there are {len(self.rows)}; give it the same "
                "text and length, or start in a new folder"
            )
        self.seed, self.position = int(state["seed"]), int(state["position"])
        self._epoch = -1
        self.collator.load_state_dict(state["collator"])
