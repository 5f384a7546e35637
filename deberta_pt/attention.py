"""Disentangled self-attention: content scores plus the two terms that know the distance of query and key.

Shapes: ``B`` batch, ``Q`` queries, ``K`` keys, ``H`` hidden size, ``N`` heads, ``D`` head size, ``R`` rows of the
relative table that these lengths need, ``T`` rows of states from which padding is left out. Scores depend on position
through ``i - j`` alone, so states meet rows, not pairs of tokens: a product ``[B, N, Q, R]`` is widened to one column
per distance and skewed into ``[B, N, Q, K]``.

Source: He et al. 2021 (arXiv 2006.03654), section 3.1.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.config import BaseConfig
from deberta_pt.fast.linear import apply
from deberta_pt.fast.padding import Places, pack, unpack
from deberta_pt.layers import Dropout, is_exported, is_traced


class Relative(NamedTuple):
    """What the attention reads of relative positions, made once per forward.

    Attributes:
        rows: relative embeddings, ``[R, H]``.
        columns: row for each distance from ``Q-1`` down to ``1-K``, int64 ``[Q+K-1]``.
        first: place of ``rows`` in the whole table.
        reach: distance from which on all share a row, on either side.
        mirrored: row for each distance from ``1-K`` up to ``Q``, int64 ``[Q+K]``, in a graph for all lengths; there
            ``columns`` have one to spare, too, down to ``-K``.
    """

    rows: Tensor
    columns: Tensor
    first: int | Tensor
    reach: int
    mirrored: Tensor | None = None

    def of_whole(self) -> Relative:
        """The same for a reader of the whole table: columns count its rows."""
        return self._replace(columns=self.columns + self.first, first=0)


class Mask(NamedTuple):
    """What a batch hides: a query sees a key that ``keys`` shows it, unless the query is blind.

    Attributes:
        keys: bool ``[B, 1, 1 or Q, K]``.
        blind: queries that see nothing, bool ``[B, 1, 1 or Q, 1]``. By itself, so that padding needs nothing of size
            ``Q x K``.
        is_padding: whether tokens are hidden as keys and as queries alike.
        places: of the tokens, if padding is left out of the states.
        blocks: as an implementation of ``fast/`` reads it, made once for all layers: which blocks hold anything.
        known: tokens that are no padding, bool ``[B, L]`` on the CPU, where the caller left the mask of a model that is
            elsewhere: then the host knows how many there are, and need not wait for the device to tell.
    """

    keys: Tensor
    blind: Tensor
    is_padding: bool = False
    places: Places | None = None
    blocks: Any = None
    known: Tensor | None = None

    def pairs(self) -> Tensor:
        """Which query sees which key, bool ``[B, 1, 1 or Q, K]``."""
        return self.keys & ~self.blind

    def tokens(self) -> Tensor:
        """Tokens that any query may see, bool ``[B, L]``."""
        return self.keys[:, 0].any(-2)

    def blind_states(self) -> Tensor:
        """Which token states see nothing, bool ``[B, 1 or L, 1]``, or ``[1, T, 1]`` without padding."""
        return self.blind[:, 0] if self.places is None else self.places.blind

    def of(self, text: int) -> Mask:
        """That of one text."""
        return Mask(self.keys[text : text + 1], self.blind[text : text + 1], self.is_padding)


class Heads(NamedTuple):
    """Projected states of one layer, split into heads; ``query`` and ``pos_query`` are already scaled.

    Attributes:
        query: ``[B, N, Q, D]``.
        key: ``[B, N, K, D]``.
        value: ``[B, N, K, D]``.
        pos_key: relative keys for the content-to-position term, ``[R, N, D]``, or ``None``.
        pos_query: relative queries for the position-to-content term, ``[R, N, D]``, or ``None``.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    pos_key: Tensor | None
    pos_query: Tensor | None


LONGEST_WHOLE = {"cpu": 64, "cuda": 2048}  # keys up to which scores are held whole
# Compute capabilities of devices on which the Triton kernels were checked and are the default: so far on none.
CHECKED: frozenset[tuple[int, int]] = frozenset()
HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")  # as Triton reads it
CHEAP = 4  # products per row of the table up to which a product costs less than copying one that is there


def can_flex(device: torch.device, dropout: float) -> bool:
    """Whether flex_attention computes this; a warning names the reason if not."""
    if device.type != "cuda":
        _warn("flex", f"needs a CUDA device, the model is on {device.type!r}")
    elif dropout:
        _warn("flex", "has no dropout of attention probabilities: train with attention_probs_dropout_prob=0")
    return device.type == "cuda" and not dropout


