"""``prune``: a model with fewer layers, heads and feed-forward columns: those that matter least on texts."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conversion.folder import Target
from conversion.frameworks import load_tensorflow, load_torch
from conversion.reports import Table, in_bytes
from conversion.source import Source, open_source
from deberta_core.heads import HEADS
from deberta_core.pruning import check_cuts, columns_to_cut, heads_to_cut, layers_to_cut
from deberta_tasks.smaller.folders import (
    Sample,
    refuse_integers,
    source_folder,
    stored_types,
    widest,
    write_smaller,
)

FRAMEWORKS = {"pt": ("deberta_pt", load_torch), "tf": ("deberta_tf", load_tensorflow)}


@dataclass
class PruneReport:
    """What was cut.

    Attributes:
        source: where the model came from.
        target: where it is.
        texts: how many were read.
        layers: numbers of the layers that were cut.
        heads: numbers of the heads that were cut, by layer of the new model.
        intermediate: feed-forward columns of a layer, before and after.
        parameters: before and after.
        notes: what else there is to know.
    """

    source: str
    target: str
    texts: int
    layers: list[int]
    heads: dict[int, list[int]]
    intermediate: tuple[int, int]
    parameters: tuple[int, int]
    notes: list[str] = field(default_factory=list)

    def tables(self) -> list[Table]:
        """Its content for people."""
        heads = sum(map(len, self.heads.values()))
        sizes = [in_bytes(4 * count) for count in self.parameters]
        facts = [
            ("parameters", f"{self.parameters[0]:,} before, {self.parameters[1]:,} after"),
            ("weights in float32", f"{sizes[0]} before, {sizes[1]} after"),
            ("texts", f"{self.texts:,}"),
            ("layers cut", ", ".join(map(str, self.layers)) or "none"),
            ("heads cut", f"{heads}" if heads else "none"),
            *((f"layer {layer}, heads cut", ", ".join(map(str, gone))) for layer, gone in self.heads.items()),
            ("feed-forward columns", f"{self.intermediate[0]:,} before, {self.intermediate[1]:,} after"),
            *(("note", note) for note in self.notes),
        ]
        return [Table("Pruned", rows=list(facts))]

    def to_dict(self) -> dict[str, Any]:
        """Its content for programs."""
        return vars(self)


def prune(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    texts: Iterable[str],
    layers: int | None = None,
    heads: float | None = None,
    intermediate: float | None = None,
    by: str = "gradient",
    framework: str = "pt",
    note: str = "",
) -> PruneReport:
    """Write a model without the layers, heads and columns that matter least; it is to be trained or distilled then.

    Layers go first; heads and columns are chosen in what is left. The model computes what the one before does with
    the heads masked and the columns zero.

    Args:
        model: folder with model and tokenizer, of any format.
        out: folder to write; it does not exist yet, or is empty.
        texts: some of the kind that the model is for; the first ``MOST_TEXTS`` are read.
        layers: how many stay.
        heads: share of all heads that is cut; each layer keeps one.
        intermediate: share of the feed-forward columns that is cut, in each layer.
        by: how heads are measured: ``gradient`` or ``loss``, see ``importance``.
        framework: ``pt``, which writes safetensors, or ``tf``, which writes h5.
        note: a line for the card, such as the command.

    Raises:
        FileExistsError: ``out`` holds something.
        FileNotFoundError: there is no model.
        ValueError: nothing is asked for, or what cannot be; there is no text, or of another language; the folder has
            no tokenizer, or its weights are integers.
    """
    if layers is None and heads is None and intermediate is None:
        raise ValueError("nothing is to be cut; give layers, heads or intermediate")
    source, target = source_folder(model), Target(out, overwrite=None)
    package, load = FRAMEWORKS[framework]
    with open_source(source, isolate_h5=True) as opened:
        target.refuse_source(opened.file.paths[0])
        refuse_integers(opened, "prune")
        check_cuts(opened.config, layers=layers, heads=heads, intermediate=intermediate, by=by)
        sample = Sample(texts, source, by_choice=HEADS[opened.head].by_choice, purpose="measure parts")
        made, weights = load(opened, opened.head, widest(opened)), opened.file.paths
        before = made.num_parameters(), made.config.intermediate_size
        gone, cut = cut_out(made, package, sample.batches, layers, heads, intermediate, by)
        report = PruneReport(
            os.fspath(model), os.fspath(out), sample.texts, gone, cut, (before[1], made.config.intermediate_size),
            (before[0], made.num_parameters()), sample.notes,
        )  # fmt: skip
        write_smaller(target, source, weights, made, report, note, types_as_stored(opened, made, gone, framework))
    return report


def types_as_stored(opened: Source, made: Any, gone: Sequence[int], framework: str) -> dict[str, str]:
    """As the source has them; h5, which TensorFlow writes, has no bfloat16."""
    found = stored_types(opened, made, gone)
    return found if framework == "pt" else {k: "float32" if d == "bfloat16" else d for k, d in found.items()}


def cut_out(
    model: Any,
    package: str,
    batches: Sequence[Mapping[str, Any]],
    layers: int | None,
    heads: float | None,
    intermediate: float | None,
    by: str,
) -> tuple[list[int], dict[int, list[int]]]:
    """Cut a model; returns the layers, and by layer the heads, that went."""
    importance = importlib.import_module(f"{package}.importance").importance
    gone: list[int] = []
    cut: dict[int, list[int]] = {}
    if layers is not None:
        gone = layers_to_cut(model.config, importance(model, batches).layers, layers)
        model.prune_layers(gone)
    if heads is not None or intermediate is not None:
        found = importance(model, batches, by=by if heads is not None else "gradient")
        if heads is not None:
            cut = heads_to_cut(model.config, found.heads, heads)
        if intermediate is not None:
            model.prune_intermediate(columns_to_cut(model.config, found.columns, intermediate))
        model.prune_heads(cut)
    return gone, cut
