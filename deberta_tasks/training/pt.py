"""The learner in PyTorch: one process, or several under ``torchrun`` with DDP or FSDP2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

import deberta_pt
from deberta_core.heads import weights
from deberta_core.perturbation import Perturbation
from deberta_pt.fast.upload import inputs_on
from deberta_pt.perturbation import PerturbedLoss, moved_weights
from deberta_tasks.training.options import Options
from deberta_tasks.training.pt_parallel import (
    Processes,
    load_state,
    load_weights,
    save_state,
    synchronise,
    unwrapped,
    whole_weights,
)
from deberta_tasks.training.stream import Batch, shares

NOT_PREDICTIONS = ("loss", "hidden_states", "attentions")


def new_model(head: str, config: Any, folder: str | Path | None, seed: int, **fields: Any) -> Any:
    """A model of ``deberta_pt``.

    Args:
        head: key of ``deberta_core.heads.HEADS``.
        config: for a model from scratch.
        folder: checkpoint to start from, or ``None``.
        seed: of starting weights.
        **fields: of the config, for a checkpoint.
    """
    torch.manual_seed(seed)
    cls = getattr(deberta_pt, f"AutoModel{head}")
    if folder is None:
        return cls.from_config(config)
    return cls.from_pretrained(folder, ignore_mismatched_sizes=True, **fields)


class TorchLearner:
    """A PyTorch model that is trained; see ``loop.Learner``.

    Args:
        model: of ``deberta_pt``.
        options: how it is trained.
        group: this process among those that train it.
        kind: ``ddp`` or ``fsdp``.
        lesson: what computes the loss in the place of the model, from a call of it, the model and the inputs.
        perturbation: what it is trained against.
        **asked: further keywords of the model's calls in training, such as ``only_masked``.

    Raises:
        ValueError: for float16 with FSDP2, whose gradients are scaled on one process at a time.
    """

    def __init__(
        self,
        model: Any,
        options: Options,
        group: Processes | None = None,
        kind: str = "ddp",
        lesson: Callable[..., torch.Tensor] | None = None,
        perturbation: Perturbation | None = None,
        **asked: Any,
    ) -> None:
        self.options, self.asked, self.group = options, asked, group or Processes.start()
        self.lesson = lesson
        self.processes, self.first = self.group.size, self.group.first
        if options.precision == "float16" and kind == "fsdp" and self.processes > 1:
            raise ValueError("precision float16 does not go with fsdp; use bfloat16")
        if options.checkpointing:
            model.gradient_checkpointing_enable()
        self.model_class = type(model)  # FSDP2 gives the model another one
        if options.compile:
            compile_layers(model)
        self.parallel = self.group.wrap(model, kind, options.precision)
        self.model = unwrapped(self.parallel)
        self.perturbation = perturbation or Perturbation()
        self.perturbed_loss = PerturbedLoss(self.model, self.perturbation, self._call)
        self.optimizer = adamw(parameter_groups(self.model, options), self.group.device)
        self._judged: Any = None  # prepared for evaluation, until weights change
        self.scaler = torch.amp.GradScaler(self.group.device.type, enabled=options.precision == "float16")

    def step(self, batch: Batch, rate: float, step: int) -> dict[str, SupportsFloat]:
        """One step; the parts of this process are computed one after the other."""
        seed_step(self.options.seed, step, self.group.rank)
        self._judged = None
        self.parallel.train()
        set_rate([self.optimizer], rate)
        total = self._gradients(batch, step)
        if self.perturbation.at(step) and self.perturbation.awp:
            weights_of_model = list(self.model.parameters())
            with moved_weights(weights_of_model, [w.grad for w in weights_of_model], self.perturbation.awp):
                self._gradients(batch, step)
        # Clipping wants the true gradients, of all parts: those of float16 are scaled until here.
        self.scaler.unscale_(self.optimizer)
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {"loss": self.group.total(total)}

    def _gradients(self, batch: Batch, step: int) -> torch.Tensor:
        """Those of a step, in the place of the ones before, and the share of its loss that this process has."""
        self.optimizer.zero_grad()
        parts, total = self.options.accumulate, torch.zeros((), device=self.group.device)
        weights_of_parts = shares(batch, self.processes * parts)
        size = len(batch["input_ids"]) // len(weights_of_parts)
        for number in range(parts):
            place = self.group.rank * parts + number
            # Gradients add up in each process and are exchanged once, with the last part.
            synchronise(self.parallel, number == parts - 1)
            inputs = self.tensors(batch, slice(place * size, (place + 1) * size))
            with self._autocast():
                loss: Any = self.loss(inputs, self.perturbation.at(step)) * float(weights_of_parts[place])
            self.scaler.scale(loss * self.processes).backward()  # the engines take the mean over the processes
            total += loss.detach()
        return total

    def _call(self, inputs: Mapping[str, Any]) -> Any:
        return self.parallel(**inputs, **self.asked)

    def loss(self, inputs: dict[str, torch.Tensor], perturbs: bool = False) -> torch.Tensor:
        """That of a part of a batch, with its gradient."""
        if self.lesson is not None:
            return self.lesson(self.parallel, self.model, inputs, **self.asked)
        if perturbs:
            return self.perturbed_loss(inputs)
        loss: torch.Tensor = self._call(inputs).loss
        return loss

    def predict(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """Each process computes its examples and gets those of all."""
        if self._judged is None:
            self.model.eval()
            # FSDP2 gives a model another class and no whole weights; under autocast all weights are cast in each call.
            whole = type(self.model) is self.model_class and self.options.precision == "float32"
            on_cpu = self.group.device.type == "cpu"
            self._judged = deberta_pt.optimize_for_inference(self.model) if whole and on_cpu else self.model
        with torch.no_grad(), self._autocast():
            output = self._judged(**self.tensors(batch, self.group.part(len(batch["input_ids"]))))
        entries = {name: value for name, value in output.items() if name not in NOT_PREDICTIONS}
        return {name: self.group.gather(value.float()).cpu().numpy() for name, value in entries.items()}

    def tensors(self, batch: Batch, examples: slice) -> dict[str, torch.Tensor]:
        """Some examples of a batch on this process' device."""
        some = {name: array[examples] for name, array in batch.items()}
        # Lessons read the mask themselves, and FSDP2, which gives the model a class of its own, uploads what it gets.
        return inputs_on(self.group.device, some, None if self.lesson is not None else self.model)

    def save_state(self, folder: Path | None) -> None:
        """Whole tensors by name, however the model is spread."""
        save_state(folder, self.model, self.optimizer, scaler=self.scaler.state_dict())

    def load_state(self, folder: Path) -> None:
        """To each process its part."""
        self._judged = None
        self.scaler.load_state_dict(load_state(folder, self.model, self.optimizer)["scaler"])

    def save_model(self, folder: Path | None) -> None:
        """``model.safetensors``."""
        state = whole_weights(self.model)
        if folder is not None:
            self.model.save_pretrained(folder, state_dict=state)

    def load_model(self, folder: Path) -> None:
        """The same weights for all processes."""
        self._judged = None
        load_weights(self.model, self.model_class.from_pretrained(folder).state_dict())

    def wait(self) -> None:
        """Until all processes are here."""
        self.group.wait()

    def stop(self) -> None:
        """Part from the other processes."""
        self.group.stop()

    def _autocast(self) -> Any:
        return autocast(self.group.device, self.options.precision)


