"""Whether a pipeline runs a model prepared for inference, or as it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any


def prepared(model: Any, *, optimize: Callable[[Any], Any], asked: bool, reason: str = "") -> Any:
    """The model as ``optimize_for_inference`` makes it, or itself where that would lose something.

    Args:
        model: any of the zoo, or one that wraps it.
        optimize: the framework's ``optimize_for_inference``.
        asked: say why, in a warning, if it stays as it is.
        reason: why it has to, if the framework knows one.
    """
    if getattr(model, "prepared", False):
        return model
    chosen = getattr(model.config, "attn_implementation", "auto")
    if not reason and chosen != "auto":
        reason = f"attn_implementation {chosen!r} was chosen for it"
    if not reason:
        try:
            return optimize(model)
        except (TypeError, ValueError) as error:
            reason = str(error)
    if asked:
        warnings.warn(f"prepare=True, but the model stays as it is: {reason}", stacklevel=3)
    return model
