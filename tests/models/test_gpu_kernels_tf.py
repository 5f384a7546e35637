"""TensorFlow on a GPU, without one: every operator of a step has a kernel there for its dtypes, and XLA compiles it."""

from __future__ import annotations

import functools
import itertools

import pytest

tf = pytest.importorskip("tensorflow")
from tensorflow.python.framework import kernels  # noqa: E402

import deberta_tf  # noqa: E402
from deberta_tf.layers import policy  # noqa: E402
from tests.models.helpers import BASES, existing, random_inputs, small_config, tf_inputs, tf_model  # noqa: E402

EVERY_HEAD = [head for head in existing(deberta_tf, "TF") if head != "Model"]
ON_GPU = {"GPU", "DEFAULT"}  # the second are for any device, such as calls of functions and variables that are read


# What is given from outside; and what keeps a branch's values for the backward pass where XLA does not compile it.
NOT_OF_XLA = {"Placeholder", "OptionalFromValue", "OptionalGetValue", "OptionalNone"}


@functools.cache
def registered(operator):
    """The kernels of an operator in this build, which holds those of GPUs, too."""
    return list(kernels.get_registered_kernels_for_op(operator).kernel)


def nodes(graph):
    """Those of a graph and of the functions that it calls."""
    whole = graph.as_graph_def()
    yield from whole.node
    for function in whole.library.function:
        yield from function.node_def


def takes(kernel, node):
    """Whether a registered kernel is for the dtypes of a node."""
    return all(node.attr[c.name].type in c.allowed_values.list.type for c in kernel.constraint if c.name in node.attr)


@pytest.mark.parametrize(
    ("base", "head", "precision"),
    [
        ("v1", "ForSequenceClassification", None),
        ("v2", "ForMaskedLM", None),
        ("v3", "ForReplacedTokenDetection", "mixed_bfloat16"),
        pytest.param("v3", "ForQuestionAnswering", "mixed_float16", marks=pytest.mark.slow),
        *(
            pytest.param(base, head, "mixed_bfloat16", marks=pytest.mark.everything)
            for base, head in itertools.product(BASES, EVERY_HEAD)
        ),
    ],
)
def test_no_operator_is_of_a_cpu_alone(base, head, precision):
    config = small_config(base, num_hidden_layers=1, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    with policy(precision):
        model = tf_model(config, head)
    inputs = tf_inputs(random_inputs(config, head))
    signature = {name: tf.TensorSpec([None] * len(x.shape), x.dtype) for name, x in inputs.items()}

    @tf.function(input_signature=[signature], autograph=False)
    def step(given):
        with tf.GradientTape() as tape:
            loss = model(given, training=True).loss
        found = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in found]

    cpu_alone, not_compiled = set(), set()
    for node in nodes(step.get_concrete_function().graph):
        known = registered(node.op)
        text = node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum  # of an error, for the host
        if not text and not any(kernel.device_type in ON_GPU and takes(kernel, node) for kernel in known):
            cpu_alone.add((node.op, tuple(sorted(a.type for a in node.attr.values() if a.type))))
        if node.op not in NOT_OF_XLA and not any(kernel.device_type == "XLA_GPU_JIT" for kernel in known):
            not_compiled.add(node.op)
    assert not cpu_alone
    assert not not_compiled


def test_what_is_of_a_cpu_alone_is_found():
    node = tf.function(lambda x: tf.strings.length(x)).get_concrete_function(tf.TensorSpec([], tf.string)).graph
    known = registered("StringLength")
    assert "StringLength" in {n.op for n in nodes(node)}
    assert not any(kernel.device_type in ON_GPU for kernel in known)
