"""From the inputs of a call, their values checked, to token, position and type embeddings.

Shapes: ``B`` batch, ``L`` tokens, ``E`` embedding size, ``H`` hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from deberta_core.checks import NEGATIVE_MASK, id_tables, out_of_range, too_long
from deberta_core.config import BaseConfig
from deberta_tf.attention import Mask
from deberta_tf.fast.dropout import TFDropout
from deberta_tf.layers import LayerNorm, Module, TFEmbedding, linear, refuse_if, shape_of


def check_values(config: BaseConfig, given: Mapping[str, Any], reads_positions: bool) -> list[tf.Operation]:
    """Refuse ids beyond their table and additive masks, in eager mode and in plain graphs.

    Args:
        config: the model's config.
        given: inputs by name, ``None`` for one that was not given.
        reads_positions: whether there is a table of absolute positions.

    Returns:
        What must run before a table is read; nothing in eager mode.

    Raises:
        ValueError: for the first input that does not fit; in a graph ``tf.errors.InvalidArgumentError``.
    """
    checks: list[tf.Operation] = []
    for name, table, rows in id_tables(config, reads_positions):
        ids = given[name]
        if ids is not None:
            checks += refuse_if((ids < 0) | (ids >= rows), out_of_range(name, table, rows))
    mask = given["attention_mask"]
    if mask is not None and mask.dtype.is_floating:
        checks += refuse_if(mask < 0, NEGATIVE_MASK)
    return checks


class Embeddings(Module):
    """Sum of the embedding tables, widened, normalised, and zero where nothing is visible.

    Args:
        config: the model's config.
        position_table: hold a table of absolute positions even if they do not enter here.
    """

    before_norm: Callable[[tf.Tensor], tf.Tensor] | None = None  # what training puts there, see perturbation.py

    def __init__(self, config: BaseConfig, position_table: bool = False, name: str = "embeddings") -> None:
        super().__init__(name=name)
        width, hidden, deviation = config.embedding_width, config.hidden_size, config.initializer_range
        with tf.name_scope(name):
            self.word_embeddings = TFEmbedding(
                config.vocab_size, width, deviation, name="word_embeddings", padding=config.pad_token_id
            )
            if config.position_biased_input or position_table:
                self.position_embeddings = TFEmbedding(
                    config.max_position_embeddings, width, deviation, name="position_embeddings"
                )
            if config.type_vocab_size > 0:
                self.token_type_embeddings = TFEmbedding(
                    config.type_vocab_size, width, deviation, name="token_type_embeddings"
                )
            if width != hidden:
                self.embed_proj = linear(width, hidden, deviation, name="embed_proj", bias=False)
            self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps)
        self.dropout = TFDropout(config.hidden_dropout_prob)
        self.config = config

    def call(
        self,
        input_ids: tf.Tensor | None,
        inputs_embeds: tf.Tensor | None,
        token_type_ids: tf.Tensor | None,
        position_ids: tf.Tensor | None,
        mask: Mask | None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """First token states.

        Args:
            input_ids: int ``[B, L]``, or ``None`` with ``inputs_embeds``.
            inputs_embeds: rows of the word table, ``[B, L, E]``.
            token_type_ids: int ``[B, L]``; ignored without a table of types.
            position_ids: int ``[B, L]``, default 0..L-1; ignored without a table of positions.
            mask: what the batch hides.
            training: whether dropout acts.

        Returns:
            ``[B, L, H]``, zero where nobody may see a token.
        """
        if inputs_embeds is None:
            embeds = self.word_embeddings(input_ids)  # [B, L, E]
        else:
            embeds = tf.cast(inputs_embeds, self.compute_dtype)  # whatever precision they were kept in
        if self.config.position_biased_input:
            embeds = embeds + self.positions(position_ids, embeds)
        if self.config.type_vocab_size > 0:
            if token_type_ids is None:
                token_type_ids = tf.zeros(shape_of(embeds)[:2], tf.int32)
            embeds = embeds + self.token_type_embeddings(token_type_ids)
        hidden = self.embed_proj(embeds) if hasattr(self, "embed_proj") else embeds  # [B, L, H]
        if self.before_norm is not None:
            hidden = self.before_norm(hidden)
        # Padding becomes zero below, and its gradients with it; a mask of pairs may show others a token that is blind.
        blind = None if mask is None or mask.is_padding else mask.blind_states()
        hidden = self.LayerNorm(hidden, blind)
        if mask is not None:
            hidden = hidden * tf.cast(tf.expand_dims(mask.tokens(), -1), hidden.dtype)
        return self.dropout(hidden, training=training)

    def positions(self, position_ids: tf.Tensor | None, like: tf.Tensor) -> tf.Tensor:
        """Rows of the table of positions for ``position_ids``, default 0..L-1 of ``like`` ``[B, L, ...]``: ``[1 or B,
        L, E]``.
        """
        if position_ids is None:
            length, rows = shape_of(like)[1], self.config.max_position_embeddings
            known = isinstance(length, int)  # then it was checked with the shapes
            text = f"the inputs have more tokens than fit, {too_long(rows)}"
            with tf.control_dependencies([] if known else refuse_if(length > rows, text)):
                position_ids = tf.range(length)[None]  # [1, L]
        return self.position_embeddings(position_ids)
