"""PyTorch and TensorFlow compute the same: outputs, states, attentions, losses, gradients, trained weights.

Every position counts, padded ones and rows that see nothing included. A switch is a row of ``SWITCHES``; heads come
from the table in ``deberta_core.heads``, so a new head is tested without a word here.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

import deberta_pt  # noqa: E402
import deberta_tf  # noqa: E402
from tests.models.helpers import (  # noqa: E402
    BASES,
    assert_all_close,
    assert_close,
    assert_gradients_close,
    existing,
    flatten,
    pt_gradients,
    pt_inputs,
    pt_model,
    pt_values,
    random_inputs,
    random_weights,
    small_config,
    tf_gradients,
    tf_inputs,
    tf_model,
    tf_values,
)
from tests.models.switches import SWITCHES, cases  # noqa: E402

HEADS = existing(deberta_pt)
WORD_HEADS = {
    "plain": ("v3", {"mlm_head": "plain"}),
    "plain, narrow": ("v1", {"mlm_head": "plain", "embedding_size": 10}),
    "legacy, narrow": ("v2", {"mlm_head": "legacy", "embedding_size": 10}),
    "legacy, untied": ("v3", {"mlm_head": "legacy", "tie_word_embeddings": False}),
    "enhanced decoder": ("v3", {"mlm_head": "emd", "max_position_embeddings": 24}),
    "enhanced decoder, convolution": ("v2", {"mlm_head": "emd", "max_position_embeddings": 24}),
    "enhanced decoder, v1": ("v1", {"mlm_head": "emd", "max_position_embeddings": 24}),
}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
PROBLEMS = {
    "regression one": {"num_labels": 1},
    "regression named": {"problem_type": "regression"},
    "single label named": {"problem_type": "single_label_classification"},
    "multi label": {"problem_type": "multi_label_classification"},
}


def test_both_trees_have_the_same_heads():
    assert existing(deberta_tf, "TF") == HEADS
    assert {"Model", "ForSequenceClassification"} <= set(HEADS)


def objective_of(output, direction):
    """What the gradients are of: the head's loss, or for the encoder a fixed sum over all states."""
    if "loss" in output:
        return output["loss"]
    return (output["last_hidden_state"] * direction).sum() if direction is not None else None


def compare(config, head, inputs=None, *, dtype="float32", tolerance=1e-5):
    """Outputs and gradients of both frameworks from the same weights and inputs."""
    values = random_weights(config, head)
    inputs = random_inputs(config, head) if inputs is None else inputs
    shape = (*inputs["input_ids"].shape, config.hidden_size) if head == "Model" else ()
    direction = np.asarray(np.random.default_rng(5).normal(size=shape), dtype)

    first = pt_model(config, head, values, dtype=dtype).train()  # all dropouts are 0
    output = first(**pt_inputs(inputs), **EVERYTHING)
    objective_of(output, torch.from_numpy(direction)).backward()

    second = tf_model(config, head, values, dtype=dtype)
    with tf.GradientTape() as tape:
        other = second(tf_inputs(inputs), **EVERYTHING, training=True)
        objective = other["loss"] if "loss" in other else tf.reduce_sum(other["last_hidden_state"] * direction)
    assert_all_close(flatten(other), flatten(output), "tf", tolerance=tolerance)
    assert_gradients_close(
        tf_gradients(second, tape, objective), pt_gradients(first), "tf gradient", tolerance=tolerance
    )


@pytest.mark.parametrize(("base", "switch"), cases())
def test_switch(base, switch):
    compare(small_config(base, **SWITCHES[switch][1]), "Model")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("head", [h for h in HEADS if h != "Model"])
def test_head(base, head):
    compare(small_config(base), head)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problem_type(problem):
    compare(small_config("v1" if "one" in problem else "v3", **PROBLEMS[problem]), "ForSequenceClassification")


@pytest.mark.parametrize("kind", WORD_HEADS)
def test_masked_lm_head(kind):
    base, changes = WORD_HEADS[kind]
    compare(small_config(base, **changes), "ForMaskedLM")


@pytest.mark.slow
@pytest.mark.parametrize(("base", "switch"), cases())
@pytest.mark.parametrize("head", [h for h in HEADS if h != "Model"])
def test_head_with_switch(base, switch, head):
    """In float64, where rounding cannot hide a wrong term of a millionth."""
    compare(small_config(base, **SWITCHES[switch][1]), head, dtype="float64", tolerance=1e-9)


