"""The losses, one rule a row, against the rule written out in NumPy; both frameworks, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

FRAMEWORKS = pytest.mark.parametrize("framework", ["pt", "tf"])
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 3))
ONE = RNG.normal(size=(4, 1))
TOKENS = RNG.normal(size=(2, 5, 3))
SOFT = np.array([[0.2, 0.3, 0.5], [1, 0, 0], [0, 0.5, 0.5], [0.1, 0.1, 0.8]])
MANY = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


def log_softmax(x):
    return x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))


def entropy(logits, labels):
    """Mean over the labels that count."""
    labels = np.asarray(labels)
    kept = labels != -100
    if not kept.any():
        return 0.0
    return -np.mean([log_softmax(row)[y] for row, y in zip(logits[kept], labels[kept], strict=True)])


def binary(logits, labels):
    labels = np.asarray(labels, float)
    kept = labels != -100
    losses = np.logaddexp(0, logits) - logits * labels
    return losses[kept].mean() if kept.any() else 0.0


def mine(framework, name, logits, labels, *more, dtype=None):
    """A loss of this project and its gradient, as numbers."""
    labels = np.asarray(labels) if dtype is None else np.asarray(labels, dtype)
    if framework == "pt":
        torch = pytest.importorskip("torch")
        from deberta_pt import losses

        x = torch.tensor(logits, requires_grad=True)
        loss = getattr(losses, name)(x, torch.from_numpy(labels), *more)
        loss.backward()
        assert loss.shape == ()
        return loss.item(), x.grad.numpy()
    tf = pytest.importorskip("tensorflow")
    from deberta_tf import losses

    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = getattr(losses, name)(x, tf.constant(labels), *more)
    assert loss.shape == ()
    return loss.numpy(), tf.convert_to_tensor(tape.gradient(loss, x)).numpy()


SEQUENCE = {
    "single label": (LOGITS, [0, 2, 1, 1], None, entropy(LOGITS, [0, 2, 1, 1])),
    "one column": (LOGITS, [[0], [2], [1], [1]], None, entropy(LOGITS, [0, 2, 1, 1])),
    "-100 is ignored": (LOGITS, [0, -100, 1, -100], None, entropy(LOGITS, [0, -100, 1, -100])),
    "-1 is ignored too": (LOGITS, [0, -1, 1, -5], None, entropy(LOGITS, [0, -100, 1, -100])),
    "all ignored": (LOGITS, [-100] * 4, None, 0.0),
    "named single label": (LOGITS, [0, -100, 1, 1], "single_label_classification", entropy(LOGITS, [0, -100, 1, 1])),
    "soft labels": (LOGITS, SOFT, None, -(log_softmax(LOGITS) * SOFT).sum(-1).mean()),
    "multi label": (LOGITS, MANY, "multi_label_classification", binary(LOGITS, MANY)),
    "multi label, floats": (LOGITS, MANY * 0.7, "multi_label_classification", binary(LOGITS, MANY * 0.7)),
    "regression of one": (ONE, [0.5, 1.5, -2, 0], None, np.mean((ONE[:, 0] - [0.5, 1.5, -2, 0]) ** 2)),
    "regression of one column": (ONE, [[0.5], [1.5], [-2], [0]], None, np.mean((ONE[:, 0] - [0.5, 1.5, -2, 0]) ** 2)),
    "regression of integers": (ONE, [1, 2, -2, 0], None, np.mean((ONE[:, 0] - [1, 2, -2, 0]) ** 2)),
    "regression of several": (LOGITS, SOFT, "regression", np.mean((LOGITS - SOFT) ** 2)),
}


@FRAMEWORKS
@pytest.mark.parametrize("case", SEQUENCE)
def test_sequence_classification(framework, case):
    logits, labels, problem, want = SEQUENCE[case]
    loss, gradient = mine(framework, "sequence_classification_loss", logits, labels, problem)
    assert loss == pytest.approx(want, abs=1e-12)
    assert np.isfinite(gradient).all()
    assert gradient.any() == (case != "all ignored")


@FRAMEWORKS
@pytest.mark.parametrize("labels", [[[0, 1, 2, -100, 1], [2, -100, -100, 0, 0]], [[-100] * 5] * 2])
@pytest.mark.parametrize("dtype", ["int64", "int32", "int8"])
def test_cross_entropy(framework, labels, dtype):
    loss, gradient = mine(framework, "cross_entropy", TOKENS, labels, dtype=dtype)
    assert loss == pytest.approx(entropy(TOKENS, labels), abs=1e-12)
    assert np.isfinite(gradient).all()
    assert (gradient[np.asarray(labels) == -100] == 0).all()


@FRAMEWORKS
@pytest.mark.parametrize("labels", [[[0, 1, -100], [1, 1, 0]], [[-100] * 3] * 2, [[0.25, 1.0, -100], [0.5, 0, 0]]])
def test_binary_cross_entropy(framework, labels):
    logits = LOGITS[:2]
    loss, gradient = mine(framework, "binary_cross_entropy", logits, labels)
    assert loss == pytest.approx(binary(logits, labels), abs=1e-12)
    assert (gradient[np.asarray(labels) == -100] == 0).all()


ANSWERS = {
    "inside": ([1, 4], [2, 4]), "one column": ([[1], [4]], [[2], [4]]), "cut off": ([1, 5], [9, 4]),
    "-100": ([1, -100], [-100, 0]), "negative is the first token": ([-1, 3], [0, -7]),
    "nothing left": ([5, -100], [9, 5]),
}  # fmt: skip


@FRAMEWORKS
@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("case", ANSWERS)
def test_question_answering(framework, case, dtype):
    """-100 is ignored first; then positions are clamped, and those at or beyond the length are ignored."""
    starts, ends = (np.asarray(x, dtype) for x in ANSWERS[case])
    logits = TOKENS[..., 0]

    def read(positions):
        return [-100 if p == -100 or p >= 5 else max(p, 0) for p in np.ravel(positions)]

    want = (entropy(logits, read(starts)) + entropy(logits, read(ends))) / 2
    if framework == "pt":
        torch = pytest.importorskip("torch")
        from deberta_pt.losses import question_answering_loss

        x = torch.tensor(logits, requires_grad=True)
        loss = question_answering_loss(x, x, torch.from_numpy(starts), torch.from_numpy(ends))
        loss.backward()
        gradient, loss = x.grad.numpy(), loss.item()
    else:
        tf = pytest.importorskip("tensorflow")
        from deberta_tf.losses import question_answering_loss

        x = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = question_answering_loss(x, x, tf.constant(starts), tf.constant(ends))
        gradient, loss = tape.gradient(loss, x).numpy(), loss.numpy()
    assert loss == pytest.approx(want, abs=1e-12)
    assert np.isfinite(gradient).all()


@FRAMEWORKS
def test_half_precision_logits_are_judged_in_float32(framework):
    """A sum of 4000 float16 losses would be infinite, and a probability of 1e-9 zero."""
    logits, labels = np.zeros((4000, 3)), np.zeros(4000, np.int64)
    logits[:, 0] = -20
    if framework == "pt":
        torch = pytest.importorskip("torch")
        from deberta_pt.losses import cross_entropy

        loss = cross_entropy(torch.tensor(logits).half(), torch.from_numpy(labels))
        assert loss.dtype == torch.float32
    else:
        tf = pytest.importorskip("tensorflow")
        from deberta_tf.losses import cross_entropy

        loss = cross_entropy(tf.constant(logits, tf.float16), tf.constant(labels))
        assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(entropy(logits, labels), rel=1e-6)


def test_a_column_of_labels_whose_width_no_graph_knows():
    """As data sets of generators give them."""
    tf = pytest.importorskip("tensorflow")
    from deberta_tf.losses import sequence_classification_loss

    shapes = [tf.TensorSpec([None, 3]), tf.TensorSpec([None, None], tf.int64)]
    judge = tf.function(lambda logits, labels: sequence_classification_loss(logits, labels, None), shapes)
    logits, labels = np.eye(4, 3, dtype=np.float32), np.array([[0], [1], [2], [-100]])
    want = sequence_classification_loss(tf.constant(logits), tf.constant(labels[:, 0]), None)
    assert float(judge(logits, labels)) == pytest.approx(float(want))
    with pytest.raises(tf.errors.InvalidArgumentError):
        judge(logits, np.ones((4, 2), np.int64))
