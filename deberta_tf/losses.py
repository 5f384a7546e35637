"""Losses: scalars, by PyTorch's rules, with -100 ignored everywhere and 0 (with a gradient) when nothing is left.

Shapes: ``B`` batch, ``L`` tokens, ``Y`` labels, ``C`` choices.
"""

from __future__ import annotations

import tensorflow as tf

from deberta_core.checks import IGNORED, check_labels, label_out_of_range
from deberta_tf.layers import refuse_if
from deberta_tf.weighting import weighted


def _wide(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(logits, tf.float64 if logits.dtype == tf.float64 else tf.float32)


def _mean(losses: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(losses * counts) / tf.maximum(tf.reduce_sum(counts), 1)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, name: str = "labels") -> tf.Tensor:
    """Mean cross entropy over labels that are not -100.

    Args:
        logits: ``[..., Y]``.
        labels: int ``[...]``, 0..Y-1 or -100.
        name: what the caller calls the labels.

    Returns:
        Scalar, at least float32.

    Raises:
        ValueError: for labels of another shape or dtype, or (not in compiled graphs) out of range.
    """
    labels = labels[None] if labels.shape.rank == 0 else labels  # of one text
    check_labels(name, labels.shape, logits.shape[:-1], is_float=labels.dtype.is_floating)
    classes = logits.shape[-1]
    labels = tf.cast(labels, tf.int64)
    checks = []
    if classes is not None:
        wrong = (labels != IGNORED) & ((labels < 0) | (labels >= classes))
        checks = refuse_if(wrong, label_out_of_range(name, classes))
    with tf.control_dependencies(checks):
        counts = labels != IGNORED
    wide = _wide(logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.where(counts, labels, 0), wide)
    return _mean(weighted(losses, labels), tf.cast(counts, wide.dtype))


def binary_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, kept: tf.Tensor | None = None) -> tf.Tensor:
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
    targets = tf.where(counted, tf.cast(labels, wide.dtype), 0)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, wide)
    return _mean(weighted(losses), tf.cast(counted, wide.dtype))


def mean_squared_error(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean squared error of ``[B, Y]`` logits; labels ``[B, Y]``, or ``[B]`` where ``Y`` is 1; integers are cast."""
    if logits.shape[-1] == 1 and labels.shape.rank in (0, 1):
        labels = tf.reshape(labels, [-1, 1])  # [B, 1]
    check_labels("labels", labels.shape, logits.shape)
    wide = _wide(logits)
    return tf.reduce_mean(weighted(tf.square(wide - tf.cast(labels, wide.dtype))))


def soft_cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross entropy of ``[B, Y]`` logits against a distribution ``[B, Y]``."""
    wide = _wide(logits)
    return tf.reduce_mean(weighted(-tf.reduce_sum(tf.nn.log_softmax(wide) * tf.cast(labels, wide.dtype), -1)))


def sequence_classification_loss(logits: tf.Tensor, labels: tf.Tensor, problem_type: str | None) -> tf.Tensor:
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
    one = (1,) if labels.dtype.is_floating else (1, None)  # integers of unknown width fit as one column alone
    if problem_type is None and labels.shape.rank == 2 and labels.shape[-1] not in one:
        if not labels.dtype.is_floating:
            raise ValueError(
                f"labels are integers of shape {list(labels.shape)}: for several labels a text set "
                "problem_type='multi_label_classification', for soft labels pass floats"
            )
        check_labels("labels", labels.shape, logits.shape)
        return soft_cross_entropy(logits, labels)
    if labels.shape.rank == 2 and labels.shape[-1] in (1, None):
        labels = tf.squeeze(labels, -1)  # [B]
    if problem_type is None:
        labels = tf.cast(tf.where(labels < 0, tf.cast(IGNORED, labels.dtype), labels), tf.int64)
    return cross_entropy(logits, labels)


def answer_positions(positions: tf.Tensor, logits: tf.Tensor, name: str) -> tf.Tensor:
    """Positions as labels: ``[B]`` or ``[B, 1]`` -> int ``[B]``, 0..L-1 or -100.

    Args:
        positions: int; -100 is ignored, then values are clamped to 0..L, and L (an answer cut off) is ignored.
        logits: ``[B, L]``.
        name: what the caller calls them.
    """
    if positions.shape.rank == 2 and positions.shape[-1] in (1, None):
        positions = tf.squeeze(positions, -1)  # [B]
    check_labels(name, positions.shape, logits.shape[:1], is_float=positions.dtype.is_floating)
    positions, length = tf.cast(positions, tf.int64), tf.cast(tf.shape(logits)[-1], tf.int64)
    ignored = (positions == IGNORED) | (positions >= length)
    return tf.where(ignored, tf.cast(IGNORED, tf.int64), tf.maximum(positions, 0))


def question_answering_loss(
    start_logits: tf.Tensor, end_logits: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor
) -> tf.Tensor:
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