def can_triton(device: torch.device) -> bool:
    """Whether the Triton kernels compute this; a warning names the reason if not."""
    reason = None
    if device.type == "cpu" and not INTERPRETED:
        reason = "needs a CUDA device, the model is on 'cpu'; to try it there set TRITON_INTERPRET=1 before importing"
    elif device.type not in ("cpu", "cuda"):
        reason = f"needs a CUDA device, the model is on {device.type!r}"
    elif not HAS_TRITON:
        reason = "needs a package: pip install 'deberta-zoo[triton]'"
    elif device.type == "cuda" and not is_traced() and _capability(device) < (8, 0):
        reason = f"needs compute capability 8.0, that of {torch.cuda.get_device_name(device)} is lower"
    if reason is not None:
        _warn("triton", reason)
    return reason is None


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    """That of a CUDA device."""
    return torch.cuda.get_device_capability(device)


@functools.cache
def _warn(name: str, reason: str) -> None:
    warnings.warn(f"attn_implementation {name!r} {reason}; the default is used instead", stacklevel=2)


def skew(wide: Tensor, width: int) -> Tensor:
    """Shift row ``i`` of ``[..., M, M+width-1]`` left by ``M-1-i`` and keep ``width`` columns, without copying."""
    rows, columns = wide.shape[-2:]
    step = columns - 1 if rows > 1 else columns  # a single row stays where it is
    flat = wide.flatten(-2)[..., rows - 1 : rows - 1 + rows * step]
    return flat.unflatten(-1, (rows, step))[..., :width]  # [..., M, width]


def skew_any(wide: Tensor, width: int) -> Tensor:
    """As ``skew``, of a column more, ``[B, N, M, M+width]``: one form for any number of rows, one among them."""
    batch, heads, rows, columns = wide.shape
    flat = wide.reshape(batch, heads, rows * columns)[..., rows - 1 : -1]
    return flat.reshape(batch, heads, rows, columns - 1)[..., :width]


def products_by_distance(states: Tensor, positions: Tensor, columns: Tensor) -> Tensor:
    """Product of each state with the row of each distance; of long inputs, with each row once, then copied.

    Args:
        states: ``[B, N, M, D]``.
        positions: ``[R, N, D]``.
        columns: row of ``positions`` for each distance, int64 ``[W]``.

    Returns:
        ``[B, N, M, W]``.
    """
    if is_exported():  # runtimes copy numbers one by one; rows that do not depend on the input are theirs to fold
        return states @ positions.transpose(0, 1).index_select(1, columns).transpose(1, 2)
    compiling = torch.compiler.is_compiling()  # one graph for all lengths; the compiler fuses the copy away
    if not compiling and columns.shape[0] <= CHEAP * positions.shape[0]:
        return torch.einsum("bnmd,wnd->bnmw", states, positions.index_select(0, columns))
    return torch.einsum("bnmd,rnd->bnmr", states, positions).index_select(-1, columns)


def position_scores(heads: Heads, relative: Relative | None) -> Tensor | None:
    """The content-to-position and position-to-content terms, ``[B, N, Q, K]``; ``None`` if the model has neither."""
    if relative is None:
        return None
    scores, columns, mirrored, shift = None, relative.columns, relative.mirrored, skew_any
    if mirrored is None:
        mirrored, shift = columns.flip(0), skew
    queries, keys = heads.query.shape[2], heads.key.shape[2]
    if heads.pos_key is not None:  # what a query makes of the place of a key: Q_i . K_r[delta(i, j)]
        scores = shift(products_by_distance(heads.query, heads.pos_key, columns), keys)  # [B, N, Q, K]
    if heads.pos_query is not None:  # what its place makes of a key: K_j . Q_r[delta(i, j)], computed key by key
        p2c = shift(products_by_distance(heads.key, heads.pos_query, mirrored), queries)  # [B, N, K, Q]
        scores = p2c.transpose(-1, -2) if scores is None else scores + p2c.transpose(-1, -2)
    return scores


