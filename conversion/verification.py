"""``verify``: the same checkpoint in both frameworks, or two checkpoints, layer by layer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from conversion.batches import Batch, make_batches
from conversion.compare_weights import WeightComparison, compare_weights
from conversion.differences import Difference, measure
from conversion.frameworks import Outputs, installed, run_model
from conversion.reports import Row, Table
from conversion.source import Source, open_source
from deberta_core.heads import fit_head
from deberta_core.wording import some

LIMIT = 1e-5
HALF_LIMIT = 0.1  # bfloat16 has eight bits for a number, and what layers lose of it adds up
DTYPES = ("float32", "bfloat16")
_KEPT = 1 << 24  # elements of an output that are kept for comparison


@dataclass(frozen=True)
class LayerDifference(Difference):
    """One row of a comparison.

    Attributes:
        name: ``embeddings``, ``layer 1`` and so on, or an output.
        largest: largest absolute value in the reference.
        difference: largest absolute difference; infinite where either side has a NaN.
    """

    name: str
    largest: float
    difference: float


@dataclass
class Comparison:
    """One run against the reference.

    Attributes:
        reference: the run compared with: file, framework and type.
        other: this run.
        limit: largest relative difference that passes.
        rows: by layer, then the outputs; over all batches.
    """

    reference: str
    other: str
    limit: float
    rows: list[LayerDifference] = field(default_factory=list)

    @property
    def worst(self) -> LayerDifference:
        """The row with the largest relative difference."""
        return max(self.rows, key=lambda row: row.relative)

    @property
    def ok(self) -> bool:
        """Whether every row is within the limit."""
        return all(row.relative <= self.limit for row in self.rows)


@dataclass
class Verification:
    """What a verification found.

    Attributes:
        a: the first checkpoint.
        b: the second, if there is one.
        head: the class that was built, as its name ends.
        batches: what was run, rows x tokens.
        comparisons: runs against the first one.
        weights: the files tensor by tensor, where there are two.
        notes: what was not done, and why.
    """

    a: str
    b: str | None
    head: str
    batches: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    weights: WeightComparison | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every comparison is within its limit and no weight is missing or different."""
        return all(comparison.ok for comparison in self.comparisons) and (self.weights is None or self.weights.ok)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for json."""
        values = asdict(self)
        values["ok"] = self.ok
        for comparison, row in zip(self.comparisons, values["comparisons"], strict=True):
            row["ok"] = comparison.ok
        return values

    def tables(self) -> list[Table]:
        """Everything, for people."""
        head = Table("", (), [("verified", self.a if self.b is None else f"{self.a} against {self.b}")])
        head.rows += [("model", self.head), ("batches", f"{', '.join(self.batches)} (rows x tokens)")]
        head.rows += [("note", note) for note in self.notes]
        if self.weights is not None:
            head.rows.append(("weights", _weights_in_words(self.weights)))
        tables = [head, *(_layer_table(comparison) for comparison in self.comparisons)]
        return [*tables, Table("", (), [("result", "within the limits" if self.ok else "OVER THE LIMIT")])]


def _weights_in_words(weights: WeightComparison) -> str:
    parts = [f"{weights.identical} identical bit for bit"]
    lists = {
        "rounded to a narrower type": weights.rounded, "in a wider type": weights.widened,
        "DIFFERENT": [f"{key} by {gap:.3g}" for key, gap in weights.different.items()],
        "OF ANOTHER SHAPE": list(weights.other_shape), "ONLY IN THE FIRST": weights.only_first,
        "ONLY IN THE SECOND": weights.only_second,
    }  # fmt: skip
    return "; ".join([*parts, *(f"{len(keys)} {label} ({some(keys, 4)})" for label, keys in lists.items() if keys)])


def _layer_table(comparison: Comparison) -> Table:
    rows: list[Row] = []
    for row in comparison.rows:
        mark = "" if row.relative <= comparison.limit else "OVER"
        rows.append((row.name, f"{row.largest:.4g}", f"{row.difference:.3g}", f"{row.relative:.2e}", mark))
    title = f"{comparison.other} against {comparison.reference} (limit {comparison.limit:g})"
    return Table(title, ("", "largest value", "difference", "relative", ""), rows)


def verify(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str] | None = None,
    *,
    limit: float = LIMIT,
    half_limit: float = HALF_LIMIT,
    dtypes: Sequence[str] = DTYPES,
    frameworks: Sequence[str] | None = None,
    progress: Callable[[str], None] | None = None,
    isolate_h5: bool = False,
) -> Verification:
    """Run checkpoints in every framework that is installed, and compare every layer.

    The class is that of ``architectures`` in the config, else what the keys show. Random ids are run in padded batches,
    padded on both sides, shorter and longer than the log buckets and the largest distance. The first run, of ``a`` in
    float32, is what the others are compared with.

    Args:
        a: folder, weights file, index of shards, or name on the hub.
        b: another one, to compare with ``a``; their weights are then also compared bit for bit.
        limit: largest difference in float32, relative to the largest value of a layer.
        half_limit: the same for bfloat16, and for a second file whose weights are rounded to a narrower type.
        dtypes: of weights and arithmetic: ``float32``, ``bfloat16``.
        frameworks: ``torch``, ``tensorflow``; default all that are installed.
        progress: told what is being run.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.

    Raises:
        CheckpointError: a file is damaged, refused, or not a DeBERTa.
        ImportError: a framework that was asked for is not installed, or there is nothing to compare with.
        ValueError: arguments or files that do not fit together.
    """
    chosen = _choose_frameworks(frameworks, both_files=b is not None)
    if unknown := [name for name in dtypes if name not in DTYPES]:
        raise ValueError(f"dtypes holds {unknown[0]!r}, expected {' and '.join(DTYPES)}")
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(open_source(p, isolate_h5=isolate_h5)) for p in (a, b) if p is not None]
        job = _Job(sources, chosen, limit, half_limit, progress or (lambda text: None))
        job.compare_weights()
        job.compare_outputs(dtypes)
        return job.result


def _choose_frameworks(asked: Sequence[str] | None, *, both_files: bool) -> list[str]:
    there = installed()
    for name in asked or ():
        if name not in there:
            raise ImportError(f"{name} is not installed, or is none of torch and tensorflow")
    chosen = list(asked or there)
    if not both_files and len(chosen) < 2:
        raise ImportError(
            f"verifying one checkpoint takes both frameworks, there is {chosen[0] if chosen else 'none'}; "
            "install the other one (tensorflow needs tf-keras), or give a second checkpoint"
        )
    return chosen


class _Job:
    def __init__(
        self, sources: list[Source], frameworks: list[str], limit: float, half_limit: float, tell: Callable[[str], None]
    ) -> None:
        self.sources, self.frameworks, self.tell = sources, frameworks, tell
        self.limit, self.half_limit = limit, half_limit
        paths = [str(source.path) for source in sources]
        self.result = Verification(paths[0], paths[1] if len(paths) > 1 else None, sources[0].head)

    def compare_weights(self) -> None:
        """Compare the files, where there are two."""
        if len(self.sources) == 2:
            self.tell("comparing weights")
            self.result.weights = compare_weights(*self.sources)

    def compare_outputs(self, dtypes: Sequence[str]) -> None:
        """Run everything, one model at a time."""
        first = self.sources[0]
        if problem := self._why_not_together():
            if self.result.weights is None:
                raise ValueError(problem)
            self.result.notes.append(f"outputs are not compared: {problem}")
            return
        config = fit_head(first.config, first.head, first.shapes)
        batches = make_batches(config, first.head)
        self.result.batches = [batch.label for batch in batches]
        reference: list[Outputs] | None = None
        name = ""
        for source, framework, dtype in self._runs(dtypes):
            label = f"{source.path}, {framework}, {dtype}"
            self.tell(label)
            outputs = self._run(source, framework, dtype, batches)
            if reference is None:
                reference, name = outputs, label
            else:
                limit = self.limit if dtype == "float32" and not self._is_rounded(source) else self.half_limit
                self.result.comparisons.append(Comparison(name, label, limit, compare_outputs(reference, outputs)))

    def _why_not_together(self) -> str:
        """What keeps the second checkpoint from running in the first one's class."""
        weights = self.result.weights
        if weights is not None and (weights.other_shape or weights.only_first):
            return "the second checkpoint lacks weights of the first, or has them in other shapes"
        without = [str(source.path) for source in self.sources if source.config_file is None]
        if without:
            return f"{' and '.join(without)} has no config.json, and weights do not show the number of heads"
        return ""

    def _runs(self, dtypes: Sequence[str]) -> list[tuple[Source, str, str]]:
        """What is run, the reference first."""
        # float32 runs whether it is asked for or not: without it the others have nothing to be compared with.
        ordered = dict.fromkeys(("float32", *dtypes))
        return [(s, framework, dtype) for dtype in ordered for s in self.sources for framework in self.frameworks]

    def _run(self, source: Source, framework: str, dtype: str, batches: list[Batch]) -> list[Outputs]:
        outputs = run_model(framework, source, self.sources[0].head, dtype, batches)
        return [{name: _thin(array) for name, array in output.items()} for output in outputs]

    def _is_rounded(self, source: Source) -> bool:
        weights = self.result.weights
        return source is not self.sources[0] and weights is not None and bool(weights.rounded)


def compare_outputs(reference: list[Outputs], outputs: list[Outputs]) -> list[LayerDifference]:
    """The largest difference of each layer and output over all batches.

    Raises:
        ValueError: if the runs do not have the same layers and shapes.
    """
    rows = []
    for name in reference[0]:
        largest = difference = 0.0
        for left, right in zip(reference, outputs, strict=True):
            if name not in right or left[name].shape != right[name].shape:
                raise ValueError(f"{name} is not there in both models, or has two shapes; their configs differ")
            of_batch = measure(left[name], right[name])
            largest, difference = max(largest, of_batch[0]), max(difference, of_batch[1])
        rows.append(LayerDifference(name, largest, difference))
    return rows


def _thin(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Every so manyth element of the last axis of a very large output, such as logits over a vocabulary."""
    step = -(-array.size // _KEPT)
    return array[..., ::step].copy() if step > 1 and array.shape[-1] > step else array
