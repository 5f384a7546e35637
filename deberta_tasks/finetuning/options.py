"""What a run does: everything that its weights depend on, checked before any work."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from deberta_tasks.tasks import Limits
from deberta_tasks.training.run import linear_rate

SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Options:
    """How a model is trained.

    Attributes:
        epochs: passes over the training data.
        steps: instead of ``epochs``.
        batch_size: rows of a step, over all processes and accumulated parts.
        accumulate: parts of a step that are computed one after the other, to save memory.
        rate: largest learning rate.
        warmup: share of the steps during which the rate rises.
        schedule: how it falls: ``linear``, ``cosine``, or not: ``constant``.
        weight_decay: of matrices and tables; biases and norms have none.
        layer_decay: rate of a layer, as a multiple of the rate of the layer above; the head has the full rate.
        clip: largest norm of the gradient; 0 for no limit.
        precision: of the products: ``float32``, ``bfloat16``, ``float16``; weights stay float32.
        checkpointing: compute the layers again in the backward pass instead of keeping their states.
        max_length: tokens of a row.
        stride: tokens that two windows of a context share.
        by_length: let the rows of a batch have similar lengths.
        evaluate_every: steps between two evaluations; default an epoch.
        save_every: steps between two checkpoints; default those of the evaluations alone.
        patience: evaluations without a better score after which the run stops; 0: it never does.
        seed: of starting weights, dropout and order.
    """

    epochs: float = 3.0
    steps: int = 0
    batch_size: int = 16
    accumulate: int = 1
    rate: float = 2e-5
    warmup: float = 0.1
    schedule: str = "linear"
    weight_decay: float = 0.01
    layer_decay: float = 1.0
    clip: float = 1.0
    precision: str = "float32"
    checkpointing: bool = False
    max_length: int = 128
    stride: int = 32
    by_length: bool = True
    evaluate_every: int = 0
    save_every: int = 0
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("batch_size", 1), ("accumulate", 1), ("max_length", 8), ("steps", 0), ("stride", 0), ("evaluate_every", 0),
            ("save_every", 0), ("patience", 0), ("seed", 0), ("rate", 0), ("weight_decay", 0), ("clip", 0),
            ("epochs", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise ValueError(f"{name} is {value}, expected at least {least}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}, expected a share of the steps, 0 to 1")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}, expected more than 0, at most 1")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size is {self.batch_size}, expected a multiple of accumulate, {self.accumulate}")
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")

    @property
    def limits(self) -> Limits:
        """How long rows may be."""
        return Limits(self.max_length, self.stride)

    def settings(self) -> dict[str, Any]:
        """By name, for the folder of the run."""
        return asdict(self)

    def total(self, steps_per_epoch: int) -> int:
        """Number of steps."""
        return self.steps or max(1, round(self.epochs * steps_per_epoch))

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 1."""
        warmup = round(self.warmup * steps)
        if step <= warmup or self.schedule == "linear":
            return linear_rate(step, steps, self.rate, warmup=warmup)
        if self.schedule == "constant":
            return self.rate
        return self.rate * (1 + math.cos(math.pi * (step - warmup) / (steps + 1 - warmup))) / 2

    def scale(self, key: str, layers: int) -> float:
        """What the rate of a weight is multiplied with.

        Args:
            key: its published name, ``deberta.`` included.
            layers: encoder layers of the model.
        """
        return self.layer_decay ** (layers + 1 - depth(key, layers))


NAMES = tuple(field.name for field in fields(Options))


def depth(key: str, layers: int) -> int:
    """How far above the embeddings a weight is: 0 for them and for the relative table, ``layers`` + 1 for the head."""
    if not key.startswith("deberta."):
        return layers + 1
    found = re.match(r"deberta\.encoder\.layer\.(\d+)\.", key)
    if found:
        return int(found[1]) + 1
    return 1 if key.startswith("deberta.encoder.conv.") else 0
