"""The fastest linear map of float32 that PyTorch carries for this processor.

``F.linear`` calls MKL, which on many processors with AVX-512 runs at half the speed of oneDNN, and on others too where
rows are few. So oneDNN is taken where it wins a race on this machine, at about as many rows without gradients, and with
them over the products that read the weights: its operator has no gradient, so the backward pass here calls it again.
The gradients of weights, sums over rows, are a race of their own, which oneDNN loses more often. With weights in its
own order it wins by more: then it reads them as they are. ``routes`` keeps who won, so that other processes take the
same way; under ``torch.use_deterministic_algorithms`` there is no race.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_pt.fast import routes
from deberta_pt.layers import is_traced

_GAIN = 1.05  # oneDNN must be this much faster to be taken
_TRIES, _MOST_TRIES, _CLOSE = 4, 24, 1.05  # of a race; how far apart the two fastest may be
_WIDTH, _WEIGHTS = 768, 16  # so many weights do not all stay in the cache, as in a model
_MOST = 256  # rows of the largest race, whose winner is taken for more, too; with gradients, the least rows
FEW = 256  # rows up to which reordered weights always win
_MOST_MET = 64  # numbers of rows that are taken as they are
_met: set[int] = set()
Operands = list[tuple[Tensor, Tensor]]  # of some products


def has_onednn() -> bool:
    """Whether this PyTorch was built with oneDNN and its operator."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def by_onednn(states: Tensor, weight: Tensor, bias: Tensor | None = None, then: str = "none") -> Tensor:
    """``F.linear`` by oneDNN, and GELU ``then``, for a weight in either order; nothing that a gradient could pass."""
    if weight.layout == torch.strided:  # rows with gaps between them would be a thousand times slower
        weight = weight.t().contiguous().t() if weight.stride(0) == 1 else weight.contiguous()
    by_error_function, rows = "none", states.shape[:-1].numel()
    more = filled_up(rows) - rows
    filled = F.pad(states.reshape(rows, -1), (0, 0, 0, more)) if more else states
    found: Tensor = torch.ops.mkldnn._linear_pointwise(filled, weight, bias, then, [], by_error_function)
    return found if filled is states else found[:rows].view(*states.shape[:-1], -1)


def filled_up(rows: int) -> int:
    """So many rows, or, in a process that has met many numbers of them, the next of eight numbers in each octave.

    oneDNN makes code for each number of rows, a megabyte each time, and keeps that of a thousand: a process that serves
    texts of all lengths would grow by gigabytes.
    """
    if rows in _met or len(_met) < _MOST_MET:
        _met.add(rows)
        return rows
    return _next_of_eight(rows)


