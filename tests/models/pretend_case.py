"""One case on the CPU and on the pretend accelerator; run in a process of its own, see ``pretend``."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from torch.utils._pytree import tree_map

from deberta_pt import optimize_for_inference
from deberta_tasks.training import pt
from deberta_tasks.training.pt_parallel import Processes
from deberta_tasks.training.stream import Collator, Stream
from tests.finetuning.test_learners import STILL, TASK, config, data
from tests.models import pretend
from tests.models.helpers import flatten, pt_inputs, pt_model, random_weights
from tests.pretraining.pairs import batch_of, pair


def compute(config: Any, head: str, inputs: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
    """Outputs and gradients on both, and what the second of two equal calls on the device took.

    Args:
        config: of the model, whose weights are random.
        head: of the model.
        inputs: arrays by name.
        how: ``train`` (also gradients), ``prepared``, ``dtype``, names of inputs that ``stay`` on the CPU.
    """
    found: dict[str, Any] = {}
    rows: set[int] = set()
    for place in ("cpu", "device"):
        model = pt_model(config, head, random_weights(config, head), dtype=how.get("dtype", "float32"))
        given, train = pt_inputs(inputs), bool(how.get("train"))
        with contextlib.ExitStack() as stack, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if place == "device":
                stack.enter_context(pretend.Placing())
                model = model.to(pretend.DEVICE)
                stay = how.get("stay", ())
                given = {name: x if name in stay else x.to(pretend.DEVICE) for name, x in given.items()}
            if how.get("prepared"):
                model = optimize_for_inference(model)
            model.train(train)
            for layer in model.base_model.encoder.layer:
                layer.intermediate.register_forward_pre_hook(lambda _, x: rows.add(x[0].shape[:-1].numel()))
            for _ in range(2):  # what is made once on a device is there in the second call
                pretend.forget()
                with torch.set_grad_enabled(train):
                    output = model(**given)
                if train:
                    model.zero_grad()
                    output.loss.backward()
        found |= {"waits": dict(pretend.waits), "uploads": dict(pretend.uploads), "kernels": pretend.launched()}
        found["rows"] = rows.copy()  # of states that layers computed, last on the device
        rows.clear()
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


def learning(options: Any, steps: int) -> list[dict[str, Any]]:
    """The losses of steps of fine-tuning on both, and what each on the device waits for."""
    found: list[dict[str, Any]] = [{} for _ in range(steps)]
    for device in (torch.device("cpu"), pretend.DEVICE):
        with pretend.Placing() if device == pretend.DEVICE else contextlib.nullcontext():
            model = pt.new_model(TASK.head, config(**STILL), None, 0)
            learner = pt.TorchLearner(model, options, Processes(device=device))
            stream = Stream(data()[3], Collator(0), 8, seed=1)
            for step in range(1, steps + 1):
                pretend.forget()
                loss = learner.step(stream.batch(step), 5e-3, step)["loss"]
                found[step - 1] |= {device.type: loss, "waits": dict(pretend.waits)}
            for one in found:
                one[device.type] = float(one[device.type])
    return found


def _fetched(value: Any) -> Any:
    value = value.near.clone() if isinstance(value, pretend.Far) else value
    return value.detach().float() if isinstance(value, torch.Tensor) else value
