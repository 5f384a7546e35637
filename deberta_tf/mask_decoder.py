"""Heads over the vocabulary and over replaced tokens, and the decoding that absolute positions enter by.

Shapes: ``B`` batch, ``L`` tokens, ``H`` hidden size, ``E`` embedding size, ``V`` vocabulary.
"""

from __future__ import annotations

import tensorflow as tf

from deberta_core.config import BaseConfig
from deberta_tf.activations import ACTIVATIONS
from deberta_tf.attention import Mask
from deberta_tf.encoder import Encoder
from deberta_tf.layers import FirstState, LayerNorm, Module, linear, shape_of

DECODING_STEPS = 2  # as the published models were trained


def enhanced_decoding(
    encoder: Encoder, hidden: tf.Tensor, positions: tf.Tensor, mask: Mask | None, training: bool | None = None
) -> tf.Tensor:
    """The enhanced mask decoder: absolute positions as queries of the last layer, run twice.

    Args:
        encoder: whose last layer decodes, with its own weights.
        hidden: states that entered the last layer, ``[B, L, H]``: keys and values of both runs.
        positions: rows of the table of absolute positions, ``[1 or B, L, H]``.
        mask: what queries see.
        training: whether dropout acts.

    Returns:
        ``[B, L, H]``.

    Source: He et al. 2021 (arXiv 2006.03654), section 3.2, as the released code computes it.
    """
    length = shape_of(hidden)[1]
    relative = encoder.relative(length, length)
    query = positions + hidden
    for _ in range(DECODING_STEPS):  # queries are decoded again, keys and values stay those of the encoder
        query, _ = encoder.run_layer(encoder.layer[-1], hidden, mask, relative, query, training=training)
    return query


class Transform(Module):
    """Dense layer to the embedding width, activation and layer norm."""

    def __init__(self, config: BaseConfig, name: str = "transform") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.dense = linear(
                config.hidden_size,
                config.embedding_width,
                config.initializer_range,
                name="dense",
                activation=ACTIVATIONS[config.hidden_act],
            )
            self.LayerNorm = LayerNorm(config.embedding_width, config.layer_norm_eps)

    def call(self, hidden: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:
        """``[..., H]`` -> ``[..., E]``; ``blind`` as in ``LayerNorm``."""
        return self.LayerNorm(self.dense(hidden), blind)


class LegacyPredictions(Module):
    """``cls.predictions``: a transform, then the word table (or, untied, a matrix of its own) and a bias."""

    predicts_words = True

    def __init__(self, config: BaseConfig, name: str = "predictions") -> None:
        super().__init__(name=name)
        width, words = config.embedding_width, config.vocab_size
        with tf.name_scope(name):
            self.transform = Transform(config)
            self.bias = self.add_weight("bias", (words,), initializer="zeros")
            if not config.tie_word_embeddings:
                self.decoder = linear(width, words, config.initializer_range, name="decoder", bias=False)

    def call(self, hidden: tf.Tensor, table: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``LayerNorm``."""
        states = self.transform(hidden, blind)
        products = self.decoder(states) if hasattr(self, "decoder") else by_table(states, table)
        return products + self.bias


class PublishedPredictions(Transform):
    """``lm_predictions.lm_head``, the head of the published files: the same function, its weights named otherwise."""

    predicts_words = True

    def __init__(self, config: BaseConfig, name: str = "lm_head") -> None:
        super().__init__(config, name=name)
        with tf.name_scope(name):
            self.bias = self.add_weight("bias", (config.vocab_size,), initializer="zeros")

    def call(self, hidden: tf.Tensor, table: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:  # type: ignore[override]  # it predicts, too
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``LayerNorm``."""
        return by_table(super().call(hidden, blind), table) + self.bias


class LegacyHead(Module):
    """The level ``cls`` of the keys."""

    def __init__(self, config: BaseConfig, name: str = "cls") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.predictions = LegacyPredictions(config)

    def call(self, hidden: tf.Tensor, table: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``LayerNorm``."""
        return self.predictions(hidden, table, blind)


class PublishedHead(Module):
    """The level ``lm_predictions`` of the keys."""

    def __init__(self, config: BaseConfig, name: str = "lm_predictions") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.lm_head = PublishedPredictions(config)

    def call(self, hidden: tf.Tensor, table: tf.Tensor, blind: tf.Tensor | None = None) -> tf.Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``LayerNorm``."""
        return self.lm_head(hidden, table, blind)


class ReplacedTokenHead(Module):
    """``mask_predictions``: whether a token was replaced, from its state and the first token's."""

    def __init__(self, config: BaseConfig, name: str = "mask_predictions") -> None:
        super().__init__(name=name)
        hidden, deviation = config.hidden_size, config.initializer_range
        with tf.name_scope(name):
            self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps)
            self.dense = linear(hidden, hidden, deviation, name="dense", activation=ACTIVATIONS[config.hidden_act])
            self.classifier = linear(hidden, 1, deviation, name="classifier")
        self.first = FirstState(config)

    def call(self, hidden: tf.Tensor, mask: Mask | None = None) -> tf.Tensor:
        """``[B, L, H]`` -> logits ``[B, L]``."""
        both = self.LayerNorm(
            self.first(hidden, mask)[:, None] + hidden, None if mask is None else mask.blind_states()
        )  # [B, L, H]
        return self.classifier(self.dense(both))[..., 0]


def by_table(states: tf.Tensor, table: tf.Tensor) -> tf.Tensor:
    """``[..., E]`` and ``[V, E]`` -> ``[..., V]``."""
    flat = tf.reshape(states, [-1, shape_of(states)[-1]])  # [*, E]
    products = tf.matmul(flat, tf.cast(table, states.dtype), transpose_b=True)
    return tf.reshape(products, [*shape_of(states)[:-1], shape_of(table)[0]])
