"""What a conversion did, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from conversion.reports import Row, Table, in_bytes
from conversion.side_file import SIDE_FILE
from conversion.verification import Verification
from deberta_core.wording import some


@dataclass
class ConversionReport:
    """What a conversion did.

    Attributes:
        source: what was read.
        target: folder that was written.
        read_as: format and names of the source, in words.
        to: whose names the target has, ``pt`` or ``tf``.
        format: of the target.
        family: ``model_type``.
        head: the head of the model, as its class name ends.
        files: names of the weights files written.
        tensors: number of tensors written.
        nbytes: bytes of tensors written.
        seconds: time it took.
        lossless: whether a conversion back gives every tensor back, bit for bit.
        renamed: spellings brought up to date, old to new.
        aside: tensors kept in the side file.
        restored: tensors taken up from the source's side file.
        aliases_dropped: second names of tied weights, which the target's format leaves out.
        aliases_added: second names of tied weights, which PyTorch's .bin files have.
        not_weights: entries that are no weights of the model and stay behind, with their kind.
        widened: bfloat16 tensors, stored as float32 because h5 has no bfloat16.
        narrowed: tensors that lost precision through ``dtype``.
        not_finite: number of NaN and of infinite elements by tensor.
        overflowed: elements that became infinite through ``dtype``, by tensor.
        copied: other files that were carried along.
        left_behind: other files that were not, with the reason.
        notes: remarks on how the source was understood.
        verification: of source against target, where asked for.
    """

    source: str
    target: str
    read_as: str
    to: str
    format: str
    family: str
    head: str
    files: list[str] = field(default_factory=list)
    tensors: int = 0
    nbytes: int = 0
    seconds: float = 0.0
    lossless: bool = True
    renamed: dict[str, str] = field(default_factory=dict)
    aside: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    aliases_dropped: dict[str, str] = field(default_factory=dict)
    aliases_added: dict[str, str] = field(default_factory=dict)
    not_weights: dict[str, str] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    narrowed: list[str] = field(default_factory=list)
    not_finite: dict[str, tuple[int, int]] = field(default_factory=dict)
    overflowed: dict[str, int] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    left_behind: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    verification: Verification | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Everything of note, for people."""
        rows: list[Row] = [
            ("source", f"{self.source} ({self.read_as})"),
            ("target", f"{self.target}: {some(self.files)}"),
            ("model", f"{self.family}, {self.head}"),
            ("tensors", f"{self.tensors}, {in_bytes(self.nbytes)}, {self.seconds:.1f} s"),
            ("lossless", "yes" if self.lossless else "no, see below"),
        ]
        rows += [(label, some([str(item) for item in items])) for label, items in self._remarks() if items]
        return [Table("", (), rows), *([] if self.verification is None else self.verification.tables())]

    def _remarks(self) -> list[tuple[str, list[str]]]:
        return [
            ("kept in " + SIDE_FILE, self.aside),
            ("taken up from " + SIDE_FILE, self.restored),
            ("names brought up to date", [f"{old} -> {new}" for old, new in self.renamed.items()]),
            ("second names left out", [f"{alias} = {first}" for alias, first in self.aliases_dropped.items()]),
            ("second names added", [f"{alias} = {first}" for alias, first in self.aliases_added.items()]),
            ("no weights, left out", [f"{name} ({kind})" for name, kind in self.not_weights.items()]),
            ("bfloat16 widened to float32", self.widened),
            ("rounded", self.narrowed),
            ("NOT FINITE", [f"{n}: {nan} NaN, {inf} infinite" for n, (nan, inf) in self.not_finite.items()]),
            ("OVERFLOWED", [f"{name}: {count} became infinite" for name, count in self.overflowed.items()]),
            ("copied", self.copied),
            ("left behind", [f"{name} ({reason})" for name, reason in self.left_behind.items()]),
            ("note", self.notes),
        ]
