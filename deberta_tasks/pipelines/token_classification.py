"""Labels of tokens, or of the entities that they make up, with the characters they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deberta_core.config import near
from deberta_tasks.pipelines.base import Pipeline, Row, check_tokens, visible_span
from deberta_tasks.pipelines.options import Options, check_choice, check_count, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import Array, softmax

STRATEGIES = ("none", "simple", "first", "average", "max")
SPECIALS = 2  # [CLS] before and [SEP] after


@dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions(Options):
    """Options of token classification.

    Attributes:
        aggregation_strategy: ``none``: each token; ``simple``: neighbours of one label (or of ``B-``, ``I-`` of one)
            make an entity; ``first``, ``average``, ``max``: the same over words, which take the label of their first
            token, of the mean of their tokens' scores, or of their surest token. Words are what stands between spaces.
        ignore_labels: what is left out.
        stride: read texts beyond the limit in windows that share this many tokens; each token is judged where it has
            the most text around it.
    """

    aggregation_strategy: str = option("none", f"{', '.join(STRATEGIES)}; default none")
    ignore_labels: Sequence[str] = option(("O",), "labels to leave out; default O")
    stride: int | None = option(None, "read texts beyond the limit in windows that share this many tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("aggregation_strategy", self.aggregation_strategy, STRATEGIES)
        check_count("stride", self.stride, least=0, optional=True)
        if isinstance(self.ignore_labels, str):
            raise ValueError(f"ignore_labels is {self.ignore_labels!r}, expected a list of labels")


class Tokens(NamedTuple):
    """A text's tokens without special ones: ids, characters, and the word that the tokenizer puts each in."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]


class Unit(NamedTuple):
    """Tokens that are labelled as one."""

    label: str
    score: float
    start: int
    end: int


class TokenClassification(Pipeline[TokenClassificationOptions]):
    """A list of entities for a text: ``entity`` (or ``entity_group``), ``score``, ``word``, ``start``, ``end``.

    ``start`` and ``end`` are characters of the text as it was given, and no entity begins or ends with what cannot be
    seen.
    """

    task = "token-classification"
    head = "ForTokenClassification"
    options_class = TokenClassificationOptions

    def check(self, options: TokenClassificationOptions) -> None:
        """Ignored labels must be labels."""
        super().check(options)
        labels = list((self.runner.config.id2label or {}).values())
        for name in options.ignore_labels if tuple(options.ignore_labels) != ("O",) else ():
            if name not in labels and name not in [split_label(label)[1] for label in labels]:
                known = ", ".join(labels)
                raise ValueError(f"ignore_labels has {name!r}{near(name, labels)}; the model's labels are {known}")
        if options.stride is not None and options.stride >= self.limit(options) - SPECIALS:
            raise ValueError(
                f"stride is {options.stride}, but {self.limit(options)} tokens leave {self.limit(options) - SPECIALS} "
                "beside special ones, and a window must move on; use a smaller stride"
            )

    def encode(self, record: Record, options: TokenClassificationOptions) -> list[Row]:
        """A row, or windows; the notes are all tokens of the text and where the row begins among them."""
        encoded = self.tokenizer(record["text"], add_special_tokens=False)
        alignment = encoded.alignment(0)
        tokens = Tokens(encoded["input_ids"], alignment.spans, alignment.words)
        room, begins = self.limit(options) - SPECIALS, [0]
        if options.stride is not None:
            begins = list(range(0, max(len(tokens.ids) - options.stride, 1), room - options.stride))
        elif not options.truncation:
            check_tokens(len(tokens.ids) + SPECIALS, room + SPECIALS, "read it in windows with stride=64 (--stride 64)")
        return [
            Row(self.model_inputs(self.tokenizer.prepare_for_model(tokens.ids[at : at + room])), (tokens, at))
            for at in begins
        ]

    def digest(self, row: Row, output: Arrays, options: TokenClassificationOptions) -> Array:
        """Scores ``[L, Y]`` of the tokens that are not special."""
        return softmax(output["logits"][1 : len(row) - 1])

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: TokenClassificationOptions) -> list[Any]:
        """Tokens or entities."""
        tokens: Tokens = rows[0][0].notes[0]
        scores = merge_windows([(row.notes[1], kept) for row, kept in rows])
        names = self.runner.config.id2label or {}
        if options.aggregation_strategy == "none":
            found = [self._token(tokens, at, scores[at], names) for at in range(len(scores))]
        else:
            groups = [[at] for at in range(len(scores))]
            if options.aggregation_strategy != "simple":
                groups = words_of(tokens, len(scores))
            units = [_unit(tokens, group, scores[group], options.aggregation_strategy, names) for group in groups]
            found = [_entity(units, record["text"]) for units in entities(units)]
            found = [entity for entity in found if entity["word"]]
        return [row for row in found if row.get("entity", row.get("entity_group")) not in options.ignore_labels]

    def _token(self, tokens: Tokens, at: int, scores: Array, names: dict[int, str]) -> dict[str, Any]:
        place, (start, end) = int(scores.argmax()), tokens.spans[at]
        return {
            "entity": names[place], "score": float(scores[place]), "index": at + 1,
            "word": self.tokenizer.convert_ids_to_tokens(tokens.ids[at]), "start": start, "end": end,
        }  # fmt: skip

    def describe(self, record: Record, result: Any) -> str:
        """The text, and a line for each entity."""
        lines = [
            f"  {row.get('entity', row.get('entity_group'))}\t{row['score']:.3f}\t{row['start']}-{row['end']}\t"
            f"{record['text'][row['start'] : row['end']]}"
            for row in result
        ]
        return "\n".join([record["text"], *lines])


