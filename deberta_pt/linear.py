"""The fastest linear map of float32 that PyTorch carries for this processor, for inference.

``F.linear`` calls MKL, which runs at half the speed of oneDNN on many processors with AVX-512 and at the same speed on
others. PyTorch's oneDNN operator has no gradient, so it is only taken where none is recorded.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_GAIN = 1.1  # oneDNN must be this much faster to be taken
_ROWS, _WIDTH, _TRIES = 256, 768, 5


def _onednn() -> Any:
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


@functools.cache
def onednn_is_faster() -> bool:
    """Whether oneDNN wins a race of some milliseconds on this machine, run once in a process."""
    operator = _onednn()
    if not torch.backends.mkldnn.is_available() or operator is None:
        return False
    with torch.inference_mode():
        states, weight = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)

        def seconds(run: Callable[[], Tensor]) -> float:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start

        def plain() -> Tensor:
            return F.linear(states, weight)

        def other() -> Tensor:
            found: Tensor = operator(states, weight, None, "none", [], "")
            return found

        pairs = [(seconds(plain), seconds(other)) for _ in range(_TRIES)]
    return min(a for a, _ in pairs) > _GAIN * min(b for _, b in pairs)


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``[..., I]`` and ``[O, I]`` -> ``[..., O]``; under ``torch.no_grad`` by whichever library is faster."""
    records = torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad)
    fits = states.device.type == "cpu" and states.dtype == weight.dtype == torch.float32
    if records or not fits or not onednn_is_faster():
        return F.linear(states, weight, bias)
    found: Tensor = _onednn()(states, weight, bias, "none", [], "")
    return found
