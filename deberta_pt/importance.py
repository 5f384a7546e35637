"""How much heads, columns of the feed-forward parts and layers matter to what a model says of some texts.

Shapes: ``B`` examples, ``L`` tokens, ``N`` heads, ``D`` head size, ``I`` intermediate size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deberta_core.pruning import OF_EXAMPLES, Importance, Sums, by_loss, check_way, label_names, seen_in, signs_of


def importance(model: Any, batches: Iterable[Mapping[str, Any]], *, by: str = "gradient") -> Importance:
    """Measure the parts of a model; nothing of it is changed.

    With labels among the inputs it is the loss that counts; without, the outputs, or the last states of a model that
    predicts words or has no head.

    Args:
        model: any of this package, not prepared for inference.
        batches: its inputs, as tensors or arrays; gone through once for each head with ``by="loss"``.
        by: ``gradient``, of one factor for each head, column and example; or ``loss``: heads are taken out one by one,
            which takes as many runs as there are heads, and columns and layers are measured as with ``gradient``.

    Returns:
        Larger where more is lost without.

    Raises:
        ValueError: there is no token, or another way is asked for.
    """
    check_way(by)
    batches = list(batches) if by == "loss" else batches
    sums = Sums()
    with _plain(model):
        for number, batch in enumerate(batches):
            _measure(model, batch, number, sums)
        found = sums.found()
        return found if by == "gradient" else replace(found, heads=_by_loss(model, list(batches)))


def _measure(model: Any, batch: Mapping[str, Any], number: int, sums: Sums) -> None:
    """Add a batch to what was found."""
    inputs, seen = _read(model, batch)
    heads, columns = [], []
    with contextlib.ExitStack() as hooks, torch.enable_grad():
        for layer in model.base_model.encoder.layer:
            own = layer.attention.self
            heads.append(_factors(len(seen), own.num_heads, model))
            columns.append(_factors(len(seen), layer.output.dense.in_features, model))
            _scale(hooks, layer.attention.output.dense, heads[-1], own.head_size)
            _scale(hooks, layer.output.dense, columns[-1], 1)
        output = model(**inputs, output_hidden_states=True, return_dict=True)
        if label_names(batch):
            total = output.loss * len(inputs["input_ids"])
        else:
            values = told(model, output, seen)
            total = (values * torch.from_numpy(signs_of(values.shape, number)).to(values)).sum()
        found = torch.autograd.grad(total, [*heads, *columns], allow_unused=True, materialize_grads=True)
    arrays = [one.float().cpu().numpy() for one in found]
    sums.add(arrays[: len(heads)], arrays[len(heads) :])
    sums.add_states([states.detach().float().cpu().numpy() for states in output.hidden_states], seen)


def told(model: Any, output: Any, seen: Any) -> Tensor:
    """What a model says of its examples, padding left out: zero there.

    Args:
        model: with the head.
        output: with hidden states.
        seen: bool ``[B, L]``.
    """
    logits = [value for name, value in output.items() if name.endswith("logits")]
    if logits and model.head in OF_EXAMPLES:  # by their shape, as many labels as tokens would be taken for tokens
        return torch.stack(logits)
    values = torch.stack(logits) if logits and model.head != "ForMaskedLM" else output.hidden_states[-1]
    tokens = torch.from_numpy(seen).to(values.device)
    if values.shape[-len(seen.shape) :] == seen.shape:  # a number for each token, of one head or two
        return torch.where(tokens, values, 0.0)
    at = values.ndim - 3  # states [B, L, H], or logits [1, B, L, Y]
    by_token = at >= 0 and values.shape[at : at + 2] == seen.shape
    return torch.where(tokens[..., None], values, 0.0) if by_token else values


def _by_loss(model: Any, batches: list[Mapping[str, Any]]) -> list[Any]:
    layers = model.base_model.encoder.layer
    wanted: list[Tensor] = []

    def run(batch: Mapping[str, Any]) -> tuple[Tensor, Any]:
        inputs, seen = _read(model, batch)
        output = model(**inputs, output_hidden_states=True, return_dict=True)
        return told(model, output, seen), output.get("loss")

    def loss_without(layer: int, head: int) -> float:
        total, examples = 0.0, 0
        with torch.inference_mode(), contextlib.ExitStack() as hooks:
            if layer >= 0:
                own = layers[layer].attention
                factors = torch.ones(1, own.self.num_heads, dtype=model.dtype, device=model.device)
                factors[:, head] = 0
                _scale(hooks, own.output.dense, factors, own.self.head_size)
            for number, batch in enumerate(batches):
                values, loss = run(batch)
                if layer < 0:
                    wanted.append(values)
                count = len(batch["input_ids"])
                lost = loss * count if loss is not None else (values - wanted[number]).double().square().sum()
                total, examples = total + float(lost), examples + count
        return total / examples

    return by_loss(model.config, loss_without)


def _read(model: Any, batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
    """A batch on the model's device, wherever it is, and which of its tokens are no padding."""
    given = {name: x for name, x in batch.items() if x is not None}
    tensors = {name: x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x)) for name, x in given.items()}
    return {name: x.to(model.device) for name, x in tensors.items()}, seen_in({n: x.cpu() for n, x in tensors.items()})


def _factors(examples: int, size: int, model: Any) -> Tensor:
    return torch.ones(examples, size, dtype=model.dtype, device=model.device, requires_grad=True)


def _scale(hooks: contextlib.ExitStack, dense: nn.Module, factors: Tensor, width: int) -> None:
    """Multiply what a layer reads, ``[B, L, N * width]``, by factors ``[B, N]`` or ``[1, N]``."""

    def scaled(factors: Tensor, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * factors.repeat_interleave(width, -1)[:, None], *inputs[1:])

    handle = dense.register_forward_pre_hook(partial(scaled, factors))
    hooks.callback(handle.remove)


@contextlib.contextmanager
def _plain(model: Any) -> Iterator[None]:
    """Without dropout, and with padding among the states: an example keeps its place."""
    if model.prepared:
        raise ValueError("a model prepared for inference has no parts of their own; measure the one it was made of")
    training, before = model.training, model.config.attn_implementation
    model.eval()
    model.config.attn_implementation = "eager"
    try:
        yield
    finally:
        model.train(training)
        model.config.attn_implementation = before
