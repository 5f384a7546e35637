"""What a task is: its columns, how an example becomes features, its head, how outputs become answers.

Nothing here knows a framework: features hold lists of integers, outputs are NumPy arrays. ``trainable`` adds what a
task needs to be learnt.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deberta_core.checks import too_long
from deberta_core.config import BaseConfig
from deberta_core.heads import mlm_head
from deberta_core.wording import listed
from deberta_tasks.records import Record, meant, with_old_names, written_list
from deberta_tasks.tasks.options import Options

Array = NDArray[Any]
Arrays = dict[str, Array]
Runner = Callable[..., Arrays]  # a model on its device: int64 arrays by name in, float32 arrays by name out
Kept = Sequence[tuple["Feature", Any]]
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")
CUT = "cut_tokens"  # in answers to texts that were cut: how many tokens were left out


# White space, controls, soft hyphen, zero-width spaces and joiners, marks of direction, byte order mark. Vocabularies
# that keep them make tokens of them, and a model that was trained without them says anything there.
INVISIBLE = re.compile(
    "[\\s\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]+"
)


@dataclass(frozen=True)
class Feature:
    """What the model is given of an example, or of one window or choice of it, not padded yet.

    Attributes:
        inputs: ``input_ids`` and the like: integers ``[L]``, or for multiple choice in training ``[C][L]``.
        labels: by input name: a number, or integers ``[L]``; empty where there is nothing to learn.
        example: number of the example that it was made of.
        spans: for question answering the characters of each token of the context, ``None`` for others; for token
            classification in training the token of each word, ``None`` for words that were cut off.
        notes: what the task wants to know when the output is there.
        cut: tokens that were left out at the end.
    """

    inputs: dict[str, Any]
    labels: dict[str, Any] = field(default_factory=dict)
    example: int = 0
    spans: list[Any] = field(default_factory=list)
    notes: Any = None
    cut: int = 0

    def __len__(self) -> int:
        """Tokens; of the longest choice."""
        ids = self.inputs["input_ids"]
        return max(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)


@dataclass(frozen=True)
class Reader:
    """Turns texts into features.

    Attributes:
        tokenizer: of this project, or one with the same methods.
        options: what is asked for.
        config: the model's; ``None`` while there is none.
        limit: most tokens of a feature.
        names: labels by number.
        ahead: encodings of texts and pairs that are to come.
    """

    tokenizer: Any
    options: Any
    config: BaseConfig | None = None
    limit: int = 0
    names: Sequence[str] = ()
    ahead: dict[tuple[str, str | None], dict[str, Any]] = field(default_factory=dict)

    def encode(self, *texts: Any, **how: Any) -> Any:
        """The tokenizer's encoding; other libraries' warn of texts beyond the limit, which are seen to here."""
        return self.tokenizer(*texts, verbose=False, **how)

    def read_ahead(self, texts: Sequence[tuple[str, str | None]]) -> None:
        """Encode many texts or pairs in one call, which takes a fraction of the time that a call for each would."""
        firsts, seconds = [first for first, _ in texts], [second for _, second in texts]
        batch = self.encode(firsts, None if None in seconds else seconds) if texts else {}
        for number, pair in enumerate(texts):
            self.ahead[pair] = {name: values[number] for name, values in batch.items()}

    def features(self, text: str, pair: str | None = None, *, cut: str = "longest_first") -> list[Feature]:
        """The features of one text or pair: a single one if it fits, else windows or what is left after cutting.

        Args:
            text: first text.
            pair: second text.
            cut: which of them truncation cuts, as the tokenizer calls it; windows run over this one, or over the
                longer one.

        Raises:
            ValueError: if it is too long, and nothing was said of that, or windows cannot move on.
        """
        encoded = self.ahead.get((text, pair)) or self.encode(text, pair)
        stride = getattr(self.options, "stride", None)
        count = len(encoded["input_ids"])
        if count <= self.limit:
            return [Feature(self.inputs(encoded))]
        if stride is None and self.options.truncation:
            encoded = self.tokenizer(text, pair, truncation=cut, max_length=self.limit)
            return [Feature(self.inputs(encoded), cut=count - len(encoded["input_ids"]))]
        sizes = [len(self.encode(t or "", add_special_tokens=False)["input_ids"]) for t in (text, pair)]
        if cut == "longest_first":
            cut = "only_first" if sizes[0] >= sizes[1] else "only_second"
        room = self.limit - count + sizes[cut == "only_second"]  # beside special tokens and the other text
        if stride is None:
            raise self.too_long(count, room)
        if stride >= room:
            raise ValueError(
                f"stride is {stride}, but {self.limit} tokens leave {max(room, 0)} for a window of the text, and a "
                "window must move on; use a smaller stride or a larger max_length"
            )
        found = self.windows(text, pair, cut, stride)
        return found[:1] if self.options.combine == "first" else found

    def windows(self, text: str, pair: str | None, cut: str, stride: int) -> list[Feature]:
        """A feature for each window of one of two texts; ``spans`` and ``notes`` are characters and words in it."""
        encoded = self.tokenizer(
            text, pair, truncation=cut, max_length=self.limit, stride=stride, return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )  # fmt: skip
        inputs, text_number, found = self.inputs(encoded), int(cut == "only_second"), []
        for i, offsets in enumerate(encoded["offset_mapping"]):
            places = zip(offsets, encoded.sequence_ids(i), strict=True)
            spans = [tuple(span) if number == text_number else None for span, number in places]
            notes = encoded.word_ids(i)
            found.append(Feature({name: list(row[i]) for name, row in inputs.items()}, spans=spans, notes=notes))
        return found

    def inputs(self, encoded: Mapping[str, Any]) -> dict[str, Any]:
        """What the model takes of an encoding; masks are made when features are padded."""
        typed = self.config is None or self.config.type_vocab_size
        names = ("input_ids", "token_type_ids") if typed else ("input_ids",)
        return {name: encoded[name] for name in names if name in encoded}

    def too_long(self, count: int, room: int) -> ValueError:
        """What to say of a text.

        Args:
            count: its tokens, special ones included.
            room: tokens that a window of it may have.
        """
        stride = min(64, room // 2) if hasattr(self.options, "stride") else 0  # that a window can move on with
        advice = f"read it in windows with stride={stride} (--stride {stride})" if stride > 0 else "split it"
        return ValueError(
            f"the text has {count} tokens, the limit is {self.limit}; cut it with truncation=True (--truncation), or "
            f"{advice}"
        )


class Task(ABC):
    """A kind of question that a model answers.

    Attributes:
        name: what users type.
        head: the model class that it needs, a key of ``deberta_core.heads.HEADS``.
        fields: what an example must have; a lone text is the first of them.
        either: of these it must have one.
        optional: what it may have.
        lists: those of them that are lists of texts.
        old_names: by a name that users' files may have, the name here.
        second: the option that a second positional argument of a call is.
        options_class: what it can be asked for.
        usual_length: most tokens of a feature where nothing is asked for, if not the tokenizer's limit.
    """

    name: ClassVar[str]
    head: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ("text",)
    either: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    lists: ClassVar[tuple[str, ...]] = ()
    old_names: ClassVar[Mapping[str, str]] = {}
    second: ClassVar[str] = ""
    options_class: ClassVar[type[Options]] = Options
    usual_length: ClassVar[int | None] = None

    # From an example to features.

    @property
    def columns(self) -> tuple[str, ...]:
        """All that an example may have."""
        return (*self.fields, *self.either, *self.optional)

    def example(self, item: Any) -> Record:
        """What a caller gave as an example.

        Raises:
            TypeError: if it is none.
            ValueError: if a field is missing or empty.
        """
        needed = len(self.fields) + bool(self.either)
        if isinstance(item, str) and len(self.fields) <= 1:
            item = {self.columns[0]: item}
        elif isinstance(item, tuple) and needed <= len(item) <= len(self.columns):
            item = dict(zip(self.columns, item, strict=False))
        if not isinstance(item, Mapping):
            raise TypeError(f"{self.name} got {type(item).__name__}, expected {self.expected()}")
        record = with_old_names(item, self.old_names)
        for name in self.fields:
            if record.get(name) is None:
                hint, found = meant([name], record, self.columns), listed(record)
                raise ValueError(f"there is no {name!r}{hint}; expected {self.expected()}, got {found}")
        if self.either and sum(record.get(name) is not None for name in self.either) != 1:
            hint = "" if any(name in record for name in self.either) else meant(self.either, record, self.columns)
            raise ValueError(f"expected {self.expected()}, got {listed(record)}{hint}")
        self.read_lists(record)
        for name in self.columns:
            if record.get(name) is not None:
                self._check_field(name, record[name])
        return record

    def read_lists(self, record: Record) -> None:
        """Lists that are written out in a cell of a CSV file become lists.

        Raises:
            ValueError: for one that cannot be read.
        """
        for name in self.lists:
            if isinstance(record.get(name), str):
                record[name] = written_list(record[name]) or record[name]

    def is_one(self, inputs: Any, options: Any) -> bool:
        """Whether what a call got is one example, not several."""
        return isinstance(inputs, (str, Mapping)) or (isinstance(inputs, tuple) and len(self.columns) > 1)

    def _check_field(self, name: str, value: Any) -> None:
        if name not in self.lists:
            check_text(name, value)
            return
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} is {type(value).__name__}, expected a list of texts")
        if not value:
            raise ValueError(f"{name} is an empty list, expected at least one text")
        for number, text in enumerate(value):
            check_text(f"{name}[{number}]", text)

    def expected(self) -> str:
        """What an example is, for messages."""
        needed = " and ".join([*self.fields, *(["either " + " or ".join(self.either)] if self.either else [])])
        more = f" (and {', '.join(self.optional)})" if self.optional else ""
        alone = len(self.fields) + bool(self.either) == 1
        return ("a text, or " if alone else "") + f"a dict with {needed}{more}"

    def reader(self, tokenizer: Any, options: Any, config: BaseConfig | None = None) -> Reader:
        """Turns texts into features.

        Raises:
            ValueError: if more tokens are asked for than the model has positions, or options do not fit the model.
        """
        asked = limit = options.max_length
        if asked is None:
            limit = min(tokenizer.model_max_length, self.usual_length or tokenizer.model_max_length)
        if config is not None:
            # Only a table of absolute positions has an end; relative ones serve texts of any length.
            absolute = config.position_biased_input or (self.head == "ForMaskedLM" and mlm_head(config) == "emd")
            most = config.max_position_embeddings
            if absolute and asked is not None and asked > most:
                raise ValueError(f"max_length is {asked}, {too_long(most)}")
            limit = min(limit, most) if absolute else limit
        names = [] if config is None else [str(name) for _, name in sorted((config.id2label or {}).items())]
        reader = Reader(tokenizer, options, config, int(limit), names)
        self.check_options(reader)
        return reader

    def check_options(self, reader: Reader) -> None:  # noqa: B027 - most tasks have nothing to refuse
        """Refuse options that do not fit the model.

        Raises:
            ValueError: with what fits.
        """

    @abstractmethod
    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """The features of an example; a text that cannot be read is a ``ValueError``."""

    # From outputs to an answer.

    def run(self, runner: Runner, inputs: Arrays, reader: Reader) -> list[Arrays]:
        """The outputs of each feature of a padded batch."""
        outputs = runner(inputs)
        return [{name: array[i] for name, array in outputs.items()} for i in range(len(inputs["input_ids"]))]

    @abstractmethod
    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Any:
        """What to keep of a feature's output, padding included, until the others of its example are there."""

    def decode(self, example: Record, kept: Kept, reader: Reader) -> Any:
        """The answer to an example from its features and what was kept of each: of a single one, just that."""
        ((_, answer),) = kept
        return answer

    def alone(self, answer: Any) -> Any:
        """The answer to a call with one text and nothing else."""
        return answer

    def shown(self, example: Record, options: Any) -> Record:
        """An example as ``describe`` takes it."""
        return example

    @abstractmethod
    def describe(self, example: Record, answer: Any) -> str:
        """An answer for people, in one or more lines."""


