"""Dtypes of TensorFlow models that are built at the same time: each has its own, and Keras' policy stays as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

import deberta_tf  # noqa: E402
from deberta_tf.fast.inference import optimize_for_inference  # noqa: E402
from deberta_tf.layers import policy  # noqa: E402
from tests.models.helpers import class_name, random_inputs, small_config, tf_inputs, tf_model  # noqa: E402

SEQUENCE = "ForSequenceClassification"
DTYPES = ("float32", "bfloat16", "float16", "float64")


def dtypes_of(model):
    """Of all weights, and of what all layers compute in."""
    layers = [layer for layer in model._flatten_layers() if layer.weights]
    return {weight.dtype.name for weight in model.trainable_weights} | {layer.compute_dtype for layer in layers}


def in_threads(work, jobs):
    """Results of 8 threads that begin together."""
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8, initializer=start.wait) as pool:
        return list(pool.map(work, jobs))


@pytest.fixture
def _unchanged():
    before = tf_keras.mixed_precision.global_policy().name
    yield
    assert tf_keras.mixed_precision.global_policy().name == before


@pytest.mark.usefixtures("_unchanged")
def test_loads_at_once(tmp_path):
    config = small_config("v2", num_hidden_layers=1)
    cls = getattr(deberta_tf, "TF" + class_name(config, SEQUENCE))
    tf_model(config, SEQUENCE).save_pretrained(tmp_path)
    seen = set()

    def load(number):
        seen.add(tf_keras.mixed_precision.global_policy().name)
        wanted = DTYPES[number % len(DTYPES)]
        return dtypes_of(cls.from_pretrained(tmp_path, dtype=wanted)) == {wanted}

    assert in_threads(load, range(64)) == [True] * 64
    assert seen == {"float32"}, "another thread saw a policy that nobody set"


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("base", ["v1", "v2"])
def test_prepared_at_once(base):
    config = small_config(base, num_hidden_layers=1)
    model = tf_model(config, SEQUENCE)
    inputs = tf_inputs(random_inputs(config, SEQUENCE))
    inputs.pop("labels", None)

    def prepare(number):
        wanted = ("float32", "bfloat16")[number % 2]
        prepared = optimize_for_inference(model, dtype=wanted)
        held = {weight.dtype.name for weight in prepared.weights if weight.dtype.is_floating}
        return held == {wanted} and prepared(inputs).logits.dtype.name == wanted

    assert in_threads(prepare, range(16)) == [True] * 16


@pytest.mark.usefixtures("_unchanged")
def test_a_learner_keeps_its_policy_to_itself():
    training = pytest.importorskip("deberta_tasks.training.tf")
    options = pytest.importorskip("deberta_tasks.training.options").Options
    config = small_config("v2", num_hidden_layers=1)
    cls = getattr(deberta_tf, "TF" + class_name(config, SEQUENCE))
    learner = training.KerasLearner(lambda: cls(config), options(precision="bfloat16"))
    assert learner.model.base_model.dtype_policy.name == "mixed_bfloat16"
    assert dtypes_of(learner.model) == {"float32", "bfloat16"}, "float32 weights, computed in bfloat16"
    assert dtypes_of(cls(config)) == {"float32"}


def test_a_policy_in_force_stays_where_its_weights_are_of_the_dtype(tmp_path):
    config = small_config("v1", num_hidden_layers=1)
    cls = getattr(deberta_tf, "TF" + class_name(config, SEQUENCE))
    tf_model(config, SEQUENCE).save_pretrained(tmp_path)

    def name(**options):
        return cls.from_pretrained(tmp_path, **options).deberta.embeddings.dtype_policy.name

    with policy("mixed_bfloat16"):
        assert [name(), name(dtype="float32"), name(dtype="auto")] == ["mixed_bfloat16"] * 3
        assert name(dtype="float16") == "float16"
    with policy("bfloat16"):
        assert [name(), name(dtype="float32")] == ["bfloat16", "float32"]
