"""Heads over the vocabulary and over replaced tokens, and the decoding that absolute positions enter by.

Shapes: ``B`` batch, ``L`` tokens, ``H`` hidden size, ``E`` embedding size, ``V`` vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.config import BaseConfig
from deberta_pt.activations import ACTIVATIONS
from deberta_pt.attention import Mask
from deberta_pt.encoder import Encoder
from deberta_pt.layers import FirstState, layer_norm

DECODING_STEPS = 2  # as the published models were trained


def enhanced_decoding(encoder: Encoder, hidden: Tensor, positions: Tensor, mask: Mask | None) -> Tensor:
    """The enhanced mask decoder: absolute positions as queries of the last layer, run twice.

    Args:
        encoder: whose last layer decodes, with its own weights.
        hidden: states that entered the last layer, ``[B, L, H]``: keys and values of both runs.
        positions: rows of the table of absolute positions, ``[1 or B, L, H]``.
        mask: what queries see.

    Returns:
        ``[B, L, H]``.

    Source: He et al. 2021 (arXiv 2006.03654), section 3.2, as the released code computes it.
    """
    relative = encoder.relative(hidden.shape[1], hidden.shape[1], hidden.device)
    query = positions + hidden
    for _ in range(DECODING_STEPS):  # queries are decoded again, keys and values stay those of the encoder
        query, _ = encoder.run_layer(encoder.layer[-1], hidden, mask, relative, query)
    return query


class Transform(nn.Module):
    """Dense layer to the embedding width, activation and layer norm."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_width)
        self.LayerNorm = nn.LayerNorm(config.embedding_width, eps=config.layer_norm_eps)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor, blind: Tensor | None = None) -> Tensor:
        """``[..., H]`` -> ``[..., E]``; ``blind`` as in ``layer_norm``."""
        return layer_norm(self.LayerNorm, self.activation(self.dense(hidden)), blind)


class LegacyPredictions(nn.Module):
    """``cls.predictions``: a transform, then the word table (or, untied, a matrix of its own) and a bias."""

    predicts_words = True

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        if not config.tie_word_embeddings:
            self.decoder = nn.Linear(config.embedding_width, config.vocab_size, bias=False)

    def forward(self, hidden: Tensor, table: Tensor, blind: Tensor | None = None) -> Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``layer_norm``."""
        rows = self.decoder.weight if hasattr(self, "decoder") else table
        return F.linear(self.transform(hidden, blind), rows, self.bias)


class PublishedPredictions(Transform):
    """``lm_predictions.lm_head``, the head of the published files: the same function, its weights named otherwise."""

    predicts_words = True

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, table: Tensor, blind: Tensor | None = None) -> Tensor:  # type: ignore[override]  # it predicts, too
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``layer_norm``."""
        return F.linear(super().forward(hidden, blind), table, self.bias)


class LegacyHead(nn.Module):
    """The level ``cls`` of the keys."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.predictions = LegacyPredictions(config)

    def forward(self, hidden: Tensor, table: Tensor, blind: Tensor | None = None) -> Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``layer_norm``."""
        return self.predictions(hidden, table, blind)


class PublishedHead(nn.Module):
    """The level ``lm_predictions`` of the keys."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.lm_head = PublishedPredictions(config)

    def forward(self, hidden: Tensor, table: Tensor, blind: Tensor | None = None) -> Tensor:
        """``[..., H]`` and the word table ``[V, E]`` -> logits ``[..., V]``; ``blind`` as in ``layer_norm``."""
        return self.lm_head(hidden, table, blind)


class ReplacedTokenHead(nn.Module):
    """``mask_predictions``: whether a token was replaced, from its state and the first token's."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.first = FirstState(config)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, hidden: Tensor, mask: Mask | None = None) -> Tensor:
        """``[B, L, H]`` -> logits ``[B, L]``."""
        both = layer_norm(
            self.LayerNorm, self.first(hidden, mask)[:, None] + hidden, None if mask is None else mask.blind_states()
        )  # [B, L, H]
        return self.classifier(self.activation(self.dense(both)))[..., 0]
