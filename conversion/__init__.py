"""Converting, inspecting and verifying checkpoints; importing this, and converting, needs neither framework."""

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy

if TYPE_CHECKING:
    from conversion.conversion_report import ConversionReport
    from conversion.converting import convert
    from conversion.inspection import Inspection, inspect
    from conversion.verification import Verification, verify

__all__ = ["ConversionReport", "Inspection", "Verification", "convert", "inspect", "verify"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "conversion.conversion_report": ["ConversionReport"],
        "conversion.converting": ["convert"],
        "conversion.inspection": ["Inspection", "inspect"],
        "conversion.verification": ["Verification", "verify"],
    },
)
