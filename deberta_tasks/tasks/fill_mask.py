"""The likeliest words behind each [MASK]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deberta_core.checks import IGNORED
from deberta_tasks.records import Record
from deberta_tasks.tasks.base import Arrays, Feature, Kept, Reader, Runner, Task, best, softmax
from deberta_tasks.tasks.options import Options, check_count, option


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


class FillMask(Task):
    """A list of ``{"score", "token", "token_str", "sequence"}`` for a text with [MASK]; several: a list of lists."""

    name = "fill-mask"
    head = "ForMaskedLM"
    options_class = FillMaskOptions

    def check_options(self, reader: Reader) -> None:
        """Targets must be tokens."""
        if reader.tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask_token; take the tokenizer of the model")
        self._targets(reader)

    def _targets(self, reader: Reader) -> list[int] | None:
        given = reader.options.targets
        if given is None:
            return None
        targets = [given] if isinstance(given, str) else list(given)
        if not targets:
            raise ValueError("targets is an empty list; leave it out to consider all words")
        return list(dict.fromkeys(self._target(word, reader.tokenizer) for word in targets))

    def _target(self, word: str, tokenizer: Any) -> int:
        """The token of a word as it stands between others, or else of exactly this name."""
        ids: list[int] = tokenizer(word, add_special_tokens=False, add_prefix_space=True)["input_ids"]
        if len(ids) != 1:
            named = tokenizer.get_vocab().get(word)
            ids = ids if named is None else [named]
        if len(ids) != 1:
            tokens = " ".join(tokenizer.convert_ids_to_tokens(ids))
            raise ValueError(f"the target {word!r} is {len(ids)} tokens ({tokens}), expected one; leave it out")
        return ids[0]

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """One feature, whose notes are the places of [MASK]."""
        (feature,) = reader.features(example["text"])
        places = np.flatnonzero(np.array(feature.inputs["input_ids"]) == reader.tokenizer.mask_token_id)
        if not len(places):
            left = " that is left" if feature.cut else ""
            mask = reader.tokenizer.mask_token
            raise ValueError(f"there is no {mask}{left}; write it where a word is to be filled in")
        return [replace(feature, notes=places)]

    def run(self, runner: Runner, inputs: Arrays, reader: Reader) -> list[Arrays]:
        """Logits ``[places, V]`` of each feature: of all tokens they would take gigabytes."""
        masked = inputs["input_ids"] == reader.tokenizer.mask_token_id
        labels = np.where(masked, inputs["input_ids"], IGNORED)
        logits = runner({**inputs, "labels": labels}, only_masked=True)["logits"]
        return [{"logits": part} for part in np.split(logits, np.cumsum(masked.sum(1))[:-1])]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> list[list[tuple[int, float]]]:
        """Tokens and probabilities for each place."""
        targets, count, found = self._targets(reader), reader.options.top_k, []
        for shares in softmax(output["logits"]):
            if targets is None:
                tokens = best(shares, count)
            else:
                tokens = [targets[place] for place in best(shares[targets], count)]
            found.append([(token, float(shares[token])) for token in tokens])
        return found

    def decode(self, example: Record, kept: Kept, reader: Reader) -> list[Any]:
        """The words, and the text with each of them in place."""
        ((feature, found),) = kept
        answers = [
            [self._filled(feature, place, token, share, reader.tokenizer) for token, share in words]
            for place, words in zip(feature.notes, found, strict=True)
        ]
        return answers[0] if len(answers) == 1 else answers

    def _filled(self, feature: Feature, place: int, token: int, share: float, tokenizer: Any) -> dict[str, Any]:
        ids = list(feature.inputs["input_ids"])
        ids[place] = token
        alone = len(feature.notes) == 1  # else the other [MASK] stay to be seen
        return {
            "score": share, "token": token, "token_str": tokenizer.decode([token]),
            "sequence": tokenizer.decode(ids, skip_special_tokens=alone),
        }  # fmt: skip

    def describe(self, example: Record, answer: Any) -> str:
        """The text, and a line of words for each [MASK]."""
        lines = answer if isinstance(answer[0], list) else [answer]
        return "\n".join([example["text"], *("  " + _line(words) for words in lines)])


def _line(words: list[dict[str, Any]]) -> str:
    return "   ".join(f"{word['token_str'].strip() or repr(word['token_str'])} {word['score']:.1%}" for word in words)


TASK = FillMask()
