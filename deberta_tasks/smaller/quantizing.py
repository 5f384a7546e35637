"""``quantize``: a model whose layers compute with 8-bit integers, chosen on texts; a quarter of the size.

The weights of the layers' products and the word table become integers; norms, heads, relative tables and what texts
show to lose too much stay float. PyTorch computes with the integers where a model is prepared for inference, and both
frameworks load the floats that they stand for everywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from conversion.folder import Target, carry, find_extras
from conversion.frameworks import load_torch
from conversion.reports import Table, as_markdown, in_bytes
from conversion.source import open_source
from deberta_core.file_names import CARD, CONFIG, VOCABULARIES
from deberta_core.files import Replacement
from deberta_core.heads import HEADS
from deberta_tasks.smaller.trimming import refuse_unknown
from tokenization import AutoTokenizer

MOST_TEXTS, BATCH, MOST_TOKENS = 256, 8, 256  # that are read: more show nothing new


@dataclass
class QuantizeReport:
    """What became integers.

    Attributes:
        source: where the model came from.
        target: where it is.
        texts: how many were read.
        nbytes: of the weights, before (in float32) and after.
        error: of the outputs, as a share of what they tell texts apart by.
        cosine: of the outputs with those of the float model.
        products: name, error, share of the outliers moved into the weights (a power), digits of its inputs, and why it
            stays float, if it does.
        notes: what else there is to know.
    """

    source: str
    target: str
    texts: int
    nbytes: tuple[int, int]
    error: float
    cosine: float
    products: list[tuple[str, float, float, int, str]]
    notes: list[str] = field(default_factory=list)

    @property
    def floats(self) -> list[str]:
        """Names of the products that stay float."""
        return [name for name, *_, why in self.products if why]

    def tables(self) -> list[Table]:
        """Its content for people: the products that are not as most."""
        worst = max(self.products, key=lambda row: row[1])
        facts = [
            ("weights", f"{in_bytes(self.nbytes[0])} before, {in_bytes(self.nbytes[1])} after"),
            ("texts", f"{self.texts:,}"),
            ("products in integers", f"{len(self.products) - len(self.floats)} of {len(self.products)}"),
            ("with outliers moved", str(sum(moved > 0 and not why for _, _, moved, _, why in self.products))),
            ("with inputs of two digits", str(sum(digits > 1 and not why for *_, digits, why in self.products))),
            ("largest error of a product", f"{worst[1]:.4f} ({worst[0]})"),
            ("error of the outputs", f"{self.error:.4f}"),
            ("cosine of the outputs", f"{self.cosine:.6f}"),
            *(("float", f"{name}: {why}") for name, *_, why in self.products if why),
            *(("note", note) for note in self.notes),
        ]
        return [Table("Quantised to 8-bit integers", rows=list(facts))]

    def to_dict(self) -> dict[str, Any]:
        """Its content for programs."""
        return vars(self)


def quantize(
    model: str | os.PathLike[str], out: str | os.PathLike[str], *, texts: Iterable[str], note: str = ""
) -> QuantizeReport:
    """Write a model with weights of 8-bit integers; needs PyTorch.

    Args:
        model: folder with model and tokenizer, of any format.
        out: folder to write; it does not exist yet, or is empty.
        texts: some of the kind that the model is for; the first ``MOST_TEXTS`` are read.
        note: a line for the card, such as the command.

    Raises:
        FileExistsError: ``out`` holds something.
        FileNotFoundError: there is no model.
        ValueError: there is no text, texts are of a language that the vocabulary does not know, the folder has no
            tokenizer, or its weights are integers already.
    """
    import deberta_pt

    source, target = Path(model), Target(out, overwrite=False)
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is no folder; expected one with a model and its tokenizer")
    if not any((source / name).is_file() for name in VOCABULARIES):
        raise ValueError(f"{source} has no tokenizer ({', '.join(VOCABULARIES)}), so no texts can be read")
    with open_source(source, isolate_h5=True) as opened:
        target.refuse_source(opened.file.paths[0])
        if any(info.dtype == "int8" for info in opened.file.tensors.values()):
            raise ValueError(f"the weights in {source} are integers already; quantise the model that they were made of")
        plain, weights = load_torch(opened, opened.head, "float32"), opened.file.paths
    tokenizer = AutoTokenizer.from_pretrained(source)
    read = list(islice((texts,) if isinstance(texts, str) else texts, MOST_TEXTS))
    if not any(text.strip() for text in read):
        raise ValueError("there is no text to choose integers by; give some of the kind that the model is for")
    batches = list(_batches(read, tokenizer, by_choice=HEADS[opened.head].by_choice))
    refuse_unknown(_unknown(batches, tokenizer), source)
    small: Any = deberta_pt.quantize(plain, batches)
    found = small.quantization
    report = QuantizeReport(
        os.fspath(model), os.fspath(out), len(read), found.nbytes, found.error, found.cosine, found.products
    )
    if len(read) < BATCH:
        report.notes.append(f"{len(read)} texts are few to choose by; some hundred are better")
    if report.floats and len(report.floats) == len(report.products):
        report.notes.append("no product could be computed with integers")
    extras, _ = find_extras(source, whole=True, weights=list(weights), skip=target.path)
    more = f"\n\n{note}" if note else ""
    with Replacement(target.path) as files:
        carry([extra for extra in extras if extra.name not in (CONFIG, CARD)], files)
        small.write_into(files)
        card = files.stage / "new" / CARD
        before = source / CARD if (source / CARD).is_file() else card
        text = f"{before.read_text(encoding='utf-8').rstrip()}\n\n{as_markdown(report.tables())}{more}\n"
        card.write_text(text, encoding="utf-8")
        files.commit()
    return report


def _batches(texts: list[str], tokenizer: Any, *, by_choice: bool) -> Iterator[dict[str, Any]]:
    """What a model reads of texts; for one that chooses, each text is the only choice."""
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
