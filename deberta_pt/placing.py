"""Where the weights of a loaded model go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

BY_ITSELF = ("auto", "balanced", "balanced_low_0", "sequential")


def place(model: Any, device_map: Any) -> Any:
    """Move a model to a device.

    Args:
        model: on the CPU.
        device_map: ``None``; a device; ``"auto"``: an accelerator if there is one; or a dict whose modules all go to
            one device. Parts on several devices are for ``accelerate.dispatch_model``.

    Raises:
        ValueError: for what names no device, or several.
    """
    if device_map is None:
        return model
    devices = dict(device_map) if isinstance(device_map, Mapping) else {"": device_map}
    if len({str(device) for device in devices.values()}) > 1:
        raise ValueError(
            f"device_map names several devices ({device_map!r}): load the model without one, and hand it to "
            "accelerate.dispatch_model(model, device_map)"
        )
    device = next(iter(devices.values()), "cpu")
    if device in BY_ITSELF:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    try:
        return model.to(torch.device(device))
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device_map is {device_map!r}, expected a device that there is, such as 'cuda:0', 'auto', or a dict of "
            f"devices by module: {str(error).splitlines()[0]}"
        ) from None