def _next_of_eight(rows: int) -> int:
    """The least of eight numbers in each octave that is not below ``rows``."""
    step = 1 << max((rows - 1).bit_length() - 4, 0) if rows else 1
    return -(-rows // step) * step


def reordered(weight: Tensor) -> Tensor:
    """A copy of a weight in the order that ``by_onednn`` reads fastest."""
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return found


def onednn_is_faster(rows: int) -> bool:
    """Whether oneDNN wins at about so many rows: a race of a tenth of a second, run once on a machine.

    Races are held at powers of four, so that texts of all lengths start no more than five.
    """
    if not _may_race() or rows < 1:
        return False
    return _wins(min(4 ** (((rows - 1).bit_length() + 1) // 2), _MOST))


def onednn_trains_faster(rows: int) -> bool:
    """Whether oneDNN wins forward and backward, for many rows: a race of half a second, run once on a machine."""
    return rows >= _MOST and _may_race() and _wins_training()


def onednn_sums_faster() -> bool:
    """Whether oneDNN wins at the gradients of weights, too: a race as long, run once on a machine."""
    return _may_race() and _wins_sums()


def onednn_wins_alone() -> bool:
    """Whether oneDNN wins at the products of one head as well: a race of 50 milliseconds, run once on a machine.

    Both operands are of a text, so that each length is a shape of its own, for which oneDNN makes code and keeps it.
    """
    return _may_race() and _wins_alone()


def reordered_is_faster(rows: int) -> bool:
    """Whether oneDNN wins with weights in its own order: at few rows always, at more by a race of a quarter second."""
    return has_onednn() and (rows <= FEW or (_may_race() and _wins_reordered()))


def _may_race() -> bool:
    return has_onednn() and not torch.are_deterministic_algorithms_enabled() and not routes.is_default()


@functools.cache
def _wins(rows: int) -> bool:
    def operands() -> Operands:
        states, weights = _ones(rows, _WIDTH), _ones(min(_WEIGHTS, _MOST * 4 // rows), _WIDTH, _WIDTH)
        return [(states, weight) for weight in weights]

    return _wins_at(f"oneDNN computes products of about {rows} rows", operands)


@functools.cache
def _wins_reordered() -> bool:
    def operands() -> Operands:
        inner = 4 * _WIDTH
        return [(_ones(2 * _MOST, i), _ones(o, i)) for i, o in ((_WIDTH, inner), (inner, _WIDTH))]

    return _wins_at("oneDNN computes products of many rows with weights in its own order", operands, reordered)


@functools.cache
def _wins_training() -> bool:
    def operands() -> Operands:
        states, weights = _ones(2 * _MOST, _WIDTH), _ones(_WEIGHTS // 4, _WIDTH, _WIDTH)
        return [both for w in weights for both in ((states, w), (states, w.t()))]

    return _wins_at("oneDNN computes states and their gradients in training", operands)


@functools.cache
def _wins_sums() -> bool:
    def operands() -> Operands:
        states, grads = _ones(2 * _MOST, _WIDTH), _ones(_WEIGHTS // 4, 2 * _MOST, _WIDTH)
        return [(grad.t(), states.t()) for grad in grads]

    return _wins_at("oneDNN computes the gradients of weights", operands)


@functools.cache
def _wins_alone() -> bool:
    def operands() -> Operands:
        states, keys = _ones(2 * _MOST, 64), _ones(4 * _MOST, 64)
        return [(states, keys), (_ones(2 * _MOST, 4 * _MOST), keys.t())]

    return _wins_at("oneDNN computes products of one head", operands)


def _wins_at(question: str, operands: Callable[[], Operands], *order: Callable[[Tensor], Tensor]) -> bool:
    """Whether oneDNN wins by enough: what is known of the question, or a race of the products with these operands."""

    def hold() -> bool:
        with torch.inference_mode():
            return _race(operands(), *order) > _GAIN

    return routes.decide(question, hold)


def _ones(*shape: int) -> Tensor:
    """What is raced, whatever dtype and device are the process' defaults."""
    return torch.ones(shape, dtype=torch.float32, device="cpu")


def _race(operands: Operands, order: Callable[[Tensor], Tensor] = lambda weight: weight) -> float:
    """How many times as fast oneDNN is, with the second of each two in some ``order``."""
    return race([(partial(F.linear, x, weight), partial(by_onednn, x, order(weight))) for x, weight in operands])


def race(runs: Sequence[tuple[Callable[[], object], Callable[[], object]]]) -> float:
    """How many times as fast the second of each two is, all of them taken together.

    Each side runs until its two fastest times are close, or often enough: on a machine that has other work some are
    long, and what is decided is kept.
    """

    def seconds(side: int) -> float:
        start = time.perf_counter()
        for both in runs:
            both[side]()
        return time.perf_counter() - start

    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < _TRIES or (len(times[0]) < _MOST_TRIES and not all(map(_is_settled, times))):
        for side, found in enumerate(times):
            found.append(seconds(side))
    return min(times[0]) / min(times[1])


def _is_settled(seconds: list[float]) -> bool:
    fastest = sorted(seconds)[:2]
    return fastest[-1] <= _CLOSE * fastest[0]


class OneDnnLinear(torch.autograd.Function):
    """``F.linear`` by oneDNN, with gradients and theirs."""

    @staticmethod
    def forward(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """``[..., I]``, ``[O, I]`` and ``[O]`` -> ``[..., O]``."""
        return by_onednn(states, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps what ``F.linear`` keeps, and which library sums over rows."""
        ctx.save_for_backward(inputs[0], inputs[1])
        ctx.sums_faster = ctx.needs_input_grad[1] and onednn_sums_faster()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of the three inputs, where they are asked for."""
        (states, weight), (grad,) = ctx.saved_tensors, grads
        to_states, to_weight, to_bias = ctx.needs_input_grad
        product: Callable[[Tensor, Tensor], Tensor] = linear if torch.is_grad_enabled() else by_onednn
        total = product if ctx.sums_faster or product is linear else F.linear
        flat, inputs = grad.flatten(0, -2), states.flatten(0, -2)
        # The sum over rows is code for their number, too. Rows of zeros add nothing to it; always, and not only after
        # many numbers, for the order of a sum is in its last bits, and a resumed run is to have those of a whole one.
        if to_weight and total is not F.linear and (more := _next_of_eight(len(flat)) - len(flat)):
            flat, inputs = F.pad(flat, (0, 0, 0, more)), F.pad(inputs, (0, 0, 0, more))
        return (
            product(grad, weight.t()) if to_states else None,
            total(flat.t(), inputs.t()) if to_weight else None,
            flat.sum(0) if to_bias else None,
        )


def can_change(states: Tensor, weight: Tensor) -> bool:
    """Whether another library may compute this product: of plain tensors on a CPU that nobody makes a graph of, or
    watches operation by operation, as PyTorch's counter of them does.
    """
    plain = type(weight) in (Tensor, nn.Parameter) and states.device.type == weight.device.type == "cpu"
    same = states.dtype == weight.dtype and not torch.is_autocast_enabled("cpu")
    return plain and same and not is_traced() and not torch._C._len_torch_dispatch_stack()


def computes_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16; without, it is many times slower than float32."""
    return has_onednn() and _has_bfloat16()


@functools.cache
def _has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def takes_onednn(rows: int, dtype: torch.dtype) -> bool:
    """Whether oneDNN is the one without gradients: of float32 by the race, of bfloat16 by the processor."""
    return computes_bfloat16() if dtype == torch.bfloat16 else dtype == torch.float32 and onednn_is_faster(rows)


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``[..., I]`` and ``[O, I]`` -> ``[..., O]``, by whichever library is faster."""
    recorded = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (states, weight, bias))
    faster = onednn_trains_faster if recorded else onednn_is_faster
    if states.dtype != torch.float32 or not can_change(states, weight) or not faster(states.shape[:-1].numel()):
        return F.linear(states, weight, bias)
    found: Tensor = (OneDnnLinear.apply if recorded else by_onednn)(states, weight, bias)
    return found


def has_hooks(module: nn.Module) -> bool:
    """Whether somebody watches a module's calls, or its gradients."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def apply(module: nn.Module, states: Tensor) -> Any:
    """``module(states)``; a linear layer that nobody changed or watches goes by ``linear``."""
    if type(module) is not nn.Linear or is_traced():
        return module(states)
    if has_hooks(module) or "forward" in module.__dict__ or nn.modules.module._has_any_global_hook():
        return module(states)
    return linear(states, module.weight, module.bias)


class FrozenLinear(nn.Module):
    """A linear map that is not trained, and a function of its result: ``[..., I]`` -> ``[..., O]``.

    Args:
        weight: ``[O, I]``.
        bias: ``[O]``.
        activation: the function, if there is one.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
        self.activation = activation
        self._reordered: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        """By whichever library is faster for so many rows; a second copy of the weights is made when it is needed."""
        changes = can_change(states, self.weight) and not (torch.is_grad_enabled() and states.requires_grad)
        rows = states.shape[:-1].numel() if changes else 0  # a symbol would become a number
        faster = changes and takes_onednn(rows, states.dtype)
        if not (faster or (changes and states.dtype == torch.float32 and reordered_is_faster(rows))):
            return self._activated(F.linear(states, self.weight, self.bias))
        if self._reordered is None:
            self._reordered = reordered(self.weight.detach())
        if faster and self.activation is F.gelu:  # one pass over the result less
            return by_onednn(states, self._reordered, self.bias, "gelu")
        return self._activated(by_onednn(states, self._reordered, self.bias))

    def part(self, states: Tensor, part: slice) -> Tensor:
        """Some of the outputs, before any activation."""
        return linear(states, self.weight[part], self.bias[part])

    def _activated(self, found: Tensor) -> Tensor:
        """The activation; GELU in place, since a new tensor of that size costs more than its arithmetic."""
        if self.activation is None:
            return found
        in_place = self.activation is F.gelu and not is_traced()
        return torch.ops.aten.gelu_(found) if in_place else self.activation(found)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._reordered = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reordered": None}
