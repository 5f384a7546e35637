"""How a model is trained: everything beside data and model that its weights depend on, checked before any work."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16", "float16")
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # as other programs' command lines have them


def _option(default: Any, help: str, least: float | None = 0, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "least": least, "choices": choices})


@dataclass(frozen=True)
class Options:
    """How a model is trained; what each field means is said once, here and by ``--help``.

    Raises:
        ValueError: for a value that cannot be; the text has the field, its value, and what was expected.
    """

    epochs: float = _option(3.0, "passes over the training data")
    steps: int = _option(0, "number of steps, instead of --epochs")
    batch_size: int = _option(16, "examples of a step, over all processes and accumulated parts", 1)
    accumulate: int = _option(1, "parts of a step that are computed one after the other, to save memory", 1)
    rate: float = _option(2e-5, "largest learning rate")
    warmup: float = _option(0.1, "share of the steps during which the rate rises", None)
    schedule: str = _option("linear", "learning-rate schedule", None, SCHEDULES)
    weight_decay: float = _option(0.01, "of matrices and tables; biases and norms have none")
    layer_decay: float = _option(
        1.0, "rate of a layer as a multiple of that of the layer above; the head has the full rate", None
    )
    clip: float = _option(1.0, "largest norm of the gradient, 0 for no limit")
    precision: str = _option("float32", "of the products; weights stay float32", None, PRECISIONS)
    checkpointing: bool = _option(
        False, "compute layers again in the backward pass instead of keeping their states, to save memory", None
    )
    compile: bool = _option(False, "compile each layer, in PyTorch; the first steps take longer for it", None)
    max_length: int = _option(128, "tokens of an example", 8)
    stride: int = _option(32, "tokens that two windows of a context share")
    by_length: bool = _option(True, "put examples of similar lengths together", None)
    evaluate_every: int = _option(0, "steps between evaluations; default an epoch")
    save_every: int = _option(0, "steps between checkpoints, beside those of evaluations")
    patience: int = _option(0, "evaluations without a better score after which to stop; 0 never stops")
    seed: int = _option(0, "of starting weights, dropout and order")

    def __post_init__(self) -> None:
        for option in fields(self):
            value, least = getattr(self, option.name), option.metadata["least"]
            if least is not None and (not math.isfinite(value) or value < least):
                raise ValueError(f"{option.name} is {value}, expected at least {least}")
            if option.metadata["choices"] and value not in option.metadata["choices"]:
                known = ", ".join(option.metadata["choices"])
                raise ValueError(f"{option.name} is {value!r}, expected one of {known}")
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}, expected a share of the steps, 0 to 1")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}, expected more than 0, at most 1")
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size is {self.batch_size}, expected a multiple of accumulate, {self.accumulate}")

    def settings(self) -> dict[str, Any]:
        """By name, for the folder of the run."""
        # A run from before there was this one, and one that does without, go on alike.
        return {name: value for name, value in asdict(self).items() if name != "compile" or value}

    def changed(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        return {o.name: getattr(self, o.name) for o in fields(self) if getattr(self, o.name) != o.default}

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
        # Half a wave from the peak to the step after the last, which would have a rate of 0: the last still learns.
        return self.rate * (1 + math.cos(math.pi * (step - warmup) / (steps + 1 - warmup))) / 2

    def scale(self, key: str, layers: int) -> float:
        """What the rate of a weight is multiplied with.

        Args:
            key: its published name, ``deberta.`` included.
            layers: encoder layers of the model.
        """
        # The head learns at the whole rate and each layer below at a smaller one: what lies near the words is general,
        # and changes least. Source: Clark et al. 2020 (ELECTRA, arXiv 2003.10555), appendix B.
        return self.layer_decay ** (layers + 1 - depth(key, layers))


def add_options(parser: Any, defaults: Mapping[str, Any], without: tuple[str, ...] = ()) -> None:
    """Declare the options as arguments of a command; one that is not given is ``None``.

    Args:
        parser: of ``argparse``, or a group of one.
        defaults: what the help says in the place of a default of ``Options``.
        without: options that the command has no use for.
    """
    for option in fields(Options):
        if option.name in without:
            continue
        name, text = option.name.replace("_", "-"), option.metadata["help"]
        default = defaults.get(option.name, option.default)
        if option.default is False:
            parser.add_argument(f"--{name}", action="store_true", help=text)
            continue
        parser.add_argument(
            f"--{name}", type=_long if option.name == "precision" else type(option.default),
            choices=option.metadata["choices"] or None,
            help=text if "default" in text else f"{text}; default {default}",
        )  # fmt: skip


def _long(precision: str) -> str:
    return SHORT.get(precision, precision)


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that a command line has, in the place of defaults."""
    values = {option.name: getattr(args, option.name, None) for option in fields(Options)}
    return {name: value for name, value in values.items() if value is not None}


def linear_rate(step: int, steps: int, peak: float, *, warmup: int) -> float:
    """Learning rate that rises to ``peak`` during ``warmup`` steps and falls to zero after the last.

    Args:
        step: number of the step, from 1.
        steps: number of all steps.
        peak: largest rate.
        warmup: steps of the rise.
    """
    if step <= warmup:
        return peak * step / warmup
    return peak * (steps + 1 - step) / (steps + 1 - warmup)


def depth(key: str, layers: int) -> int:
    """How far above the embeddings a weight is: 0 for them and for the relative table, ``layers`` + 1 for the head."""
    if not key.startswith("deberta."):
        return layers + 1
    found = re.match(r"deberta\.encoder\.layer\.(\d+)\.", key)
    if found:
        return int(found[1]) + 1
    return 1 if key.startswith("deberta.encoder.conv.") else 0
