"""Converting, inspecting and verifying checkpoints; importing this, and converting, needs neither framework."""

from conversion.converting import ConversionReport, convert
from conversion.verification import Verification, verify

__all__ = ["ConversionReport", "Verification", "convert", "verify"]
