"""Losses: scalars, by PyTorch's rules, with -100 ignored everywhere and 0 (with a gradient) when nothing is left.

Shapes: ``B`` batch, ``L`` tokens, ``Y`` labels, ``C`` choices.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_core.checks import IGNORED, check_labels, label_out_of_range
from deberta_pt.layers import refuse_outside


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _mean(losses: Tensor, counts: Tensor) -> Tensor:
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def cross_entropy(logits: Tensor, labels: Tensor, name: str = "labels") -> Tensor:
    """Mean cross entropy over labels that are not -100.

    Args:
        logits: ``[..., Y]``.
        labels: int ``[...]``, 0..Y-1 or -100.
        name: what the caller calls the labels.

    Returns:
        Scalar, at least float32.

    Raises:
        ValueError: for labels of another shape or dtype, or, on a CPU and outside of graphs, out of range.
    """
    labels = labels[None] if labels.ndim == 0 else labels  # of one text
    check_labels(name, labels.shape, logits.shape[:-1], is_float=labels.is_floating_point())
    classes = logits.shape[-1]
    labels = labels.long()
    refuse_outside(labels, classes, lambda: label_out_of_range(name, classes), IGNORED)
    counts = labels != IGNORED
    losses = F.cross_entropy(
        _wide(logits).reshape(-1, classes), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return losses / counts.sum().clamp(min=1)


def binary_cross_entropy(logits: Tensor, labels: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean binary cross entropy over labels that are not -100.

    Args:
        logits: any shape.
        labels: 0 to 1, or -100, same shape.
        kept: bool, same shape: count only where true.

    Returns:
        Scalar, at least float32.

    Raises:
        ValueError: for labels of another shape.
    """
    check_labels("labels", labels.shape, logits.shape)
    counted = labels != IGNORED
    if kept is not None:
        counted = counted & kept
    wide = _wide(logits)
    targets = labels.to(wide.dtype).masked_fill(~counted, 0.0)
    losses = F.binary_cross_entropy_with_logits(wide, targets, reduction="none")
    return _mean(losses, counted.to(wide.dtype))


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of ``[B, Y]`` logits; labels ``[B, Y]``, or ``[B]`` where ``Y`` is 1; integers are cast."""
    if logits.shape[-1] == 1 and labels.ndim in (0, 1):
        labels = labels.reshape(-1, 1)  # [B, 1]
    check_labels("labels", labels.shape, logits.shape)
    wide = _wide(logits)
    return F.mse_loss(wide, labels.to(wide.dtype))


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of ``[B, Y]`` logits against a distribution ``[B, Y]``."""
    wide = _wide(logits)
    return -(wide.log_softmax(-1) * labels.to(wide.dtype)).sum(-1).mean()


def sequence_classification_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The loss that ``problem_type`` names, or, without one, that the labels' shape and dtype imply.

    Args:
        logits: ``[B, Y]``.
        labels: regression ``[B]`` or ``[B, Y]``; single label int ``[B]`` or ``[B, 1]``; multi-label 0/1 ``[B, Y]``;
            without ``problem_type``: a single output is a regression, floats ``[B, Y]`` are soft labels, else single
            labels, of which every negative one is ignored.
        problem_type: as in the config.

    Raises:
        ValueError: for labels that do not fit.
    """
    if problem_type == "multi_label_classification":
        return binary_cross_entropy(logits, labels)
    if problem_type == "regression" or (problem_type is None and logits.shape[-1] == 1):
        return mean_squared_error(logits, labels)
    if problem_type is None and labels.ndim == 2 and labels.shape[-1] != 1:
        if not labels.is_floating_point():
            raise ValueError(
                f"labels are integers of shape {list(labels.shape)}: for several labels a text set "
                "problem_type='multi_label_classification', for soft labels pass floats"
            )
        check_labels("labels", labels.shape, logits.shape)
        return soft_cross_entropy(logits, labels)
    if labels.ndim == 2:
        labels = labels.squeeze(-1)  # [B]
    if problem_type is None:
        labels = torch.where(labels < 0, IGNORED, labels).long()
    return cross_entropy(logits, labels)


def answer_positions(positions: Tensor, logits: Tensor, name: str) -> Tensor:
    """Positions as labels: ``[B]`` or ``[B, 1]`` -> int ``[B]``, 0..L-1 or -100.

    Args:
        positions: int; -100 is ignored, then values are clamped to 0..L, and L (an answer cut off) is ignored.
        logits: ``[B, L]``.
        name: what the caller calls them.
    """
    positions = positions.squeeze(-1) if positions.ndim == 2 else positions  # [B]
    check_labels(name, positions.shape, logits.shape[:1], is_float=positions.is_floating_point())
    ignored = (positions == IGNORED) | (positions >= logits.shape[-1])
    return torch.where(ignored, IGNORED, positions.clamp(min=0))


def question_answering_loss(start_logits: Tensor, end_logits: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Mean of the cross entropies of first and last token.

    Args:
        start_logits: ``[B, L]``.
        end_logits: ``[B, L]``.
        starts: int ``[B]`` or ``[B, 1]``, read by ``answer_positions``.
        ends: likewise.

    Returns:
        Scalar, at least float32.
    """
    first = cross_entropy(start_logits, answer_positions(starts, start_logits, "start_positions"))
    last = cross_entropy(end_logits, answer_positions(ends, end_logits, "end_positions"))
    return (first + last) / 2
