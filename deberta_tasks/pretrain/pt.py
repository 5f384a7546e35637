"""The learner of replaced-token pretraining in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, SupportsFloat

import torch

from deberta_core.config import BaseConfig
from deberta_core.pretraining import generator_config
from deberta_pt import AutoModelForMaskedLM, AutoModelForReplacedTokenDetection, ReplacedTokenPretraining
from deberta_pt.fast.upload import inputs_on
from deberta_pt.pretraining import new_generator
from deberta_tasks.distill.teaching import make_lesson
from deberta_tasks.pretrain.request import LOSSES, NEW, NO_LIMIT, OWN, Request, check_options
from deberta_tasks.training.loop import Learner
from deberta_tasks.training.options import Options
from deberta_tasks.training.pt import TorchLearner, autocast, compile_layers, seed_step, set_rate
from deberta_tasks.training.pt_parallel import Processes, read_state, write_state
from deberta_tasks.training.stream import Batch


def new_learner(request: Request, options: Options, config: BaseConfig | None) -> Learner:
    """A model with starting weights, or with those of the checkpoint where there is no config.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if checkpoint or options do not fit.
    """
    torch.manual_seed(options.seed)
    folder = request.model or ""
    if request.objective == "mlm":
        lesson, fields = None, request.lessons.student_fields() if request.lessons else {}
        model = (
            AutoModelForMaskedLM.from_pretrained(folder, generator=bool(request.generator), **fields) if config is None
            else AutoModelForMaskedLM.from_config(config)
        )  # fmt: skip
        if request.lessons:
            lesson = make_lesson(request.lessons, "ForMaskedLM", "pt", model.config)
        # Only the masked places are decoded, which is what makes a large vocabulary affordable.
        return TorchLearner(model.train(), options, kind=request.parallel, lesson=lesson, only_masked=True)
    how: dict[str, Any] = {"embedding_sharing": request.sharing, "rtd_lambda": request.rtd_lambda, "seed": options.seed}
    if config is None and request.generator == NEW:
        discriminator = AutoModelForReplacedTokenDetection.from_pretrained(folder)
        how["keep_discriminator"] = True
        generator = new_generator(discriminator)
    elif config is None:
        given = request.generator if request.generator != OWN else None
        pair = ReplacedTokenPretraining.from_pretrained(folder, generator=given or None, **how)
        return TorchPairLearner(pair, options)
    else:
        generator = AutoModelForMaskedLM.from_config(generator_config(config))
        discriminator = AutoModelForReplacedTokenDetection.from_config(config)
    return TorchPairLearner(ReplacedTokenPretraining(generator, discriminator, **how), options)


class TorchPairLearner:
    """A generator and a discriminator, each with its optimiser; see ``loop.Learner``.

    Args:
        model: both, in ``ReplacedTokenPretraining``.
        options: how they are trained.

    Raises:
        ValueError: for options that two models that train in turn cannot have.
    """

    first, processes = True, 1

    def __init__(self, model: Any, options: Options) -> None:
        group = Processes.start()
        check_options(options, group.size, ("float32", "bfloat16"))
        self.options, self.device = options, group.device
        self.model = model.to(self.device).train()
        halves = (model.generator, model.discriminator)
        if options.compile:
            for half in halves:
                compile_layers(half)
        # In one kernel: with models this small, a tenth of a step went into the loop over their weights.
        self.optimizers = [
            torch.optim.AdamW(half.parameter_groups(options.weight_decay), lr=0.0, fused=True) for half in halves
        ]

    def step(self, batch: Batch, rate: float, step: int) -> dict[str, SupportsFloat]:
        """A step of the generator, then one of the discriminator on what the generator had written."""
        seed_step(self.options.seed, step)
        set_rate(self.optimizers, rate)
        tensors = inputs_on(self.device, batch, self.model)
        with autocast(self.device, self.options.precision):
            output = self.model.decoupled_step(*self.optimizers, tensors, clip=self.options.clip or NO_LIMIT)
        losses = {name: output[name].detach() for name in LOSSES}
        return {name: float(loss) if self.device.type == "cpu" else loss for name, loss in losses.items()}

    def save_state(self, folder: Path | None) -> None:
        """Both models, how often was drawn from the generator, and both optimisers."""
        assert folder is not None
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        write_state(folder, {"model": self.model.state_dict(), "optimizers": optimizers})

    def load_state(self, folder: Path) -> None:
        """Into the models as they are."""
        state = read_state(folder, self.model)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def save_model(self, folder: Path | None) -> None:
        """The discriminator as an ordinary checkpoint, the generator beside it."""
        self.model.save_pretrained(folder)

    def wait(self) -> None:
        """There are no others."""

    def stop(self) -> None:
        """Nothing to part from."""
