"""From text to answer in one call: ``pipeline(task, model)``.

What goes in and what comes out is the same in both frameworks, and so are the numbers; ``runner_pt`` and ``runner_tf``
are all that differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple

from deberta_core.batching import pad_batch, run_by_length, with_bar
from deberta_tasks.pipelines.loading import HUB, load_runner, load_tokenizer
from deberta_tasks.records import Record
from deberta_tasks.tasks import TASKS, task_named
from deberta_tasks.tasks.base import Feature, Reader, Task, cut_tokens, with_cut
from deberta_tasks.tasks.options import Options

__all__ = ["TASKS", "Pipeline", "pipeline"]


def pipeline(
    task: str,
    model: Any,
    framework: str | None = None,
    *,
    tokenizer: Any = None,
    device: str | int | None = None,
    dtype: Any = None,
    prepare: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pipeline:
    """A task with a model and its tokenizer, ready to be called with texts.

    Args:
        task: ``text-classification``, ``zero-shot-classification``, ``nli``, ``regression``, ``text-ranking``,
            ``token-classification``, ``question-answering``, ``fill-mask``, ``multiple-choice`` or
            ``feature-extraction``.
        model: folder with a checkpoint of either framework, or an export; a name on the hub, or a model object.
        framework: ``pt`` or ``tf``; default the model's own, else PyTorch where it is installed.
        tokenizer: a tokenizer, or its folder or name; default the one beside the model.
        device: such as ``cuda:1`` (PyTorch) or ``GPU:1`` (TensorFlow), or the number of a GPU, or -1 for the CPU;
            default the first GPU, else the CPU.
        dtype: of the weights; default float32.
        prepare: run the model as ``optimize_for_inference`` makes it; by default one that is loaded here, with PyTorch
            on the CPU alone. A model object is never changed (but for its device, where one is named), and runs as it
            is where preparing would lose something: in training mode, with hooks, adapters or quantised layers.
        model_kwargs: further keywords of ``from_pretrained``, such as ``{"generator": True}``.
        **options: defaults of what a call can be asked for, see the task's options class; and how to fetch a model by
            name: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``force_download``, ``subfolder``.

    Raises:
        FileNotFoundError: if the model is not there.
        ImportError: if the framework is not installed.
        TypeError: for an unknown option.
        ValueError: for an unknown task, a checkpoint without a head for it, a folder without a tokenizer.
    """
    found = task_named(task)
    fetch = {name: options.pop(name) for name in HUB if name in options}
    chosen = found.options_class().changed(options, found.columns)  # before anything is read
    tokenizer = load_tokenizer(tokenizer, model, fetch)
    wanted = {**fetch, **({} if dtype is None else {"dtype": dtype}), **(model_kwargs or {})}
    runner = load_runner(found, model, framework, device=device, prepare=prepare, options=wanted)
    return Pipeline(found, runner, tokenizer, chosen)


class _Work(NamedTuple):
    feature: Feature
    example: Record
    last: bool  # of its example


class Pipeline:
    """A task with a model and its tokenizer; made by ``pipeline``.

    Called with a text or a dict of the task's columns it gives an answer, with a list a list of answers, and with a
    generator a generator of answers, in constant memory. Keywords are options for this call, or the columns of one
    example.

    Args:
        kind: what the task is.
        runner: the model.
        tokenizer: the model's.
        options: what calls are asked for where they do not say.

    Attributes:
        task: its name.
    """

    def __init__(self, kind: Task, runner: Any, tokenizer: Any, options: Options) -> None:
        self.kind, self.task, self.runner, self.tokenizer, self.options = kind, kind.name, runner, tokenizer, options
        self._reader(options)  # refuses what does not fit the model

    def _reader(self, options: Options) -> Reader:
        return self.kind.reader(self.tokenizer, options, self.runner.config)

    def __call__(self, inputs: Any = None, second: Any = None, /, **given: Any) -> Any:
        """Answers to an example, a list or a stream.

        Args:
            inputs: a text or a dict with the task's columns, a list of them, or anything that can be iterated over.
            second: for zero-shot classification the candidate labels, for all texts.
            **given: columns of one example, or options for this call.

        Raises:
            TypeError: for what is no example, or an unknown keyword.
            ValueError: for a text that is empty or too long; the text says which.
        """
        kind = self.kind
        if second is not None:
            if not kind.second:
                raise TypeError(f"{self.task} takes one argument, got a second one, {second!r}; name it")
            given[kind.second] = second
        named = {name: given.pop(name) for name in (*kind.columns, *kind.old_names) if name in given}
        options = self.options.changed(given, kind.columns)
        if named:
            if inputs is not None:
                named = {kind.columns[0]: inputs, **named}
            return next(self.results([named], options))
        if inputs is None:
            raise TypeError(f"{self.task} got nothing to work on; expected {kind.expected()}")
        if kind.is_one(inputs, options):
            answer = next(self.results([inputs], options))
            return kind.alone(answer) if isinstance(inputs, str) else answer
        if not isinstance(inputs, Iterable):
            raise TypeError(f"{self.task} got {type(inputs).__name__}, expected {kind.expected()}")
        total = len(inputs) if isinstance(inputs, Sized) else None
        results = with_bar(self.results(inputs, options), progress=options.progress, total=total)
        return list(results) if total is not None else results

    def read(self, item: Any) -> Record:
        """What a caller gave as an example.

        Raises:
            TypeError: if it is none.
            ValueError: if a column is missing or empty.
        """
        return self.kind.example(item)

    def describe(self, example: Record, answer: Any) -> str:
        """An answer for people, in one or more lines."""
        cut = cut_tokens(answer)
        shown = self.kind.shown(example, self.options)
        return self.kind.describe(shown, answer) + (f"\t({cut} tokens were cut)" if cut else "")

    def results(
        self, items: Iterable[Any], options: Options | None = None, *, read_ahead: int | None = None
    ) -> Iterator[Any]:
        """The answers alone of ``answered``."""
        return (answer for _, answer in self.answered(items, options, read_ahead=read_ahead))

    def answered(
        self, items: Iterable[Any], options: Options | None = None, *, read_ahead: int | None = None
    ) -> Iterator[tuple[Record, Any]]:
        """Examples with their answers as a stream.

        Args:
            items: what a call takes, one by one.
            options: default the pipeline's own.
            read_ahead: tokens to read before the first are run, default those of eight batches; 1: each at once.

        Raises:
            ValueError: for a bad example, once the answers to all before were given.
        """
        options = self.options if options is None else options
        reader, pad_id, kept = self._reader(options), self.tokenizer.pad_token_id or 0, []

        def run(works: list[_Work]) -> list[tuple[_Work, Any]]:
            inputs = pad_batch([work.feature.inputs for work in works], fill={"input_ids": pad_id})
            outputs = zip(works, self.kind.run(self.runner, inputs, reader), strict=True)
            return [(work, self.kind.digest(work.feature, output, reader)) for work, output in outputs]

        for work, found in run_by_length(
            self._works(items, reader), run, length=lambda work: len(work.feature), max_tokens=options.max_tokens,
            max_rows=options.batch_size, read_ahead=read_ahead,
        ):  # fmt: skip
            kept.append((work.feature, found))
            if work.last:
                answer = self.kind.decode(work.example, kept, reader)
                yield work.example, with_cut(answer, max(feature.cut for feature, _ in kept))
                kept = []

    def _works(self, items: Iterable[Any], reader: Reader) -> Iterator[_Work]:
        several = not isinstance(items, list) or len(items) > 1
        for number, item in enumerate(items):
            place = getattr(item, "place", "") or (f"input {number}" if several else "")
            try:
                example = self.read(item)
                features = self.kind.encode(example, reader)
            except (ValueError, TypeError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{place}: {error}" if place else str(error)) from error
            for count, feature in enumerate(features, 1):
                yield _Work(feature, example, count == len(features))
