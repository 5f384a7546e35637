"""SiFT, R-Drop, FGM and AWP: losses of perturbed passes, and weights that are moved while one is computed.

Shapes: ``B`` batch (times choices), ``L`` tokens, ``H`` hidden size, ``Y`` labels.

Source: He et al. 2021 (arXiv 2006.03654), section 4 (SiFT); Liang et al. 2021 (arXiv 2106.14448, R-Drop); Miyato et al.
2017 (arXiv 1605.07725, FGM); Wu et al. 2020 (arXiv 2004.05884, AWP).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_core.checks import IGNORED
from deberta_core.perturbation import EPSILON, LEAST, PREDICTIONS, Perturbation, distance_kind

Call = Callable[[Mapping[str, Any]], Any]


class PerturbedLoss:
    """A model's loss, and those of its perturbed passes beside it.

    ``PerturbedLoss(model, Perturbation(sift=1.0))(batch).backward()`` in a training loop of your own.

    Args:
        model: with a head, in training mode.
        wanted: which perturbations; ``awp`` is one of weights, see ``moved_weights``.
        call: computes the model's output from its inputs by name; default: the model.
    """

    def __init__(self, model: Any, wanted: Perturbation, call: Call | None = None) -> None:
        self.model, self.wanted = model, wanted
        self.call: Call = call or (lambda inputs: model(**inputs))
        self.kind = distance_kind(model.config, model.head)

    def __call__(self, inputs: Mapping[str, Any], noise: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            inputs: of the model by name, labels among them.
            noise: that SiFT starts from, ``[B, L, H]`` of deviation 1; default: drawn.

        Raises:
            ValueError: for a model without a loss, or no labels.
        """
        clean, slope = self.clean(inputs)
        loss = clean.loss
        if self.wanted.sift:
            loss = loss + self.wanted.sift * self.sift(inputs, clean, noise)
        if self.wanted.r_drop:
            loss = loss + self.r_drop(inputs, clean)
        if slope is not None:
            loss = loss + self.fgm(inputs, slope)
        return loss

    def clean(self, inputs: Mapping[str, Any]) -> tuple[Any, Tensor | None]:
        """The output without perturbation, and for FGM the slope of its loss over the states ``[B, L, H]``."""
        if not self.wanted.fgm:
            return self.judged(inputs), None
        seen = list[Tensor]()

        def watch(states: Tensor) -> Tensor:
            seen.append(states)
            return states

        with changed_states(self.model, watch):
            clean = self.judged(inputs)
        (slope,) = torch.autograd.grad(clean.loss, seen, retain_graph=True)
        return clean, slope * deviation(seen[0].detach())  # per unit of the normalised states

    def judged(self, inputs: Mapping[str, Any]) -> Any:
        """The output, with its loss."""
        output = self.call(inputs)
        if output.loss is None:
            raise ValueError(f"{type(self.model).__name__} gave no loss; give it labels, or take a class with a head")
        return output

    def sift(self, inputs: Mapping[str, Any], clean: Any, noise: Tensor | None = None) -> Tensor:
        """How far the answer moves when normalised embeddings move to where it changes most."""
        rate, size = self.wanted.sift_rate, self.wanted.sift_size
        given = list[Tensor]()

        def start(states: Tensor) -> Tensor:
            constant = normalised(states).detach()
            drawn = torch.randn_like(constant) if noise is None else noise
            given.append((size * drawn.clamp(-2.0, 2.0)).requires_grad_())
            return (constant + given[0]).to(states.dtype)

        with changed_states(self.model, start):
            apart, _ = self.distance(self.call(inputs), detached(clean), inputs)
        (slope,) = torch.autograd.grad(apart, given)
        delta = ascended(given[0].detach(), slope, rate)
        # The embeddings are constants here: what is smoothed is the model above them, and not their lengths.
        with changed_states(self.model, lambda states: (normalised(states).detach() + delta).to(states.dtype)):
            apart, count = self.distance(self.call(inputs), clean, inputs)
        return apart / count

    def r_drop(self, inputs: Mapping[str, Any], clean: Any) -> Tensor:
        """The loss of a second pass, whose dropout is another, and how far both answers are apart."""
        again = self.call(inputs)
        apart, count = self.distance(again, clean, inputs, constant=False)
        return again.loss + self.wanted.r_drop / 2 * apart / count

    def fgm(self, inputs: Mapping[str, Any], slope: Tensor) -> Tensor:
        """The loss of a pass whose normalised embeddings are moved along the slope of the loss."""
        length = slope.square().sum((1, 2), keepdim=True).sqrt()  # [B, 1, 1]
        moved = torch.where(usable(length), self.wanted.fgm * slope / length, 0.0)
        with changed_states(self.model, lambda states: (normalised(states) + moved).to(states.dtype)):
            loss: Tensor = self.call(inputs).loss
        return loss

    def distance(
        self, output: Any, other: Any, inputs: Mapping[str, Any], constant: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Sum and number of the distances between two outputs, where labels count."""
        labels = inputs.get("labels")
        total = count = torch.zeros((), device=next(iter(output.values())).device)
        for name in PREDICTIONS:
            if output.get(name) is None:
                continue
            each = distances(self.kind, output[name], other[name], constant)
            counted = torch.ones_like(each)
            if self.kind != "squared" and labels is not None and labels.ndim == each.ndim:
                counted = (labels != IGNORED).to(each.dtype)
            total, count = total + (each * counted).sum(), count + counted.sum()
        return total, count.clamp(min=1)


def distances(kind: str, logits: Tensor, others: Tensor, constant: bool = True) -> Tensor:
    """How far two answers are apart: the sum of both divergences of their probabilities, or the squared difference.

    Args:
        kind: ``softmax`` of ``[..., Y]``, ``sigmoid`` of ``[...]``, ``squared`` of ``[..., Y]``.
        logits: of one answer.
        others: of the other.
        constant: take probabilities as constants, so that slopes are those of cross entropies, as the published code of
            SiFT has it; values are the same.

    Returns:
        ``[...]``, at least float32.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    logits, others = logits.to(wide), others.to(wide)
    if kind == "squared":
        return (logits - others).square().mean(-1)
    if kind == "sigmoid":  # a softmax over yes and no
        logits, others = (torch.stack([x, torch.zeros_like(x)], -1) for x in (logits, others))
    logs, other_logs = F.log_softmax(logits, -1), F.log_softmax(others, -1)
    gap = logs.exp() - other_logs.exp()
    # KL(p, q) + KL(q, p) = sum (p - q) (log p - log q)
    return ((gap.detach() if constant else gap) * (logs - other_logs)).sum(-1)


def deviation(states: Tensor) -> Tensor:
    """Standard deviation of each state ``[..., H]`` -> ``[..., 1]``, at least float32."""
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    return (wide.var(-1, correction=0, keepdim=True) + EPSILON).sqrt()


def normalised(states: Tensor) -> Tensor:
    """States ``[..., H]`` with mean 0 and variance 1, at least float32."""
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    return (wide - wide.mean(-1, keepdim=True)) / deviation(states)


def ascended(delta: Tensor, slope: Tensor, rate: float) -> Tensor:
    """A perturbation ``[B, L, H]`` after a step along its slope, which is ``rate`` where a token's slope is largest."""
    step = rate * slope / (LEAST + slope.abs().amax(-1, keepdim=True))
    return delta + torch.where(torch.isfinite(slope.square().sum()), step, 0.0)


def usable(length: Tensor) -> Tensor:
    """Whether one can divide by a length."""
    return torch.isfinite(length) & (length > 0)


def detached(output: Any) -> dict[str, Tensor]:
    """The answers in an output, as constants."""
    return {name: output[name].detach() for name in PREDICTIONS if output.get(name) is not None}


@contextlib.contextmanager
def changed_states(model: Any, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, sums of embeddings ``[B, L, H]`` go through ``change`` before they are normalised."""
    embeddings = model.base_model.embeddings
    embeddings.before_norm = change
    try:
        yield
    finally:
        embeddings.before_norm = None


@contextlib.contextmanager
def moved_weights(weights: Sequence[Any], slopes: Sequence[Any], share: float) -> Iterator[None]:
    """Inside, matrices and tables are moved along their slopes, by a share of their own length; AWP.

    The step that is made afterwards is that of the slopes found inside: ``w - rate * slope(w + v)``.

    Args:
        weights: of the model, such as its parameters.
        slopes: of the loss, one for each weight; ``None`` for one that has none.
        share: of the length of a weight.
    """
    moved = [(w, s) for w, s in zip(weights, slopes, strict=True) if s is not None and w.ndim > 1]
    with torch.no_grad():
        before = [weight.clone() for weight, _ in moved]
        for weight, slope in moved:
            length, own = slope.norm(), weight.norm()
            factor: Any = torch.where(usable(length), share * own / length, 0.0)
            # Of a weight that FSDP2 has spread the product wants a number, for which a GPU would have to be waited for.
            weight.add_(slope * (factor.full_tensor().item() if hasattr(factor, "full_tensor") else factor))
    try:
        yield
    finally:
        with torch.no_grad():
            for (weight, _), held in zip(moved, before, strict=True):
                weight.copy_(held)