def autocast(device: torch.device, precision: str) -> Any:
    """A context in which products on a device are of a precision, one of ``options.PRECISIONS``."""
    return torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32")


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Random numbers of a step: of seed, step and process alone, so that a resumed run draws what it would have."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def parameter_groups(model: Any, options: Options) -> list[dict[str, Any]]:
    """Groups by what the rate is multiplied with (``scale``), and by whether they decay."""
    layers = model.config.num_hidden_layers
    keys = {model.own_key(key): key for key in weights(model.config, model.head)}
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale = options.scale(keys.get(name, name), layers)
        groups.setdefault((scale, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": found, "scale": scale, "weight_decay": options.weight_decay if decays else 0.0}
        for (scale, decays), found in groups.items()
    ]


def adamw(groups: Any, device: torch.device) -> torch.optim.AdamW:
    """AdamW without a rate, which each step sets.

    On a GPU one kernel does what some ten would for each group, and whether float16's gradients are finite is asked
    there: the host would wait for the answer in each step.
    """
    return torch.optim.AdamW(groups, lr=0.0, fused=device.type == "cuda")


def compile_layers(model: Any) -> None:
    """Let ``torch.compile`` have each layer of the encoder, which are compiled once for all of them and all lengths.

    A layer and not the model: it is small enough to compile in seconds, gradient checkpointing and FSDP2 keep working
    between layers, and names of weights stay as they are.
    """
    for layer in model.base_model.encoder.layer:
        layer.compile(dynamic=True)


def set_rate(optimizers: Any, rate: float) -> None:
    """Set the learning rate of every group, times its ``scale`` where it has one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
