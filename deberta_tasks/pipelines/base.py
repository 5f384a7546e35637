"""What all pipelines share: from what a caller gives to rows, batches, and results in the order given.

A task says how a record becomes rows (``encode``), what is kept of a row's output (``digest``) and how a record's rows
become its result (``decode``). All of it is NumPy; the runner alone knows a framework.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from deberta_core.batching import pad_batch, run_by_length, with_bar
from deberta_core.checks import too_long
from deberta_core.config import near
from deberta_core.heads import mlm_head
from deberta_tasks.pipelines.options import Options
from deberta_tasks.pipelines.runner import Arrays, Runner
from deberta_tasks.records import Record

# White space, controls, soft hyphen, zero-width spaces and joiners, marks of direction, byte order mark. Vocabularies
# that keep them make tokens of them, and a model that was trained without them says anything there.
INVISIBLE = re.compile(
    "[\\s\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]+"
)
O = TypeVar("O", bound=Options)  # noqa: E741 - one letter as type variables go


@dataclass(frozen=True)
class Row:
    """A row of a batch.

    Attributes:
        inputs: ``input_ids`` and what else the model takes, lists of one length.
        notes: what the task wants to know when the output is there.
    """

    inputs: dict[str, list[int]]
    notes: Any = None

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class _Work(NamedTuple):
    row: Row
    record: Record
    last: bool  # of its record


class Pipeline(ABC, Generic[O]):
    """A task with a model and its tokenizer; made by ``pipeline``.

    Called with a text or a dict of the fields it gives a result, with a list a list of results, and with a generator
    a generator of results, in constant memory. Keywords are options for this call, or the fields of one record.

    Args:
        runner: the model.
        tokenizer: the model's.
        **options: fields of ``options_class``.

    Attributes:
        task: its name.
        head: the model class that it needs, a key of ``HEADS``.
        fields: what a record must have; a lone text is the first of them.
        optional_fields: what it may have.
    """

    task: ClassVar[str]
    head: ClassVar[str]
    options_class: ClassVar[type[Options]] = Options
    fields: ClassVar[tuple[str, ...]] = ("text",)
    optional_fields: ClassVar[tuple[str, ...]] = ()
    list_fields: ClassVar[tuple[str, ...]] = ()

    options: O

    def __init__(self, runner: Runner, tokenizer: Any, **options: Any) -> None:
        self.runner, self.tokenizer = runner, tokenizer
        self.options = self.options_class().changed(options)  # type: ignore[assignment]
        self.check(self.options)

    def check(self, options: O) -> None:
        """Refuse options that do not fit the model.

        Raises:
            ValueError: with what fits.
        """
        self.limit(options)

    @abstractmethod
    def encode(self, record: Record, options: O) -> list[Row]:
        """The rows of a record; a text that cannot be read is a ``ValueError``."""

    @abstractmethod
    def digest(self, row: Row, output: Arrays, options: O) -> Any:
        """What to keep of a row's output, padding included."""

    @abstractmethod
    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: O) -> Any:
        """The result of a record from its rows and what was kept of each."""

    @abstractmethod
    def describe(self, record: Record, result: Any) -> str:
        """A result for people, in one or more lines."""

    # Calling.

    def __call__(self, inputs: Any = None, /, **given: Any) -> Any:
        """Results for a record, a list or a stream.

        Args:
            inputs: a text or a dict with ``fields``, a list of them, or anything that can be iterated over.
            **given: fields of one record, or options for this call.

        Raises:
            TypeError: for what is no record, or an unknown keyword.
            ValueError: for a text that is empty or too long; the text says which.
        """
        names = (*self.fields, *self.optional_fields)
        record = {name: given.pop(name) for name in names if name in given}
        options = self.options.changed(given)
        self.check(options)
        if record:
            if inputs is not None:
                record = {self.fields[0]: inputs, **record}
            return self.present(next(self.results([record], options)), alone=False)
        if inputs is None:
            raise TypeError(f"{self.task} got nothing to work on; expected {self._expected()}")
        if isinstance(inputs, (str, Mapping)) or (isinstance(inputs, tuple) and len(names) > 1):
            return self.present(next(self.results([inputs], options)), alone=isinstance(inputs, str))
        if not isinstance(inputs, Iterable):
            raise TypeError(f"{self.task} got {type(inputs).__name__}, expected {self._expected()}")
        total = len(inputs) if isinstance(inputs, Sized) else None
        results = with_bar(self.results(inputs, options), progress=options.progress, total=total)
        return list(results) if total is not None else results

    def present(self, result: Any, *, alone: bool) -> Any:
        """The result of a call with one record; ``alone``: with a text and nothing else."""
        return result

    def results(
        self, items: Iterable[Any], options: O | None = None, *, read_ahead: int | None = None
    ) -> Iterator[Any]:
        """The results of records as a stream.

        Args:
            items: what a call takes, one by one.
            options: default the pipeline's own.
            read_ahead: tokens to read before the first are run, default those of eight batches; 1: each at once.

        Raises:
            ValueError: for a bad record, once the results of all before were given.
        """
        chosen = self.options if options is None else options
        done: list[tuple[Row, Any]] = []
        for work, kept in run_by_length(
            self._works(items, chosen), lambda works: self._run(works, chosen), length=lambda work: len(work.row),
            max_tokens=chosen.max_tokens, max_rows=chosen.batch_size, read_ahead=read_ahead,
        ):  # fmt: skip
            done.append((work.row, kept))
            if work.last:
                yield self.decode(work.record, done, chosen)
                done = []

    def _works(self, items: Iterable[Any], options: O) -> Iterator[_Work]:
        several = not isinstance(items, list) or len(items) > 1
        for number, item in enumerate(items):
            place = getattr(item, "place", "") or (f"input {number}" if several else "")
            try:
                record = self.read(item)
                rows = self.encode(record, options)
            except (ValueError, TypeError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{place}: {error}" if place else str(error)) from error
            for count, row in enumerate(rows, 1):
                yield _Work(row, record, count == len(rows))

    def _run(self, works: list[_Work], options: O) -> list[tuple[_Work, Any]]:
        inputs = pad_batch([work.row.inputs for work in works], fill={"input_ids": self.tokenizer.pad_token_id or 0})
        outputs = self.run(inputs)
        return [(work, self.digest(work.row, output, options)) for work, output in zip(works, outputs, strict=True)]

    def run(self, inputs: Arrays) -> list[Arrays]:
        """The outputs of each row of a batch."""
        outputs = self.runner(inputs)
        return [{name: array[i] for name, array in outputs.items()} for i in range(len(inputs["input_ids"]))]

    # Reading.

    def read(self, item: Any) -> Record:
        """What a caller gave as a record.

        Raises:
            TypeError: if it is none.
            ValueError: if a field is missing or empty.
        """
        names = (*self.fields, *self.optional_fields)
        if isinstance(item, str) and len(self.fields) == 1:
            item = {self.fields[0]: item}
        elif isinstance(item, tuple) and len(self.fields) <= len(item) <= len(names):
            item = dict(zip(names, item, strict=False))
        if not isinstance(item, Mapping):
            raise TypeError(f"{self.task} got {type(item).__name__}, expected {self._expected()}")
        for name in self.fields:
            if item.get(name) is None:
                found = ", ".join(item) or "nothing"
                raise ValueError(f"there is no {name!r}{near(name, item)}; expected {self._expected()}, got {found}")
        for name in names:
            if item.get(name) is not None:
                self._check_field(name, item[name])
        return item if isinstance(item, Record) else Record(item)

    def _check_field(self, name: str, value: Any) -> None:
        if name in self.list_fields:
            if isinstance(value, str) or not isinstance(value, (list, tuple)):
                raise TypeError(f"{name} is {type(value).__name__}, expected a list of texts")
            if not value:
                raise ValueError(f"{name} is an empty list, expected at least one text")
            for number, text in enumerate(value):
                self._check_text(f"{name}[{number}]", text)
        else:
            self._check_text(name, value)

    def _check_text(self, name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}, expected a text")
        if not value.strip():
            raise ValueError(f"{name} is empty; expected a text, so leave the record out or fill it in")

    def _expected(self) -> str:
        fields = " and ".join(self.fields)
        more = f" (and {', '.join(self.optional_fields)})" if self.optional_fields else ""
        return ("a text, or " if len(self.fields) == 1 else "") + f"a dict with {fields}{more}"

    # Tokens.

    def limit(self, options: O) -> int:
        """Most tokens of a row.

        Raises:
            ValueError: if more are asked for than the model has positions.
        """
        config = self.runner.config
        absolute = config.position_biased_input or (self.head == "ForMaskedLM" and mlm_head(config) == "emd")
        most = config.max_position_embeddings if absolute else None
        if options.max_length is not None and most is not None and options.max_length > most:
            raise ValueError(f"max_length is {options.max_length}, {too_long(most)}")
        asked = self.tokenizer.model_max_length if options.max_length is None else options.max_length
        return int(asked if most is None else min(asked, most))

    def tokens(self, options: O, text: str, pair: str | None = None, *, cut: str = "longest_first") -> Row:
        """A row of one text or pair.

        Args:
            options: whether and how to cut.
            text: first text.
            pair: second text.
            cut: which of them truncation cuts, as the tokenizer calls it.

        Raises:
            ValueError: if it is too long.
        """
        limit = self.limit(options)
        how = {"truncation": cut, "max_length": limit} if options.truncation else {}
        encoded = self.tokenizer(text, pair, **how)
        check_tokens(len(encoded["input_ids"]), limit)
        return Row(self.model_inputs(encoded))

    def model_inputs(self, encoded: Mapping[str, Any]) -> dict[str, list[int]]:
        """What the model takes of an encoding."""
        names = ("input_ids", "token_type_ids") if self.runner.config.type_vocab_size else ("input_ids",)
        return {name: encoded[name] for name in names if name in encoded}


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


def check_tokens(count: int, limit: int, advice: str = "split it") -> None:
    """Refuse a text that is too long.

    Args:
        count: its tokens, special ones included.
        limit: most tokens of a row.
        advice: what can be done but cutting it.

    Raises:
        ValueError: with what can be done.
    """
    if count > limit:
        raise ValueError(
            f"the text has {count} tokens, the limit is {limit}; cut it with truncation=True (--truncation), or "
            f"{advice}"
        )
