"""One case on the CPU and on the pretend accelerator; run in a process of its own, see ``pretend``."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch.utils._pytree import tree_map

from deberta_pt import optimize_for_inference
from tests.models import pretend
from tests.models.helpers import flatten, pt_inputs, pt_model, random_weights
from tests.pretraining.pairs import batch_of, pair


def compute(config: Any, head: str, inputs: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Outputs and gradients on both, and what the second of two equal calls on the device took.

    Args:
        config: of the model, whose weights are random.
        head: of the model.
        inputs: arrays by name.
        how: ``train`` (also gradients), ``prepared``, ``dtype``, ``mixed`` (inputs stay on the CPU).
    """
    found: dict[str, Any] = {}
    for place in ("cpu", "device"):
        model = pt_model(config, head, random_weights(config, head), dtype=how.get("dtype", "float32"))
        given, train = pt_inputs(inputs), bool(how.get("train"))
        with contextlib.ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if place == "device":
                stack.enter_context(pretend.Placing())
                model = model.to(pretend.DEVICE)
                given = given if how.get("mixed") else {name: x.to(pretend.DEVICE) for name, x in given.items()}
            if how.get("prepared"):
                model = optimize_for_inference(model)
            model.train(train)
            for _ in range(2):  # what is made once on a device is there in the second call
                pretend.forget()
                with torch.set_grad_enabled(train):
                    output = model(**given)
                if train:
                    model.zero_grad()
                    output.loss.backward()
        found["waits"], found["kernels"] = dict(pretend.waits), pretend.launched()
        found[place] = flatten(tree_map(_fetched, dict(output)))
        if train:
            grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            found[place] |= {f"gradient of {name}": _fetched(grad).numpy() for name, grad in grads.items()}
    return found


def pretraining(steps: int) -> list[dict[str, int]]:
    """What each step of replaced-token pretraining waits for, on the device."""
    found = []
    with pretend.Placing():
        model = pair("pt").to(pretend.DEVICE)
        optimizers = [
            torch.optim.SGD(half, lr=0.01) for half in (model.generator_parameters(), model.discriminator_parameters())
        ]
        for number in range(steps):
            given = pt_inputs(batch_of(model.discriminator.config, number, noise=False))
            batch = {name: x.to(pretend.DEVICE) for name, x in given.items()}
            pretend.forget()
            model.decoupled_step(*optimizers, batch)
            found.append(dict(pretend.waits))
    return found


def _fetched(value: Any) -> Any:
    value = value.near.clone() if isinstance(value, pretend.Far) else value
    return value.detach().float() if isinstance(value, torch.Tensor) else value