def merge_windows(windows: list[tuple[int, Array]]) -> Array:
    """One row of scores for each token, from the window in which it has the most text on its poorer side.

    Args:
        windows: number of the first token, and scores ``[L, Y]``, from left to right.
    """
    last = windows[-1]
    scores = np.empty((last[0] + len(last[1]), last[1].shape[1]))
    margin = np.full(len(scores), -1)
    for begin, found in windows:
        place = np.arange(len(found))
        left = place if begin else np.full(len(found), len(scores))  # nothing is missing before the first window
        right = place[::-1] if begin + len(found) < len(scores) else np.full(len(found), len(scores))
        own = np.minimum(left, right)
        better = own > margin[begin : begin + len(found)]
        scores[begin : begin + len(found)][better] = found[better]
        margin[begin : begin + len(found)][better] = own[better]
    return scores


def words_of(tokens: Tokens, count: int) -> list[list[int]]:
    """The first ``count`` tokens by word; words end at white space, whatever the tokenizer splits off beside."""
    groups: list[list[int]] = []
    for at in range(count):
        start, end = tokens.spans[at]
        touches = start < end and start <= tokens.spans[at - 1][1]
        if groups and (touches or tokens.words[at] == tokens.words[at - 1]):
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _unit(tokens: Tokens, group: list[int], scores: Array, strategy: str, names: dict[int, str]) -> Unit:
    """A word with its label and characters; ``scores`` are those of its tokens, ``[L, Y]``."""
    if strategy == "average":
        judged = scores.mean(0)
    else:
        judged = scores[int(scores.max(1).argmax()) if strategy == "max" else 0]
    spans = [tokens.spans[at] for at in group if tokens.spans[at][0] < tokens.spans[at][1]]
    start, end = (spans[0][0], spans[-1][1]) if spans else tokens.spans[group[0]]
    return Unit(names[int(judged.argmax())], float(judged.max()), start, end)


def split_label(label: str) -> tuple[str, str]:
    """``B-PER`` -> ``B`` and ``PER``; a label without a prefix goes on like one with ``I-``."""
    return (label[0], label[2:]) if label.startswith(("B-", "I-")) else ("I", label)


def entities(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Neighbours of one kind; ``B-`` begins a new one."""
    group: list[Unit] = []
    for unit in units:
        begins, kind = split_label(unit.label)
        if group and (begins == "B" or kind != split_label(group[-1].label)[1]):
            yield group
            group = []
        group.append(unit)
    if group:
        yield group


def _entity(units: list[Unit], text: str) -> dict[str, Any]:
    real = [unit for unit in units if unit.start < unit.end] or units
    start, end = visible_span(text, real[0].start, real[-1].end)
    return {
        "entity_group": split_label(units[0].label)[1], "score": float(np.mean([unit.score for unit in units])),
        "word": text[start:end], "start": start, "end": end,
    }  # fmt: skip
