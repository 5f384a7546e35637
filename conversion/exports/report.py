"""What an export did and how it was checked, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from conversion.differences import Difference
from conversion.reports import Table, in_bytes


@dataclass(frozen=True)
class Check(Difference):
    """One run of the graph in its runtime against the model.

    Attributes:
        size: batch and length, for multiple choice with the choices between.
        output: name of the output.
        largest: largest absolute value of the model's.
        difference: largest absolute difference; infinite where either has a NaN or an infinite number.
    """

    size: tuple[int, ...]
    output: str
    largest: float
    difference: float


@dataclass
class ExportReport:
    """What an export did.

    Attributes:
        source: checkpoint that was read.
        target: folder that was written.
        to: format, as ``--to`` takes it.
        dtype: type of the graph's numbers.
        head: head of the model, as its class name ends.
        inputs: names of the graph's inputs, int64 each.
        outputs: names of its outputs, in their order.
        tolerance: largest relative difference that passes.
        files: names of the files written.
        nbytes: bytes of the graph.
        checks: runs against the model.
        notes: what a user of the folder should know.
        seconds: time it took.
    """

    source: str
    target: str
    to: str
    dtype: str
    head: str
    inputs: list[str]
    outputs: list[str]
    tolerance: float
    files: list[str] = field(default_factory=list)
    nbytes: int = 0
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def worst(self) -> Check:
        """The run with the largest relative difference."""
        return max(self.checks, key=lambda check: check.relative)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json."""
        values = asdict(self)
        for check, row in zip(self.checks, values["checks"], strict=True):
            row["relative"] = check.relative
        return values

    def tables(self) -> list[Table]:
        """Everything, for people."""
        head = Table("", (), [("exported", self.source), ("to", f"{self.target} ({self.to}, {self.dtype})")])
        head.rows += [("model", self.head), ("inputs", ", ".join(self.inputs)), ("outputs", ", ".join(self.outputs))]
        head.rows += [("graph", in_bytes(self.nbytes)), ("files", ", ".join(self.files))]
        head.rows += [("note", note) for note in self.notes]
        rows = [
            (" x ".join(map(str, c.size)), c.output, f"{c.largest:.4g}", f"{c.difference:.3g}", f"{c.relative:.2e}")
            for c in self.checks
        ]
        title = f"the graph in its runtime against the model (tolerance {self.tolerance:g})"
        return [head, Table(title, ("size", "output", "largest value", "difference", "relative"), list(rows))]
