"""Several processes that train one PyTorch model: what ``torchrun`` starts, on PyTorch's own engines.

A process alone is the case of one. The state of a run has one form, whatever the number of processes and the way the
model is spread over them: whole tensors by the names of the model's parameters.
"""

from __future__ import annotations

import errno
import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

FILE = "state.pt"
KINDS = ("ddp", "fsdp")
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
CPU = torch.device("cpu")
PAUSE = 0.5  # seconds between the last exchange and the end of the engine


@dataclass(frozen=True)
class Processes:
    """This process among those that ``torchrun`` started.

    Attributes:
        rank: its number.
        size: how many there are.
        device: where it computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @classmethod
    def start(cls) -> Processes:
        """Join the others, if the environment names some."""
        local = int(os.environ.get("LOCAL_RANK", "0"))
        cuda = torch.cuda.is_available()
        device = torch.device("cuda", local) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        if "RANK" not in os.environ:
            return cls(device=device)
        if not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def stop(self) -> None:
        """Part from the others, once all are here.

        PyTorch's engine lets go of what it exchanged last a moment after it has reported it as done, and wants the
        interpreter for that: an engine taken down in that moment waits forever, a process that ends in it dies
        (https://github.com/pytorch/pytorch/issues/190489). Nothing tells when the moment is over; a pause leaves it
        hundreds of turns of a busy processor.
        """
        self.wait()
        if dist.is_initialized():
            time.sleep(PAUSE)
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()

    def wrap(self, model: Any, kind: str = "ddp", precision: str = "float32") -> Any:
        """The model as this process trains it, on its device.

        Args:
            model: of ``deberta_pt``; with ``fsdp`` it is spread in place, a layer at a time.
            kind: ``ddp`` for a copy in each process, ``fsdp`` for FSDP2, a part of each weight in each process.
            precision: ``bfloat16`` lets FSDP2 gather weights in half the bytes; parts, sums of gradients and the
                optimiser stay float32.

        Raises:
            ValueError: for another kind.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r} of parallel training, expected one of {', '.join(KINDS)}")
        model.to(self.device)
        if self.size == 1:
            return model
        if kind == "ddp":
            return DistributedDataParallel(model)  # told of no device, it leaves inputs where they are
        half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        policy = half if precision == "bfloat16" else MixedPrecisionPolicy()
        for layer in model.base_model.encoder.layer:
            fully_shard(layer, mp_policy=policy)
        return fully_shard(model, mp_policy=policy)

    def part(self, count: int) -> slice:
        """This process' examples of ``count``, a multiple of the number of processes."""
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """What all processes have, in order; of each the same shape."""
        if self.size == 1:
            return tensor
        tensors = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(tensors, tensor.contiguous())
        return torch.cat(tensors)

    def total(self, value: torch.Tensor) -> SupportsFloat:
        """The sum of a number over all processes; a GPU's stays there until somebody wants to know it."""
        if self.size > 1:
            dist.all_reduce(value)
        return float(value) if value.device == CPU else value


def unwrapped(model: Any) -> Any:
    """The model without what DDP put around it."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def synchronise(model: Any, wanted: bool) -> None:
    """Whether the next backward pass exchanges gradients, which only the last of several has to."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = wanted
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(wanted)


def whole_weights(model: nn.Module) -> dict[str, Any]:
    """Weights in one piece; all processes have to ask, the first one gets them."""
    return get_model_state_dict(unwrapped(model), options=WHOLE)


def load_weights(model: nn.Module, weights: dict[str, Any]) -> None:
    """Give every process its part of weights in one piece."""
    set_model_state_dict(unwrapped(model), weights, options=StateDictOptions(full_state_dict=True))


def save_state(folder: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, **more: Any) -> None:
    """Write model and optimiser in one piece; the same file whatever the number of processes.

    Args:
        folder: existing folder; ``None`` in the processes that do not write, which have to call all the same.
        model: that ``wrap`` gave, or the one inside it.
        optimizer: of its weights.
        **more: what else to write: numbers, texts, tensors, and dicts and lists of them.

    Raises:
        OSError: if the file cannot be written.
    """
    weights, state = get_state_dict(unwrapped(model), optimizer, options=WHOLE)
    if folder is not None:
        write_state(folder, {"model": weights, "optimizer": state, "more": more})


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write numbers, texts, tensors, and dicts and lists of them.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        torch.save(state, folder / FILE)
    except RuntimeError as error:  # how PyTorch's writer reports a full disk
        text = f"the checkpoint cannot be written ({str(error).strip().splitlines()[0]}); is the disk full?"
        raise OSError(errno.EIO, text, os.fspath(folder)) from None


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Give every process its part of what ``save_state`` wrote.

    Returns:
        What was given as ``more``.

    Raises:
        ValueError: if it is of a model of another shape.
    """
    state = read_state(folder, unwrapped(model))
    set_state_dict(
        unwrapped(model), optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )  # fmt: skip
    return dict(state["more"])


def read_state(folder: Path, model: nn.Module) -> dict[str, Any]:
    """Read what ``write_state`` wrote for a model of these shapes; nothing in the file is executed.

    Raises:
        ValueError: if it is damaged, or of a model of another shape.
    """
    try:
        _check_sums(folder / FILE)
        state: dict[str, Any] = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        whole = isinstance(state["model"], dict)
    except Exception:  # nearly anything comes out of a torn archive, with advice to execute what is in it
        whole = False
    if not whole:
        raise ValueError(f"{folder / FILE} is damaged or not there, so that nothing can be resumed from it")
    held = {name: list(value.shape) for name, value in state["model"].items()}
    wanted = {name: list(value.shape) for name, value in model.state_dict().items()}
    for name in sorted(held.keys() | wanted.keys()):
        if held.get(name) != wanted.get(name):
            raise ValueError(
                f"{folder} cannot be resumed: it holds {held.get(name, 'nothing')} for {name}, the model wants "
                f"{wanted.get(name, 'nothing')}; start from the model that the run began with, or in a new folder"
            )
    return state


def _check_sums(path: Path) -> None:
    """Compare the archive's checksums, which ``torch.load`` does not: a changed bit would be trained on in silence.

    Raises:
        zipfile.BadZipFile: an entry is not what was written.
    """
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if info.CRC:  # torch.save can be told to leave the sums out; it then writes zeros
                with file.open(info) as entry:
                    while entry.read(1 << 20):
                        pass
