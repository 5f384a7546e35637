"""Converting, inspecting and verifying checkpoints; importing this, and converting, needs neither framework."""

from conversion.conversion_report import ConversionReport
from conversion.converting import convert
from conversion.inspection import Inspection, inspect
from conversion.verification import Verification, verify

__all__ = ["ConversionReport", "Inspection", "Verification", "convert", "inspect", "verify"]
