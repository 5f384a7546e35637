"""Whether somebody watches a forward pass to make a graph of it: then no shortcut may depend on values."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether a compiler, an exporter or a function transform is looking on."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
    )


def is_exported() -> bool:
    """Whether the graph that is made leaves this process."""
    return torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None
