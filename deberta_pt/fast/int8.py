"""Products of 8-bit integers: weights rounded by row once, states by token at run time.

The products are oneDNN's, through the operator that PyTorch's own quantisers compile to: on processors with VNNI or AMX
it runs several times as fast as float32, where ``quantize_dynamic`` rounds a whole batch by one scale and
``torch._int_mm`` leaves the scales to further passes. States are rounded to unsigned integers around a middle, whose
share of the product does not depend on them and is put into the bias.

Shapes: ``T`` tokens, ``O`` outputs, ``I`` inputs of a product, ``V`` rows of a table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.integers import Integers
from deberta_pt.fast import routes
from deberta_pt.fast.linear import FrozenLinear, by_onednn, can_change, filled_up, has_onednn, race, reordered
from deberta_pt.layers import is_exported, is_traced

_LEAST = 1e-30  # of a scale: a token of zeros has none
_OF_ONNX = 128  # integers of a digit in its graphs
_ROWS_OF_THREAD = 64  # rounded at a time, so that the steps of it meet their numbers in a processor's cache
_WIDTH, _WEIGHTS = 768, 16  # of a race: so many weights do not all stay in the cache
# The least value of an activation: states that are never below it are rounded from there, not from minus the largest.
LOWEST: dict[Any, float] = {F.gelu: -0.17, F.relu: 0.0}


@functools.cache
def base() -> int:
    """Integers of a digit: 256, or 128 where pairs of products are summed in 16 bits, which 8 bits would overflow."""
    return 256 if torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported() else 128


@functools.cache
def has_products() -> bool:
    """Whether this PyTorch has the operator."""
    return has_onednn() and hasattr(torch.ops.onednn, "qlinear_pointwise")


@functools.cache
def is_faster(rows: int) -> bool:
    """Whether integers beat float32 at about so many rows: a race, run once on a machine."""

    def hold() -> bool:
        with torch.inference_mode():
            weight = torch.ones(_WIDTH, _WIDTH, dtype=torch.float32, device="cpu")
            bias, states = weight[0], weight.new_ones(rows, _WIDTH)
            floats = [reordered(weight) for _ in range(_WEIGHTS)]
            rounded = Integers.of(weight.numpy())
            integers = [Int8Linear(rounded, bias) for _ in range(_WEIGHTS)]
            sides = zip(floats, integers, strict=True)
            return race([(partial(by_onednn, states, f, bias), partial(i.product, states)) for f, i in sides]) > 1

    return routes.decide(f"integers compute products of about {rows} rows", hold)


class Int8Linear(nn.Module):
    """As ``FrozenLinear``, of integers: ``[..., I]`` -> ``[..., O]``.

    In graphs, on other devices and wherever floats are faster it computes with the floats that the integers stand for.

    Args:
        integers: weight ``[O, I]``.
        bias: ``[O]``.
        activation: a function of the result, if there is one.
        lowest: what no input is below, if that is known.
    """

    values: Tensor
    scale: Tensor
    bias: Tensor
    factor: Tensor | None

    def __init__(
        self,
        integers: Integers,
        bias: Tensor,
        activation: Callable[[Tensor], Tensor] | None = None,
        lowest: float | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.lowest, self.digits = activation, lowest, integers.digits
        self.register_buffer("values", torch.from_numpy(np.array(integers.values)))
        self.register_buffer("scale", torch.from_numpy(np.array(integers.scale)))
        self.register_buffer("bias", bias.detach().clone())
        given = integers.input_scale
        self.register_buffer("factor", None if given is None else torch.from_numpy(1 / given))
        self.onnx: tuple[Tensor, Tensor] | None = None  # what a graph of ONNX multiplies with
        self.apart = False  # whether graphs divide the states by column, and not the weight
        self.wide: Tensor | None = None  # the weight that those graphs hold instead
        self._packed: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._floats: FrozenLinear | None = None

    def forward(self, states: Tensor) -> Tensor:
        """By integers, or by floats."""
        if is_exported() and self.onnx is not None:
            found = self.in_onnx(states, *self.onnx)
            return found if self.activation is None else self.activation(found)
        if is_traced():  # a graph holds the integers, and whoever compiles it folds what it makes of them
            found = self.in_graph(states)
            return found if self.activation is None else self.activation(found)
        if not self.takes(states):
            return self.floats(states)(states)
        found = self.product(states)
        if self.activation is F.gelu:  # in place, as in ``FrozenLinear``
            return torch.ops.aten.gelu_(found)
        return found if self.activation is None else self.activation(found)

    def takes(self, states: Tensor) -> bool:
        """Whether integers are computed with."""
        if not has_products() or states.dtype != torch.float32 or not can_change(states, self.scale):
            return False
        rows = states.shape[:-1].numel()
        if not rows or (torch.is_grad_enabled() and states.requires_grad):
            return False
        if torch.are_deterministic_algorithms_enabled() or routes.is_default():
            return True
        return is_faster(min(4 ** (((rows - 1).bit_length() + 1) // 2), 256))

    def product(self, states: Tensor) -> Tensor:
        """The map without its activation, by integers."""
        if self._packed is None:
            self._packed = self._pack()
        weight, zeros, middle, bias = self._packed
        rows = states.reshape(-1, states.shape[-1])
        digits, scale = self._rounded(rows)
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            digits, 1.0, 0, weight, self.scale, zeros, middle, 1.0, 0, torch.float32, "none", [], ""
        )
        if self.digits == 2:
            high, found = found.chunk(2)
            found = found.add_(high, alpha=base())
        found = found[: len(rows)]
        return torch.addcmul(bias, found, scale, out=found).view(*states.shape[:-1], -1)

    def _rounded(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Digits of states ``[T, I]``, the highest first, uint8 ``[digits * (T or more), I]``, and scales ``[T, 1]``.

        The digits of all tokens are then one product, which reads the weight once.
        """
        count, filled, step = len(rows), filled_up(len(rows)), _ROWS_OF_THREAD * torch.get_num_threads()
        if self.digits == 1 and count == filled <= step:  # few rows, whose time is that of starting each step
            whole, scale = self._whole(rows)
            return whole.to(torch.uint8), scale
        digits, scales = rows.new_empty(self.digits, filled, rows.shape[-1], dtype=torch.uint8), []
        if filled > count:
            digits[:, count:] = 0
        for part, to in zip(rows.split(step), digits[:, :count].split(step, 1), strict=True):
            whole, scale = self._whole(part)
            scales.append(scale)
            if self.digits == 2:
                to[0].copy_(whole.bitwise_right_shift(base().bit_length() - 1))
                whole = whole.bitwise_and_(base() - 1)
            to[-1].copy_(whole)
        return digits.flatten(0, 1), scales[0] if len(scales) == 1 else torch.cat(scales)

    def _whole(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """Some states as integers of all digits, int32, and their scales."""
        levels = base() ** self.digits
        most, middle = (levels - 1, 0.5) if self.lowest is not None else (levels // 2 - 1, levels // 2 + 0.5)
        part = part if self.lowest is None else part - self.lowest
        part = part if self.factor is None else part * self.factor
        scale = (part.abs() if self.lowest is None else part).amax(-1, keepdim=True).clamp_min_(_LEAST).div_(most)
        return (part / scale).add_(middle).to(torch.int32), scale  # to the nearest, as the conversion cuts off

    def _pack(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The weight in oneDNN's order, zeros for it, what the middle of the states adds to integers, and the bias."""
        with torch.inference_mode():
            weight = torch.ops.onednn.qlinear_prepack(self.values, None)
            sums = self.values.sum(-1, dtype=torch.int64)
            # It enters with each digit: with the higher one ``base`` times as much as with the lower.
            shares = 1 if self.digits == 1 else base() + 1
            middle, bias = -(base() ** self.digits // 2) / shares * sums * self.scale, self.bias
            if self.lowest is not None:
                middle, bias = torch.zeros_like(self.bias), self.bias + self.lowest * self.widened().sum(-1)
            return weight, torch.zeros_like(sums), middle, bias

    def for_onnx(self) -> None:
        """Let graphs that are exported from now on hold ONNX's product of integers in the place of floats."""
        bias = self.bias if self.lowest is None else self.bias + self.lowest * self.widened().sum(-1)
        self.onnx = self.values.t().contiguous(), bias

    def for_openvino(self) -> None:
        """Let graphs that are exported from now on hold the weight as OpenVINO multiplies it.

        Integers with nothing but a scale by row are multiplied as they are, with states that it rounds itself, 32
        columns of a token at a time. That is one digit: a product that wants two is held in floats.
        """
        self.apart = True
        self.wide = self.widened() if self.digits == 2 else None

    def in_graph(self, states: Tensor, part: Any = ...) -> Tensor:
        """The map, or some of its outputs, without its activation; by floats, unless a runtime knows better."""
        if self.wide is not None:
            weight = self.wide[part]
        elif self.apart and self.factor is not None:
            states, weight = states * self.factor, self.values[part] * self.scale[part, None]
        else:
            weight = self.widened(part)
        return F.linear(states, weight.to(states.dtype), self.bias[part].to(states.dtype))

    def in_onnx(self, states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The map without its activation as ``MatMulInteger`` of states rounded by token.

        A digit has 7 bits whatever processor exports: the runtime's products for those without VNNI add pairs in 16.
        """
        levels, middle = _OF_ONNX**self.digits, _OF_ONNX // 2 if self.lowest is None else 0
        rows = states if self.lowest is None else states - self.lowest
        rows = rows if self.factor is None else rows * self.factor
        largest = rows.abs().amax(-1, keepdim=True).clamp_min(_LEAST)
        scale = largest / (levels // 2 - 1 if self.lowest is None else levels - 1)
        whole = (rows / scale).round() + middle * _OF_ONNX ** (self.digits - 1)
        if self.digits == 1:
            found = _in_onnx(whole, weight, middle)
        else:
            high = (whole / _OF_ONNX).floor()
            found = _in_onnx(high, weight, middle) * _OF_ONNX + _in_onnx(whole - high * _OF_ONNX, weight, 0)
        return found * scale * self.scale + bias

    def widened(self, part: Any = ...) -> Tensor:
        """The weight, or some of its rows, in floats, ``[O, I]``."""
        found = self.values[part] * self.scale[part, None]
        return found if self.factor is None else found * self.factor

    def floats(self, like: Tensor) -> FrozenLinear:
        """The same map in floats of a dtype and device, made when it is needed."""
        if self._floats is None or self._floats.weight.dtype != like.dtype or self._floats.weight.device != like.device:
            self._floats = FrozenLinear(self.widened().to(like), self.bias.to(like), self.activation)
        return self._floats

    def part(self, states: Tensor, part: slice) -> Tensor:
        """Some of the outputs, before any activation; of integers all are computed, which oneDNN holds in one piece."""
        if is_exported() and self.onnx is not None:
            return self.in_onnx(states, *self.onnx)[..., part]
        if is_traced():
            return self.in_graph(states, part)
        return self.product(states)[..., part] if self.takes(states) else self.floats(states).part(states, part)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._packed = self._floats = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None, "_floats": None}


def _in_onnx(digits: Tensor, weight: Tensor, middle: int) -> Tensor:
    """``(digits - middle) @ weight`` of uint8 ``[..., I]`` and int8 ``[I, O]``, as floats."""
    shape = (*digits.shape[:-1], weight.shape[-1])
    zero = torch.full((), middle, dtype=torch.uint8, device=digits.device)
    product: Tensor = torch.onnx.ops.symbolic(
        "MatMulInteger", (digits.to(torch.uint8), weight, zero), dtype=torch.int32, shape=shape
    )
    return product.float()


class Int8Embedding(nn.Module):
    """A table of integers: ids of any shape ``[...]`` -> ``[..., E]``.

    Args:
        integers: the table, ``[V, E]``.
        dtype: of the result.
    """

    values: Tensor
    scale: Tensor

    def __init__(self, integers: Integers, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("values", torch.from_numpy(np.array(integers.values)))
        self.register_buffer("scale", torch.from_numpy(np.array(integers.scale)).to(dtype))

    @property
    def weight(self) -> Tensor:
        """The table in floats, made anew."""
        return self.values * self.scale[:, None]

    def forward(self, ids: Tensor) -> Tensor:
        """The rows of some ids."""
        return F.embedding(ids, self.values).to(self.scale.dtype) * self.scale[ids][..., None]


def in_one(parts: Sequence[Integers]) -> Integers | None:
    """Several weights of the same inputs below each other; ``None`` if those are divided by other numbers."""
    first = parts[0].input_scale
    for other in parts[1:]:
        if (first is None) != (other.input_scale is None):
            return None
        if first is not None and other.input_scale is not None and not np.array_equal(first, other.input_scale):
            return None
    values, scale = (np.concatenate(arrays) for arrays in zip(*((p.values, p.scale) for p in parts), strict=True))
    return Integers(values, scale, first, max(part.digits for part in parts))