# Training.

# Keras holds rate and momentum in float32 even when it trains float64 weights: these are the same number in both.
STEPS, RATE, MOMENTUM = 3, 0.0625, 0.875
EPSILON = 1e-6  # a gradient that is zero but for rounding, 1e-17, moves a weight by 1e-17 / epsilon


class TorchAdamW:
    """AdamW by PyTorch's rule on NumPy: epsilon is added after the bias correction of the square root."""

    def __init__(self, rate=RATE, betas=(0.9, 0.999), epsilon=EPSILON, decay=0.01):
        self.rate, self.betas, self.epsilon, self.decay = rate, betas, epsilon, decay
        self.count, self.first, self.second = 0, {}, {}

    def step(self, values, gradients):
        self.count += 1
        (one, two), updated = self.betas, {}
        for key, value in values.items():
            grad = gradients[key]
            self.first[key] = one * self.first.get(key, 0.0) + (1 - one) * grad
            self.second[key] = two * self.second.get(key, 0.0) + (1 - two) * grad * grad
            corrected = np.sqrt(self.second[key]) / np.sqrt(1 - two**self.count) + self.epsilon
            kept = value * (1 - self.rate * self.decay)
            updated[key] = kept - self.rate / (1 - one**self.count) * self.first[key] / corrected
        return updated


def train_pt(model, inputs, optimiser, direction):
    for _ in range(STEPS):
        optimiser.zero_grad()
        objective_of(model(**pt_inputs(inputs)), torch.from_numpy(direction)).backward()
        optimiser.step()
    return pt_values(model)


def train_tf(model, inputs, update, direction):
    rows = model.weight_rows()
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            output = model(tf_inputs(inputs), training=True)
            objective = output["loss"] if "loss" in output else tf.reduce_sum(output["last_hidden_state"] * direction)
        variables = [model.variable(row) for row in rows.values()]
        update(variables, tape.gradient(objective, variables, unconnected_gradients="zero"))
    return tf_values(model)


def runs():
    """Keras' SGD builds a graph of its own for each model, so most of those are marked slow."""
    rows = [("v1", "Model"), *((base, head) for head in HEADS for base in BASES if base != "v1" or head != "Model")]
    for base, head in rows:
        few = base == "v3" or head == "Model"
        yield pytest.param(base, head, "adamw", marks=[] if few else pytest.mark.slow)
        fewer = (base, head) in (("v1", "Model"), ("v2", "ForSequenceClassification"))
        yield pytest.param(base, head, "sgd", marks=[] if fewer else pytest.mark.slow)


@pytest.mark.parametrize(("base", "head", "rule"), list(runs()))
def test_training_steps(base, head, rule):
    """In float64: AdamW divides a gradient by its own size, and would show the rounding of zero ones as steps."""
    config = small_config(base)
    values, inputs = random_weights(config, head), random_inputs(config, head)
    shape = (*inputs["input_ids"].shape, config.hidden_size) if head == "Model" else ()
    direction = np.asarray(np.random.default_rng(5).normal(size=shape))

    first = pt_model(config, head, values, dtype="float64").train()
    if rule == "sgd":
        optimiser = torch.optim.SGD(first.parameters(), lr=RATE, momentum=MOMENTUM)
        keras = tf_keras.optimizers.SGD(RATE, momentum=MOMENTUM)

        def update(variables, gradients):
            keras.apply_gradients(zip(gradients, variables, strict=True))
    else:
        optimiser, rule_of_torch = torch.optim.AdamW(first.parameters(), lr=RATE, eps=EPSILON), TorchAdamW()

        def update(variables, gradients):
            now = {i: v.numpy() for i, v in enumerate(variables)}
            new = rule_of_torch.step(now, {i: tf.convert_to_tensor(g).numpy() for i, g in enumerate(gradients)})
            for i, variable in enumerate(variables):
                variable.assign(new[i])

    want = train_pt(first, inputs, optimiser, direction)
    got = train_tf(tf_model(config, head, values, dtype="float64"), inputs, update, direction)
    moved = max(float(np.abs(want[k] - values[k]).max()) for k in want)
    assert moved > 1e-3, "the optimiser did nothing"
    for key in want:
        assert_close(got[key], want[key], key, tolerance=1e-9)
