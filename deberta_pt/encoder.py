"""The stack of layers over one relative table, and the convolution of v2.

Shapes: ``B`` batch, ``L`` tokens (``Q`` queries, ``K`` keys), ``H`` hidden size, ``R`` rows of the relative table in
use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from deberta_core.config import BaseConfig
from deberta_core.relative_position import distance_rows, needed_rows
from deberta_pt.activations import ACTIVATIONS
from deberta_pt.attention import (
    ATTENTIONS,
    DisentangledSelfAttention,
    FusedSelfAttention,
    Mask,
    Relative,
    SeparateSelfAttention,
)
from deberta_pt.fast.blocked import blocked
from deberta_pt.fast.exported import exported
from deberta_pt.fast.flex import block_mask, flex
from deberta_pt.fast.linear import apply
from deberta_pt.fast.padding import SAVED, Places, pack, places_of, unpack
from deberta_pt.fast.triton import seen_of, skewed
from deberta_pt.fast.upload import uploaded
from deberta_pt.layers import Dropout, is_exported, is_traced, layer_norm

ATTENTIONS.update(blocked=blocked, exported=exported, flex=flex, triton=skewed)


class Output(nn.Module):
    """Projection, dropout, residual and layer norm: the end of both halves of a layer."""

    def __init__(self, config: BaseConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, states: Tensor, residual: Tensor, blind: Tensor | None = None) -> Tensor:
        """``[B, Q, width]`` and ``[B, Q, H]`` -> ``[B, Q, H]``; ``blind`` as in ``layer_norm``."""
        return layer_norm(self.LayerNorm, self.dropout(apply(self.dense, states)) + residual, blind)


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: BaseConfig, layer: int) -> None:
        super().__init__()
        cls = FusedSelfAttention if config.model_type == "deberta" else SeparateSelfAttention
        self.self = cls(config, layer)
        self.output = Output(config, self.self.width)

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``DisentangledSelfAttention``, with the residual of the queries: ``[B, Q, H]`` and probabilities."""
        context, probs = self.self(hidden, mask, relative, query_states, output_attentions)
        residual = hidden if query_states is None else query_states
        return self.output(context, residual, None if mask is None else mask.blind_states()), probs


class Intermediate(nn.Module):
    """First half of the feed-forward part."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor) -> Tensor:
        """``[B, L, H]`` -> ``[B, L, I]``."""
        return self.activation(apply(self.dense, hidden))


class Layer(nn.Module):
    """Attention and feed-forward part, each with residual and layer norm after it."""

    def __init__(self, config: BaseConfig, layer: int) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.intermediate = Intermediate(config)
        self.output = Output(config, config.intermediate_size)

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Token states ``[B, Q, H]`` and attention probabilities ``[B, N, Q, K]`` or ``None``."""
        attended, probs = self.attention(hidden, mask, relative, query_states, output_attentions)
        blind = None if mask is None else mask.blind_states()
        return self.output(self.intermediate(attended), attended, blind), probs