def check_text(name: str, value: Any) -> None:
    """Refuse what is no text, or an empty one.

    Raises:
        TypeError: for something else.
        ValueError: for an empty text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {type(value).__name__}, expected a text")
    if not value.strip():
        raise ValueError(f"{name} is empty; expected a text, so leave the record out or fill it in")


def visible_span(text: str, start: int, end: int) -> tuple[int, int]:
    """A stretch of a text without the white space, controls and marks of no width at its ends.

    Args:
        text: the text.
        start: first character.
        end: past-the-last character.
    """
    begun = INVISIBLE.match(text, start, end)
    start = begun.end() if begun else start
    while end > start and INVISIBLE.match(text[end - 1]):
        end -= 1
    return start, end


def softmax(logits: Array) -> Array:
    """Shares that add up to 1 along the last axis, float64."""
    exact = np.asarray(logits, np.float64)
    raised = np.exp(exact - exact.max(-1, keepdims=True))
    shares: Array = raised / raised.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: Array) -> Array:
    """A probability for each logit, float64."""
    exact = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(exact))  # never overflows
    return np.where(exact >= 0, 1.0, small) / (1.0 + small)


def best(scores: Array, count: int | None = None) -> list[int]:
    """Places of the largest scores of a vector, best first; equal ones in their order. ``None``: all."""
    if count is None or count >= len(scores):
        return [int(place) for place in np.argsort(-scores, kind="stable")]
    few = np.flatnonzero(scores >= np.partition(scores, -count)[-count])  # all that tie with the last one too
    return [int(place) for place in few[np.argsort(-scores[few], kind="stable")][:count]]


def combined(scores: Sequence[Any], how: str) -> Array:
    """Scores of a text from those of its windows, ``[W, ...]``: their ``mean``, ``max``, or the ``first``."""
    windows = np.asarray(scores, np.float64)
    found: Array = windows[0] if how == "first" else windows.max(0) if how == "max" else windows.mean(0)
    return found


class CutAnswers(list[Any]):
    """Answers to a text that was cut; ``cut_tokens`` of its tokens were left out."""

    cut_tokens: int


class CutArray(np.ndarray[Any, Any]):
    """Vectors of a text that was cut; ``cut_tokens`` of its tokens were left out."""

    cut_tokens: int


def with_cut(answer: Any, count: int) -> Any:
    """An answer that says how many tokens were cut: in each dict, and in the list or array around it."""
    if not count:
        return answer
    if isinstance(answer, dict):
        return {**answer, CUT: count}
    if isinstance(answer, list):  # of documents, those that were cut have said so
        said = any(isinstance(one, dict) and CUT in one for one in answer)
        answer = CutAnswers(answer if said else [with_cut(one, count) for one in answer])
    else:
        answer = answer.view(CutArray)
    answer.cut_tokens = count
    return answer


def cut_tokens(answer: Any) -> int:
    """How many tokens of its text were cut, by what an answer says."""
    return int(answer.get(CUT, 0) if isinstance(answer, dict) else getattr(answer, CUT, 0))
