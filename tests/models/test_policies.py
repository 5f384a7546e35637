"""Dtypes of TensorFlow models that are built at the same time: each has its own, and Keras' policy stays as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

import deberta_tf  # noqa: E402
from deberta_tf.fast.inference import optimize_for_inference  # noqa: E402
from deberta_tf.layers import policy  # noqa: E402
from tests.models.helpers import class_name, pt_model, random_inputs, small_config, tf_inputs, tf_model  # noqa: E402

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


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("base", ["v1", "v2"])
def test_what_is_cut_to_another_size_is_read_in_the_policy(base, dtype, tmp_path):
    config = small_config(base, num_hidden_layers=1, mlm_head="legacy", tie_word_embeddings=base == "v1")
    with policy(dtype):
        model = getattr(deberta_tf, "TF" + class_name(config, "ForMaskedLM"))(config)
    inputs = tf_inputs(random_inputs(config, "ForMaskedLM"))
    model.prune_heads({0: [1]})
    model.resize_token_embeddings(config.vocab_size + 8)
    with tf.GradientTape() as tape:
        output = model(inputs)
    assert output.logits.dtype.name == dtype.removeprefix("mixed_")
    assert None not in tape.gradient(output.loss, [model.get_input_embeddings().embeddings])
    model.save_pretrained(tmp_path, safe_serialization=True)
    with policy(dtype):
        loaded = type(model).from_pretrained(tmp_path)
    np.testing.assert_array_equal(tf.cast(loaded(inputs).logits, "float32"), tf.cast(output.logits, "float32"))


def test_the_dtype_of_a_file_is_that_of_its_weights(tmp_path):
    """Older files hold the numbers 0 to 511 beside them, as integers."""
    torch = pytest.importorskip("torch")
    config = small_config("v2", num_hidden_layers=1)
    model = pt_model(config, SEQUENCE).half()
    state = {**model.state_dict(), "deberta.embeddings.position_ids": torch.arange(16)[None]}
    model.save_pretrained(tmp_path, state_dict=state)
    loaded = getattr(deberta_tf, "TF" + class_name(config, SEQUENCE)).from_pretrained(tmp_path, dtype="auto")
    assert dtypes_of(loaded) == {"float16"}


def test_other_dtypes_and_settings_than_those_of_a_config():
    config = small_config("v2", num_hidden_layers=1)
    model = deberta_tf.TFAutoModel.from_config(config, dtype=tf.bfloat16, attn_implementation="eager")
    assert dtypes_of(model) == {"bfloat16"}
    assert model.config.attn_implementation == "eager"
    prepared = optimize_for_inference(model, dtype=tf.float32)
    assert prepared.num_parameters() > 0
    assert prepared.num_parameters(only_trainable=True) == 0
    assert optimize_for_inference(prepared, dtype="float32") is prepared
    with pytest.raises(ValueError, match="was prepared in float32; give dtype='bfloat16' where it is prepared first"):
        optimize_for_inference(prepared, dtype=tf.bfloat16)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("base", ["v1", "v2"])
def test_what_is_prepared_stays_in_its_policy(base, dtype):
    config = small_config(base)
    with policy(dtype):
        model = tf_model(config, "ForTokenClassification")
    inputs = tf_inputs(random_inputs(config, "ForTokenClassification", labels=False))
    prepared = optimize_for_inference(model)
    assert prepared.base_model.dtype_policy.name == dtype
    for options in ({}, {"output_attentions": True}):
        ours, plain = (each(inputs, **options).logits for each in (prepared, model))
        assert ours.dtype == plain.dtype
        np.testing.assert_allclose(tf.cast(ours, "float32"), tf.cast(plain, "float32"), atol=0.1)
