"""Encoders and embeddings that transformers' models take for their own.

Each class is one of ours and one of theirs: theirs for ``isinstance`` and for what libraries call on the inside, ours
for the arithmetic. They are made of an encoder that is built, or taken over, elsewhere. No part holds a buffer that
theirs lacks: transformers 5 fills non-persistent ones by ``_init_weights`` alone.

Shapes: ``B`` batch, ``L`` tokens, ``E`` embedding size, ``H`` hidden size.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from deberta_core.checks import NEGATIVE_MASK
from deberta_pt.attention import FusedSelfAttention
from deberta_pt.encoder import Encoder, Layer, read_mask
from deberta_pt.fast.inference import PreparedEncoder
from deberta_pt.layers import is_traced
from deberta_pt.transformers.blocks import Blocks, find_blocks
from deberta_pt.transformers.reading import own_config


def checked_mask(mask: Tensor | None, states: Tensor) -> Tensor | None:
    """A mask of as many texts as ``states`` ``[B, L, ...]``.

    Raises:
        ValueError: for one of another shape, one for each head, or an additive one.
    """
    if mask is None:
        return None
    batch, length = states.shape[:2]
    shapes = [[length], [1, 1, length], [length, length], [1, length, length]]
    if mask.shape[0] not in (1, batch) or list(mask.shape[1:]) not in shapes:
        expected = ", ".join(str([batch, *shape]) for shape in shapes)
        raise ValueError(f"attention_mask has shape {list(mask.shape)}, expected one of {expected}")
    if mask.is_floating_point() and not is_traced() and (mask < 0).any():
        raise ValueError(NEGATIVE_MASK)
    return mask if mask.shape[0] == batch else mask.expand(batch, *mask.shape[1:])


class InsideEncoder(Encoder):
    """Our encoder, called as transformers' is."""

    gradient_checkpointing = False  # transformers sets it, and the function beside it, on whatever module has it

    @property
    def checkpointing(self) -> Any:  # type: ignore[override]
        """The function that recomputes a layer in the backward pass, or ``None``."""
        return self._gradient_checkpointing_func if self.gradient_checkpointing else None

    def places(self, mask: Any) -> Any:
        """None where somebody watches a part: hooks expect states ``[B, L, H]``."""
        if not is_traced() and any(m._forward_hooks or m._forward_pre_hooks for m in self.modules()):
            return None
        return super().places(mask)

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = True,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """All layers.

        Args:
            hidden_states: embeddings, ``[B, L, H]``.
            attention_mask: ``[B, L]``, ``[B, 1, 1, L]``, ``[B, L, L]`` or ``[B, 1, L, L]``; non-zero is visible.
            output_hidden_states: also return the embeddings and each layer's states.
            output_attentions: also return all probabilities.
            query_states: refused.
            relative_pos: refused.
            return_dict: an output object instead of a tuple.

        Raises:
            ValueError: for a mask that does not fit, or what no model of transformers passes.
        """
        if query_states is not None or relative_pos is not None:
            raise ValueError("query_states and relative_pos are not taken: positions are those of the tokens")
        mask = checked_mask(attention_mask, hidden_states)
        apart = not output_attentions and self.config.masked_rows == "zero"
        blocks = find_blocks(mask, hidden_states.shape[-1]) if apart else None
        if blocks is None:
            read = read_mask(mask, hidden_states.device)
            last, states, probs = super().forward(hidden_states, read, output_hidden_states, output_attentions)
        else:
            last, states, probs = self.run_blocks(blocks, hidden_states, output_hidden_states)
        if not return_dict:
            return tuple(x for x in (last, states, probs) if x is not None)
        return BaseModelOutput(last_hidden_state=last, hidden_states=states, attentions=probs)

    def run_blocks(
        self, blocks: Blocks, hidden: Tensor, output_hidden_states: bool
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, None]:
        """As our ``forward``, each text of a row for itself."""
        run = super().forward
        found = [
            run(group.take(hidden), read_mask(group.visible, hidden.device), output_hidden_states)
            for group in blocks.groups
        ]
        last = blocks.join([part[0] for part in found])
        if not output_hidden_states:
            return last, None, None
        layers = zip(*(part[1][1:] for part in found if part[1]), strict=True)
        return last, (hidden, *map(blocks.join, layers)), None

    def get_rel_embedding(self) -> Tensor | None:
        """The relative table as attention reads it, ``[2 * span, H]``."""
        return self.normalise(self.rel_embeddings.weight) if self.config.relative_attention else None


