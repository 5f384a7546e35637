"""From any harmless way of giving inputs to tensors that fit the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deberta_core.checks import NEGATIVE_MASK, TRUTH_VALUES, UNEVEN, check_inputs, out_of_range
from deberta_core.config import BaseConfig


def as_tensor(value: Any, name: str, model: Any) -> Any:
    """A tensor whose dtype PyTorch can look rows up by; arrays and nested lists become one.

    Args:
        value: a tensor, an array, nested lists, or ``None``, which stays.
        name: of the input.
        model: on whose device arrays and lists are put.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for truth values as ids, or rows of several lengths.
    """
    if value is None:
        return None
    if not isinstance(value, Tensor):
        library = type(value).__module__.split(".")[0]
        if library in ("tensorflow", "keras", "tf_keras"):
            raise TypeError(f"{name} is a tensor of TensorFlow, expected one of PyTorch: torch.tensor({name}.numpy())")
        try:
            value = torch.as_tensor(value, device=model.device)
        except (ValueError, TypeError) as error:  # the latter of an array of lists
            raise ValueError(UNEVEN.format(name=name, error=error)) from None
    if value.dtype in (torch.int64, torch.int32) or value.is_floating_point():
        return value
    if value.dtype == torch.bool and name in ("input_ids", "position_ids"):
        raise ValueError(TRUTH_VALUES.format(name=name))
    return value.long()


def read_inputs(model: Any, *, reads_positions: bool, **given: Any) -> dict[str, Any]:
    """The encoder's inputs as tensors, checked: shapes and kinds always, values where no graph is made.

    Args:
        model: the encoder.
        reads_positions: whether there is a table of absolute positions.
        **given: ``input_ids``, ``inputs_embeds``, ``attention_mask``, ``token_type_ids``, ``position_ids``.

    Raises:
        TypeError: for a tensor of another library.
        ValueError: for the first input that does not fit.
    """
    config: BaseConfig = model.config
    found = {name: as_tensor(value, name, model) for name, value in given.items()}
    shapes = {name: None if x is None else x.shape for name, x in found.items()}
    check_inputs(config, shapes, {name: x is not None and x.is_floating_point() for name, x in found.items()})
    ids, mask, types, positions = (
        found[name] for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    )
    if torch.compiler.is_compiling() or torch._C._get_tracing_state():
        return found
    if ids is not None and ((ids < 0) | (ids >= config.vocab_size)).any():
        raise ValueError(out_of_range("input_ids", "the word table", config.vocab_size))
    if types is not None and config.type_vocab_size > 0 and ((types < 0) | (types >= config.type_vocab_size)).any():
        raise ValueError(out_of_range("token_type_ids", "the table of token types", config.type_vocab_size))
    rows = config.max_position_embeddings
    if positions is not None and reads_positions and ((positions < 0) | (positions >= rows)).any():
        raise ValueError(out_of_range("position_ids", "the table of positions", rows))
    if mask is not None and mask.is_floating_point() and (mask < 0).any():
        raise ValueError(NEGATIVE_MASK)
    return found
