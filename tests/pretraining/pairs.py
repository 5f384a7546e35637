"""Small generators with their discriminators in either framework, and batches for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from deberta_core.pretraining import generator_config
from tests.models.helpers import (
    pt_inputs,
    pt_model,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
)

IGNORED = -100
GENERATOR, DISCRIMINATOR = "ForMaskedLM", "ForReplacedTokenDetection"


def configs(base: str = "v3", **changes: Any) -> tuple[Any, Any]:
    """Configs of a generator and its discriminator."""
    config = small_config(base, **changes)
    return generator_config(config), config


def pair(framework: str, base: str = "v3", *, changes: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Both models with random weights, the same in both frameworks, under the class that trains them."""
    generator, discriminator = configs(base, **(changes or {}))
    make = pt_model if framework == "pt" else tf_model
    models = (
        make(generator, GENERATOR, random_weights(generator, GENERATOR, seed=3, spread=0.1)),
        make(discriminator, DISCRIMINATOR, random_weights(discriminator, DISCRIMINATOR, seed=4, spread=0.1)),
    )
    return wrapper(framework)(*models, **settings)


def wrapper(framework: str) -> Any:
    """The class that trains both."""
    if framework == "pt":
        from deberta_pt import ReplacedTokenPretraining

        return ReplacedTokenPretraining
    from deberta_tf import TFReplacedTokenPretraining

    return TFReplacedTokenPretraining


def batch_of(config: Any, seed: int = 0, *, batch: int = 4, length: int = 14, noise: bool = True) -> dict[str, Any]:
    """Ids with hidden tokens, some padding, and the noise to sample by."""
    rng = np.random.default_rng(seed)
    original = rng.integers(4, config.vocab_size, (batch, length))
    mask = np.ones_like(original)
    mask[1, length - 4 :] = 0
    hidden = (rng.random(original.shape) < 0.3) & (mask > 0)
    hidden[0, 1] = True
    found = {
        "input_ids": np.where(hidden, 3, original) * mask,
        "labels": np.where(hidden, original, IGNORED),
        "attention_mask": mask,
    }
    return {**found, "noise": rng.random(original.shape, np.float32)} if noise else found


def run(model: Any, arrays: dict[str, Any]) -> Any:
    """The output of either framework's model on arrays."""
    return model(**pt_inputs(arrays)) if hasattr(model, "state_dict") else model(tf_inputs(arrays))


def numpy(value: Any) -> Any:
    """A tensor of either framework as an array."""
    return value.detach().numpy().copy() if hasattr(value, "detach") else np.asarray(value).copy()
