"""Texts as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options, check_choice, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import Array

POOLING = ("mean", "cls", "none")


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """Options of feature extraction.

    Attributes:
        pooling: ``mean`` over all tokens, the state of ``cls``, or ``none``: a vector for each token.
        normalize: scale vectors to length 1.
    """

    pooling: str = option("mean", f"{', '.join(POOLING)}; default mean")
    normalize: bool = option(False, "scale vectors to length 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("pooling", self.pooling, POOLING)


class FeatureExtraction(Pipeline[FeatureOptions]):
    """A float32 vector ``[H]`` for a text or pair; without pooling ``[L, H]``, special tokens included."""

    task = "feature-extraction"
    head = "Model"
    options_class = FeatureOptions
    optional_fields = ("text_pair",)

    def encode(self, record: Record, options: FeatureOptions) -> list[Row]:
        """One row."""
        return [self.tokens(options, record["text"], record.get("text_pair"))]

    def digest(self, row: Row, output: Arrays, options: FeatureOptions) -> Array:
        """The vector or vectors."""
        states = output["last_hidden_state"][: len(row)]
        if options.pooling != "none":
            states = states[0] if options.pooling == "cls" else states.mean(0, dtype=np.float64)
        if options.normalize:
            states = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
        return states.astype(np.float32)

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: FeatureOptions) -> Array:
        """The same."""
        features: Array = rows[0][1]
        return features

    def describe(self, record: Record, result: Any) -> str:
        """The first numbers."""
        flat = np.ravel(result)
        more = " ..." if len(flat) > 6 else ""
        return f"{list(result.shape)} {' '.join(f'{x:.4f}' for x in flat[:6])}{more}\t{record['text']}"
