"""Models made smaller: folders in, folders out, which load like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy
from deberta_tasks.smaller.pruning import PruneReport, prune
from deberta_tasks.smaller.quantizing import QuantizeReport, quantize
from deberta_tasks.smaller.trimming import TrimReport, trim

if TYPE_CHECKING:
    from deberta_tasks.smaller.shrinking import ShrinkReport, shrink

__all__ = ["PruneReport", "QuantizeReport", "ShrinkReport", "TrimReport", "prune", "quantize", "shrink", "trim"]

# It trains, and what trains reads folders by modules of this package.
__getattr__, __dir__ = lazy(__name__, {"deberta_tasks.smaller.shrinking": ["ShrinkReport", "shrink"]})
