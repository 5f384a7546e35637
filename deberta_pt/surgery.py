"""Changing a built model: another vocabulary size, fewer heads, layers and columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from deberta_core.config import check_pruning
from deberta_core.loading import without_words
from deberta_core.pruning import check_pruned_columns, check_pruned_layers, keep_layers
from deberta_pt.attention import DisentangledSelfAttention, FusedSelfAttention

NEARLY_ALIKE = 1e-5  # of the usual deviation: rows that are quite alike would stay so


def as_linear(weight: nn.Parameter, bias: nn.Parameter) -> nn.Linear:
    """A layer that shares a matrix ``[V, E]`` and a bias that modules of another kind hold."""
    linear = nn.Linear(1, 1, device="meta")
    linear.out_features, linear.in_features = weight.shape
    linear.weight, linear.bias = weight, bias
    return linear


def resized(rows: Tensor, count: int, deviation: float, mean: bool = False) -> Tensor:
    """A table cut or continued to ``count`` rows.

    Args:
        rows: ``[V, ...]``.
        count: rows of the result.
        deviation: standard deviation of the new rows; 0 for a bias.
        mean: let new rows begin as the mean of the old ones, all but alike, instead of at random around zero.

    Returns:
        ``[count, ...]``, the first rows those of ``rows``.

    Source: of the mean, Hewitt 2021, "Initializing new word embeddings for pretrained language models".
    """
    new = rows.new_empty((count, *rows.shape[1:])).normal_(0.0, deviation)
    if mean:
        new = new * NEARLY_ALIKE + rows.mean(0)
    kept = min(count, len(rows))
    new[:kept] = rows[:kept]
    return new


@torch.no_grad()
def resize_token_embeddings(model: Any, count: int, *, mean: bool) -> nn.Embedding:
    """Give the word table, and what predicts words, ``count`` rows; see the method of the models."""
    config = model.config
    if config.pad_token_id is not None and count <= config.pad_token_id:
        raise ValueError(f"{count} rows leave no place for pad_token_id {config.pad_token_id}")
    table = model.get_input_embeddings()
    table.weight = _like(table.weight, resized(table.weight, count, config.initializer_range, mean))
    table.num_embeddings = count
    for module in model.modules():
        if getattr(module, "predicts_words", False):
            module.bias = _like(module.bias, resized(module.bias, count, 0.0, mean))
            if hasattr(module, "decoder"):
                decoder: Any = module.decoder
                decoder.weight = _like(decoder.weight, resized(decoder.weight, count, config.initializer_range, mean))
                decoder.out_features = count
    model.unused_tensors = without_words(model.unused_tensors, config.vocab_size)
    config.vocab_size = count
    return table


@torch.no_grad()
def prune_heads(model: Any, heads: Mapping[int, Iterable[int]]) -> None:
    """Cut heads out of layers; see the method of the models."""
    _refuse_prepared(model, "heads in one matrix")
    config = model.config
    cut = check_pruning(config, heads)
    layers: Any = model.base_model.get_submodule("encoder.layer")
    for layer, module in enumerate(layers):
        before = [h for h in range(config.num_attention_heads) if h not in config.pruned_heads.get(layer, ())]
        kept = [i for i, head in enumerate(before) if head not in cut.get(layer, ())]
        if len(kept) < len(before):
            _keep_heads(module.attention.self, kept)
            columns = _positions(kept, module.attention.self.head_size, module.attention.output.dense.weight.device)
            dense = module.attention.output.dense
            dense.weight = _like(dense.weight, dense.weight[:, columns])
            dense.in_features = len(columns)
    config.pruned_heads = cut


@torch.no_grad()
def prune_layers(model: Any, layers: Iterable[int]) -> None:
    """Cut layers out; see the method of the models."""
    _refuse_prepared(model)
    config, encoder = model.config, model.base_model.get_submodule("encoder")
    kept = check_pruned_layers(config, layers)
    encoder.layer = nn.ModuleList(encoder.layer[i] for i in kept)
    keep_layers(config, kept)


@torch.no_grad()
def prune_intermediate(model: Any, columns: Mapping[int, Iterable[int]]) -> None:
    """Cut columns out between the halves of the feed-forward parts; see the method of the models."""
    _refuse_prepared(model)
    kept = check_pruned_columns(model.config, columns)
    layers: Any = model.base_model.get_submodule("encoder.layer")
    for module, places in zip(layers, kept, strict=True):
        first, second = module.intermediate.dense, module.output.dense
        index = torch.tensor(places, device=first.weight.device)
        first.weight, first.bias = _like(first.weight, first.weight[index]), _like(first.bias, first.bias[index])
        second.weight = _like(second.weight, second.weight[:, index])
        first.out_features = second.in_features = len(places)
    model.config.intermediate_size = len(kept[0])


def _refuse_prepared(model: Any, how: str = "weights in other forms") -> None:
    if model.prepared:
        raise ValueError(f"a model prepared for inference has its {how}; prune the one it was made of")
    if model.quantization_method:
        raise ValueError(
            f"layers of {model.quantization_method} cannot be cut: prune the model in floats, save it, and let what is "
            "left be quantised on loading"
        )


def _keep_heads(attention: DisentangledSelfAttention, kept: list[int]) -> None:
    size = attention.head_size
    device = next(attention.parameters()).device
    rows, fused = _positions(kept, size, device), _positions(kept, 3 * size, device)
    for name, module in attention.named_children():
        if isinstance(module, nn.Linear):
            index = fused if name == "in_proj" else rows
            module.weight = _like(module.weight, module.weight[index])
            if module.bias is not None:
                module.bias = _like(module.bias, module.bias[index])
            module.out_features = len(index)
    if isinstance(attention, FusedSelfAttention):
        attention.q_bias = _like(attention.q_bias, attention.q_bias[rows])
        attention.v_bias = _like(attention.v_bias, attention.v_bias[rows])
    attention.num_heads, attention.width = len(kept), len(rows)


def _positions(blocks: list[int], size: int, device: torch.device) -> Tensor:
    """Positions of some blocks of ``size`` entries each, in order."""
    starts = torch.tensor(blocks, device=device)[:, None] * size
    return (starts + torch.arange(size, device=device)).flatten()


def _like(old: Tensor, new: Tensor) -> nn.Parameter:
    return nn.Parameter(new.contiguous(), requires_grad=old.requires_grad)
