"""Training that perturbs what a model computes, so that its answers change little: what is asked for, by name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from deberta_core.config import BaseConfig

EPSILON = 1e-7  # beside the variance of normalised states
LEAST = 1e-6  # beside the largest slope of a token
# Of a part of a batch at most, all perturbations together: six in TensorFlow, where FGM's slope takes one of its own,
# and six again with moved weights.
PASSES = 12
PREDICTIONS = ("logits", "start_logits", "end_logits")  # entries of an output that are compared


def _option(default: float, help: str, least: float = 0) -> Any:
    return field(default=default, metadata={"help": help, "least": least})


@dataclass(frozen=True)
class Perturbation:
    """Which perturbations a model is trained against; 0 turns one off, and all go together.

    What each field means is said once, here and by ``deberta finetune --help``.

    Raises:
        ValueError: for a value that cannot be.
    """

    sift: float = _option(0.0, "weight of SiFT's loss; the papers' scripts have 1e-4 to 5")
    sift_rate: float = _option(1e-4, "how far SiFT goes along the gradient, in normalised embeddings")
    sift_size: float = _option(1e-2, "standard deviation of the perturbation that SiFT starts from, likewise")
    r_drop: float = _option(0.0, "weight of R-Drop's distance between two passes of other dropout, 1 to 5 in its paper")
    fgm: float = _option(0.0, "length of FGM's perturbation of a text, in normalised embeddings, such as 1")
    awp: float = _option(0.0, "AWP: how far weights are moved, as a share of their own length, such as 1e-3")
    perturb_start: int = _option(1, "first step of all these", 1)

    def __post_init__(self) -> None:
        for option in fields(self):
            value, least = getattr(self, option.name), option.metadata["least"]
            if not math.isfinite(value) or value < least:
                raise ValueError(f"{option.name} is {value}, expected at least {least}")

    @property
    def wanted(self) -> bool:
        """Whether there is any."""
        return bool(self.sift or self.r_drop or self.fgm or self.awp)

    def at(self, step: int) -> bool:
        """Whether a step, counted from 1, has them."""
        return self.wanted and step >= self.perturb_start

    def settings(self) -> dict[str, Any]:
        """By name, for the folder of a run; nothing where nothing is asked for, as in runs of earlier versions."""
        return asdict(self) if self.wanted else {}

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {o.name: getattr(self, o.name) for o in fields(self) if getattr(self, o.name) != o.default}


def distance_kind(config: BaseConfig, head: str) -> str:
    """How two answers of a model are compared: ``softmax``, ``sigmoid`` or ``squared``.

    Args:
        config: of the model.
        head: key of ``deberta_core.heads.HEADS``.
    """
    if head == "ForReplacedTokenDetection":
        return "sigmoid"
    if head != "ForSequenceClassification":
        return "softmax"
    if config.problem_type == "multi_label_classification":
        return "sigmoid"
    one = config.problem_type is None and config.num_labels == 1  # a softmax over one number is 1, whatever it is
    return "squared" if one or config.problem_type == "regression" else "softmax"
