"""Building a checkpoint's model in either framework and running it; each is imported when it is asked for."""

from __future__ import annotations

import importlib.util
import os
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conversion.batches import Batch
from conversion.source import Source
from deberta_core.checks import LEFT_PADDING
from deberta_core.heads import FAMILIES, fit_head
from deberta_core.integers import widened
from deberta_core.loading import plan_load

Outputs = dict[str, np.ndarray[Any, Any]]
_NEEDS = {"torch": ("torch",), "tensorflow": ("tensorflow", "tf_keras")}


def installed() -> list[str]:
    """The frameworks that can be imported: ``torch``, ``tensorflow``."""
    return [name for name, needs in _NEEDS.items() if all(importlib.util.find_spec(need) for need in needs)]


def run_model(framework: str, source: Source, head: str, dtype: str, batches: Sequence[Batch]) -> list[Outputs]:
    """Build the model of an open checkpoint, run batches, and let it go again.

    Args:
        framework: ``torch`` or ``tensorflow``.
        source: the checkpoint.
        head: class to build, a key of ``deberta_core.heads.HEADS``.
        dtype: of weights and arithmetic, ``float32`` or ``bfloat16``.
        batches: inputs.

    Returns:
        For each batch the embeddings, every layer's states and the head's outputs, float32, by name.
    """
    with warnings.catch_warnings():  # batches are padded on the left on purpose
        warnings.filterwarnings("ignore", re.escape(LEFT_PADDING))
        return _RUNNERS[framework](source, head, dtype, batches)


def load_torch(source: Source, head: str, dtype: str) -> Any:
    """The PyTorch model of an open checkpoint, in evaluation mode; arguments as of ``run_model``."""
    import torch

    from deberta_pt import families

    config = fit_head(source.config, head, source.shapes)
    with torch.device("meta"):  # no memory for starting values that the file replaces
        model = getattr(families, FAMILIES[config.model_type] + head)(config)
    file = widened(source.file)
    model.load_file(file, plan_load(file, config, model.weight_rows()), dtype)
    return model.eval()


def load_tensorflow(source: Source, head: str, dtype: str) -> Any:
    """The TensorFlow model of an open checkpoint; arguments as of ``run_model``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its messages would hide ours
    from deberta_tf import families
    from deberta_tf.layers import policy

    config = fit_head(source.config, head, source.shapes)
    with policy(dtype):
        model = getattr(families, "TF" + FAMILIES[config.model_type] + head)(config)
        file = widened(source.file)
        model.load_file(file, plan_load(file, config, model.weight_rows()))
    return model


def _run_torch(source: Source, head: str, dtype: str, batches: Sequence[Batch]) -> list[Outputs]:
    import torch

    model = load_torch(source, head, dtype)
    results = []
    with torch.inference_mode():
        for batch in batches:
            inputs = {name: torch.from_numpy(value.copy()) for name, value in batch.inputs.items()}
            output = model(**inputs, output_hidden_states=True, return_dict=True)
            results.append(_collect(output, lambda tensor: tensor.float().numpy()))
    return results


def _run_tensorflow(source: Source, head: str, dtype: str, batches: Sequence[Batch]) -> list[Outputs]:
    model = load_tensorflow(source, head, dtype)
    import tensorflow as tf

    from deberta_tf.layers import policy

    with policy(dtype):
        results = []
        for batch in batches:
            inputs = {name: tf.constant(value) for name, value in batch.inputs.items()}
            output = model(inputs, output_hidden_states=True, return_dict=True)
            results.append(_collect(output, lambda tensor: tf.cast(tensor, tf.float32).numpy()))
    return results


_RUNNERS = {"torch": _run_torch, "tensorflow": _run_tensorflow}


def _collect(output: Any, to_numpy: Callable[[Any], np.ndarray[Any, Any]]) -> Outputs:
    states = output["hidden_states"]
    rows = {"embeddings" if number == 0 else f"layer {number}": to_numpy(state) for number, state in enumerate(states)}
    heads = [name for name in output if name not in ("hidden_states", "attentions")]
    return rows | {name: to_numpy(output[name]) for name in heads}
