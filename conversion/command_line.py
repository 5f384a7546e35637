"""A command line as a table: one row per subcommand, whose module is imported when it is called and not before."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn, Protocol

from conversion.reports import Table, as_markdown, as_text
from deberta_core.file_names import checkpoint_files
from deberta_core.folder import locate as locate_checkpoint
from deberta_core.wording import harmless

FINE, OVER_LIMIT, ERROR = 0, 1, 2
_INTERRUPTED = 130
_TRACEBACK = "DEBERTA_TRACEBACK"  # environment variable: errors with the place in the code, for bug reports


USE, TRAIN, CONVERT, DEPLOY, SHRINK, LOOK = "use", "train", "convert", "deploy", "shrink", "look"
GROUPS = {  # what people want, in the order of the list; a command names one of them
    USE: "use a model",
    TRAIN: "train one",
    CONVERT: "move it to the other framework",
    DEPLOY: "run it without a framework",
    SHRINK: "make it smaller",
    LOOK: "look inside",
}
EXIT_CODES = (
    "exit codes: 0 done; 1 what was compared differs by more than its limit; 2 an error, said in one sentence; "
    "130 interrupted"
)
_BOLD, _RED, _YELLOW, _PLAIN = "\033[1m", "\033[31m", "\033[33m", "\033[0m"


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        name: what the user types.
        help: one line for the list of subcommands.
        module: module with ``add_arguments(parser)`` and ``run(args) -> int``, the exit code.
        group: what people want it for, a key of ``GROUPS``.
        example: command lines for its help, which can be typed as they stand.
    """

    name: str
    help: str
    module: str
    group: str
    example: str

    def load(self) -> ModuleType:
        """Import the module.

        Raises:
            ImportError: if a package that it needs is not installed.
        """
        return importlib.import_module(self.module)


COMMANDS = (
    Command(
        "convert", "turn a checkpoint into one of the other framework or format", "conversion.convert_command", CONVERT,
        "deberta convert my-model my-tf-model --to tf\ndeberta convert my-tf-model my-model-again --to pt --json",
    ),
    Command(
        "verify", "run checkpoints in both frameworks and compare, layer by layer", "conversion.verify_command",
        CONVERT, "deberta verify my-model my-tf-model\ndeberta verify my-model --dtype float32",
    ),
    Command(
        "export", "write a graph for ONNX Runtime, OpenVINO and others, and check it", "conversion.export_command",
        DEPLOY, "deberta export my-model my-graph --to torch\ndeberta export my-model my-onnx --to onnx",
    ),
    Command(
        "inspect", "say what a checkpoint is and what each model finds in it", "conversion.inspect_command", LOOK,
        "deberta inspect my-model\ndeberta inspect my-model --values --json",
    ),
)  # fmt: skip


def run(commands: Sequence[Command], program: str, description: str, arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that the arguments name.

    Args:
        commands: rows of the table.
        program: name for the help texts.
        description: what the program is.
        arguments: default ``sys.argv[1:]``.

    Returns:
        The exit code: 0 fine, 1 a comparison over its limit, 2 an error, which is said in one sentence.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    try:
        parser = _parser(commands, program, description, given)
        args = parser.parse_args(given)
        if args.command is None:
            parser.print_help()
            return ERROR
        return int(args.run(args))
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except ImportError as error:
        _say(f"error: {error}; install the package that is missing")
        return ERROR
    except MemoryError:
        _say("error: not enough memory")
        return ERROR
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        expected = isinstance(error, OSError | ValueError | TypeError | KeyError)
        hint = "" if expected else f" ({type(error).__name__}; {_TRACEBACK}=1 shows where)"
        _say(f"error: {_text(error)}{hint}")
        return ERROR


def _parser(
    commands: Sequence[Command], program: str, description: str, given: Sequence[str]
) -> argparse.ArgumentParser:
    more = f"{program} COMMAND --help says what a command takes, with an example"
    parser = argparse.ArgumentParser(
        prog=program, usage=f"{program} [-h] [--version] COMMAND ...", description=description,
        formatter_class=HelpFormatter, epilog=f"{_listed(commands)}\n\n{more}\n{EXIT_CODES}",
    )  # fmt: skip
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    rows = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog=program)
    chosen = next((word for word in given if not word.startswith("-")), None)
    for command in commands:
        row = rows.add_parser(command.name, formatter_class=HelpFormatter)
        if command.name == chosen:
            declare(command, row)
            row.set_defaults(commands=commands, program=program)
    return parser


