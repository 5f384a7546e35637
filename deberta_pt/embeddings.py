"""From the inputs of a call, their values checked, to token, position and type embeddings.

Shapes: ``B`` batch, ``L`` tokens, ``E`` embedding size, ``H`` hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from deberta_core.checks import NEGATIVE_MASK, id_tables, out_of_range
from deberta_core.config import BaseConfig
from deberta_pt.attention import Mask
from deberta_pt.layers import Dropout, layer_norm, refuse_outside


def check_values(config: BaseConfig, given: Mapping[str, Any], reads_positions: bool) -> None:
    """Refuse ids beyond their table and additive masks, where no graph is made.

    Args:
        config: the model's config.
        given: inputs by name, ``None`` for one that was not given.
        reads_positions: whether there is a table of absolute positions.

    Raises:
        ValueError: for the first input that does not fit.
    """
    for name, table, rows in id_tables(config, reads_positions):
        ids = given[name]
        if ids is not None:
            refuse_outside(ids, rows, partial(out_of_range, name, table, rows))
    mask = given["attention_mask"]
    if mask is not None and mask.is_floating_point():
        refuse_outside(mask, None, lambda: NEGATIVE_MASK)


class Embeddings(nn.Module):
    """Sum of the embedding tables, widened, normalised, and zero where nothing is visible.

    Args:
        config: the model's config.
        position_table: hold a table of absolute positions even if they do not enter here.
    """

    before_norm: Callable[[Tensor], Tensor] | None = None  # what training puts there, see perturbation.py

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
        if self.before_norm is not None:
            hidden = self.before_norm(hidden)
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
