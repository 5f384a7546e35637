"""Models made smaller: folders in, folders out, which load like any other."""

from __future__ import annotations

from deberta_tasks.smaller.pruning import PruneReport, prune
from deberta_tasks.smaller.quantizing import QuantizeReport, quantize
from deberta_tasks.smaller.trimming import TrimReport, trim

__all__ = ["PruneReport", "QuantizeReport", "TrimReport", "prune", "quantize", "trim"]
