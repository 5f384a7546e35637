"""The loss of a student in TensorFlow.

Shapes: ``B`` batch, ``L`` tokens, ``N`` heads, ``H`` hidden size, ``Y`` labels or words, ``G`` parts of the values.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

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
from deberta_tf.layers import shape_of


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
        self.lessons, self.teacher = lessons, teacher
        self.kind = distance_kind(student, teacher.head)
        self.pairs, self.states = layer_pairs(student, teacher.config), state_pairs(student, teacher.config)
        self.parts = relation_heads(student, teacher.config)
        self.heads = heads_of_teacher(student, teacher.config) if "attention" in lessons.learn else []

    def __call__(self, student: Any, inputs: dict[str, tf.Tensor], **asked: Any) -> tf.Tensor:
        """The loss of a batch with labels.

        Args:
            student: the model.
            inputs: with ``attention_mask`` ``[B, L]``, or ``[B, C, L]``.
            **asked: further keywords of both models.
        """
        learn, asked = self.lessons.learn, {**asked, **self.lessons.asked}
        wanted = self.teacher(inputs, training=False, **asked)
        wanted = {name: tf.nest.map_structure(tf.stop_gradient, value) for name, value in wanted.items()}
        output = student(inputs, training=True, **asked)
        mask = tf.reshape(inputs["attention_mask"], [-1, shape_of(inputs["attention_mask"])[-1]]) != 0  # [B, L]
        total = self.lessons.labels_share * output.loss
        if "logits" in learn:
            total += (1 - self.lessons.labels_share) * self.of_logits(output, wanted, mask)
        if "hidden" in learn:
            both = [(output["hidden_states"][ours], wanted["hidden_states"][theirs]) for ours, theirs in self.states]
            total += _mean([_mean_over(tf.reduce_mean(_square(a - b), -1), mask) for a, b in both])
        if "attention" in learn:
            maps = [
                (output["attentions"][ours], tf.gather(wanted["attentions"][theirs], heads, axis=1))
                for (ours, theirs), heads in zip(self.pairs, self.heads, strict=True)
            ]
            total += _mean([_mean_over(tf.reduce_mean(_divergence(b, a), 1), mask) for a, b in maps])
        if "values" in learn:
            ours, theirs = self.relations(student, output, mask), self.relations(self.teacher, wanted, mask)
            total += _mean_over(tf.reduce_mean(_divergence(tf.stop_gradient(theirs), ours), 1), mask)
        return total

    def of_logits(self, output: Named, wanted: Named, mask: tf.Tensor) -> tf.Tensor:
        """How far the student's logits are from the teacher's."""
        losses = []
        for name in (name for name in output if name.endswith("logits")):
            ours, theirs = tf.cast(output[name], tf.float32), tf.cast(wanted[name], tf.float32)
            if self.kind == "squared":
                return tf.reduce_mean(tf.square(ours - theirs))
            if name != "logits":  # of first and last tokens, [B, L]: padding is none
                ours, theirs = tf.where(mask, ours, -1e4), tf.where(mask, theirs, -1e4)
            ours, theirs = ours / self.lessons.temperature, theirs / self.lessons.temperature
            if self.kind == "sigmoid":
                losses.append(tf.reduce_mean(_each(theirs, ours)))
            else:
                far = tf.nn.log_softmax(theirs) - tf.nn.log_softmax(ours)
                rows = tf.reduce_sum(tf.nn.softmax(theirs) * far, -1)
                losses.append(_mean_over(rows, mask if self.teacher.head == "ForTokenClassification" else None))
        return _mean(losses) * self.lessons.temperature**2  # else gradients would shrink by the square

    def relations(self, model: Any, output: Named, mask: tf.Tensor) -> tf.Tensor:
        """How alike the values of tokens are in the last layer, as distributions over tokens, ``[B, G, L, L]``."""
        before, last = output["hidden_states"][-2], model.base_model.encoder.layer[-1]
        values = last.attention.self.project(before, before)[2]
        batch, length, width = shape_of(values)
        split = tf.reshape(tf.cast(values, tf.float32), [batch, length, self.parts, width // self.parts])
        scores = tf.einsum("bqgd,bkgd->bgqk", split, split) * (width // self.parts) ** -0.5
        return tf.nn.softmax(tf.where(mask[:, None, None], scores, -1e4))


def _square(x: tf.Tensor) -> tf.Tensor:
    return tf.square(tf.cast(x, tf.float32))


def _mean(losses: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_mean(tf.stack(losses))


def _mean_over(rows: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Mean over what is visible, or over all; 0 of nothing."""
    weights = tf.ones_like(rows) if mask is None else tf.cast(mask, rows.dtype)
    return tf.reduce_sum(rows * weights) / tf.maximum(tf.reduce_sum(weights), 1)


def _divergence(wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Of distributions ``[..., K]``."""
    wanted, found = tf.cast(wanted, tf.float32), tf.cast(found, tf.float32)
    own = tf.math.xlogy(wanted, tf.maximum(wanted, TINY))
    return tf.reduce_sum(own - wanted * tf.math.log(tf.maximum(found, TINY)), -1)


def _each(wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Divergence of probabilities of their own, from logits."""
    chance, sure = tf.sigmoid(wanted), tf.math.log_sigmoid
    yes, no = sure(wanted) - sure(found), sure(-wanted) - sure(-found)
    return chance * yes + (1 - chance) * no
