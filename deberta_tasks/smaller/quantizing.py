"""``quantize``: a model whose layers compute with 8-bit integers, chosen on texts; a quarter of the size.

The weights of the layers' products and the word table become integers; norms, heads, relative tables and what texts
show to lose too much stay float. PyTorch computes with the integers where a model is prepared for inference, and both
frameworks load the floats that they stand for everywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from conversion.folder import Target
from conversion.frameworks import load_torch
from conversion.reports import Table, in_bytes
from conversion.source import open_source
from deberta_core.heads import HEADS
from deberta_tasks.smaller.folders import Sample, refuse_integers, source_folder, write_smaller


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

    source, target = source_folder(model), Target(out, overwrite=None)
    with open_source(source, isolate_h5=True) as opened:
        target.refuse_source(opened.file.paths[0])
        refuse_integers(opened, "quantise")
        sample = Sample(texts, source, by_choice=HEADS[opened.head].by_choice, purpose="choose integers")
        plain, weights = load_torch(opened, opened.head, "float32"), opened.file.paths
    small: Any = deberta_pt.quantize(plain, sample.batches)
    found = small.quantization
    report = QuantizeReport(
        os.fspath(model), os.fspath(out), sample.texts, found.nbytes, found.error, found.cosine, found.products,
        sample.notes,
    )  # fmt: skip
    if report.floats and len(report.floats) == len(report.products):
        report.notes.append("no product could be computed with integers")
    write_smaller(target, source, weights, small, report, note)
    return report
