"""Models made smaller: folders in, folders out, which load like any other."""

from __future__ import annotations

from deberta_tasks.smaller.quantizing import QuantizeReport, quantize
from deberta_tasks.smaller.trimming import TrimReport, trim

__all__ = ["QuantizeReport", "TrimReport", "quantize", "trim"]
