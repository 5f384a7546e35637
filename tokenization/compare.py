"""Where two tokenizers differ, so that one can find out what a fine-tuned model was trained with."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice, zip_longest
from typing import Any

BATCH = 1024  # texts


@dataclass(frozen=True)
class Difference:
    """The first place where two tokenizers differ on one text.

    Args:
        number: place of the text among those compared, from 0.
        text: the text.
        position: number of the first token that differs.
        first: tokens of the first tokenizer from there, some five.
        second: those of the second.
    """

    number: int
    text: str
    position: int
    first: list[str]
    second: list[str]

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return f"text {self.number} {shown!r}\n  from token {self.position}: {self.first}\n  {' ' * 12}{self.second}"


@dataclass
class Comparison:
    """The result of ``compare_tokenizers``.

    Args:
        texts: how many were compared.
        differences: one entry for each text whose ids differ.
    """

    texts: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Share of the texts that differ, from 0 to 1."""
        return len(self.differences) / self.texts if self.texts else 0.0

    def __str__(self) -> str:
        return f"{len(self.differences)} of {self.texts} texts differ ({self.rate:.2%})"


def compare_tokenizers(first: Any, second: Any, texts: Iterable[str], *, context: int = 5) -> Comparison:
    """Compares the ids that two tokenizers give.

    Args:
        first: a tokenizer; one of another library serves too, if its call takes a list of texts and
            ``add_special_tokens``.
        second: the other one.
        texts: any number of texts; an iterator is read once.
        context: tokens shown from the first that differs.

    Returns:
        The differing texts with their first differing tokens, and their rate.
    """
    result = Comparison()
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        pairs = zip(batch, _ids(first, batch), _ids(second, batch), strict=True)
        for number, (text, ids_a, ids_b) in enumerate(pairs, result.texts):
            if ids_a != ids_b:
                position = next(i for i, (a, b) in enumerate(zip_longest(ids_a, ids_b)) if a != b)
                shown = slice(position, position + context)
                tokens = first.convert_ids_to_tokens(ids_a[shown]), second.convert_ids_to_tokens(ids_b[shown])
                result.differences.append(Difference(number, text, position, *tokens))
        result.texts += len(batch)
    return result


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip("\n")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``deberta compare-tokenizers``."""
    parser.add_argument("first", help="folder of a tokenizer; 'legacy:FOLDER' for transformers 4's fast ids")
    parser.add_argument("second", help="the other one")
    parser.add_argument("file", help="text file in UTF-8, one text per line")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="texts to show, default %(default)s")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Compare, and print where the two differ; 0 where all ids agree, else 1."""
    from .auto import AutoTokenizer

    loaded = []
    for name in (args.first, args.second):
        folder = name.removeprefix("legacy:")
        settings = {"legacy_ids": True} if folder != name else {}
        loaded.append(AutoTokenizer.from_pretrained(folder, **settings))
    result = compare_tokenizers(loaded[0], loaded[1], _lines(args.file))
    shown = result.differences[: args.show]
    if args.json:
        counts = {"texts": result.texts, "different": len(result.differences), "rate": result.rate}
        print(json.dumps({**counts, "differences": [asdict(difference) for difference in shown]}, indent=2))
    else:
        for difference in shown:
            print(difference)
        print(result)
    return int(bool(result.differences))


def main(argv: list[str] | None = None) -> int:
    """The command ``compare-tokenizers A B FILE``.

    Args:
        argv: the arguments; default: those of the process.

    Returns:
        0 where all ids agree, else 1.
    """
    parser = argparse.ArgumentParser(
        prog="compare-tokenizers", description="Compare the ids of two tokenizers on the lines of a text file."
    )
    add_arguments(parser)
    return run(parser.parse_args(argv))