class Convolution(nn.Module):
    """What v2 adds to the first layer's output: a convolution over the layer's input."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        hidden, width = config.hidden_size, config.convolution_width
        self.conv = nn.Conv1d(hidden, hidden, width, padding=width // 2, groups=config.convolution_groups)
        self.LayerNorm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.activation = ACTIVATIONS[config.convolution_act]

    def forward(self, hidden: Tensor, layer_output: Tensor, mask: Mask | None) -> Tensor:
        """Add the convolution of ``hidden`` to ``layer_output`` and normalise.

        Args:
            hidden: input of the first layer, ``[B, L, H]``, zero where nothing is visible.
            layer_output: output of the first layer, ``[B, L, H]``.
            mask: what the batch hides; of a mask of pairs, position i reads position j only where i sees j.

        Returns:
            ``[B, L, H]``, zero where nobody may see a token.
        """
        if mask is None:
            return self.LayerNorm(layer_output + self.activation(self.dropout(self.convolve(hidden))))
        by_pairs = mask.keys.shape[2] > 1
        mixed = self.convolve_pairs(hidden, mask.keys[:, 0]) if by_pairs else self.convolve(hidden)
        kept = mask.tokens()[..., None]  # [B, L, 1]
        # Hidden tokens are zero before the activation and after the norm, whose bias would show there otherwise.
        mixed = self.activation(self.dropout(mixed.masked_fill(~kept, 0.0)))
        return layer_norm(self.LayerNorm, layer_output + mixed, mask.blind[:, 0]) * kept.to(mixed.dtype)

    def convolve(self, hidden: Tensor) -> Tensor:
        """``[B, L, H]`` -> ``[B, L, H]``."""
        return self.conv(hidden.transpose(1, 2)).transpose(1, 2)

    def convolve_pairs(self, hidden: Tensor, pair_mask: Tensor) -> Tensor:
        """As ``convolve``, each tap counting only where ``pair_mask`` ``[B, L, L]`` lets it."""
        width = self.conv.kernel_size[0]
        batch, length, size = hidden.shape
        around = F.pad(hidden, (0, 0, width // 2, width // 2))  # [B, L+width-1, H]
        seen = F.pad(pair_mask, (width // 2, width // 2)).to(hidden.dtype)  # [B, L, L+width-1]
        # Slices, not ``unfold``, which no exported graph computes of a single token.
        near = [seen[:, :, s : s + length].diagonal(dim1=1, dim2=2)[..., None] for s in range(width)]  # [B, L, 1] each
        taps = torch.stack([around[:, s : s + length] * near[s] for s in range(width)], -1)  # [B, L, H, width]
        taps = taps.reshape(batch * length, size, width)
        mixed = F.conv1d(taps, self.conv.weight, self.conv.bias, groups=self.conv.groups)  # [B*L, H, 1]
        return mixed.reshape(batch, length, size)


class Encoder(nn.Module):
    """All layers. ``rel_embeddings`` is one table for all of them."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList([Layer(config, i) for i in range(config.num_hidden_layers)])
        if config.relative_attention:
            self.rel_embeddings = nn.Embedding(2 * config.span, config.hidden_size)
        if config.normalises_relative:
            self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.convolution_width > 0:
            self.conv = Convolution(config)
        self.config = config
        self.span, self.reads_positions = config.span, config.c2p or config.p2c
        self.distance_rows = np.array(distance_rows(config))  # not a buffer: survives a model built without memory
        with torch.inference_mode(False):  # training reads it, too; compilers want it a tensor from the start
            self.rows_by_distance = torch.from_numpy(self.distance_rows)
        self.reach = len(self.distance_rows) // 2
        distances = np.arange(len(self.distance_rows)) - self.reach
        self.compresses = bool((abs(self.distance_rows - config.span) <= abs(distances)).all())
        self.checkpointing: Callable[..., Any] | None = None

    def relative(self, queries: int, keys: int, device: torch.device) -> Relative | None:
        """Rows of the relative table for ``queries`` x ``keys`` tokens, normalised if the config says so."""
        if not self.reads_positions:
            return None
        span, reach = self.span, self.reach
        first, last = 0, 2 * span - 1
        any_length = torch.compiler.is_compiling() or is_exported()  # of symbols, which a table cannot be asked about
        if not any_length:
            first, last = needed_rows(self.distance_rows, queries=queries, keys=keys)
        elif self.compresses and not is_exported():  # an exported graph folds what it makes of the whole table
            first, last = span - torch.sym_min(keys, span), span + torch.sym_min(queries, span - 1)
        rows = self.normalise(self.rel_embeddings.weight[first : last + 1])
        row_of = self.rows_on(device)

        def read(distance: Tensor) -> Tensor:
            return row_of[distance.clamp(-reach, reach) + reach] - first

        if not any_length:
            return Relative(rows, read(torch.arange(queries - 1, -keys, -1, device=device)), first, reach)
        steps = torch.arange(queries + keys, device=device)
        return Relative(rows, read(queries - 1 - steps), first, reach, read(steps + 1 - keys))

    def rows_on(self, device: torch.device) -> Tensor:
        """``distance_rows`` on a device: copied there once, since a copy in each call would wait for the device."""
        if device.type == "cpu" or is_traced():
            return self.rows_by_distance.to(device)
        kept = self.__dict__.setdefault("kept_rows", {})
        if device not in kept:
            with torch.inference_mode(False):
                kept[device] = self.rows_by_distance.to(device)
        found: Tensor = kept[device]
        return found

    def blocks(self, mask: Mask, output_attentions: bool, hidden: Tensor) -> Any:
        """The mask as the layers' attention reads it, if that is made once for all of them."""
        first = next(iter(self.layer), None)
        attention = first.attention.self if isinstance(first, Layer) else None
        if not isinstance(attention, DisentangledSelfAttention):  # one of a user's own
            return None
        chosen = attention.choose(output_attentions, hidden.shape[1], hidden.device)
        read = {"flex": block_mask, "triton": seen_of}.get(chosen)
        return None if read is None else read(mask, hidden.shape[1])

    def normalise(self, rows: Tensor) -> Tensor:
        """Rows ``[R, H]`` of the relative table as attention reads them."""
        return self.LayerNorm(rows) if hasattr(self, "LayerNorm") else rows

    def places(self, mask: Mask | None) -> Places | None:
        """Those of the tokens if padding is left out: not by the reference, nor where hidden tokens attend."""
        if mask is None or not mask.is_padding or self.config.masked_rows == "uniform":
            return None
        on_host = mask.known is not None or mask.keys.device.type == "cpu"
        if self.config.attn_implementation == "eager" or not on_host or is_traced():
            return None  # other devices would have to wait, and a graph would get a shape that depends on values
        visible = mask.tokens() if mask.known is None else mask.known
        if int((~visible).sum()) * SAVED < visible.numel():
            return None
        places = places_of(visible)
        return places if mask.known is None else Places(*(uploaded(x.numpy(), mask.keys.device) for x in places))

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Run all layers.

        Args:
            hidden: embeddings, ``[B, L, H]``.
            mask: what the batch hides.
            output_hidden_states: also return all states.
            output_attentions: also return all probabilities.

        Returns:
            Last states ``[B, L, H]``; embeddings and each layer's states, or ``None``; each layer's probabilities
            ``[B, N, L, L]``, or ``None``.
        """
        relative = self.relative(hidden.shape[1], hidden.shape[1], hidden.device)
        states: list[Tensor] = [hidden]
        attentions: list[Any] = []
        places = self.places(mask)
        mask = None if mask is None else mask._replace(places=places)
        if mask is not None:
            mask = mask._replace(blocks=self.blocks(mask, output_attentions, hidden))
        packed = pack(hidden, places)
        for i, layer in enumerate(self.layer):
            packed, probs = self.run_layer(layer, packed, mask, relative, None, output_attentions)
            if i == 0 and hasattr(self, "conv"):
                packed = pack(self.conv(hidden, unpack(packed, places), mask), places)
            if output_hidden_states:
                states.append(unpack(packed, places))
            attentions.append(probs)
        return (
            states[-1] if output_hidden_states else unpack(packed, places),
            tuple(states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )

    def run_layer(
        self,
        layer: nn.Module,
        hidden: Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One layer, recomputed in the backward pass if gradient checkpointing is on."""
        if not self.training:
            return layer(hidden, mask, relative, query_states, output_attentions)
        # Views, so that a layer's gradients are summed before they meet other layers': one order in all modes.
        hidden = hidden.view_as(hidden)
        relative = None if relative is None else relative._replace(rows=relative.rows.view_as(relative.rows))
        query_states = None if query_states is None else query_states.view_as(query_states)
        if self.checkpointing is None:
            return layer(hidden, mask, relative, query_states, output_attentions)

        def run(hidden: Tensor, rows: Tensor | None, query_states: Tensor | None) -> tuple[Tensor, Tensor | None]:
            again = None if relative is None or rows is None else relative._replace(rows=rows)
            return layer(hidden, mask, again, query_states, output_attentions)

        # The rows are an argument of their own: re-entrant checkpointing differentiates arguments only.
        return self.checkpointing(run, hidden, None if relative is None else relative.rows, query_states)

    def set_checkpointing(self, enabled: bool, **options: Any) -> None:
        """Turn gradient checkpointing on or off; options are those of ``torch.utils.checkpoint.checkpoint``."""
        self.checkpointing = partial(checkpoint, **{"use_reentrant": False, **options}) if enabled else None


def read_mask(attention_mask: Tensor | None, device: torch.device) -> Mask | None:
    """What a batch hides, from any of the shapes a caller may give; ``None``: nothing.

    Args:
        attention_mask: ``[B, L]``, ``[B, 1, 1, L]``, ``[B, L, L]`` or ``[B, 1, L, L]``; non-zero is visible. A hidden
            token of a ``[B, L]`` mask also sees nothing itself. On the device, or on the CPU.
        device: that of the model.
    """
    if attention_mask is None:
        return None
    keys, known = attention_mask != 0, None
    if keys.device.type == "cpu" and not is_traced() and keys.all():
        return None  # nothing hidden, nothing to compute
    if keys.device.type == "cpu" != device.type:
        known, keys = (None, keys.to(device)) if is_traced() else (keys, uploaded(keys.numpy(), device))
    if keys.ndim == 2:
        return Mask(keys[:, None, None], ~keys[:, None, :, None], is_padding=True, known=known)
    keys = keys if keys.ndim == 4 else keys[:, None]  # [B, 1, 1 or L, L]
    return Mask(keys, ~keys.any(-1, keepdim=True))
