"""``deberta run``: texts in, answers out, one by one, from the command line."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from conversion.command_line import FINE, add_hub_options, terminate_cleanly
from deberta_core.batching import with_bar
from deberta_core.wording import harmless
from deberta_tasks.parts import PARQUET
from deberta_tasks.pipelines import Pipeline, pipeline
from deberta_tasks.pipelines.loading import choose_framework, export_of
from deberta_tasks.quiet import start_tensorflow_quietly
from deberta_tasks.records import FORMATS, Record, detect_format, format_of, read_records
from deberta_tasks.tasks import TASKS, Task, task_named
from deberta_tasks.tasks.base import CUT, cut_tokens
from deberta_tasks.tasks.options import Options, listed

ANSWER = "result"  # what the answer is called beside the fields of its record
ALL = "all"
HALVES = re.compile("[\ud800-\udfff]")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; those that depend on the task are read off the tasks."""
    parser.description = (
        "Run a task on texts. Texts come a line each from standard input, or from a text, CSV or JSONL file; answers "
        "are shown on a terminal, and written as JSONL elsewhere."
    )
    parser.add_argument("--task", required=True, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--model", required=True, metavar="PATH", help="folder with model and tokenizer, or an export")
    parser.add_argument("--framework", choices=("pt", "tf"), help="default: pt where PyTorch is installed")
    parser.add_argument("--tokenizer", metavar="PATH", help="default: the one beside the model")
    parser.add_argument("--device", help="such as cuda:1 (pt) or GPU:1 (tf); default: the first GPU, else the CPU")
    parser.add_argument("--dtype", help="of the weights, such as bfloat16; default float32")
    parser.add_argument(
        "--prepare", action=argparse.BooleanOptionalAction, default=None,
        help="fuse and freeze the model first; default but on a GPU with PyTorch",
    )  # fmt: skip
    parser.add_argument("--generator", action="store_true", help="the generator beside a discriminator, for fill-mask")
    add_hub_options(parser)
    parser.add_argument(
        "--input", metavar="FILE", help="default: standard input; of an engine also a folder or pattern"
    )
    parser.add_argument(
        "--output", metavar="FILE", help="JSONL file to write, of an engine a folder; default: standard output"
    )
    parser.add_argument(
        "--format", choices=sorted({*FORMATS.values(), PARQUET}), help="default: by the file's name or first line"
    )
    parser.add_argument("--engine", choices=("ray",), help="spread files over processes or machines, by Ray Data")
    parser.add_argument("--workers", type=int, metavar="N", help="of an engine; default one a GPU, or four cores")
    parser.add_argument(
        "--column", action="append", default=[], metavar="FIELD=NAME", help="column that a field is read from"
    )
    _add_fields(parser)
    _add_options(parser)


def _add_fields(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fields", "the same for all records, in place of a column")
    for name, tasks in _by_name({name: task.columns for name, task in TASKS.items()}).items():
        several = {"nargs": "+"} if any(name in TASKS[task].lists for task in tasks) else {}
        group.add_argument(
            _flag(name), dest=f"field_{name}", metavar=name.upper(), help=", ".join(tasks), **several,  # type: ignore[arg-type]
        )  # fmt: skip


def _add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options of tasks")
    declared = {name: {f.name: f for f in fields(task.options_class)} for name, task in TASKS.items()}
    for name, tasks in _by_name(declared).items():
        by_text: dict[str, list[str]] = {}
        for task in tasks:
            by_text.setdefault(str(declared[task][name].metadata["help"]), []).append(task)
        everywhere = name in Options.__dataclass_fields__
        parts = [text if everywhere else f"{text} ({', '.join(own)})" for text, own in by_text.items()]
        kind = _KINDS[max((str(declared[task][name].type) for task in tasks), key=len)]  # the one that takes most
        group.add_argument(_flag(name), dest=f"option_{name}", help="; ".join(parts), **kind)


def _count(text: str) -> int | str:
    return ALL if text == ALL else int(text)


_KINDS: dict[str, dict[str, Any]] = {
    "bool": {"action": argparse.BooleanOptionalAction},
    "bool | None": {"action": argparse.BooleanOptionalAction},
    "int": {"type": int, "metavar": "N"},
    "int | None": {"type": _count, "metavar": "N"},
    "float | None": {"type": float, "metavar": "X"},
    "str": {"metavar": "TEXT"},
    "str | None": {"metavar": "TEXT"},
    "Sequence[str]": {"nargs": "+", "metavar": "TEXT"},
    "Sequence[str] | str | None": {"nargs": "+", "metavar": "TEXT"},
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _by_name(names: Mapping[str, Any]) -> dict[str, list[str]]:
    """Tasks by the names that they have."""
    found: dict[str, list[str]] = {}
    for task, own in names.items():
        for name in own:
            found.setdefault(name, []).append(task)
    return found


def run(args: argparse.Namespace) -> int:
    """Answer every record."""
    terminate_cleanly()
    task = task_named(args.task)
    options = {k: None if v == ALL else v for k, v in _given(args, "option_").items()}
    for name, value in options.items():
        if isinstance(value, list) and len(value) == 1:  # "a, b" is two values; with several, each is what it says
            options[name] = listed(value[0])
    task.options_class().changed(options)
    fetch = {name: value for name, value in (("revision", args.revision), ("subfolder", args.subfolder)) if value}
    wanted: dict[str, Any] = {
        "task": args.task, "model": args.model, "framework": args.framework, "tokenizer": args.tokenizer,
        "device": args.device, "dtype": args.dtype, "prepare": args.prepare,
        "model_kwargs": {"generator": True} if args.generator else None, **fetch, **options,
    }  # fmt: skip
    if args.engine or args.workers is not None or args.format == PARQUET:
        print(_spread(args, wanted), file=sys.stderr)
        return FINE
    interactive = args.input is None and sys.stdin.isatty()
    records = _records(args, task)
    if not interactive:
        records = _begun(records)  # a file that cannot be read is said before the model is
    export = export_of(args.model, {"subfolder": args.subfolder})
    if (export["to"] in ("savedmodel", "tflite")) if export else choose_framework(args.framework, args.model) == "tf":
        start_tensorflow_quietly()
    pipe = pipeline(**wanted)
    with _writer(args, pipe) as write:
        to_terminal = args.output is None and sys.stdout.isatty()
        answers = pipe.answered(records, read_ahead=1 if interactive else None)
        for record, answer in with_bar(answers, progress=False if to_terminal else pipe.options.progress):
            write(record, answer)
    return FINE


def _given(args: argparse.Namespace, start: str) -> dict[str, Any]:
    """The arguments whose names begin so, without those that were not given."""
    named = ((name.removeprefix(start), value) for name, value in vars(args).items() if name.startswith(start))
    return {name: value for name, value in named if value is not None}


# Of the arguments, what no answer depends on: where answers go, who computes them, and what the command line adds.
NOT_ASKED = {"output", "engine", "workers", "run", "command", "commands", "program"}


def _spread(args: argparse.Namespace, wanted: Mapping[str, Any]) -> str:
    """Answer many files by an engine; what was done, in a line.

    Raises:
        ValueError: without an engine, or names of files.
    """
    if args.engine is None:
        raise ValueError("--workers and Parquet are for --engine ray; give it, too")
    if args.input is None or args.output is None:
        raise ValueError(f"--engine {args.engine} reads --input (files) and writes --output (a folder); give both")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers is {args.workers}, expected 1 or more")
    from deberta_tasks.ray_engine import run_on_ray

    # Workers may stand in another folder.
    here = {
        name: os.path.abspath(wanted[name]) for name in ("model", "tokenizer") if os.path.exists(wanted[name] or "")
    }
    asked = {name: value for name, value in vars(args).items() if name not in NOT_ASKED}
    return run_on_ray(argparse.Namespace(**{**asked, **here}), {**wanted, **here}, args.output, args.workers, _reply)


def _reply(args: argparse.Namespace, pipe: Pipeline, lines: Iterable[bytes], stream: IO[str]) -> None:
    """Answers to the lines of a part, in their order."""
    for record, answer in pipe.answered(_records(args, task_named(args.task), lines)):
        _write_json(stream, record, answer)


def _records(args: argparse.Namespace, task: Task, lines: Iterable[bytes] | None = None) -> Iterator[Record]:
    """The records to work on.

    Args:
        args: those of the command.
        task: whose fields are read.
        lines: of the input, if it is open already.

    Raises:
        ValueError: for a field that the task does not have, or plain text for a task that needs more than that.
    """
    fixed = _given(args, "field_")
    for name in fixed:
        if name not in task.columns:
            raise ValueError(f"{task.name} has no field {name!r}; it has {', '.join(task.columns)}")
    needed = [name for name in task.fields if name not in fixed]
    lacking = [*needed, *(() if fixed.keys() & set(task.either) else task.either[:1])]
    if not lacking:
        if args.input is not None:
            raise ValueError(f"all fields are given, so there is nothing to read from {args.input}; drop one of them")
        return iter([Record(fixed, "the arguments")])
    source: Any = lines or (sys.stdin.buffer if args.input is None else args.input)
    format = args.format or ("text" if args.input is None else format_of(args.input))
    if args.input is None and args.format is None and not sys.stdin.isatty():
        format, source = detect_format(sys.stdin.buffer)
    if format == "text" and len(lacking) > 1:
        raise ValueError(
            f"{task.name} reads {' and '.join(lacking)}, and a line of text is only one of them; give the other as "
            f"{_flag(lacking[0])}, or use CSV or JSONL (--format)"
        )
    columns = dict(_column(text, task.columns) for text in args.column)
    name = "standard input" if args.input is None else args.input
    if args.input is None and sys.stdin.isatty():
        print(f"reading {lacking[0]} from the terminal, a line each; end with Ctrl-D", file=sys.stderr)
    found = read_records(
        source, format=format, name=name, columns=columns, text_column=lacking[0], required=needed,
        old_names=task.old_names, known=task.columns,
    )  # fmt: skip
    return (Record({**record, **fixed}, record.place) for record in found)


def _column(text: str, names: tuple[str, ...]) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals or name not in names:
        raise ValueError(f"--column is {text!r}, expected FIELD=NAME with a field of {', '.join(names)}")
    return name, column


def _begun(records: Iterator[Record]) -> Iterator[Record]:
    """The same records, the first one already read."""
    first = next(records)

    def rest() -> Iterator[Record]:
        yield first
        yield from records

    return rest()


@contextmanager
def _writer(args: argparse.Namespace, pipe: Pipeline) -> Iterator[Any]:
    """What writes an answer, at once, so that finished ones are kept whatever comes."""
    if args.output is None and sys.stdout.isatty():
        yield lambda record, answer: print(harmless(pipe.describe(record, answer)), flush=True)
    elif args.output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield lambda record, answer: _write_json(sys.stdout, record, answer)
    else:
        if args.input is not None and Path(args.output).exists() and os.path.samefile(args.input, args.output):
            raise ValueError(f"--output {args.output} is the file that is read; give another name")
        with open(args.output, "w", encoding="utf-8") as file:
            yield lambda record, answer: _write_json(file, record, answer)


def _write_json(file: IO[str], record: Record, answer: Any) -> None:
    """A line for a record and its answer.

    Raises:
        ValueError: if the record has a column that is called as the answer is.
    """
    if ANSWER in record:
        raise ValueError(
            f"{record.place} has a column {ANSWER!r}, which is where the answer goes; give it another name"
        )
    cut = {CUT: cut_tokens(answer)} if cut_tokens(answer) else {}  # an array, or a list of nothing, cannot say it
    line = {**record, ANSWER: answer, **cut}
    text = json.dumps(line, ensure_ascii=False, default=lambda array: array.tolist())
    if not text.isascii() and HALVES.search(text):  # half a character, which JSON can hold and UTF-8 cannot
        text = HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    file.write(text + "\n")
    file.flush()
