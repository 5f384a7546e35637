"""What a task can be asked for when it answers: declared once, for Python and for the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from deberta_core.wording import near
from deberta_tasks.records import written_list

COMBINATIONS = ("mean", "max", "first")
FUNCTIONS = ("softmax", "sigmoid", "none")


def option(default: Any, help: str) -> Any:
    """A field of options.

    Args:
        default: its value where none is given.
        help: what it does, for the command line.
    """
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every task can be asked for.

    Attributes:
        truncation: cut texts that are longer than the limit at their end; else they are an error.
        max_length: most tokens of a feature; default the tokenizer's limit.
        max_tokens: most tokens of a batch, padding included.
        batch_size: most features of a batch.
        progress: show a progress bar: always, never, or (``None``) on a terminal where the work takes some seconds.
    """

    truncation: bool = option(False, "cut texts that are longer than the limit at their end")
    max_length: int | None = option(None, "most tokens of a text; default the tokenizer's limit")
    max_tokens: int = option(4096, "most tokens of a batch, padding included; default 4096")
    batch_size: int | None = option(None, "most texts of a batch")
    progress: bool | None = option(None, "show a progress bar; default: on a terminal, where it takes some seconds")

    def __post_init__(self) -> None:
        check_count("max_length", self.max_length, optional=True)
        check_count("max_tokens", self.max_tokens)
        check_count("batch_size", self.batch_size, optional=True)

    def changed(self, given: Mapping[str, Any], others: Iterable[str] = ()) -> Self:
        """These options with others in their place.

        Args:
            given: by name.
            others: what may have been meant by an unknown name beside options.

        Raises:
            TypeError: for an unknown name.
            ValueError: for a value that cannot be.
        """
        known = [f.name for f in fields(self)]
        for name in given:
            if name not in known:
                hint = near(name, [*others, *known])
                raise TypeError(f"unknown option {name!r}, expected one of {', '.join(known)}{hint}")
        return replace(self, **given)


@dataclass(frozen=True, kw_only=True)
class WindowOptions(Options):
    """Options of tasks that give a text scores, and may read a long one in windows.

    Attributes:
        stride: read texts beyond the limit in windows that share this many tokens.
        combine: a text's scores from those of its windows: the ``mean``, the ``max`` of each, or the ``first`` alone.
    """

    stride: int | None = option(None, "read texts beyond the limit in windows that share this many tokens")
    combine: str = option("mean", f"a text's scores from its windows: {', '.join(COMBINATIONS)}; default mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("stride", self.stride, least=0, optional=True)
        check_choice("combine", self.combine, COMBINATIONS)


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(WindowOptions):
    """Options of tasks whose scores come from logits of labels.

    Attributes:
        function_to_apply: ``softmax``, ``sigmoid`` or ``none``; default by the model's ``problem_type``: ``none`` for
            regression, ``sigmoid`` for several labels of a text and for a model of one label, else ``softmax``.
    """

    function_to_apply: str | None = option(None, f"{', '.join(FUNCTIONS)}; default by the model's problem_type")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.function_to_apply is not None:
            check_choice("function_to_apply", self.function_to_apply, FUNCTIONS)


def check_count(name: str, value: Any, *, least: int = 1, optional: bool = False) -> None:
    """Refuse what is no whole number, or too small a one; ``None`` passes where it is ``optional``.

    Raises:
        ValueError: with what was expected.
    """
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")


def check_choice(name: str, value: Any, expected: tuple[str, ...]) -> None:
    """Refuse a value that is none of those expected.

    Raises:
        ValueError: with what was expected.
    """
    if value not in expected:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(expected)}")


def listed(value: Any) -> list[Any]:
    """Several values, given as a list or as a text with commas between; a text of commas alone is one value.

    Raises:
        ValueError: for a text that looks like a list and cannot be read.
    """
    value = (written_list(value) or value) if isinstance(value, str) else value
    if not isinstance(value, str):
        return list(value)
    return [part.strip() for part in value.split(",") if part.strip()] or [value] * bool(value.strip())
