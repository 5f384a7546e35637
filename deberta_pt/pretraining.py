"""Replaced-token pretraining: a generator fills masked places, a discriminator tells which tokens are not the original.

Shapes: ``B`` batch, ``L`` tokens, ``T`` targets (places whose label is not -100), ``V`` vocabulary, ``E`` embedding
size.

Source: He et al. 2021 (arXiv 2111.09543), sections 3.1 to 3.3; Clark et al. 2020 (arXiv 2003.10555).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.checks import IGNORED
from deberta_core.hub.fetching import HUB_KEYWORDS
from deberta_core.pretraining import (
    READ_BY_BOTH,
    TABLES,
    ReplacedTokenPretrainingOutput,
    check_batch,
    check_pair,
    check_training,
    common_keys,
    generator_config,
    has_generator,
    save_generator,
)
from deberta_pt.families import AutoModelForMaskedLM, AutoModelForReplacedTokenDetection
from deberta_pt.fast.upload import uploaded
from deberta_pt.heads import MaskedLM, ReplacedTokenDetection


class DisentangledEmbedding(nn.Module):
    """A table that is another one, as a constant, plus a trained difference.

    Args:
        source: the other table, which belongs to another model.
        delta: starting value of the difference, ``[V, E]``.
    """

    def __init__(self, source: nn.Embedding, delta: Tensor) -> None:
        super().__init__()
        self._source = (source,)  # in a tuple it is no part of this model
        self._weight = nn.Parameter(delta)

    @property
    def weight(self) -> Tensor:
        """The sum, ``[V, E]``."""
        return self._source[0].weight.detach() + self._weight

    def forward(self, ids: Tensor) -> Tensor:
        """Int ``[...]`` -> ``[..., E]``; only the rows that are read are added up."""
        source = self._source[0]
        return F.embedding(ids, source.weight.detach()) + F.embedding(ids, self._weight, source.padding_idx)


class ReplacedTokenPretraining(nn.Module):
    """A generator and a discriminator that train together.

    Args:
        generator: masked-LM model.
        discriminator: replaced-token model of the same vocabulary.
        embedding_sharing: of the tables. ``gdes``: the discriminator's are the generator's plus a difference, and its
            loss reaches only the difference; ``es``: they are the generator's; ``none``: its own.
        rtd_lambda: weight of the discriminator's loss.
        temperature: divides the generator's logits before sampling.
        seed: of sampling.
        keep_discriminator: for ``gdes``: start from the difference of the two tables, so that the discriminator
            computes what it did before, instead of from zero.

    Raises:
        ValueError: if the two do not fit, or an argument is out of range.
    """

    sampling_state: Tensor

    def __init__(
        self,
        generator: MaskedLM,
        discriminator: ReplacedTokenDetection,
        *,
        embedding_sharing: str = "gdes",
        rtd_lambda: float = 10.0,
        temperature: float = 1.0,
        seed: int = 0,
        keep_discriminator: bool = False,
    ) -> None:
        super().__init__()
        check_pair(generator.config, discriminator.config, embedding_sharing)
        check_training(rtd_lambda, temperature)
        self.generator, self.discriminator = generator, discriminator
        self.embedding_sharing = embedding_sharing
        self.rtd_lambda, self.temperature = rtd_lambda, temperature
        self.register_buffer("sampling_state", torch.tensor([seed, 0]))  # the seed, and how often it was drawn from
        self._drawn: tuple[Tensor, int, list[int]] | None = None  # that tensor, its version, and its numbers
        self._share(keep_discriminator)

    def _share(self, keep: bool) -> None:
        theirs: Any = self.generator.deberta.embeddings
        own: Any = self.discriminator.deberta.embeddings
        for name in TABLES:
            if self.embedding_sharing == "none" or not (hasattr(theirs, name) and hasattr(own, name)):
                continue
            source = getattr(theirs, name)
            if self.embedding_sharing == "es":
                setattr(own, name, source)
                continue
            before = getattr(own, name).weight.detach()
            delta = before - source.weight.detach() if keep else torch.zeros_like(before)
            setattr(own, name, DisentangledEmbedding(source, delta))

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        generator: str | os.PathLike[str] | None = None,
        generator_layers: int | None = None,
        subfolder: str = "",
        **settings: Any,
    ) -> ReplacedTokenPretraining:
        """Go on from published files; both models are in evaluation mode, so call ``train()`` first.

        Args:
            path: folder of a discriminator, or its name on the hub.
            generator: folder or name of a masked-LM model; default the generator in ``path`` (its weights and
                ``generator_config.json``), and if there is none a new one, whose encoder starts as the discriminator's
                first layers and whose head starts afresh.
            generator_layers: layers of a new generator; default half of the discriminator's.
            subfolder: folder below ``path``.
            **settings: keywords of the class, and those of the hub, such as ``revision``, which is of ``path`` alone,
                and ``token``. With ``gdes`` the discriminator computes at first what the file does.

        Raises:
            FileNotFoundError: if there is no checkpoint.
            ValueError: if the two do not fit.
        """
        fetch = {name: settings.pop(name) for name in HUB_KEYWORDS if name in settings}
        here = {**fetch, "subfolder": subfolder}
        discriminator = AutoModelForReplacedTokenDetection.from_pretrained(path, **here)
        if generator is not None:
            fetch.pop("revision", None)
            writer = AutoModelForMaskedLM.from_pretrained(generator, **fetch)
        elif has_generator(path, **here):
            writer = AutoModelForMaskedLM.from_pretrained(path, **here, generator=True)
        else:
            writer = new_generator(discriminator, generator_layers)
        return cls(writer, discriminator, **{"keep_discriminator": True, **settings})

    # The two models.

    def noise(self, like: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) to sample by, float32 of the shape of ``like`` ``[B, L]``; counts the draw."""
        state, known = self.sampling_state, self._drawn
        # Reading it waits for all that a device has yet to do, so it is read when something else has written it.
        if known is not None and known[0] is state and known[1] == _version(state) >= 0:
            seed, count = known[2]
        else:
            seed, count = state.tolist()
        state[1] += 1
        self._drawn = (state, _version(state), [seed, count + 1])
        return uploaded(np.random.default_rng([seed, count]).random(tuple(like.shape), np.float32), like.device)

    def generate(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        noise: Tensor | None = None,
        sampled_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> ReplacedTokenPretrainingOutput[Tensor]:
        """Let the generator fill the targets.

        Args:
            input_ids: with [MASK] at the targets, int ``[B, L]``.
            labels: the original ids at the targets, -100 elsewhere, int ``[B, L]``.
            attention_mask: as for the models.
            token_type_ids: as for the models.
            noise: to sample by, in [0, 1), float ``[B, L]``, read at the targets; default drawn from ``seed``.
            sampled_ids: take these at the targets instead of sampling, int ``[B, L]``.
            position_ids: as for the models.

        Returns:
            ``mlm_loss``, ``corrupted_ids``, ``replaced`` and ``generator_logits``.
        """
        given = {"input_ids": input_ids, "labels": labels, "noise": noise, "sampled_ids": sampled_ids}
        check_batch({name: tuple(x.shape) for name, x in given.items() if x is not None})
        output = self.generator(
            input_ids, attention_mask, token_type_ids, position_ids, labels=labels, only_masked=True, return_dict=True
        )
        targets = labels != IGNORED
        if sampled_ids is None:
            noise = self.noise(labels) if noise is None else noise
            drawn = sample(output.logits.detach(), picked(noise, targets, len(output.logits)), self.temperature)
        else:
            drawn = picked(sampled_ids, targets, len(output.logits))
        corrupted = input_ids.masked_scatter(targets, drawn.to(input_ids.dtype))
        replaced = (targets & (corrupted != labels)).long()
        return ReplacedTokenPretrainingOutput(
            mlm_loss=output.loss, corrupted_ids=corrupted, replaced=replaced, generator_logits=output.logits
        )

    def discriminate(
        self,
        corrupted_ids: Tensor,
        replaced: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Any:
        """The discriminator's output, with its loss before the weight.

        Args:
            corrupted_ids: int ``[B, L]``.
            replaced: 1 where an id is not the original, int ``[B, L]``.
            attention_mask: as for the models.
            token_type_ids: as for the models.
            position_ids: as for the models.
        """
        return self.discriminator(
            corrupted_ids, attention_mask, token_type_ids, position_ids, labels=replaced, return_dict=True
        )

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        noise: Tensor | None = None,
        sampled_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> ReplacedTokenPretrainingOutput[Tensor]:
        """The joint loss ``mlm_loss + rtd_lambda * rtd_loss``; arguments as for ``generate``."""
        made = self.generate(input_ids, labels, attention_mask, token_type_ids, noise, sampled_ids, position_ids)
        judged = self.discriminate(
            made["corrupted_ids"], made["replaced"], attention_mask, token_type_ids, position_ids
        )
        loss = made["mlm_loss"] + self.rtd_lambda * judged.loss
        return ReplacedTokenPretrainingOutput(made, loss=loss, rtd_loss=judged.loss, logits=judged.logits)

    # Training.

    def generator_parameters(self) -> list[nn.Parameter]:
        """What the generator's optimiser trains."""
        return [p for p in self.generator.parameters() if p.requires_grad]

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """What the discriminator's optimiser trains; with ``es`` the shared tables are among both."""
        return [p for p in self.discriminator.parameters() if p.requires_grad]

    def joint_step(
        self, optimizer: torch.optim.Optimizer, batch: Mapping[str, Tensor], *, clip: float = 1.0
    ) -> ReplacedTokenPretrainingOutput[Tensor]:
        """One step on the joint loss.

        Args:
            optimizer: of all parameters.
            batch: arguments of ``forward``.
            clip: largest global norm of the gradients.
        """
        output = self(**batch)
        _step(optimizer, output["loss"], list(self.parameters()), clip)
        return output

    def decoupled_step(
        self,
        generator_optimizer: torch.optim.Optimizer,
        discriminator_optimizer: torch.optim.Optimizer,
        batch: Mapping[str, Tensor],
        *,
        clip: float = 1.0,
    ) -> ReplacedTokenPretrainingOutput[Tensor]:
        """First a step of the generator, then one of the discriminator on what the generator had written.

        Args:
            generator_optimizer: of ``generator_parameters()``.
            discriminator_optimizer: of ``discriminator_parameters()``.
            batch: arguments of ``forward``.
            clip: largest global norm of either model's gradients.
        """
        made = self.generate(**batch)
        _step(generator_optimizer, made["mlm_loss"], self.generator_parameters(), clip)
        rest = {name: batch[name] for name in READ_BY_BOTH if name in batch}
        # The ids are those that the generator wrote before its step; tables that the discriminator shares with it have
        # made that step. Two backward passes, of which each frees its graph, need less memory than one of both losses.
        judged = self.discriminate(made["corrupted_ids"], made["replaced"], **rest)
        _step(discriminator_optimizer, self.rtd_lambda * judged.loss, self.discriminator_parameters(), clip)
        loss = made["mlm_loss"].detach() + self.rtd_lambda * judged.loss.detach()
        return ReplacedTokenPretrainingOutput(made, loss=loss, rtd_loss=judged.loss, logits=judged.logits)

    # Saving.

    def merged_state(self) -> dict[str, Tensor]:
        """The discriminator's ``state_dict`` as an ordinary model has it: tables as sums."""
        state = dict(self.discriminator.state_dict())
        for name, module in self.discriminator.named_modules():
            if isinstance(module, DisentangledEmbedding):
                del state[f"{name}._weight"]
                state[f"{name}.weight"] = module.weight.detach()
        return state

    def save_pretrained(self, path: str | os.PathLike[str], *, safe_serialization: bool = True) -> None:
        """Write the discriminator as an ordinary checkpoint, and the generator beside it.

        Args:
            path: folder, made if needed; both frameworks' ``from_pretrained`` read it, that of this class too.
            safe_serialization: the discriminator as ``model.safetensors`` (default) or ``pytorch_model.bin``.

        Raises:
            OSError: if the folder cannot be written.
        """
        self.discriminator.save_pretrained(path, safe_serialization=safe_serialization, state_dict=self.merged_state())
        save_generator(Path(path), lambda folder: self.generator.save_pretrained(folder, max_shard_size="1TB"))


def picked(values: Tensor, chosen: Tensor, count: int) -> Tensor:
    """Values at chosen places in their order, whose number is known: for ``values[chosen]`` the host would wait.

    Args:
        values: any shape.
        chosen: bool, of the same shape.
        count: how many are chosen.

    Returns:
        ``[count]``.
    """
    places = torch.where(chosen, chosen.flatten().cumsum(0).view_as(chosen) - 1, count)  # the others go behind the last
    return values.new_zeros(count + 1).scatter(0, places.flatten(), values.flatten())[:count]


def sample(logits: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
    """One id for each row, with the probability that the logits give it.

    Args:
        logits: ``[T, V]``.
        noise: in [0, 1), ``[T]``: where in the cumulated probabilities to look.
        temperature: divides the logits.

    Returns:
        int64 ``[T]``.
    """
    wide = torch.float32 if logits.device.type == "mps" else torch.float64  # 128,000 summands leave float32 few digits
    cumulated = (logits.to(wide) / temperature).softmax(-1).cumsum(-1)
    wanted = noise.to(wide)[:, None] * cumulated[:, -1:]  # [T, 1]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def new_generator(discriminator: ReplacedTokenDetection, layers: int | None = None) -> MaskedLM:
    """A generator whose encoder starts as a discriminator's first layers, and whose head starts afresh.

    Args:
        discriminator: replaced-token model.
        layers: its layers; default half of the discriminator's.
    """
    config = generator_config(discriminator.config, layers=layers)
    generator: MaskedLM = AutoModelForMaskedLM.from_config(config)
    theirs, own = dict(discriminator.named_parameters()), dict(generator.named_parameters())
    copied = common_keys(config, discriminator.config)
    with torch.no_grad():
        for key in copied:
            own[key].copy_(theirs[key])
    fresh = ", ".join(sorted(own.keys() - set(copied)))
    warnings.warn(f"no generator was given: a new one starts with the discriminator's encoder and fresh {fresh}",
                  stacklevel=3)  # fmt: skip
    return generator.train(discriminator.training).to(discriminator.device)


def _version(state: Tensor) -> int:
    """How often a tensor was written to; one that was made for inference does not count, and is never the same."""
    return -1 if state.is_inference() else state._version


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter], clip: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
