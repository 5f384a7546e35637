"""SiFT, R-Drop, FGM and AWP: losses of perturbed passes, and weights that are moved while one is computed.

Shapes: ``B`` batch (times choices), ``L`` tokens, ``H`` hidden size, ``Y`` labels.

Source: He et al. 2021 (arXiv 2006.03654), section 4 (SiFT); Liang et al. 2021 (arXiv 2106.14448, R-Drop); Miyato et al.
2017 (arXiv 1605.07725, FGM); Wu et al. 2020 (arXiv 2004.05884, AWP).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from deberta_core.checks import IGNORED
from deberta_core.perturbation import EPSILON, LEAST, PREDICTIONS, Perturbation, distance_kind
from deberta_tf.fast.dropout import next_seed

Call = Callable[[Mapping[str, Any]], Any]


class PerturbedLoss:
    """A model's loss, and those of its perturbed passes beside it.

    ``PerturbedLoss(model, Perturbation(sift=1.0))(batch, tape)`` under a ``tf.GradientTape`` of a loop of your own.

    Args:
        model: with a head.
        wanted: which perturbations; ``awp`` is one of weights, see ``moved_weights``.
        call: computes the model's output from its inputs by name; default: the model, in training.
    """

    def __init__(self, model: Any, wanted: Perturbation, call: Call | None = None) -> None:
        self.model, self.wanted = model, wanted
        self.call: Call = call or (lambda inputs: model(inputs, training=True))
        self.kind = distance_kind(model.config, model.head)

    def __call__(
        self, inputs: Mapping[str, Any], tape: tf.GradientTape, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Scalar loss.

        Args:
            inputs: of the model by name, labels among them.
            tape: that records the loss; what finds a perturbation is none of its business, and with two tapes at work
                attention would be asked for slopes of slopes.
            noise: that SiFT starts from, ``[B, L, H]`` of deviation 1; default: drawn.

        Raises:
            ValueError: for a model without a loss, or no labels.
        """
        clean, slope = self.clean(inputs, tape)
        loss = clean.loss
        if self.wanted.sift:
            loss = loss + self.wanted.sift * self.sift(inputs, clean, tape, noise)
        if self.wanted.r_drop:
            loss = loss + self.r_drop(inputs, clean)
        if slope is not None:
            loss = loss + self.fgm(inputs, slope)
        return loss

    def clean(self, inputs: Mapping[str, Any], tape: tf.GradientTape) -> tuple[Any, tf.Tensor | None]:
        """The output without perturbation, and for FGM the slope of its loss over the states ``[B, L, H]``."""
        if not self.wanted.fgm:
            return self.judged(inputs), None
        seen = list[tf.Tensor]()

        def watch(states: tf.Tensor) -> tf.Tensor:
            inner.watch(states)
            seen.append(states)
            return states

        with tape.stop_recording():  # a pass of its own: what one tape has recorded no other can differentiate
            with tf.GradientTape(watch_accessed_variables=False) as inner, changed_states(self.model, watch):
                loss = self.judged(inputs).loss
            slope = inner.gradient(loss, seen[0])
        return self.judged(inputs), slope * deviation(seen[0])  # per unit of the normalised states

    def judged(self, inputs: Mapping[str, Any]) -> Any:
        """The output, with its loss."""
        output = self.call(inputs)
        if output.loss is None:
            raise ValueError(f"{type(self.model).__name__} gave no loss; give it labels, or take a class with a head")
        return output

    def sift(
        self, inputs: Mapping[str, Any], clean: Any, tape: tf.GradientTape, noise: tf.Tensor | None = None
    ) -> tf.Tensor:
        """How far the answer moves when normalised embeddings move to where it changes most."""
        rate, size = self.wanted.sift_rate, self.wanted.sift_size
        given = list[tf.Tensor]()

        def start(states: tf.Tensor) -> tf.Tensor:
            constant = tf.stop_gradient(normalised(states))
            drawn = tf.random.stateless_normal(tf.shape(constant), next_seed()) if noise is None else noise
            given.append(size * tf.clip_by_value(tf.cast(drawn, constant.dtype), -2.0, 2.0))
            inner.watch(given[0])
            return tf.cast(constant + given[0], states.dtype)

        with tape.stop_recording():
            with tf.GradientTape(watch_accessed_variables=False) as inner, changed_states(self.model, start):
                apart, _ = self.distance(self.call(inputs), detached(clean), inputs)
            delta = ascended(given[0], inner.gradient(apart, given[0]), rate)
        # The embeddings are constants here: what is smoothed is the model above them, and not their lengths.
        with changed_states(
            self.model, lambda states: tf.cast(tf.stop_gradient(normalised(states)) + delta, states.dtype)
        ):
            apart, count = self.distance(self.call(inputs), clean, inputs)
        return apart / count

    def r_drop(self, inputs: Mapping[str, Any], clean: Any) -> tf.Tensor:
        """The loss of a second pass, whose dropout is another, and how far both answers are apart."""
        again = self.call(inputs)
        apart, count = self.distance(again, clean, inputs, constant=False)
        return again.loss + self.wanted.r_drop / 2 * apart / count

    def fgm(self, inputs: Mapping[str, Any], slope: tf.Tensor) -> tf.Tensor:
        """The loss of a pass whose normalised embeddings are moved along the slope of the loss."""
        length = tf.sqrt(tf.reduce_sum(tf.square(slope), [1, 2], keepdims=True))  # [B, 1, 1]
        moved = tf.where(usable(length), self.wanted.fgm * slope / length, 0.0)
        with changed_states(self.model, lambda states: tf.cast(normalised(states) + moved, states.dtype)):
            loss = self.call(inputs).loss
        return loss

    def distance(
        self, output: Any, other: Any, inputs: Mapping[str, Any], constant: bool = True
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Sum and number of the distances between two outputs, where labels count."""
        labels = inputs.get("labels")
        total = count = 0.0
        for name in PREDICTIONS:
            if output.get(name) is None:
                continue
            each = distances(self.kind, output[name], other[name], constant)
            counted = tf.ones_like(each)
            if self.kind != "squared" and labels is not None and labels.shape.rank == each.shape.rank:
                counted = tf.cast(labels != IGNORED, each.dtype)
            total, count = total + tf.reduce_sum(each * counted), count + tf.reduce_sum(counted)
        return total, tf.maximum(count, 1)


def distances(kind: str, logits: tf.Tensor, others: tf.Tensor, constant: bool = True) -> tf.Tensor:
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
    wide = tf.float64 if logits.dtype == tf.float64 else tf.float32
    logits, others = tf.cast(logits, wide), tf.cast(others, wide)
    if kind == "squared":
        return tf.reduce_mean(tf.square(logits - others), -1)
    if kind == "sigmoid":  # a softmax over yes and no
        logits, others = (tf.stack([x, tf.zeros_like(x)], -1) for x in (logits, others))
    logs, other_logs = tf.nn.log_softmax(logits), tf.nn.log_softmax(others)
    gap = tf.exp(logs) - tf.exp(other_logs)
    # KL(p, q) + KL(q, p) = sum (p - q) (log p - log q)
    return tf.reduce_sum((tf.stop_gradient(gap) if constant else gap) * (logs - other_logs), -1)


def deviation(states: tf.Tensor) -> tf.Tensor:
    """Standard deviation of each state ``[..., H]`` -> ``[..., 1]``, at least float32."""
    wide = tf.cast(states, tf.float64 if states.dtype == tf.float64 else tf.float32)
    return tf.sqrt(tf.math.reduce_variance(wide, -1, keepdims=True) + EPSILON)


def normalised(states: tf.Tensor) -> tf.Tensor:
    """States ``[..., H]`` with mean 0 and variance 1, at least float32."""
    wide = tf.cast(states, tf.float64 if states.dtype == tf.float64 else tf.float32)
    return (wide - tf.reduce_mean(wide, -1, keepdims=True)) / deviation(states)


def ascended(delta: tf.Tensor, slope: tf.Tensor, rate: float) -> tf.Tensor:
    """A perturbation ``[B, L, H]`` after a step along its slope, which is ``rate`` where a token's slope is largest."""
    step = rate * slope / (LEAST + tf.reduce_max(tf.abs(slope), -1, keepdims=True))
    return delta + tf.where(tf.math.is_finite(tf.reduce_sum(tf.square(slope))), step, 0.0)


def usable(length: tf.Tensor) -> tf.Tensor:
    """Whether one can divide by a length."""
    return tf.math.is_finite(length) & (length > 0)


def detached(output: Any) -> dict[str, tf.Tensor]:
    """The answers in an output, as constants."""
    return {name: tf.stop_gradient(output[name]) for name in PREDICTIONS if output.get(name) is not None}


@contextlib.contextmanager
def changed_states(model: Any, change: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
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
        weights: of the model, such as its variables.
        slopes: of the loss, one for each weight, the same for all replicas; ``None`` for one that has none.
        share: of the length of a weight.
    """
    moved = [(w, s) for w, s in zip(weights, slopes, strict=True) if s is not None and w.shape.rank > 1]
    before = [tf.identity(weight) for weight, _ in moved]
    changed = []
    for held, (_, slope) in zip(before, moved, strict=True):
        length = tf.norm(slope)
        changed.append(held + slope * tf.where(usable(length), share * tf.norm(held) / length, 0.0))
    _assign([weight for weight, _ in moved], changed)
    try:
        yield
    finally:
        _assign([weight for weight, _ in moved], before)


def _assign(weights: list[Any], values: list[tf.Tensor]) -> None:
    """Also inside ``Strategy.run``, where a weight is one for all replicas."""

    def update(strategy: tf.distribute.Strategy, values: list[tf.Tensor]) -> None:
        for weight, value in zip(weights, values, strict=True):
            strategy.extended.update(weight, lambda held, new: held.assign(new), args=(value,))

    tf.distribute.get_replica_context().merge_call(update, args=(values,))
