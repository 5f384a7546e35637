"""From the inputs of a call, read and checked, to token, position and type embeddings.

Shapes: ``B`` batch, ``L`` tokens, ``E`` embedding size, ``H`` hidden size.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deberta_core.checks import (
    NEGATIVE_MASK,
    SPREAD,
    TEXTS,
    TRUTH_VALUES,
    UNEVEN,
    check_inputs,
    innermost,
    out_of_range,
)
from deberta_core.config import BaseConfig
from deberta_pt.attention import Mask
from deberta_pt.layers import Dropout, layer_norm, refuse


def as_tensor(value: Any, name: str, model: Any) -> Any:
    """A tensor whose dtype PyTorch can look rows up by; arrays and nested lists become one.

    Args:
        value: a tensor, an array, nested lists of numbers or tensors, or ``None``, which stays.
        name: of the input.
        model: on whose device arrays and lists are put.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for texts, truth values as ids, rows of several lengths, or a nested or sparse tensor.
    """
    if value is None:
        return None
    if not isinstance(value, Tensor):
        first = innermost(value)
        if type(first).__module__.split(".")[0] in ("tensorflow", "keras", "tf_keras"):
            raise TypeError(f"{name} is a tensor of TensorFlow, expected one of PyTorch: torch.tensor({name}.numpy())")
        if isinstance(first, str) or getattr(getattr(value, "dtype", None), "kind", "") in ("U", "S"):
            raise ValueError(TEXTS.format(name=name))
        try:
            if isinstance(first, Tensor):
                value = torch.stack([as_tensor(row, name, model) for row in value])
            value = torch.as_tensor(np.asarray(value) if isinstance(first, np.ndarray) else value, device=model.device)
        except (ValueError, TypeError, RuntimeError) as error:  # an array of lists, nothing among numbers
            raise ValueError(UNEVEN.format(name=name, error=error)) from None
    if value.is_nested or value.layout is not torch.strided:
        kind, how = ("nested", "torch.nested.to_padded_tensor") if value.is_nested else ("sparse", "to_dense()")
        raise ValueError(SPREAD.format(name=name, kind=kind, how=how))
    if value.dtype in (torch.int64, torch.int32) or value.is_floating_point():
        return value
    if value.dtype == torch.bool and name in ("input_ids", "position_ids"):
        raise ValueError(TRUTH_VALUES.format(name=name))
    return value.long()


def read_inputs(model: Any, **given: Any) -> dict[str, Any]:
    """The encoder's inputs as tensors, checked: shapes and kinds always, values where no graph is made.

    Args:
        model: the encoder.
        **given: ``input_ids``, ``inputs_embeds``, ``attention_mask``, ``token_type_ids``, ``position_ids``.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for the first input that does not fit.
    """
    config: BaseConfig = model.config
    found = {name: as_tensor(value, name, model) for name, value in given.items()}
    shapes = {name: None if x is None else x.shape for name, x in found.items()}
    check_inputs(config, shapes, {name: x is not None and x.is_floating_point() for name, x in found.items()})
    tables = [("input_ids", "the word table", config.vocab_size)]
    if config.type_vocab_size > 0:
        tables.append(("token_type_ids", "the table of token types", config.type_vocab_size))
    if hasattr(model.embeddings, "position_embeddings"):
        tables.append(("position_ids", "the table of positions", config.max_position_embeddings))
    for name, table, rows in tables:

        def beyond(ids: Tensor, rows: int = rows) -> Tensor:
            return (ids < 0) | (ids >= rows)

        if found[name] is not None:
            refuse(found[name], beyond, partial(out_of_range, name, table, rows))
    mask = found["attention_mask"]
    if mask is not None and mask.is_floating_point():
        refuse(mask, lambda values: values < 0, lambda: NEGATIVE_MASK)
    return found


class Embeddings(nn.Module):
    """Sum of the embedding tables, widened, normalised, and zero where nothing is visible.

    Args:
        config: the model's config.
        position_table: hold a table of absolute positions even if they do not enter here.
    """

    def __init__(self, config: BaseConfig, position_table: bool = False) -> None:
        super().__init__()
        width, hidden = config.embedding_width, config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        if config.position_biased_input or position_table:
            self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        if config.type_vocab_size > 0:
            self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        if width != hidden:
            self.embed_proj = nn.Linear(width, hidden, bias=False)
        self.LayerNorm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.config = config

    def forward(
        self,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        mask: Mask | None,
    ) -> Tensor:
        """First token states.

        Args:
            input_ids: int ``[B, L]``, or ``None`` with ``inputs_embeds``.
            inputs_embeds: rows of the word table, ``[B, L, E]``.
            token_type_ids: int ``[B, L]``; ignored without a table of types.
            position_ids: int ``[B, L]``, default 0..L-1; ignored without a table of positions.
            mask: what the batch hides.

        Returns:
            ``[B, L, H]``, zero where nobody may see a token.
        """
        if inputs_embeds is None:
            embeds = self.word_embeddings(input_ids)  # [B, L, E]
        else:
            embeds = inputs_embeds.to(self.LayerNorm.weight.dtype)  # whatever precision they were kept in
        if self.config.position_biased_input:
            embeds = embeds + self.positions(position_ids, embeds)
        if self.config.type_vocab_size > 0:
            if token_type_ids is None:
                token_type_ids = torch.zeros(embeds.shape[:2], dtype=torch.long, device=embeds.device)
            embeds = embeds + self.token_type_embeddings(token_type_ids)
        hidden = self.embed_proj(embeds) if hasattr(self, "embed_proj") else embeds  # [B, L, H]
        # Padding becomes zero below, and its gradients with it; a mask of pairs may show others a token that is blind.
        blind = None if mask is None or mask.is_padding else mask.blind_states()
        hidden = layer_norm(self.LayerNorm, hidden, blind)
        if mask is not None:
            hidden = hidden * mask.tokens()[..., None].to(hidden.dtype)
        return self.dropout(hidden)

    def positions(self, position_ids: Tensor | None, like: Tensor) -> Tensor:
        """Rows of the table of positions for ``position_ids``, default 0..L-1 of ``like`` ``[B, L, ...]``: ``[1 or B,
        L, E]``.
        """
        if position_ids is None:
            position_ids = torch.arange(like.shape[1], device=like.device)[None]  # [1, L]
        return self.position_embeddings(position_ids)
