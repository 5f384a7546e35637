"""``inspect``: what a checkpoint is, what each model finds in it, and what a conversion would leave aside."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from conversion.converting import FORMATS
from conversion.mapping import PREFIX
from conversion.plan import Planner
from conversion.reports import Row, Table, in_bytes
from conversion.side_file import SIDE_FILE
from conversion.sizes import published_name
from conversion.source import Source, open_source
from conversion.transfer import count_not_finite
from deberta_core.checkpoint import TensorInfo
from deberta_core.heads import FAMILIES, HEADS, fit_head, weights
from deberta_core.loading import match_file
from deberta_core.wording import some


@dataclass
class ClassFit:
    """What a model class finds in a checkpoint.

    Attributes:
        name: class in ``deberta_pt``; in ``deberta_tf`` it has ``TF`` before it.
        missing: weights that the file lacks.
        unexpected: tensors that the class has no use for.
        mismatched: weights of another shape: that of the file and that of the class.
    """

    name: str
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)


@dataclass
class Inspection:
    """What a checkpoint is.

    Attributes:
        path: as given.
        files: weights files and their bytes.
        format: ``safetensors``, ``bin``, ``h5``, ``keras`` or ``checkpoint``.
        layout: whose names it has, in words.
        family: ``model_type``.
        published: published model of the same sizes, if there is one.
        head: the head of the model, as its class name ends.
        architectures: class names in its config.
        config: its config file; None: the sizes are read off the shapes.
        layers: encoder layers.
        parameters: scalars in all tensors, each counted once.
        encoder_parameters: those of the encoder.
        dtypes: number of tensors and bytes by element type.
        classes: what each model class finds.
        foreign: tensors that no class has a use for.
        side_file: tensors in the side file of an earlier conversion.
        aliases: second names of tied weights.
        not_weights: entries that are no weights of the model, with their kind.
        renamed: old spellings and today's.
        conversions: by target, what would be kept aside, widened or lost, in words.
        metadata: texts in the file.
        not_finite: number of NaN and of infinite elements by tensor; None: not looked for.
        notes: remarks on how it was understood.
    """

    path: str
    files: dict[str, int]
    format: str
    layout: str
    family: str
    published: str | None
    head: str
    architectures: list[str]
    config: str | None
    layers: int
    parameters: int
    encoder_parameters: int
    dtypes: dict[str, tuple[int, int]]
    classes: list[ClassFit]
    foreign: list[str]
    side_file: list[str]
    aliases: dict[str, str]
    not_weights: dict[str, str]
    renamed: dict[str, str]
    conversions: dict[str, list[str]]
    metadata: dict[str, str]
    not_finite: dict[str, tuple[int, int]] | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Everything of note, for people."""
        return [Table("", (), self._summary()), self._class_table(), self._conversion_table()]

    def _summary(self) -> list[Row]:
        size = in_bytes(sum(self.files.values()))
        rows: list[Row] = [
            ("checkpoint", f"{self.path}: {some(list(self.files))}, {size}"),
            ("format", f"{self.format}, {self.layout}"),
            ("family", self.family + (f", the sizes of {self.published}" if self.published else "")),
            ("head", f"{self.head} (architectures: {some(self.architectures) or 'not said'})"),
            ("config", self.config or "none; the sizes are read off the shapes"),
            ("parameters", f"{self.parameters:,}, encoder {self.encoder_parameters:,} in {self.layers} layers"),
        ]
        rows += [("dtype", f"{name}: {count} tensors, {in_bytes(size)}") for name, (count, size) in self.dtypes.items()]
        return rows + [(label, some(items)) for label, items in self._remarks() if items]

    def _remarks(self) -> list[tuple[str, list[str]]]:
        return [
            ("no class has a use for", self.foreign),
            ("in " + SIDE_FILE, self.side_file),
            ("second names", [f"{alias} = {first}" for alias, first in self.aliases.items()]),
            ("no weights", [f"{name} ({kind})" for name, kind in self.not_weights.items()]),
            ("old spellings", [f"{old} -> {new}" for old, new in self.renamed.items()]),
            ("NOT FINITE", [f"{n}: {nan} NaN, {inf} infinite" for n, (nan, inf) in (self.not_finite or {}).items()]),
            ("note", self.notes),
        ]

    def _class_table(self) -> Table:
        rows: list[Row] = []
        for fit in self.classes:
            rows.append((fit.name, *map(_count, (fit.missing, fit.unexpected, list(fit.mismatched)))))
        return Table("what each class would find", ("class", "missing", "unexpected", "of another shape"), rows)

    def _conversion_table(self) -> Table:
        rows: list[Row] = [(name, "; ".join(notes) or "nothing lost") for name, notes in self.conversions.items()]
        return Table("what a conversion would do", ("target", ""), rows)


