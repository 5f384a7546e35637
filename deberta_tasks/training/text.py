"""From a plain text file to an endless stream of masked batches whose place can be saved."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from deberta_tasks.masking import MaskingCollator
from deberta_tasks.training.stream import Stream

LONGEST_LINE = 16 * 2**20  # bytes: four times the Bible; a longer one is no text, and would be tokenized in one piece


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """The lines of a text file that are not empty.

    Args:
        path: UTF-8 file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not UTF-8, has no text, or a line longer than ``LONGEST_LINE``.
    """
    name, lines, start = os.fspath(path), [], 0
    with open(path, "rb") as file:
        # No more than the longest line is asked for: of a file without line breaks the rest is never read.
        while raw := file.readline(LONGEST_LINE + 1):
            if len(raw) > LONGEST_LINE:
                raise ValueError(
                    f"{name} has a line of more than {LONGEST_LINE} bytes (from byte {start}); expected a paragraph or "
                    "sentence a line: break it into lines"
                )
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{name} is not UTF-8 (byte {start + error.start}); save it as UTF-8") from None
            lines.append((text if start else text.removeprefix("\ufeff")).strip())
            start += len(raw)
    if not any(lines):
        raise ValueError(f"{name} has no text; expected a plain text file, one paragraph or sentence a line")
    return [line for line in lines if line]


def blocks(tokenizer: Any, lines: Sequence[str], length: int) -> list[dict[str, Any]]:
    """Lines one after the other, cut into features of ``length`` tokens, the last one shorter.

    Args:
        tokenizer: of this project.
        lines: texts; all are held in memory.
        length: tokens of a feature, [CLS] and [SEP] included.

    Returns:
        Features with ``input_ids`` and ``word_ids``, as ``MaskingCollator`` takes them.

    Raises:
        ValueError: if a feature has no room for text, or the texts have no token.
    """
    if length < 3:
        raise ValueError(f"length is {length}, expected at least 3 tokens: [CLS], one of the text, [SEP]")
    encoded = tokenizer(list(lines), add_special_tokens=False)
    ids: list[int] = []
    words: list[int | None] = []
    before = 0  # words of the lines before: the last word of a line and the first of the next are two
    for number, tokens in enumerate(encoded["input_ids"]):
        of_line = encoded.word_ids(number)
        ids += tokens
        words += [None if word is None else before + word for word in of_line]
        before += 1 + max((word for word in of_line if word is not None), default=0)
    if not ids:
        raise ValueError(
            f"the tokenizer makes no token of the {len(lines)} lines of text, of which the first is {lines[0][:40]!r}; "
            "expected text in the tokenizer's language"
        )
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    return [
        {"input_ids": [first, *ids[i : i + length - 2], last], "word_ids": [None, *words[i : i + length - 2], None]}
        for i in range(0, len(ids), length - 2)
    ]


class MaskedStream(Stream):
    """Batches of masked texts, without end: each pass over the texts in a new order, batches always full.

    An iterator with a place that is saved and loaded, for loops of your own; or asked by the number of a step, as the
    loop here does.

    Args:
        features: texts, or what ``blocks`` gives.
        collator: pads and hides.
        batch_size: texts in a batch.
        seed: of the order.
        by_length: let the texts of a batch have similar lengths; of what ``blocks`` or a corpus gives.

    Raises:
        ValueError: for no texts.
    """

    def __init__(
        self, features: Sequence[Any], collator: MaskingCollator, batch_size: int, *, seed: int = 0,
        by_length: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(features, collator, batch_size, seed=seed, by_length=by_length)
        self.collator, self.position = collator, 0

    def length_of(self, number: int) -> int:
        """Tokens of a text; a corpus on the disk knows without reading it."""
        of_corpus = getattr(self.features, "length_of", None)
        return int(of_corpus(number)) if of_corpus else len(self.features[number]["input_ids"])

    def __iter__(self) -> MaskedStream:
        return self

    def __next__(self) -> dict[str, Any]:
        """The next batch."""
        chosen = self.drawn(self.position)
        self.position += self.batch_size
        return self.collator(chosen)

    def batch(self, step: int) -> dict[str, Any]:
        """The batch of a step, counted from 1; the next one is that of the step after."""
        # What is hidden depends on the number of batches before, as order does: both are put where the step has them.
        self.position, self.collator.batches = (step - 1) * self.batch_size, step - 1
        return next(self)

    def state_dict(self) -> dict[str, Any]:
        """Place in the texts and state of the masking; fits into JSON."""
        return {**super().state_dict(), "position": self.position, "collator": self.collator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ValueError: if the texts are not as many as then.
        """
        if state["rows"] != len(self.features):
            raise ValueError(
                f"the saved run had {state['rows']} rows of text, now there are {len(self.features)}; give it the same "
                "text and length, or start in a new folder"
            )
        self.seed, self.position = int(state["seed"]), int(state["position"])
        self._epoch = -1
        self.collator.load_state_dict(state["collator"])
