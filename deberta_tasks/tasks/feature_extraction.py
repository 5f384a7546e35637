"""Texts as vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from deberta_tasks.records import Record
from deberta_tasks.tasks.base import Array, Arrays, Feature, Reader, Task
from deberta_tasks.tasks.options import Options, check_choice, option

POOLING = ("mean", "cls", "none")


@dataclass(frozen=True, kw_only=True)
class FeatureOptions(Options):
    """Options of feature extraction.

    Attributes:
        pooled: ``mean`` over all tokens, the state of ``cls``, or ``none``: a vector for each token; default ``mean``.
        pooling: another name of it.
        normalize: scale vectors to length 1.
    """

    pooled: str | None = option(None, f"{', '.join(POOLING)}; default mean")
    pooling: str | None = option(None, "another name of pooled")
    normalize: bool = option(False, "scale vectors to length 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pooled", "pooling"):
            if getattr(self, name) is not None:
                check_choice(name, getattr(self, name), POOLING)

    def changed(self, given: Mapping[str, Any], others: Iterable[str] = ()) -> Self:
        """As for all; whichever of the two names is given last counts."""
        return super().changed({"pooled": None, **given} if "pooling" in given else given, others)

    @property
    def pool(self) -> str:
        """How vectors of tokens become one."""
        return self.pooled or self.pooling or "mean"


class FeatureExtraction(Task):
    """A float32 vector ``[H]`` for a text or pair, ``[L, H]`` without pooling, special tokens included.

    A text alone and the same text in a list get the same; for a list there is a list of them.
    """

    name = "feature-extraction"
    head = "Model"
    options_class = FeatureOptions
    optional = ("text_pair",)

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """One feature."""
        return reader.features(example["text"], example.get("text_pair"))

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Array:
        """The vector or vectors."""
        states = output["last_hidden_state"][: len(feature)]
        if reader.options.pool != "none":
            states = states[0] if reader.options.pool == "cls" else states.mean(0, dtype=np.float64)
        if reader.options.normalize:
            states = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
        return states.astype(np.float32)

    def describe(self, example: Record, answer: Any) -> str:
        """The first numbers."""
        flat = np.ravel(answer)
        more = " ..." if len(flat) > 6 else ""
        return f"{list(answer.shape)} {' '.join(f'{x:.4f}' for x in flat[:6])}{more}\t{example['text']}"


TASK = FeatureExtraction()