def _count(names: list[str]) -> str:
    """How many weights, and in which parts of a model."""
    parts = dict.fromkeys(_part(name.replace("/", ".")) for name in names)
    return f"{len(names)}: {some(list(parts), 3)}" if names else "-"


def _part(name: str) -> str:
    path = name.removeprefix(PREFIX).split(".")  # the tables one by one; of the rest its top says enough
    return path[1] if path[0] == "embeddings" and len(path) > 1 else path[0]


def inspect(path: str | os.PathLike[str], *, values: bool = False, isolate_h5: bool = False) -> Inspection:
    """Say what a checkpoint is; only names, shapes and types are read, unless ``values`` is given.

    Args:
        path: folder, weights file, or index of shards, of any format; or a name on the hub.
        values: also read all elements and count those that are NaN or infinite.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.

    Raises:
        CheckpointError: damaged, refused, or not a DeBERTa.
        FileNotFoundError: nothing there.
        ValueError: the config is not one of a DeBERTa.
    """
    with open_source(path, isolate_h5=isolate_h5, check=False) as source:
        file = source.file
        tensors = {name: info for name, info in source.tensors.items() if name not in file.aliases}
        sizes = {name: math.prod(info.shape) for name, info in tensors.items()}
        encoder = {n: size for n, size in sizes.items() if source.names.keys.get(n, "").startswith(PREFIX)}
        return Inspection(
            path=os.fspath(path), files={p.name: p.stat().st_size for p in file.paths}, format=file.format,
            layout=source.names.layout, family=source.names.family, published=published_name(source.config),
            head=source.head, architectures=source.architectures, layers=source.names.layers,
            config=None if source.config_file is None else str(source.config_file), parameters=sum(sizes.values()),
            encoder_parameters=sum(encoder.values()), dtypes=_count_dtypes(tensors.values()),
            classes=_fit_classes(source),
            foreign=[name for name in source.names.foreign if name not in file.aliases],
            side_file=list(source.restored), aliases=dict(file.aliases),
            not_weights=dict(file.skipped), renamed=dict(source.names.renamed), conversions=_conversions(source),
            metadata=dict(file.metadata), not_finite=_look_for_not_finite(source, tensors) if values else None,
            notes=list(file.notes),
        )  # fmt: skip


def _count_dtypes(infos: Iterable[TensorInfo]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for info in infos:
        count, nbytes = found.get(info.dtype, (0, 0))
        found[info.dtype] = (count + 1, nbytes + info.nbytes)
    return found


def _fit_classes(source: Source) -> list[ClassFit]:
    fits, shapes = [], source.shapes
    for head in HEADS:
        config = fit_head(source.config, head, shapes)
        report = match_file(source.file, weights(config, head), config)
        mismatched = {key: (stored, expected) for key, stored, expected in report.mismatched_keys}
        name = FAMILIES[source.names.family] + head
        fits.append(ClassFit(name, report.missing_keys, report.unexpected_keys, mismatched))
    return fits


def _conversions(source: Source) -> dict[str, list[str]]:
    targets = [(to, format) for to, formats in FORMATS.items() for format in formats]
    return {f"{to}, {format}": _what_changes(source, to, format) for to, format in targets}


def _what_changes(source: Source, to: str, format: str) -> list[str]:
    plan = Planner(source, to=to, format=format).plan()
    notes = []
    if source.file.skipped:
        notes.append(f"lost, being no weights: {some(list(source.file.skipped), 3)}")
    if plan.aside:
        names = [move.source.name for move in plan.aside]
        notes.append(f"to {SIDE_FILE}: {len(names)} ({some(names, 3)})")
    if plan.widened:
        notes.append(f"{len(plan.widened)} bfloat16 tensors widened to float32")
    if plan.dropped_aliases:
        notes.append(f"second names left out: {some(list(plan.dropped_aliases), 3)}")
    if source.names.renamed:
        notes.append(f"{len(source.names.renamed)} old spellings brought up to date")
    return notes


def _look_for_not_finite(source: Source, tensors: Mapping[str, TensorInfo]) -> dict[str, tuple[int, int]]:
    found = {}
    for name, info in tensors.items():
        counts = count_not_finite(source.read_raw(name), info.dtype)
        if any(counts):
            found[name] = counts
    return found
