"""Converting, inspecting, verifying and exporting checkpoints; importing and converting need neither framework."""

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy

if TYPE_CHECKING:
    from conversion.conversion_report import ConversionReport
    from conversion.converting import convert
    from conversion.exports.exporting import export
    from conversion.exports.report import ExportReport
    from conversion.inspection import Inspection, inspect
    from conversion.verification import Verification, verify

__all__ = ["ConversionReport", "ExportReport", "Inspection", "Verification", "convert", "export", "inspect", "verify"]

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "conversion.conversion_report": ["ConversionReport"],
            "conversion.converting": ["convert"],
            "conversion.exports.exporting": ["export"],
            "conversion.exports.report": ["ExportReport"],
            "conversion.inspection": ["Inspection", "inspect"],
            "conversion.verification": ["Verification", "verify"],
        },
    )
