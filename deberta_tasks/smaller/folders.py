"""What all ways to a smaller model share: the folder it is made of, the texts it is measured on, what goes along."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from conversion.command_line import Report
from conversion.folder import Target, carry, find_extras
from conversion.reports import as_markdown
from conversion.source import Source
from deberta_core.file_names import CARD, CONFIG, VOCABULARIES
from deberta_core.files import Replacement
from deberta_core.packaged import packaged
from tokenization import AutoTokenizer

MOST_TEXTS, BATCH, MOST_TOKENS = 256, 8, 256  # that are read: more show nothing new
MOST_UNKNOWN = 0.5
_OF_LAYER = re.compile(r"(deberta\.encoder\.layer\.)(\d+)(\..*)")


def source_folder(model: str | os.PathLike[str], *, words: bool = False) -> Path:
    """The folder of a model with its tokenizer.

    Args:
        model: the folder, or the name of a model that comes with the package.
        words: whether it is to predict words; see ``deberta_core.packaged``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it has no tokenizer, or predicts no words.
    """
    source = packaged(model, words=words) or Path(model)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder; expected one with a model and its tokenizer")
    if not any((source / name).is_file() for name in VOCABULARIES):
        raise ValueError(f"{source} has no tokenizer ({', '.join(VOCABULARIES)}), so no texts can be read")
    return source


def refuse_integers(opened: Source, doing: str) -> None:
    """Refuse a model whose weights are integers already.

    Raises:
        ValueError: it is one; the text says that it is to be done before.
    """
    if any(info.dtype == "int8" for info in opened.file.tensors.values()):
        where = opened.folder
        raise ValueError(f"the weights in {where} are integers already; {doing} the model that they were made of")


def refuse_unknown(share: float, source: Path) -> None:
    """Refuse texts of which a vocabulary knows too little: this share of their tokens stands for what it lacks.

    Raises:
        ValueError: the share is above ``MOST_UNKNOWN``.
    """
    if share > MOST_UNKNOWN:
        raise ValueError(
            f"{share:.0%} of the tokens of the texts are unknown or single bytes: the vocabulary in {source} "
            "does not have their language; give texts that the model was made for"
        )


class Sample:
    """The first texts as batches of a model's inputs, arrays.

    Args:
        texts: some of the kind that the model is for; ``MOST_TEXTS`` of them are read.
        source: folder of model and tokenizer.
        by_choice: whether the model chooses; then each text is the only choice.
        purpose: what they are for, for an error.

    Attributes:
        texts: how many were read.
        batches: of them.
        notes: what is to be said of them.

    Raises:
        ValueError: there is no text, or they are of a language that the vocabulary does not know.
    """

    def __init__(self, texts: Iterable[str], source: Path, *, by_choice: bool, purpose: str) -> None:
        read = list(islice((texts,) if isinstance(texts, str) else texts, MOST_TEXTS))
        if not any(text.strip() for text in read):
            raise ValueError(f"there is no text to {purpose} by; give some of the kind that the model is for")
        tokenizer = AutoTokenizer.from_pretrained(source)
        self.texts, self.batches = len(read), list(_batches(read, tokenizer, by_choice=by_choice))
        few = len(read) < BATCH
        self.notes = [f"too few texts to choose well by ({len(read)}); give a few hundred"] if few else []
        refuse_unknown(_unknown(self.batches, tokenizer), source)


def widest(opened: Source) -> str:
    """The type that a model is loaded in so that nothing of a checkpoint is lost and all can be computed."""
    return "float64" if any(info.dtype == "float64" for info in opened.file.tensors.values()) else "float32"


def stored_types(opened: Source, model: Any, cut: Collection[int]) -> dict[str, str]:
    """What a checkpoint stores its numbers in, by key of the model that was made of it.

    Args:
        opened: the checkpoint.
        model: of either framework, cut already.
        cut: numbers of the layers that have gone.
    """
    stored = {key: opened.tensors[name].dtype for name, key in opened.names.keys.items()}
    count = model.config.num_hidden_layers + len(cut)
    kept = [i for i in range(count) if i not in cut]
    place, found = {str(old): new for new, old in enumerate(kept)}, {}
    for key, dtype in stored.items():
        layer = _OF_LAYER.fullmatch(key)
        if layer is None:
            found[key] = dtype
        elif layer[2] in place:
            found[f"{layer[1]}{place[layer[2]]}{layer[3]}"] = dtype
    return found | {key: unused.dtype for key, unused in model.unused_tensors.items()}  # which keep their numbers


def write_smaller(
    target: Target,
    source: Path,
    weights: Collection[Path],
    model: Any,
    report: Report,
    note: str,
    dtypes: Mapping[str, str] | None = None,
) -> None:
    """Write a model that was made smaller, and all that lies beside the one that it was made of.

    Args:
        target: the folder.
        source: folder of the model before.
        weights: its files of weights.
        model: of either framework.
        report: for the card.
        note: a line for the card, such as the command.
        dtypes: of ``stored_types``; by default everything has the model's own type.
    """
    extras, _ = find_extras(source, whole=True, weights=weights, skip=target.path)
    with Replacement(target.path) as files:
        carry([extra for extra in extras if extra.name not in (CONFIG, CARD)], files)
        model.write_into(files, dtypes=dtypes)
        add_to_card(files, source, report, note)
        files.commit()


def add_to_card(files: Replacement, source: Path, report: Report, note: str) -> None:
    """Put a report, and the command that led to it, behind the card of the model before, or of the new one."""
    made = files.stage / "new" / CARD
    before = next((path for path in (source / CARD, made) if path.is_file()), None)
    text = f"# {files.folder.name}\n" if before is None else before.read_text(encoding="utf-8")
    more = f"\n\n{note}" if note else ""
    added = f"{text.rstrip()}\n\n{as_markdown(report.tables())}{more}\n"
    if made.is_file():
        made.write_text(added, encoding="utf-8")
    else:
        files.write(CARD, added)


def _batches(texts: list[str], tokenizer: Any, *, by_choice: bool) -> Iterator[dict[str, Any]]:
    for start in range(0, len(texts), BATCH):
        found = tokenizer(
            texts[start : start + BATCH], padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="np"
        )
        yield {name: array[:, None] if by_choice else array for name, array in found.items()}


def _unknown(batches: list[dict[str, Any]], tokenizer: Any) -> float:
    """Share of the tokens that stand for what the vocabulary lacks, single bytes included."""
    ids = [i for batch in batches for i in batch["input_ids"][batch["attention_mask"] != 0].tolist()]
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    tokens = tokenizer.convert_ids_to_tokens([i for i in ids if i not in special])
    unknown: int = sum(token == tokenizer.unk_token or token.startswith("<0x") for token in tokens)
    return unknown / max(len(tokens), 1)
