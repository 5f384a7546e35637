"""Attention and its parts as arrays, the same from both frameworks."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deberta_tasks.pipelines.loading import CLASSES, choose_framework, load_tokenizer

PARTS = {
    "attention": "attention",
    "content": "content",
    "c2p": "content to position",
    "p2c": "position to content",
}
MOST_VALUES = 5_000_000  # of all layers and heads of one part; a page of them has some 50 MB


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of one text.

    Attributes:
        tokens: the L tokens.
        parts: by key of ``PARTS``, an array ``[N, L, L]`` per layer, queries first: the probabilities (``attention``),
            and the scaled scores whose sum they are the softmax of: of contents (``content``), of a query with the
            position of a key (``c2p``), of the position of a query with a key (``p2c``). A part that the model lacks
            is not there. Where heads talk (v1), the scores are those after the first mixing of heads, and the
            probabilities are mixed once more after the softmax.
        layers: numbers of the layers.
        heads: numbers of the heads in each layer, as the arrays have them.
    """

    tokens: tuple[str, ...]
    parts: Mapping[str, Sequence[NDArray[np.float32]]]
    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]

    @property
    def columns(self) -> tuple[int, ...]:
        """Numbers of the heads that any layer has; one that was cut out of a layer leaves a gap in a drawing."""
        return tuple(sorted({number for row in self.heads for number in row}))

    def only(self, layer: int | None = None, head: int | None = None) -> Self:
        """The maps of one layer, of one head of each layer, or both.

        Raises:
            ValueError: there is no such layer or head.
        """
        if layer is not None and layer not in self.layers:
            raise ValueError(f"there is no layer {layer}, expected {self.layers[0]} to {self.layers[-1]}")
        rows = [i for i, number in enumerate(self.layers) if layer in (None, number)]
        for i in rows:
            if head is not None and head not in self.heads[i]:
                raise ValueError(f"layer {self.layers[i]} has no head {head}, expected one of {list(self.heads[i])}")
        columns = {i: [j for j, number in enumerate(self.heads[i]) if head in (None, number)] for i in rows}
        return replace(
            self,
            parts={name: [part[i][columns[i]] for i in rows] for name, part in self.parts.items()},
            layers=tuple(self.layers[i] for i in rows),
            heads=tuple(tuple(self.heads[i][j] for j in columns[i]) for i in rows),
        )


def attention_maps(
    model: Any,
    text: str,
    pair: str | None = None,
    *,
    tokenizer: Any = None,
    framework: str | None = None,
    **options: Any,
) -> AttentionMaps:
    """Run a text through the encoder of a model and take its attention apart.

    Args:
        model: folder, name on the hub, or a model of either framework.
        text: what to run; it is not cut.
        pair: a second text, after a separator.
        tokenizer: instead of the one beside the model.
        framework: ``pt`` or ``tf``; default the model's own, else PyTorch where it is installed.
        **options: of ``from_pretrained``, such as ``revision``.

    Raises:
        ValueError: the text is empty, or too long to draw; no tokenizer.
        FileNotFoundError: there is no such model.
        ImportError: the framework is not installed.
    """
    if not text.strip():
        raise ValueError("the text is empty, expected at least one word")
    framework = choose_framework(framework, model)
    tokenizer = load_tokenizer(tokenizer, model, options)
    if isinstance(model, (str, os.PathLike)):
        package, prefix = CLASSES[framework]
        model = getattr(importlib.import_module(package), f"{prefix}AutoModel").from_pretrained(model, **options)
    encoder = getattr(model, "deberta", model)
    inputs = {name: list(ids) for name, ids in tokenizer(text, pair).items() if name in ("input_ids", "token_type_ids")}
    tokens = tuple(str(token) for token in tokenizer.convert_ids_to_tokens(inputs["input_ids"]))
    config = encoder.config
    values = config.num_hidden_layers * config.num_attention_heads * len(tokens) ** 2
    if values > MOST_VALUES:
        raise ValueError(
            f"the text has {len(tokens)} tokens, which makes {values:,} values in {config.num_hidden_layers} layers of "
            f"{config.num_attention_heads} heads, more than {MOST_VALUES:,}; give a shorter text"
        )
    module = importlib.import_module(f"deberta_tasks.attention.parts_{framework}")
    parts: dict[str, list[NDArray[np.float32]]] = module.parts(encoder, inputs)
    heads = [
        tuple(h for h in range(config.num_attention_heads) if h not in config.pruned_heads.get(i, ()))
        for i in range(config.num_hidden_layers)
    ]
    return AttentionMaps(tokens, parts, tuple(range(config.num_hidden_layers)), tuple(heads))
