"""The loss of a student in PyTorch.

Shapes: ``B`` batch, ``L`` tokens, ``N`` heads, ``H`` hidden size, ``Y`` labels or words, ``G`` parts of the values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from deberta_core.perturbation import distance_kind
from deberta_tasks.distill.lessons import (
    TINY,
    Lessons,
    Named,
    heads_of_teacher,
    layer_pairs,
    relation_heads,
    state_pairs,
)


class Lesson:
    """What a learner takes in the place of the model's own loss.

    Args:
        lessons: what is learnt.
        teacher: model with the student's head.
        student: config of the student.

    Raises:
        ValueError: if one cannot learn from the other.
    """

    def __init__(self, lessons: Lessons, teacher: Any, student: Any) -> None:
        lessons.check(student, teacher.config, teacher.head)
        self.lessons, self.teacher = lessons, teacher.eval().requires_grad_(False)
        self.kind = distance_kind(student, teacher.head)
        self.pairs, self.states = layer_pairs(student, teacher.config), state_pairs(student, teacher.config)
        self.parts = relation_heads(student, teacher.config)
        self.heads = heads_of_teacher(student, teacher.config) if "attention" in lessons.learn else []

    def __call__(self, run: Callable[..., Any], student: Any, inputs: dict[str, Tensor], **asked: Any) -> Tensor:
        """The loss of a batch with labels.

        Args:
            run: calls the student, perhaps with what spreads it around it.
            student: the model itself.
            inputs: with ``attention_mask`` ``[B, L]``, or ``[B, C, L]``.
            **asked: further keywords of both models.
        """
        learn, asked = self.lessons.learn, {**asked, **self.lessons.asked}
        self.teacher.to(inputs["input_ids"].device)
        with torch.no_grad():
            wanted = self.teacher(**inputs, **asked)
        output = run(**inputs, **asked)
        mask = inputs["attention_mask"].flatten(0, -2) != 0  # [B, L]
        total: Tensor = self.lessons.labels_share * output.loss
        if "logits" in learn:
            total = total + (1 - self.lessons.labels_share) * self.of_logits(output, wanted, mask)
        if "hidden" in learn:
            both = [(output["hidden_states"][ours], wanted["hidden_states"][theirs]) for ours, theirs in self.states]
            total = total + _mean([_mean_over(_square(a - b).mean(-1), mask) for a, b in both])
        if "attention" in learn:
            maps = [
                (output["attentions"][ours], wanted["attentions"][theirs][:, heads])
                for (ours, theirs), heads in zip(self.pairs, self.heads, strict=True)
            ]
            total = total + _mean([_mean_over(_divergence(b, a).mean(1), mask) for a, b in maps])
        if "values" in learn:
            ours, theirs = self.relations(student, output, mask), self.relations(self.teacher, wanted, mask)
            total = total + _mean_over(_divergence(theirs, ours).mean(1), mask)
        return total

    def of_logits(self, output: Named, wanted: Named, mask: Tensor) -> Tensor:
        """How far the student's logits are from the teacher's."""
        losses: list[Tensor] = []
        for name in (name for name in output if name.endswith("logits")):
            ours, theirs = output[name].float(), wanted[name].float()
            if self.kind == "squared":
                return F.mse_loss(ours, theirs)
            if name != "logits":  # of first and last tokens, [B, L]: padding is none
                ours, theirs = ours.masked_fill(~mask, -1e4), theirs.masked_fill(~mask, -1e4)
            ours, theirs = ours / self.lessons.temperature, theirs / self.lessons.temperature
            if self.kind == "sigmoid":
                losses.append(_each(theirs, ours).mean())
            else:
                rows = (theirs.softmax(-1) * (theirs.log_softmax(-1) - ours.log_softmax(-1))).sum(-1)
                losses.append(_mean_over(rows, mask if self.teacher.head == "ForTokenClassification" else None))
        return _mean(losses) * self.lessons.temperature**2  # else gradients would shrink by the square

    def relations(self, model: Any, output: Named, mask: Tensor) -> Tensor:
        """How alike the values of tokens are in the last layer, as distributions over tokens, ``[B, G, L, L]``."""
        before, last = output["hidden_states"][-2], model.base_model.encoder.layer[-1]
        values = last.attention.self.project(before, before)[2]
        split = values.unflatten(-1, (self.parts, -1)).transpose(1, 2).float()  # [B, G, L, D]
        scores = torch.einsum("bgqd,bgkd->bgqk", split, split) * split.shape[-1] ** -0.5
        found: Tensor = scores.masked_fill(~mask[:, None, None], -1e4).softmax(-1)
        return found


def _square(x: Tensor) -> Tensor:
    return x.float().square()


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()


def _mean_over(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over what is visible, or over all; 0 of nothing."""
    weights = torch.ones_like(rows) if mask is None else mask.to(rows.dtype)
    return (rows * weights).sum() / weights.sum().clamp(min=1)


def _divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """Of distributions ``[..., K]``."""
    wanted, found = wanted.float(), found.float()
    return (torch.xlogy(wanted, wanted.clamp(min=TINY)) - wanted * found.clamp(min=TINY).log()).sum(-1)


def _each(wanted: Tensor, found: Tensor) -> Tensor:
    """Divergence of probabilities of their own, from logits."""
    chance = wanted.sigmoid()
    yes, no = F.logsigmoid(wanted) - F.logsigmoid(found), F.logsigmoid(-wanted) - F.logsigmoid(-found)
    return chance * yes + (1 - chance) * no