class DisentangledSelfAttention(nn.Module):
    """Everything but the projections, which differ between the families.

    Args:
        config: the model's config.
    """

    def __init__(self, config: BaseConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads - len(config.pruned_heads.get(layer, ()))
        self.head_size = config.head_size
        self.width = self.num_heads * self.head_size
        # 1 / sqrt(D f): a sum of f terms varies f times as much as one (section 3.1, equation 4).
        self.scale = (self.head_size * config.score_terms) ** -0.5
        self.c2p, self.p2c, self.mixes_heads = config.c2p, config.p2c, config.mixes_heads
        self.pos_dropout = Dropout(config.hidden_dropout_prob)
        self.dropout = Dropout(config.attention_probs_dropout_prob)

    def project(self, hidden: Tensor, query_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        raise NotImplementedError("a family's projections")

    def project_positions(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        raise NotImplementedError("a family's projections")

    def split_heads(self, states: Tensor) -> Tensor:
        """``[B, L, N*D]`` -> ``[B, N, L, D]``."""
        # A view: the older exporter to ONNX takes what it saw behind ``unflatten`` for the only length.
        return states.view(*states.shape[:-1], self.num_heads, self.head_size).transpose(1, 2)

    def heads(
        self, hidden: Tensor, query_states: Tensor, relative: Relative | None, places: Places | None = None
    ) -> Heads:
        """Project and split; the scale is in the queries, so that no product leaves the range of half precision."""
        query, key, value = (self.split_heads(unpack(x, places)) for x in self.project(hidden, query_states))
        if relative is None:
            return Heads(query * self.scale, key, value, None, None)
        pos_key, pos_query = self.project_positions(self.pos_dropout(relative.rows))
        split = (-1, self.num_heads, self.head_size)
        return Heads(
            query * self.scale,
            key,
            value,
            None if pos_key is None else pos_key.view(split),
            None if pos_query is None else pos_query.view(split) * self.scale,
        )

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Mix values by attention.

        Args:
            hidden: states that keys and values are made of, ``[B, K, H]``, or ``[1, T, H]`` if the mask has places.
            mask: what queries see; ``None``: everything.
            relative: relative positions, or ``None`` for a model without.
            query_states: states that queries are made of, ``[B, Q, H]``; default ``hidden``.
            output_attentions: also return the probabilities.

        Returns:
            Context ``[B, Q, N*D]``, zero for a query that sees nothing (unless ``config.masked_rows`` is ``uniform``),
            or ``[1, T, N*D]``, and probabilities ``[B, N, Q, K]`` or ``None``.
        """
        places = None if mask is None else mask.places
        heads = self.heads(hidden, hidden if query_states is None else query_states, relative, places)
        attend = ATTENTIONS[self.choose(output_attentions, heads.key.shape[2], hidden.device)]
        context, probs = attend(self, heads, relative, mask)
        context = context.transpose(1, 2).flatten(-2)  # [B, Q, N*D]
        return pack(context, places), probs if output_attentions else None

    def choose(self, output_attentions: bool, keys: int, device: torch.device) -> str:
        """The implementation for this call: the one asked for, or the one that can give what was asked.

        Blocks of queries win on a CPU from some length on, and save memory anywhere; compilers and transforms want an
        implementation without a backward pass of its own.
        """
        wanted = self.config.attn_implementation
        reference = "exported" if is_exported() else "eager"
        if output_attentions or self.mixes_heads:
            return reference  # the only one that holds the probabilities
        if self.config.masked_rows == "uniform":
            return reference  # a fused one lets gradients into the scores of a row that sees nothing
        if is_exported():
            return "sdpa" if self.c2p or self.p2c else reference
        if wanted == "flex" and not can_flex(device, self.dropout.p if self.training else 0.0):
            wanted = "auto"
        if wanted == "auto" and CHECKED and device.type == "cuda" and HAS_TRITON and _capability(device) in CHECKED:
            wanted = "triton"
        if wanted == "triton" and (torch._C._are_functorch_transforms_active() or not can_triton(device)):
            wanted = "auto"
        if wanted in ("auto", "blocked") and is_traced():
            return "sdpa"
        if wanted != "auto":
            return wanted
        return "blocked" if keys > LONGEST_WHOLE.get(device.type, LONGEST_WHOLE["cuda"]) else "sdpa"

    def mix_logits(self, scores: Tensor) -> Tensor:
        """Mix scores ``[B, N, Q, K]`` over heads; here not at all."""
        return scores

    def mix_probs(self, probs: Tensor) -> Tensor:
        """Mix probabilities ``[B, N, Q, K]`` over heads; here not at all."""
        return probs


class FusedSelfAttention(DisentangledSelfAttention):
    """Projections of v1: one matrix whose rows are query, key and value of the first head, then of the next."""

    def __init__(self, config: BaseConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.in_proj = nn.Linear(config.hidden_size, 3 * self.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(self.width))
        self.v_bias = nn.Parameter(torch.zeros(self.width))
        if config.mixes_heads:
            self.head_logits_proj = nn.Linear(self.num_heads, self.num_heads, bias=False)
            self.head_weights_proj = nn.Linear(self.num_heads, self.num_heads, bias=False)
        if config.c2p:
            self.pos_proj = nn.Linear(config.hidden_size, self.width, bias=False)
        if config.p2c:
            self.pos_q_proj = nn.Linear(config.hidden_size, self.width)

    def project(self, hidden: Tensor, query_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        # Interleaved by head, [N, 3, D], as the published files are: not three blocks one after the other.
        split = (self.num_heads, 3, self.head_size)
        query, key, value = apply(self.in_proj, hidden).view(*hidden.shape[:-1], *split).unbind(-2)
        if query_states is not hidden:
            query = apply(self.in_proj, query_states).view(*query_states.shape[:-1], *split)[..., 0, :]
        query, key, value = query.flatten(-2), key.flatten(-2), value.flatten(-2)
        return (
            query + self.q_bias.to(query.dtype),
            key,
            value + self.v_bias.to(value.dtype),
        )  # autocast: biases are float32

    def project_positions(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        pos_key = apply(self.pos_proj, rows) if self.c2p else None
        pos_query = apply(self.pos_q_proj, rows) if self.p2c else None
        return pos_key, pos_query

    def mix_logits(self, scores: Tensor) -> Tensor:
        """Talking heads before the softmax."""
        if not hasattr(self, "head_logits_proj"):
            return scores
        return torch.einsum("bnqk,mn->bmqk", scores, self.head_logits_proj.weight)

    def mix_probs(self, probs: Tensor) -> Tensor:
        """Talking heads after the softmax."""
        if not hasattr(self, "head_weights_proj"):
            return probs
        return torch.einsum("bnqk,mn->bmqk", probs, self.head_weights_proj.weight)


class SeparateSelfAttention(DisentangledSelfAttention):
    """Projections of v2 and v3: one each for query, key and value, shared with the positions or not."""

    def __init__(self, config: BaseConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.query_proj = nn.Linear(config.hidden_size, self.width)
        self.key_proj = nn.Linear(config.hidden_size, self.width)
        self.value_proj = nn.Linear(config.hidden_size, self.width)
        self.shared = config.shares_projections
        if config.c2p and not self.shared:
            self.pos_key_proj = nn.Linear(config.hidden_size, self.width)
        if config.p2c and not self.shared:
            self.pos_query_proj = nn.Linear(config.hidden_size, self.width)

    def project(self, hidden: Tensor, query_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query ``[B, Q, N*D]``, key and value ``[B, K, N*D]``."""
        return apply(self.query_proj, query_states), apply(self.key_proj, hidden), apply(self.value_proj, hidden)

    def project_positions(self, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Relative keys and relative queries, ``[R, N*D]`` each, or ``None`` for a term the model lacks."""
        pos_key = pos_query = None
        if self.c2p:
            pos_key = apply(self.key_proj if self.shared else self.pos_key_proj, rows)
        if self.p2c:
            pos_query = apply(self.query_proj if self.shared else self.pos_query_proj, rows)
        return pos_key, pos_query


def eager(
    module: DisentangledSelfAttention, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """The reference: scores, softmax in at least float32, dropout, values."""
    scores = torch.einsum("bnqd,bnkd->bnqk", heads.query, heads.key)
    by_position = position_scores(heads, relative)
    if by_position is not None:
        scores = scores + by_position
    scores = module.mix_logits(scores)
    wide = torch.promote_types(scores.dtype, torch.float32)
    if mask is None:
        probs = scores.to(wide).softmax(-1)
    else:
        pairs = mask.pairs()
        # The least finite number, not minus infinity: a row that sees nothing is a mean, not NaN, until it is zero.
        probs = scores.to(wide).masked_fill(~pairs, torch.finfo(wide).min).softmax(-1)
        if module.config.masked_rows == "zero":
            probs = probs.masked_fill(~pairs, 0.0)
    probs = module.mix_probs(module.dropout(probs.to(heads.value.dtype)))
    return torch.einsum("bnqk,bnkd->bnqd", probs, heads.value), probs


def sdpa(
    module: DisentangledSelfAttention | None, heads: Heads, relative: Relative | None, mask: Mask | None
) -> tuple[Tensor, Tensor | None]:
    """PyTorch's fused attention; the position terms are its bias: one tensor ``[B, N, Q, K]`` instead of three.

    Without a module there is no dropout.
    """
    bias = position_scores(heads, relative)
    if mask is not None and bias is not None and is_exported():  # runtimes add faster than they choose
        bias = bias + bias.new_zeros(()).masked_fill(~mask.keys, torch.finfo(bias.dtype).min / 2)
    elif mask is not None:
        nothing = heads.query.new_zeros(()) if bias is None else bias
        bias = torch.where(mask.keys, nothing, torch.finfo(nothing.dtype).min)
    rate = module.dropout.p if module is not None and module.training else 0.0
    context = F.scaled_dot_product_attention(heads.query, heads.key, heads.value, bias, rate, scale=1.0)
    if mask is not None and (module is None or module.config.masked_rows == "zero"):
        context = context.masked_fill(mask.blind, 0.0)
    return context, None


Attend = Callable[[DisentangledSelfAttention, Heads, Relative | None, Mask | None], tuple[Tensor, Tensor | None]]
# The seam: ``encoder.py`` adds the implementations of ``fast/``, which are made of what stands above.
ATTENTIONS: dict[str, Attend] = {"eager": eager, "sdpa": sdpa}
