"""The likeliest words behind each [MASK]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_core.checks import IGNORED
from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options, check_count, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import best, softmax


@dataclass(frozen=True, kw_only=True)
class FillMaskOptions(Options):
    """Options of fill-mask.

    Attributes:
        top_k: number of words for each [MASK], the likeliest first.
        targets: the only words to consider, each one token.
    """

    top_k: int = option(5, "number of words for each [MASK]; default 5")
    targets: Sequence[str] | str | None = option(None, "the only words to consider")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k)


class FillMask(Pipeline[FillMaskOptions]):
    """A list of ``{"score", "token", "token_str", "sequence"}`` for a text with [MASK]; several: a list of lists."""

    task = "fill-mask"
    head = "ForMaskedLM"
    options_class = FillMaskOptions

    def check(self, options: FillMaskOptions) -> None:
        """Targets must be tokens."""
        super().check(options)
        if self.tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask_token; take the tokenizer of the model")
        self._targets(options)

    def _targets(self, options: FillMaskOptions) -> list[int] | None:
        if options.targets is None:
            return None
        targets = [options.targets] if isinstance(options.targets, str) else list(options.targets)
        if not targets:
            raise ValueError("targets is an empty list; leave it out to consider all words")
        return list(dict.fromkeys(self._target(word) for word in targets))

    def _target(self, word: str) -> int:
        """The token of a word as it stands between others, or else of exactly this name."""
        ids: list[int] = self.tokenizer(word, add_special_tokens=False, add_prefix_space=True)["input_ids"]
        if len(ids) != 1:
            named = self.tokenizer.get_vocab().get(word)
            ids = ids if named is None else [named]
        if len(ids) != 1:
            tokens = " ".join(self.tokenizer.convert_ids_to_tokens(ids))
            raise ValueError(f"the target {word!r} is {len(ids)} tokens ({tokens}), expected one; leave it out")
        return ids[0]

    def encode(self, record: Record, options: FillMaskOptions) -> list[Row]:
        """One row, whose notes are the places of [MASK]."""
        row = self.tokens(options, record["text"])
        places = np.flatnonzero(np.array(row.inputs["input_ids"]) == self.tokenizer.mask_token_id)
        if not len(places):
            cut = " that is left" if options.truncation else ""
            raise ValueError(f"there is no {self.tokenizer.mask_token}{cut}; write it where a word is to be filled in")
        return [Row(row.inputs, places)]

    def run(self, inputs: Arrays) -> list[Arrays]:
        """Logits ``[places, V]`` of each row: of all tokens they would take gigabytes."""
        masked = inputs["input_ids"] == self.tokenizer.mask_token_id
        labels = np.where(masked, inputs["input_ids"], IGNORED)
        logits = self.runner({**inputs, "labels": labels}, only_masked=True)["logits"]
        ends = np.cumsum(masked.sum(1))[:-1]
        return [{"logits": part} for part in np.split(logits, ends)]

    def digest(self, row: Row, output: Arrays, options: FillMaskOptions) -> list[list[tuple[int, float]]]:
        """Tokens and probabilities for each place."""
        targets = self._targets(options)
        found = []
        for shares in softmax(output["logits"]):
            if targets is None:
                tokens = best(shares, options.top_k)
            else:
                tokens = [targets[place] for place in best(shares[targets], options.top_k)]
            found.append([(token, float(shares[token])) for token in tokens])
        return found

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: FillMaskOptions) -> list[Any]:
        """The words, and the text with each of them in place."""
        row, found = rows[0]
        results = [
            [self._filled(row, place, token, share) for token, share in words]
            for place, words in zip(row.notes, found, strict=True)
        ]
        return results[0] if len(results) == 1 else results

    def _filled(self, row: Row, place: int, token: int, share: float) -> dict[str, Any]:
        ids = list(row.inputs["input_ids"])
        ids[place] = token
        alone = len(row.notes) == 1  # else the other [MASK] stay to be seen
        return {
            "score": share, "token": token, "token_str": self.tokenizer.decode([token]),
            "sequence": self.tokenizer.decode(ids, skip_special_tokens=alone),
        }  # fmt: skip

    def describe(self, record: Record, result: Any) -> str:
        """The text, and a line of words for each [MASK]."""
        lines = result if isinstance(result[0], list) else [result]
        return "\n".join([record["text"], *("  " + _line(words) for words in lines)])


def _line(words: list[dict[str, Any]]) -> str:
    return "   ".join(f"{word['token_str'].strip() or repr(word['token_str'])} {word['score']:.1%}" for word in words)