class _Version(argparse.Action):
    """Looks up the version when it is asked for, which takes longer than all else that a parser does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"deberta-zoo {version('deberta-zoo')}")
        parser.exit()


def declare(command: Command, row: argparse.ArgumentParser) -> None:
    """Give a parser what a command takes, what it runs, and its example."""
    row.description = f"{command.help[0].upper()}{command.help[1:]}."
    lines = "\n".join(f"  {line}" for line in command.example.splitlines())
    row.epilog = f"{_bold('example')}:\n{lines}\n\n{EXIT_CODES}"
    module = command.load()
    module.add_arguments(row)
    row.set_defaults(run=module.run)


def _listed(commands: Sequence[Command]) -> str:
    """The commands with a line each, by what people want them for."""
    width = max(len(command.name) for command in commands) + 2
    parts = []
    for group, title in GROUPS.items():
        rows = [f"  {c.name:<{width}}{c.help}" for c in commands if c.group == group]
        parts += ["\n".join([f"{_bold(title)}:", *rows])] if rows else []
    return "\n\n".join(parts)


class HelpFormatter(argparse.HelpFormatter):
    """Help whose epilog has lines of its own, and whose headings are bold on a terminal."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = super()._fill_text
        return "\n".join(filled(line, width, "") if line[:1] != " " else line for line in text.splitlines())

    def start_section(self, heading: str | None) -> None:
        """Begin a group of arguments."""
        super().start_section(_bold(heading) if heading else heading)


def _colours(stream: IO[str]) -> bool:
    """Whether a stream is a terminal that shows colours, by the conventions of NO_COLOR and TERM."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _bold(text: str) -> str:
    return f"{_BOLD}{text}{_PLAIN}" if _colours(sys.stdout) else text


def terminate_cleanly() -> None:
    """Turn a request to end the process into an exception, so that unfinished files are removed on the way out."""

    def stop(number: int, _: Any) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def _text(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, KeyError) and error.args:  # whose text is quoted
        return str(error.args[0])
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(text: str) -> None:
    text = harmless(text)
    for word, colour in (("error", _RED), ("warning", _YELLOW)):
        if text.startswith(f"{word}:") and _colours(sys.stderr):
            text = f"{colour}{word}{_PLAIN}{text.removeprefix(word)}"
    print(text, file=sys.stderr, flush=True)


def add_hub_options(parser: argparse.ArgumentParser) -> None:
    """Declare what is asked of a model that is given by name."""
    parser.add_argument("--revision", help="branch, tag or commit of a model given by name")
    parser.add_argument("--subfolder", default="", help="folder of the checkpoint, inside what is given")


def locate(path: str, args: argparse.Namespace, *, words: bool = False) -> Path:
    """The folder or file to work on; a model given by name is fetched.

    Args:
        path: folder, file or name.
        args: with the options of ``add_hub_options``.
        words: whether words are to be predicted; see ``deberta_core.packaged``.

    Raises:
        FileNotFoundError: a name's files cannot be had.
        ValueError: a revision of a folder, which has none.
    """
    if args.revision is not None and os.path.lexists(path):
        raise ValueError(f"--revision {args.revision} is for models given by name, but {path} is a folder or file")
    return locate_checkpoint(
        path, {"revision": args.revision}, checkpoint_files, str(args.subfolder), words=words
    )  # fmt: skip


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Declare how a result is printed."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print the result as JSON")
    forms.add_argument("--markdown", action="store_true", help="print the result as Markdown")


class Report(Protocol):
    """A result that can be printed."""

    def tables(self) -> list[Table]:
        """Its content for people."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Its content for programs."""
        ...


def print_report(report: Report, args: argparse.Namespace) -> None:
    """Print a result in the form that the arguments ask for."""
    if args.json:
        print(harmless(json.dumps(report.to_dict(), indent=2, ensure_ascii=False)))
    else:
        print((as_markdown if args.markdown else as_text)(report.tables()))


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Declare how a command of ``telling`` says what it came to."""
    parser.add_argument("--json", action="store_true", help="print nothing but the result, as JSON in one line")


@contextlib.contextmanager
def telling(as_json: bool) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """What says at the end of a long command what came of it, in a sentence or, for programs, as one line of JSON.

    JSON is all that standard output then gets: what else is printed meanwhile goes to the error stream.
    """
    out = sys.stdout

    def tell(sentence: str, result: Mapping[str, Any]) -> None:
        print(harmless(json.dumps(result, ensure_ascii=False)) if as_json else sentence, file=out, flush=True)

    with contextlib.redirect_stdout(sys.stderr if as_json else out):
        yield tell
