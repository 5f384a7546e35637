"""Models prepared for inference: weights fused and frozen, position keys kept, padding left out.

A prepared layer holds query, key and value as one matrix with the scale folded in, and what its projections make of the
relative table, in an order in which queries and keys of a short text meet their rows in one product. The encoder lays
the visible tokens of all texts behind each other. Hidden tokens all have one and the same state (their embedding is
zero and they see nothing), so one row stands for all of them, and the outputs are those of the plain model everywhere.

Shapes: ``T`` tokens of all texts and the row of the hidden ones, ``L`` tokens of one text, ``H`` hidden size, ``N``
heads, ``D`` head size, ``R`` rows of the relative table.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.config import BaseConfig
from deberta_core.integers import Integers
from deberta_core.relative_position import even_distance
from deberta_pt.attention import (
    DisentangledSelfAttention,
    FusedSelfAttention,
    Heads,
    Mask,
    Relative,
    SeparateSelfAttention,
    can_triton,
    sdpa,
    skew,
)
from deberta_pt.encoder import Encoder, Layer, Output
from deberta_pt.fast.blocked import (
    ROWS,
    Block,
    Tables,
    blocks,
    inputs_of,
    is_alone,
    of_blocks,
    probabilities,
    product,
    scores_of,
    tables_of,
    turned,
)
from deberta_pt.fast.exported import context_of_any, scores_of_any
from deberta_pt.fast.int8 import LOWEST, Int8Embedding, Int8Linear, in_one
from deberta_pt.fast.linear import FrozenLinear, computes_bfloat16
from deberta_pt.fast.padding import Places, pack, places_of, unpack
from deberta_pt.fast.quantising import Batch, quantised
from deberta_pt.fast.triton import seen_of, skewed
from deberta_pt.layers import is_exported, is_traced

AnyModel = TypeVar("AnyModel", bound=nn.Module)
Scoring = Callable[[Block, list[Tensor]], Tensor]
Held = Mapping[nn.Module, Integers]


def lengths_of(token_mask: Tensor) -> list[int] | None:
    """Visible tokens of each text of a bool mask ``[B, L]`` that has any; ``None`` if those of a text are apart."""
    seen = token_mask.to(torch.int8)
    runs = (seen[:, :1].sum(-1) + (seen.diff(dim=1) > 0).sum(-1)).tolist()
    return None if max(runs, default=0) > 1 else [n for n in token_mask.sum(-1).tolist() if n]


def plain_linear(source: nn.Module) -> nn.Linear:
    """The layer itself, if nothing was put in its place."""
    if type(source) is not nn.Linear:
        raise ValueError(
            f"cannot prepare a model whose linear layer is a {type(source).__name__}: merge adapters first "
            "(PEFT: model.merge_and_unload()), and use quantised models as they are"
        )
    return source


def frozen(
    source: nn.Module, held: Held, activation: Callable[[Tensor], Tensor] | None = None, lowest: float | None = None
) -> FrozenLinear | Int8Linear:
    """The same map, which shares the weights, or computes with the integers that they are held as."""
    dense = plain_linear(source)
    if dense in held:
        return Int8Linear(held[dense], dense.bias, activation, lowest)
    return FrozenLinear(dense.weight, dense.bias, activation)


def fused_projection(attention: DisentangledSelfAttention, held: Held) -> FrozenLinear | Int8Linear:
    """Query, key and value as one layer ``[3*N*D, H]``, the queries scaled."""
    width = attention.width
    integers: Integers | None = None
    if isinstance(attention, FusedSelfAttention):
        dense = plain_linear(attention.in_proj)
        # All queries, all keys, all values, where the file has those of a head together.
        rows = torch.arange(3 * width).unflatten(0, (attention.num_heads, 3, -1)).transpose(0, 1).flatten()
        weight = dense.weight[rows]
        bias = torch.cat([attention.q_bias, torch.zeros_like(attention.q_bias), attention.v_bias])
        integers = held[dense].rows(rows.numpy()) if dense in held else None
    elif isinstance(attention, SeparateSelfAttention):
        parts = [plain_linear(x) for x in (attention.query_proj, attention.key_proj, attention.value_proj)]
        weight, bias = torch.cat([x.weight for x in parts]), torch.cat([x.bias for x in parts])
        integers = in_one([held[x] for x in parts]) if all(x in held for x in parts) else None
    weight[:width] *= attention.scale
    bias[:width] *= attention.scale
    if integers is None:
        return FrozenLinear(weight, bias)
    integers.scale[:width] *= attention.scale
    return Int8Linear(integers, bias)


def without_gaps(states: Tensor) -> Tensor:
    """A copy without numbers between its own, where each product would make one: of bfloat16 on a CPU."""
    return states.contiguous() if states.dtype == torch.bfloat16 and states.device.type == "cpu" else states


def close(module: Output, states: Tensor, residual: Tensor) -> Tensor:
    """The end of a half of a layer, without dropout."""
    norm = module.LayerNorm
    states = module.dense(states)
    states = states + residual if is_traced() else states.add_(residual)
    return F.layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def wants_triton(config: BaseConfig, hidden: Tensor) -> bool:
    """Whether layers attend by the Triton kernels; on a CPU, where texts are computed one by one, they never do."""
    return config.attn_implementation == "triton" and hidden.device.type != "cpu" and can_triton(hidden.device)


class PreparedLayer(nn.Module):
    """A layer whose projections are fused and whose relative keys and queries are kept; called as ``Layer``.

    Args:
        layer: what it computes.
        rows: the whole relative table, as attention reads it, ``[R, H]``; ``None`` for a model without.
        even: distance up to which, on either side of its middle, the rows of the table follow distances one by one.
        held: weights of its layers that are integers.
    """

    def __init__(self, layer: Layer, rows: Tensor | None, even: int, held: Held) -> None:
        super().__init__()
        self.even, attention = even, layer.attention.self
        self.config = attention.config
        self.num_heads, self.width = attention.num_heads, attention.width
        self.projection = fused_projection(attention, held)
        self.attention_output, self.output = layer.attention.output, layer.output
        activation, ends = layer.intermediate.activation, list[Any]((layer.attention.output, layer.output))
        for end, lowest in zip(ends, (None, LOWEST.get(activation)), strict=True):
            end.dense = frozen(end.dense, held, lowest=lowest)
        self.intermediate = frozen(layer.intermediate.dense, held, activation)
        pos_key, pos_query = (None, None) if rows is None else attention.project_positions(rows)
        self.c2p, self.p2c = pos_key is not None, pos_query is not None

        def by_head(positions: Tensor, scale: float, *ends: int) -> Tensor:
            split = (positions * scale).unflatten(-1, (attention.num_heads, attention.head_size)).transpose(0, 1)
            return F.pad(split, (0, 0, *ends))  # [N, R+1, D]

        # Keys from the last row to the first, as distances fall; both have distance zero in the same row.
        found = [] if pos_key is None else [by_head(pos_key.flip(0), 1.0, 1, 0)]
        found += [] if pos_query is None else [by_head(pos_query, attention.scale, 0, 1)]
        self.positions: Tensor | None
        self.register_buffer("positions", torch.stack(found) if found else None)  # [1 or 2, N, R+1, D]

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        relative: Relative | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As ``Layer``: states ``[B, Q, H]`` and probabilities ``[B, N, Q, K]`` or ``None``."""
        residual = hidden if query_states is None else query_states
        places = None if mask is None else mask.places
        if is_exported():
            return self.in_graph(hidden, residual, relative, mask, output_attentions)
        if is_traced() or hidden.device.type != "cpu":
            found, all_probs = self.at_once(hidden, query_states, relative, mask, output_attentions)
            return self.close(found, residual), all_probs
        if query_states is None:
            projected = [unpack(self.project(hidden), places)]
        else:
            projected = [self.project(query_states, 0, 1), self.project(hidden, 1, 3)]
        batch, queries, keys = *projected[0].shape[:2], projected[-1].shape[1]
        context = residual.new_zeros(batch, queries, self.width)
        probs = hidden.new_zeros(batch, self.num_heads, queries, keys) if output_attentions else None
        scores = self.scoring(relative, queries, keys, query_states is None)
        for b in range(batch):
            kept = None if probs is None else probs[b]
            own = None if mask is None else mask.of(b)
            states = [without_gaps(self.heads(part[b])) for part in projected]
            self.attend(scores, states, self.heads(context[b])[0], own, kept)
        return self.close(pack(context, places), residual), probs

    def at_once(
        self,
        hidden: Tensor,
        query_states: Tensor | None,
        relative: Relative | None,
        mask: Mask | None,
        output_attentions: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of whole batches, without blocks or copies in another order.

        For graphs, which are for all lengths, and for devices other than the CPU, which are slow to start many kernels
        and fast to compute padding.
        """
        places = None if mask is None else mask.places

        def split(states: Tensor) -> Tensor:
            split = (-1, self.num_heads, self.width // self.num_heads)
            return states.view(*states.shape[:-1], *split).permute(2, 0, 3, 1, 4)  # [1 to 3, B, N, L, D]

        if query_states is None:
            query, key, value = split(unpack(self.project(hidden), places))  # [B, N, L, D] each
        else:
            (query,), (key, value) = split(self.project(query_states, 0, 1)), split(self.project(hidden, 1, 3))
        pos_key = pos_query = None
        if self.positions is not None and relative is not None:  # [R, N, D] each
            used = slice(relative.first, relative.first + relative.rows.shape[0])
            pos_key = self.positions[0, :, 1:].flip(1).transpose(0, 1)[used] if self.c2p else None
            pos_query = self.positions[-1, :, :-1].transpose(0, 1)[used] if self.p2c else None
        heads = Heads(query, key, value, pos_key, pos_query)
        probs: Tensor | None
        if output_attentions or not (self.c2p or self.p2c):
            context, probs = context_of_any(scores_of_any(heads, relative), value, mask)
        else:
            context, probs = (skewed if wants_triton(self.config, hidden) else sdpa)(None, heads, relative, mask)
        context = pack(context.transpose(1, 2).flatten(-2), places)  # [B, Q, N*D], or [1, T, N*D]
        return context, probs if output_attentions else None

    def in_graph(
        self, hidden: Tensor, query_states: Tensor, relative: Relative | None, mask: Mask | None, wants_probs: bool
    ) -> tuple[Tensor, Tensor | None]:
        """As ``forward``, in steps that runtimes do fast: rows of all texts behind each other, each product by itself.

        ONNX Runtime adds the bias inside a product of two matrices, not of more axes, and its own fusion of a sum and
        a layer norm, which it makes of three axes alone, takes four times as long as the two by themselves.
        """
        split = (self.num_heads, self.width // self.num_heads)
        batch, residual = hidden.shape[0], query_states.reshape(-1, query_states.shape[-1])  # [B*Q, H]
        rows = residual if query_states is hidden else hidden.reshape(-1, hidden.shape[-1])  # [B*K, H]
        projected = (self.project(states, i, i + 1) for i, states in enumerate((residual, rows, rows)))
        query, key, value = (states.view(batch, -1, *split).transpose(1, 2) for states in projected)  # [B, N, L, D]
        pos_key = self.positions[0, :, 1:].flip(1).transpose(0, 1) if self.positions is not None and self.c2p else None
        pos_query = self.positions[-1, :, :-1].transpose(0, 1) if self.positions is not None and self.p2c else None
        heads = Heads(query, key, value, pos_key, pos_query)
        probs: Tensor | None = None
        if wants_probs or not (self.c2p or self.p2c):
            context, probs = context_of_any(scores_of_any(heads, relative), value, mask)
        else:
            context, _ = sdpa(None, heads, relative, mask)
        found = self.close(context.transpose(1, 2).reshape(-1, self.width), residual)
        return found.view(query_states.shape), probs if wants_probs else None

    def packed(self, hidden: Tensor, lengths: list[int], relative: Relative | None) -> Tensor:
        """The layer for texts behind each other, of these lengths, and a row that sees nothing: ``[T, H]``."""
        projected, context = self.project(hidden), hidden.new_zeros(len(hidden), self.width)
        longest, start = max(lengths, default=1), 0
        scores = self.scoring(relative, longest, longest)
        for length in lengths:
            text = slice(start, start + length)
            self.attend(scores, [without_gaps(self.heads(projected[text]))], self.heads(context[text])[0])
            start += length
        return self.close(context, hidden)

    def project(self, hidden: Tensor, first: int = 0, last: int = 3) -> Tensor:
        """Query, key and value, or some of these three, beside each other: ``[..., H]`` -> ``[..., C*N*D]``."""
        if last - first == 3:
            return self.projection(hidden)
        return self.projection.part(hidden, slice(first * self.width, last * self.width))

    def heads(self, states: Tensor) -> Tensor:
        """The view ``[C, N, L, D]`` of ``[L, C*N*D]`` of one text."""
        return states.unflatten(-1, (-1, self.num_heads, self.width // self.num_heads)).permute(1, 2, 0, 3)

    def scoring(self, relative: Relative | None, queries: int, keys: int, same: bool = True) -> Scoring:
        """What scores blocks of so many queries and keys, or fewer, of the ``same`` tokens or not."""
        if self.positions is None or not same or keys > min(ROWS, self.even + 1):
            return partial(self.scores, self.tables(relative, queries, keys))
        middle = self.positions.shape[2] // 2
        windows = self.positions[:, :, middle + 1 - keys : middle + keys]
        return partial(self.scores_at_once, without_gaps(windows).flatten(0, 1))

    def tables(self, relative: Relative | None, queries: int, keys: int) -> Tables:
        """Those of this layer for so many queries and keys; views of even rows, or copies ``without_gaps``."""
        if relative is None or self.positions is None:
            return tables_of((None, None), None, queries, keys)
        up, down, middle = queries - 1, keys - 1, self.positions.shape[2] // 2
        even = max(up, down) <= self.even
        of_key = slice(middle - up, middle + down + 1) if even else slice(1, None)
        of_query = slice(middle - down, middle + up + 1) if even else slice(-1)
        key = self.positions[0, :, of_key] if self.c2p else None
        query = self.positions[-1, :, of_query] if self.p2c else None
        if not even:
            return tables_of((key, query), relative.of_whole(), queries, keys, backwards=True)
        key, query = (None if table is None else without_gaps(table) for table in (key, query))
        return Tables(key, query, up, down, relative.reach)

    def scores(self, tables: Tables, block: Block, states: list[Tensor]) -> Tensor:
        """Scores of a block, ``[N, M, W]``.

        Args:
            tables: for these lengths, or longer ones.
            block: which of the queries and keys meet.
            states: as of ``attend``.
        """
        query, key, _ = (head for part in states for head in part)
        return scores_of(inputs_of(block, query[None], key[None], tables))

    def scores_at_once(self, windows: Tensor, block: Block, states: list[Tensor]) -> Tensor:
        """As ``scores``, of a short text: one product of queries and keys with the tables of both.

        Args:
            windows: rows of the tables for this length, or a longer one, ``[C*N, W, D]``.
            block: part of the text; there is one alone.
            states: queries, keys and values in one, ``[3, N, L, D]``.
        """
        ((query, key, _),) = states
        length, spare = query.shape[1], (windows.shape[1] + 1) // 2 - query.shape[1]
        scores = product(query, key)
        meeting = states[0][0 if self.c2p else 1 : 2 if self.p2c else 1].flatten(0, 1)
        wide = product(meeting, windows[:, spare : windows.shape[1] - spare])
        by_distance = skew(wide, length).unflatten(0, (-1, self.num_heads))
        if self.c2p:
            scores.add_(by_distance[0])
        if self.p2c:
            scores.add_(turned(by_distance[-1]))
        return scores[block.heads, block.rows, block.keys]

    def attend(
        self,
        scores: Scoring,
        states: list[Tensor],
        context: Tensor,
        mask: Mask | None = None,
        kept: Tensor | None = None,
    ) -> None:
        """Attention of one text, written to ``context``.

        Args:
            scores: what ``scoring`` gave for these lengths, or longer ones.
            states: queries ``[N, Q, D]``, scaled, keys and values ``[N, K, D]``, along the first axes of one or more.
            context: where the result goes, ``[N, Q, D]``, zero.
            mask: what queries see.
            kept: where the probabilities go, ``[N, Q, K]``, zero.
        """
        query, key, value = (head for part in states for head in part)
        seen, blind = of_blocks(mask)
        alone = is_alone(query[None], key.shape[1], seen)
        for block in blocks(query[None], key.shape[1], seen, blind, alone):
            probs = probabilities(scores(block, states), block.mask).to(value.dtype)
            context[block.heads, block.rows] = product(probs, value[block.heads, block.keys].transpose(1, 2))
            if kept is not None:
                kept[block.heads, block.rows, block.keys] = probs

    def close(self, context: Tensor, residual: Tensor) -> Tensor:
        """Everything after attention: ``[..., N*D]`` and ``[..., H]`` -> ``[..., H]``."""
        attended = close(self.attention_output, context, residual)
        return close(self.output, self.intermediate(attended), attended)


class PreparedEncoder(Encoder):
    """An encoder of prepared layers that computes visible tokens only.

    Args:
        encoder: what it computes.
        held: weights of its layers that are integers.
    """

    def __init__(self, encoder: Encoder, held: Held | None = None) -> None:
        nn.Module.__init__(self)
        for name in ("config", "span", "reach", "reads_positions", "compresses", "checkpointing"):
            setattr(self, name, getattr(encoder, name))
        self.distance_rows, self.rows_by_distance = encoder.distance_rows, encoder.rows_by_distance
        for name, module in encoder.named_children():
            setattr(self, name, module)
        rows = self.normalise(self.rel_embeddings.weight) if self.reads_positions else None
        layers, even = list[Any](encoder.layer), even_distance(self.distance_rows)
        self.layer = nn.ModuleList([PreparedLayer(layer, rows, even, held or {}) for layer in layers])

    def places(self, mask: Mask | None) -> Places | None:
        """Those of the tokens wherever any are hidden: texts behind each other need not be put to their places."""
        if mask is None or not mask.is_padding or is_traced() or mask.keys.device.type != "cpu":
            return super().places(mask)
        return places_of(mask.tokens())

    def blocks(self, mask: Mask, output_attentions: bool, hidden: Tensor) -> Any:
        """As of ``Encoder``."""
        return seen_of(mask, hidden.shape[1]) if not output_attentions and wants_triton(self.config, hidden) else None

    def forward(
        self,
        hidden: Tensor,
        mask: Mask | None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """As ``Encoder``; a graph is for all lengths, and knows of nobody's gradients."""
        if is_traced():
            return super().forward(hidden, mask, output_hidden_states, output_attentions)
        with torch.no_grad():
            return self.text_by_text(hidden, mask, output_hidden_states, output_attentions)

    def text_by_text(
        self, hidden: Tensor, mask: Mask | None, output_hidden_states: bool, output_attentions: bool
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """As ``forward``; on the CPU, of texts whose lengths are known."""
        lengths = None
        if mask is not None and mask.is_padding and not output_attentions and hidden.device.type == "cpu":
            lengths = lengths_of(mask.tokens())
        if lengths is None:
            return super().forward(hidden, mask, output_hidden_states, output_attentions)
        places = self.places(mask)
        longest = max(lengths, default=1)
        relative = self.relative(longest, longest, hidden.device)
        states, packed = [hidden], pack(hidden, places)
        layers: Any = self.layer
        for i, layer in enumerate(layers):
            packed = layer.packed(packed[0], lengths, relative)[None]
            if i == 0 and hasattr(self, "conv"):
                packed = pack(self.conv(hidden, unpack(packed, places), mask), places)
            if output_hidden_states:
                states.append(unpack(packed, places))
        last = states[-1] if output_hidden_states else unpack(packed, places)
        return last, tuple(states) if output_hidden_states else None, None


def optimize_for_inference(
    model: AnyModel, dtype: torch.dtype | str | None = None, calibration: Iterable[Batch] | None = None
) -> AnyModel:
    """A copy of a model that gives the same outputs faster, and cannot be trained or saved.

    Weights that stay as they are are shared with the model; the prepared copy does not follow later changes to it. On a
    CPU the first texts make a second copy of the weights of the layers, in an order that is read faster: short ones
    always, long ones where a race on the machine says so.

    Args:
        model: any model of this package, without adapters; one that is prepared already is given back.
        dtype: dtype of the weights, default: as they are, integers of a quantised folder among them. On processors with
            bfloat16 instructions ``torch.bfloat16`` is faster still, with results near those of float32. ``"int8"``
            (or ``torch.int8``) computes the layers' products with 8-bit integers, on a CPU; see ``quantize``.
        calibration: for ``"int8"``, batches as of ``quantize``, unless the model was loaded from a quantised folder.

    Returns:
        A model of the same class, in eval mode: same inputs, same outputs, attentions on request. Models with talking
        heads or ``masked_rows="uniform"`` are copied and frozen, no more.

    Raises:
        TypeError: for something that is not a model of this package.
        ValueError: if a linear layer was replaced, as by an adapter, a prepared model is to have another dtype, or
            there is nothing to choose integers by.
    """
    own = _of_ours(model)
    dtype = torch.int8 if dtype == "int8" else dtype
    if isinstance(dtype, str) or not (dtype is None or dtype.is_floating_point or dtype == torch.int8):
        raise ValueError(f"dtype is {dtype!r}, expected 'int8' or a floating-point dtype such as torch.bfloat16")
    if calibration is not None and dtype != torch.int8:
        raise ValueError(f"calibration is for dtype='int8', but dtype is {dtype}; leave one of them out")
    if own.prepared:
        kept = torch.int8 if any(isinstance(module, Int8Linear) for module in own.modules()) else own.dtype
        if dtype not in (None, kept):
            raise ValueError(f"the model was prepared in {kept}; give dtype={dtype} where it is prepared first")
        return model
    if dtype == torch.bfloat16 and own.device.type == "cpu" and not computes_bfloat16():
        warnings.warn("this processor has no instructions for bfloat16: float32 is faster", stacklevel=2)
    if dtype == torch.int8 and not own.integers:
        if calibration is None:
            raise ValueError("dtype is 'int8', but there is no calibration; give batches of the model's inputs")
        model = own = quantize(model, calibration)
    if dtype in (None, torch.int8):
        of_floats = own.device.type != "cpu" or own.dtype != torch.float32  # which integers are not computed with
        return prepared_of(model, {} if of_floats else own.kept_integers(), None)
    return prepared_of(model, {}, dtype)


def quantize(model: AnyModel, calibration: Iterable[Batch]) -> AnyModel:
    """A copy of a model whose layers' weights are those that 8-bit integers stand for.

    Prepared for inference it computes with the integers, and saved it is written with them, in a quarter of the space;
    else it is a model as any other, and once trained it is no longer quantised.

    Args:
        model: any model of this package, on the CPU, without adapters.
        calibration: batches of its inputs, dicts of tensors, arrays or lists: some texts of the kind that it is for.

    Returns:
        The copy; ``quantization`` is the report, which names what stays float.

    Raises:
        TypeError: for something that is not a model of this package, or a batch that is no dict.
        ValueError: the model is quantised or prepared already or not on the CPU, or there is no batch.
    """
    own = _of_ours(model)
    if own.integers or own.prepared:
        state = "quantised" if own.integers else "prepared for inference"
        raise ValueError(f"the model is {state} already; take the one it was made of")
    if own.device.type != "cpu":
        raise ValueError(f"the model is on {own.device}, expected the CPU: model.to('cpu')")
    for module in own.base_model.encoder.layer.modules():
        if isinstance(module, nn.Module) and hasattr(module, "weight") and module.weight.ndim == 2:
            plain_linear(module)
    found: Any = copy.deepcopy(model).float().eval()
    found.integers, found.quantization = quantised(found, calibration, partial(prepared_of, dtype=None))
    with torch.no_grad():
        for key, integers in found.integers.items():
            found.get_parameter(found.own_key(key)).copy_(torch.from_numpy(integers.widened()))
    result: AnyModel = found
    return result


def _of_ours(model: Any) -> Any:
    if not hasattr(type(model), "prepared"):
        raise TypeError(f"expected a model of deberta_pt, got a {type(model).__name__}; unwrap it first")
    return model


def prepared_of(model: AnyModel, integers: Mapping[str, Integers], dtype: torch.dtype | None) -> AnyModel:
    """The prepared copy of a model.

    Args:
        model: plain.
        integers: weights that are computed with as such, by full key.
        dtype: of floating-point weights.
    """

    def shared(tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)

    own: Any = model
    by_name = {own.own_key(key): held for key, held in integers.items()}
    memo: dict[int, Any] = {id(b): shared(b) for b in model.buffers()}
    for name, p in model.named_parameters():
        # What a table of integers or a product of its positions is made of are those floats, whoever holds the model.
        wide = torch.from_numpy(by_name[name].widened()) if name in by_name else shared(p)
        memo[id(p)] = nn.Parameter(wide, requires_grad=False)
    memo[id(own.unused_tensors)] = memo[id(own.integers)] = {}  # which are kept for saving
    with torch.no_grad():
        prepared: Any = copy.deepcopy(model, memo)
        body = prepared.base_model
        if not own.config.mixes_heads and own.config.masked_rows == "zero":
            paths = {name.removesuffix(".weight"): held for name, held in by_name.items()}
            held = {module: paths[name] for name, module in prepared.named_modules() if name in paths}
            body.encoder = PreparedEncoder(body.encoder, held)
            words = body.embeddings.word_embeddings
            if words in held and not any(getattr(m, "predicts_words", False) for m in prepared.modules()):
                body.embeddings.word_embeddings = Int8Embedding(held[words], prepared.dtype)
            prepared.prepared = True
    found: AnyModel = prepared.eval()
    return found