class PreparedInsideEncoder(InsideEncoder, PreparedEncoder):  # type: ignore[misc]  # called as transformers calls
    """The same prepared for inference. Its weights are no longer those of the files, so it refuses all but that."""

    def train(self, mode: bool = True) -> Any:
        """Refuse training mode."""
        return super().train(mode) if not mode else self._refuse("trained")

    def state_dict(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse("saved")

    def _load_from_state_dict(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("loaded into")

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        raise RuntimeError(
            f"this model was prepared for inference and cannot be {what}; load it again without prepare=True"
        )


class DebertaEncoder(InsideEncoder, v1.DebertaEncoder):
    """Of v1."""


class DebertaV2Encoder(InsideEncoder, v2.DebertaV2Encoder):
    """Of v2 and v3."""


class PreparedDebertaEncoder(PreparedInsideEncoder, v1.DebertaEncoder):
    """Of v1."""


class PreparedDebertaV2Encoder(PreparedInsideEncoder, v2.DebertaV2Encoder):
    """Of v2 and v3."""


class DebertaLayer(Layer):
    """A layer of v1, under the name by which sharding and device maps find layers."""


class DebertaV2Layer(Layer):
    """The same of v2 and v3."""


class DebertaSelfAttention(FusedSelfAttention, v1.DisentangledSelfAttention):
    """Attention of v1 whose biases transformers' ``_init_weights`` starts, which asks for its own class."""


class InsideEmbeddings(nn.Module):
    """Embeddings that take masks of all shapes and kinds. What they hold, transformers' ``__init__`` has made."""

    position_biased_input: bool
    position_ids: Tensor
    word_embeddings: nn.Embedding
    position_embeddings: nn.Embedding
    token_type_embeddings: nn.Embedding | None
    embed_proj: nn.Linear | None
    LayerNorm: nn.Module
    dropout: nn.Module

    def forward(
        self,
        input_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """First token states.

        Args:
            input_ids: int ``[B, L]``, or ``None`` with ``inputs_embeds``.
            token_type_ids: int ``[B, L]``; ignored without a table of types.
            position_ids: int ``[B, L]``, default 0..L-1; ignored unless absolute positions enter here.
            mask: as of the encoder.
            inputs_embeds: ``[B, L, E]``.

        Returns:
            ``[B, L, H]``, zero where a token is hidden.
        """
        states = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.position_biased_input:
            at = self.position_ids[:, : states.shape[1]] if position_ids is None else position_ids
            states = states + self.position_embeddings(at.long())
        if self.token_type_embeddings is not None:
            if token_type_ids is None:
                token_type_ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
            states = states + self.token_type_embeddings(token_type_ids)
        if self.embed_proj is not None:
            states = self.embed_proj(states)
        states = self.LayerNorm(states)
        mask = checked_mask(mask, states)
        if mask is not None:
            tokens = mask if mask.ndim == 2 else (mask[:, 0] if mask.ndim == 4 else mask).any(-2)
            states = states * (tokens != 0)[..., None].to(states.dtype)
        return self.dropout(states)


class DebertaEmbeddings(InsideEmbeddings, v1.DebertaEmbeddings):
    """Of v1."""


class DebertaV2Embeddings(InsideEmbeddings, v2.DebertaV2Embeddings):
    """Of v2 and v3."""


ENCODERS: dict[type[nn.Module], tuple[str, type[InsideEncoder], type[PreparedInsideEncoder]]] = {
    v1.DebertaEncoder: ("deberta", DebertaEncoder, PreparedDebertaEncoder),
    v2.DebertaV2Encoder: ("deberta-v2", DebertaV2Encoder, PreparedDebertaV2Encoder),
}
EMBEDDINGS: dict[type[nn.Module], type[InsideEmbeddings]] = {
    v1.DebertaEmbeddings: DebertaEmbeddings,
    v2.DebertaV2Embeddings: DebertaV2Embeddings,
}


def build(family: str, config: Any, **changes: Any) -> Encoder:
    """A fresh encoder of ours for a config of transformers', its parameters named and ordered as theirs.

    Raises:
        TypeError: if a value has another type here.
        ValueError: if a value is out of range here.
    """
    encoder = Encoder(own_config(family, config, **changes))
    layers: Any = encoder.layer
    for layer in layers:
        layer.__class__ = DebertaLayer if family == "deberta" else DebertaV2Layer
        if family == "deberta":
            layer.attention.self.__class__ = DebertaSelfAttention
    return encoder


def contents(encoder: Encoder) -> dict[str, Any]:
    """What an adapter of this encoder holds; ``checkpointing`` is a property there."""
    return {name: value for name, value in vars(encoder).items() if name != "checkpointing"}


def attributes(encoder: Encoder) -> dict[str, Any]:
    """What transformers' encoder holds besides modules, and others read."""
    config: Any = encoder.config
    found: dict[str, Any] = {"relative_attention": config.relative_attention}
    if config.relative_attention:
        found["max_relative_positions"] = config.max_distance
    if config.model_type == "deberta-v2":
        found["norm_rel_ebd"] = [part.strip() for part in config.norm_rel_ebd.lower().split("|")]
        if config.relative_attention:
            found["position_buckets"] = config.position_buckets
    return found
