"""``trim``: a model with the part of its vocabulary that texts use. On those its outputs are bit for bit the same.

Of a multilingual model two thirds are rows of the word table that one language never reads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from conversion import convert
from conversion.folder import Target, carry, find_extras
from conversion.reports import Table
from deberta_core.checkpoint import TensorFile, TensorInfo, open_weights, write_weights
from deberta_core.file_names import CARD, CONFIG, GENERATOR_CONFIG, GENERATOR_WEIGHTS
from deberta_core.files import Replacement
from deberta_tasks.smaller.folders import add_to_card, refuse_unknown, source_folder
from tokenization import AutoTokenizer
from tokenization.trimming import Trimmed, batches, trim_vocabulary

CONFIGS = (CONFIG, GENERATOR_CONFIG, "gliner_config.json")
WORD_TABLE = re.compile(r"(^|\.)word_embeddings\._?weight(_scale)?$")  # and the scales of one of integers
# Beside word tables, what predicts words has a row for each: biases, and the matrices of models that are not tied.
PREDICTS_WORDS = re.compile(r"(predictions|lm_head)(\.\w+)*?\.(decoder\.)?(bias|weight)$|(predictions|lm_head)\.bias$")
INSIDE_HEADS = re.compile(r"\.(transform|dense|LayerNorm|classifier)\.")
TOKEN_IDS = re.compile(r".*_token_id|class_token_index|.*_token_ids")


@dataclass
class TrimReport:
    """What was cut.

    Attributes:
        source: where the model came from.
        target: where it is.
        texts: how many said which tokens are needed.
        tokens: in the vocabulary, before and after.
        rows: of the word table, before and after.
        parameters: before and after.
        nbytes: of the weights, before and after.
        changed: share of the texts whose tokens are others now; above zero only where rare tokens were cut.
        cut: names of the tensors that were cut.
        notes: what else there is to know.
    """

    source: str
    target: str
    texts: int
    tokens: tuple[int, int]
    rows: tuple[int, int]
    parameters: tuple[int, int]
    nbytes: tuple[int, int]
    changed: float
    cut: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def tables(self) -> list[Table]:
        """Its content for people."""
        pairs = {"tokens": self.tokens, "rows of the word table": self.rows, "parameters": self.parameters}
        rows = [(name, f"{before:,}", f"{after:,}") for name, (before, after) in pairs.items()]
        megabytes = [f"{nbytes / 1e6:,.1f} MB" for nbytes in self.nbytes]
        rows.append(("weights", megabytes[0], megabytes[1]))
        facts = [("texts", f"{self.texts:,}"), ("texts with other tokens than before", f"{self.changed:.2%}")]
        facts += [("note", note) for note in self.notes]
        return [Table("Trimmed vocabulary", ("", "before", "after"), list(rows)), Table("", rows=list(facts))]

    def to_dict(self) -> dict[str, Any]:
        """Its content for programs."""
        return vars(self)


@dataclass
class _Weights:
    """One set of weights of a folder, cut: the model's, or those of the generator beside it.

    Attributes:
        file: where they are read.
        name: of the file that is written; the usual one for ``None``.
        rows: of the word table.
        cut: names of the tensors with a row for each token.
    """

    file: TensorFile
    name: str | None
    rows: int
    cut: list[str]

    @classmethod
    def of(cls, file: TensorFile, name: str | None) -> _Weights:
        tables = [info for key, info in file.tensors.items() if WORD_TABLE.search(key) and len(info.shape) == 2]
        if not tables:
            shown = ", ".join(list(file.tensors)[:4])
            raise ValueError(f"{file.paths[0]} has no word table (…word_embeddings.weight); its tensors are {shown}, …")
        rows = tables[0].shape[0]
        cut = [key for key, info in file.tensors.items() if _has_row_each(key, info.shape, rows)]
        return cls(file, name, rows, cut)

    def tensors(self, old_ids: np.ndarray[Any, Any]) -> Iterator[tuple[TensorInfo, Callable[[], Any]]]:
        """What is to be written, read one at a time."""
        chosen, doubles = set(self.cut), self.file.aliases if self.file.format == "bin" else ()
        for key, info in self.file.tensors.items():
            read = partial(self.file.read_raw, key)
            if key in doubles:
                continue  # written once, under the name that it has first
            if key not in chosen:
                yield info, read
            else:
                small = TensorInfo(key, (len(old_ids), *info.shape[1:]), info.dtype)
                yield small, partial(_rows_of, read, old_ids)


def _rows_of(read: Callable[[], np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = read()[rows]
    return found


def _has_row_each(key: str, shape: tuple[int, ...], rows: int) -> bool:
    if not shape or shape[0] != rows:
        return False
    return bool(WORD_TABLE.search(key)) or bool(PREDICTS_WORDS.search(key) and not INSIDE_HEADS.search(key))


def trim(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    texts: Iterable[str],
    min_count: int = 1,
    keep: Iterable[str] = (),
    note: str = "",
) -> TrimReport:
    """Write a model with a smaller vocabulary: tokenizer, word table, and what predicts words.

    Texts like those given keep their tokens one by one, with new ids, and the model's states stay bit for bit the same;
    other texts are encoded with what is left, in the worst case byte by byte. A model whose encoder sits inside
    another one, under any prefix, is trimmed as well; everything else is carried along.

    Args:
        model: folder with model and tokenizer, of any format; h5 becomes safetensors.
        out: folder to write; it does not exist yet, or is empty.
        texts: what the model is to read; gone through twice, so a stream is held in memory.
        min_count: how often a token has to occur in the texts to be kept.
        keep: further tokens, or texts whose tokens are kept.
        note: a line for the card, such as the command.

    Raises:
        FileExistsError: ``out`` holds something.
        FileNotFoundError: there is no model.
        ValueError: there is no text, texts are of a language that the vocabulary does not know, the folder has no
            tokenizer, or no word table that belongs to it.
    """
    source, target = source_folder(model), Target(out, overwrite=None)
    texts = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Iterator) else texts
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_weights(source))
        if file.format == "h5":
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory())) / source.name
            convert(source, scratch, to="pt")
            report = trim(scratch, out, texts=texts, min_count=min_count, keep=keep, note=note)
            return replace(report, source=str(source))
        target.refuse_source(file.paths[0])
        beside = [name for name in GENERATOR_WEIGHTS if (source / name).is_file()]
        sets = [_Weights.of(file, None)]
        sets += [_Weights.of(stack.enter_context(open_weights(source / name)), name) for name in beside]
        found = trim_vocabulary(source, texts, min_count=min_count, keep=keep)
        _check(found, sets, source)
        report = _report(source, out, found, sets)
        with Replacement(target.path) as files:
            _write(files, source, found, sets)
            report.changed = _changed(source, files.stage / "new", found, texts)
            if report.changed and min_count == 1:
                raise ValueError(f"refused: the new tokenizer would read {report.changed:.2%} of the texts differently")
            add_to_card(files, source, report, note)
            files.commit()
    return report


def _check(found: Trimmed, sets: list[_Weights], source: Path) -> None:
    refuse_unknown(found.unknown, source)
    for weights in sets:
        if found.old_ids[-1] >= weights.rows:
            raise ValueError(
                f"the word table in {weights.file.paths[0]} has {weights.rows} rows, but the tokenizer in {source} has "
                f"a token {found.old_ids[-1]}; they do not belong together"
            )


def _report(source: Path, out: Any, found: Trimmed, sets: list[_Weights]) -> TrimReport:
    after = len(found.old_ids)

    def sums(measure: Callable[[TensorInfo], int]) -> tuple[int, int]:
        both = [(info, key in weights.cut) for weights in sets for key, info in weights.file.tensors.items()]
        small = (TensorInfo(i.name, (after, *i.shape[1:]), i.dtype) if cut else i for i, cut in both)
        return sum(measure(info) for info, _ in both), sum(map(measure, small))

    return TrimReport(
        os.fspath(source), os.fspath(out), found.texts, (found.tokens_before, after), (sets[0].rows, after),
        sums(lambda info: prod(info.shape)), sums(lambda info: info.nbytes), 0.0,
        [key for weights in sets for key in weights.cut],
        [f"{name} was left out: other files hold the same" for name in sorted(found.left_out)],
    )  # fmt: skip


def _write(files: Replacement, source: Path, found: Trimmed, sets: list[_Weights]) -> None:
    """Weights, configs, tokenizer, and all else that is there."""
    own = [path for weights in sets for path in weights.file.paths]
    extras, _ = find_extras(source, whole=True, weights=own, skip=files.folder)
    own_files = {*found.files, *found.left_out, *CONFIGS, *GENERATOR_WEIGHTS, CARD}
    carry([extra for extra in extras if extra.name not in own_files], files)
    for name in CONFIGS:
        if (source / name).is_file():
            values = json.loads((source / name).read_text(encoding="utf-8"))
            smaller = _config(values, found.new_ids, sets[0].rows)
            files.write(name, json.dumps(smaller, indent=2, ensure_ascii=False) + "\n")
    for name, content in found.files.items():
        files.write(name, content)
    old_ids = np.array(found.old_ids)
    for weights in sets:
        format = weights.file.format
        write_weights(
            files, weights.tensors(old_ids), format=format, file_name=weights.name,
            metadata=weights.file.metadata if format == "safetensors" else None,
            aliases=weights.file.aliases if format == "bin" else None,
        )  # fmt: skip


def _config(values: Any, new_ids: Mapping[int, int], rows: int) -> Any:
    """A config with the new number of rows and the new ids, in parts of it, too."""
    if not isinstance(values, dict):
        return values
    found = {}
    for name, value in values.items():
        if name == "vocab_size" and isinstance(value, int) and value > 0:
            value = len(new_ids)
        elif TOKEN_IDS.fullmatch(name) and isinstance(value, int):
            value = new_ids.get(value, value)
        elif TOKEN_IDS.fullmatch(name) and isinstance(value, list):
            value = [new_ids.get(one, one) for one in value]
        found[name] = _config(value, new_ids, rows)
    return found


def _changed(before: Path, after: Path, found: Trimmed, texts: Iterable[str]) -> float:
    """Share of the texts that the two folders' tokenizers encode differently."""
    old, new = AutoTokenizer.from_pretrained(before), AutoTokenizer.from_pretrained(after)
    changed = 0
    for batch in batches(texts):
        pairs = zip(*(one(batch, verbose=False)["input_ids"] for one in (old, new)), strict=True)
        changed += sum(ids != [found.old_ids[i] for i in fewer] for ids, fewer in pairs)
    return changed / found.texts
