"""Training, judging and saving with Keras: its losses and the models' own, graphs, mixed precision, SavedModel."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402
from tf_keras.src.utils.generic_utils import to_snake_case  # noqa: E402

import deberta_tf  # noqa: E402
from tests.models.helpers import (  # noqa: E402
    BASES,
    assert_close,
    class_name,
    existing,
    flatten,
    pt_inputs,
    pt_model,
    random_batch,
    random_inputs,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
    tf_values,
)

SEQUENCE, ANSWER = "ForSequenceClassification", "ForQuestionAnswering"
HEADS = [head for head in existing(deberta_tf, "TF") if head != "Model"]


@pytest.fixture(autouse=True)
def _policy():
    """A test that sets a policy leaves none behind."""
    before = tf_keras.mixed_precision.global_policy()
    yield
    tf_keras.mixed_precision.set_global_policy(before)


def data(config, head, *, rows=8, seed=1):
    """Inputs without labels, and labels: one array, or a dict of two."""
    parts = [random_inputs(config, head, seed=seed + i) for i in range(rows // 4)]
    joined = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    labels = {k: joined.pop(k) for k in list(joined) if k in ("labels", "start_positions", "end_positions")}
    return joined, labels


def compiled(head=SEQUENCE, base="v3", *, loss=None, metrics=None, values=None, **options):
    """One layer: tracing and differentiating graphs is what takes the time here."""
    config = small_config(base, num_hidden_layers=1)
    model = tf_model(config, head, values)
    optimizer = options.pop("optimizer", None) or tf_keras.optimizers.Adam(1e-2)
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, **options)
    return config, model


def heads_and_ways():
    """Every head once; both ways for one head of each kind of label."""
    for head in HEADS:
        yield head, "among the inputs"
        yield pytest.param(head, "as y", marks=[] if head == ANSWER else pytest.mark.slow)


@pytest.mark.parametrize(("head", "way"), list(heads_and_ways()))
def test_fit_with_the_own_loss(head, way):
    """The loss that Keras shows is the model's, and it falls."""
    config, model = compiled(head)
    inputs, labels = data(config, head)
    own = float(model(tf_inputs({**inputs, **labels})).loss)
    y = labels if len(labels) > 1 else next(iter(labels.values()))
    given = ({**inputs, **labels},) if way == "among the inputs" else (inputs, y)
    history = model.fit(*given, batch_size=8, epochs=4, verbose=0, shuffle=False).history["loss"]
    assert history[0] == pytest.approx(own, rel=1e-4)
    assert history[-1] < 0.9 * history[0]


def test_fit_with_a_keras_loss():
    config, model = compiled(loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    inputs, labels = data(config, SEQUENCE)
    y = np.abs(labels["labels"]) % 3
    logits = model(tf_inputs(inputs)).logits.numpy()
    found = model.evaluate(inputs, y, batch_size=8, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(float(model(tf_inputs({**inputs, "labels": y})).loss), rel=1e-4)
    assert found["accuracy"] == pytest.approx((logits.argmax(-1) == y).mean())
    history = model.fit(inputs, y, batch_size=8, epochs=6, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    weighted = model.fit(inputs, y, sample_weight=np.zeros(8), batch_size=8, verbose=0).history["loss"][0]
    assert weighted == 0


class Own(deberta_tf.TFDebertaV2ForSequenceClassification):
    """Has a layer that makes its weights in its first call."""

    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.more = tf_keras.layers.Dense(config.num_labels)

    def call(self, input_ids=None, **options):
        return self.more(super().call(input_ids, **options).logits)


@pytest.mark.parametrize("kind", [deberta_tf.TFDebertaV2ForSequenceClassification, Own])
def test_a_step_is_traced_once(kind, monkeypatch):
    """What the optimizer keeps is there before, but where it is not known what a step trains."""
    steps, step = [], deberta_tf.training.KerasTraining.train_step
    monkeypatch.setattr(
        deberta_tf.training.KerasTraining, "train_step", lambda model, given: steps.append(1) or step(model, given)
    )
    config = small_config("v3", num_hidden_layers=1)
    model = kind(config)
    model.compile("adam", "mse")
    inputs, _ = data(config, SEQUENCE)
    model.fit(inputs["input_ids"], np.zeros((8, config.num_labels)), batch_size=4, verbose=0)
    assert len(steps) == 1 + (kind is Own)
    assert len(model.optimizer.variables) == 2 * len(model.trainable_variables) + 1  # two means each, and steps


class Unfreezing(tf_keras.callbacks.Callback):
    """Before the first step, which is early enough for both."""

    def on_train_begin(self, logs=None):
        self.model.deberta.trainable = True
        self.model.optimizer.exclude_from_weight_decay(var_names=["bias"])


def test_callbacks_before_the_first_step():
    config = small_config("v3", num_hidden_layers=1)
    model = deberta_tf.TFDebertaV2ForSequenceClassification(config)
    model.deberta.trainable = False
    model.compile(tf_keras.optimizers.AdamW(), "mse")
    inputs, _ = data(config, SEQUENCE)
    y = np.zeros((8, config.num_labels))
    model.fit(inputs["input_ids"], y, batch_size=4, verbose=0, callbacks=[Unfreezing()])
    assert len(model.optimizer.variables) == 2 * len(model.trainable_variables) + 1 > 9


def test_own_steps_of_an_instance():
    """Such as train one variable more."""
    config, model = compiled(loss="mse")
    more = tf.Variable(1.0)
    inputs, _ = data(config, SEQUENCE)

    def step(given):
        x, y = given
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x).logits * more - y) ** 2)
        trained = [*model.trainable_variables, more]
        model.optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained, strict=True))
        return {"loss": loss}

    model.train_step = step
    model.fit(inputs["input_ids"], np.zeros((8, config.num_labels)), batch_size=4, verbose=0)
    assert float(more) != 1


def test_keras_losses_on_answers():
    loss = {n: tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True) for n in ("start_logits", "end_logits")}
    config, model = compiled(ANSWER, loss=loss)
    inputs, _ = data(config, ANSWER)
    y = {"start_logits": np.arange(8) % 5, "end_logits": np.arange(8) % 7}
    own = model(tf_inputs({**inputs, "start_positions": y["start_logits"], "end_positions": y["end_logits"]})).loss
    shown = model.evaluate(inputs, y, batch_size=8, verbose=0, return_dict=True)
    assert shown["loss"] == pytest.approx(2 * float(own), rel=1e-4)  # Keras adds the two, the model takes the mean


def test_metrics_with_the_own_loss():
    config, model = compiled(metrics=[tf_keras.metrics.SparseCategoricalAccuracy(name="right")])
    inputs, labels = data(config, SEQUENCE)
    labels["labels"] = np.abs(labels["labels"]) % 3
    found = model.evaluate(inputs, labels["labels"], batch_size=4, verbose=0, return_dict=True)
    logits = model(tf_inputs(inputs)).logits.numpy()
    assert found["right"] == pytest.approx((logits.argmax(-1) == labels["labels"]).mean())
    assert set(found) == {"loss", "right"}


def test_batches_of_varying_length():
    """One trace serves all lengths."""
    config, model = compiled()
    batches = [data(config, SEQUENCE, rows=4, seed=s) for s in (1, 2, 3)]
    for (inputs, _), length in zip(batches, (21, 9, 30), strict=True):
        ids = np.random.default_rng(length).integers(1, 53, (4, length))
        inputs.update(input_ids=ids, attention_mask=np.ones_like(ids))

    def rows():
        for inputs, labels in batches:
            yield inputs, labels["labels"]

    spec = tf.TensorSpec([None, None], tf.int64)
    signature = ({"input_ids": spec, "attention_mask": spec}, tf.TensorSpec([None], tf.int64))
    dataset = tf.data.Dataset.from_generator(rows, output_signature=signature)
    history = model.fit(dataset, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    want = np.mean([float(model(tf_inputs({**inputs, **labels})).loss) for inputs, labels in batches])
    assert model.evaluate(dataset, verbose=0) == pytest.approx(want, rel=1e-4)


FEW_HEADS = [h if h in (SEQUENCE, ANSWER) else pytest.param(h, marks=pytest.mark.slow) for h in HEADS]


@pytest.mark.parametrize("head", FEW_HEADS)
def test_predict(head):
    config, model = compiled(head)
    inputs, labels = data(config, head)
    for given in (inputs, {**inputs, **labels}):
        found = model.predict(given, batch_size=4, verbose=0)
        want = flatten(model(tf_inputs(inputs)))
        assert set(found) == set(want)
        for name in want:
            assert_close(found[name], want[name], name)


def test_weights_of_examples_and_classes_with_the_own_loss():
    """As Keras has them: losses are multiplied, and the number of labels still divides their sum."""
    config, model = compiled(optimizer=tf_keras.optimizers.SGD(0.0))
    inputs, labels = data(config, SEQUENCE)
    y, weight = np.abs(labels["labels"]) % 3, np.random.default_rng(0).random(8)
    y[2] = -100
    logits, kept = model(tf_inputs(inputs)).logits.numpy(), y >= 0
    losses = np.zeros(8)
    losses[kept] = -tf.nn.log_softmax(logits).numpy()[kept, y[kept]]
    by_class = np.where(y == 1, 3.0, np.where(y == 0, 0.5, 1.0))
    fit = {"batch_size": 8, "verbose": 0, "shuffle": False}
    for factor, options in (
        (1.0, {}),
        (weight, {"sample_weight": weight}),
        (by_class, {"class_weight": {0: 0.5, 1: 3.0}}),
        (weight * by_class, {"sample_weight": weight, "class_weight": {0: 0.5, 1: 3.0}}),
    ):
        found = model.fit(inputs, y, **fit, **options).history["loss"][0]
        assert found == pytest.approx((losses * factor).sum() / 7, rel=1e-4), options
    found = model.fit({**inputs, "labels": y}, class_weight={0: 0.5, 1: 3.0}, **fit).history["loss"][0]
    assert found == pytest.approx((losses * by_class).sum() / 7, rel=1e-4)
    assert model.evaluate(inputs, y, 8, 0, weight) == pytest.approx((losses * weight).sum() / 7, rel=1e-4)


def test_weights_of_tokens_and_answers():
    config, model = compiled("ForTokenClassification", optimizer=tf_keras.optimizers.SGD(0.0))
    inputs, labels = data(config, "ForTokenClassification")
    y, weight = labels["labels"], np.random.default_rng(0).random(labels["labels"].shape)
    logits = model(tf_inputs(inputs)).logits.numpy()
    losses = -np.take_along_axis(tf.nn.log_softmax(logits).numpy(), np.maximum(y, 0)[..., None], -1)[..., 0]
    for given, factor in ((weight, weight), (weight[:, 0], weight[:, :1])):
        want = (losses * factor * (y >= 0)).sum() / (y >= 0).sum()
        assert model.evaluate(inputs, y, 8, 0, given) == pytest.approx(want, rel=1e-4)
    config, model = compiled(ANSWER)
    inputs, labels = data(config, ANSWER)
    half = model.evaluate(inputs, labels, batch_size=8, verbose=0, sample_weight=np.full(8, 0.5))
    assert half == pytest.approx(0.5 * model.evaluate(inputs, labels, batch_size=8, verbose=0), rel=1e-4)


def test_errors_of_training():
    config, model = compiled()
    inputs, _ = data(config, SEQUENCE)
    with pytest.raises(ValueError, match="no labels to train on: give labels among the inputs or as y"):
        model.fit(inputs, verbose=0)
    with pytest.raises(ValueError, match=r"class_weight is for classes, TFDebertaV2For\w+ takes no labels"):
        compiled(ANSWER)[1].fit(*data(config, ANSWER), class_weight={0: 2.0}, verbose=0)
    with pytest.raises(ValueError, match="no labels to train on: give start_positions and end_positions"):
        compiled(ANSWER)[1].fit(data(config, ANSWER)[0], verbose=0)
    keras = pytest.importorskip("keras")
    for name, value in (("optimizer", keras.optimizers.Adam()), ("loss", keras.losses.MeanSquaredError())):
        with pytest.raises(TypeError, match=rf"{name} holds a .* of Keras 3, expected one of tf_keras"):
            model.compile(**{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_fit_compiled_by_xla(base):
    values = random_weights(small_config(base, num_hidden_layers=1), SEQUENCE)
    results = []
    for jit in (False, True):
        config, model = compiled(base=base, values=values, jit_compile=jit, optimizer=tf_keras.optimizers.SGD(0.01))
        inputs, labels = data(config, SEQUENCE)
        history = model.fit({**inputs, **labels}, batch_size=4, epochs=2, verbose=0, shuffle=False).history["loss"]
        results.append((history, tf_values(model)))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-4)
    for key, want in results[0][1].items():
        assert_close(results[1][1][key], want, key, floor=1.0, tolerance=1e-4)  # four steps of differently fused sums


@pytest.mark.parametrize(
    ("base", "policy"),
    [("v2", "mixed_float16"), ("v1", "mixed_bfloat16")]
    + [pytest.param(b, p, marks=pytest.mark.slow) for b, p in (("v1", "mixed_float16"), ("v2", "mixed_bfloat16"))],
)
def test_mixed_precision(base, policy):
    """Without texts whose first token is hidden: its states are all zero in a fresh model, and four layer norms of
    zeros multiply a gradient by 1e14, which float16 does not hold.
    """
    tf_keras.mixed_precision.set_global_policy(policy)
    config = small_config(base, num_hidden_layers=1)
    model = getattr(deberta_tf, "TF" + class_name(config, SEQUENCE))(config)
    assert {v.dtype.name for v in model.trainable_weights} == {"float32"}
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-2))
    inputs, labels = ({k: v[[0, 1, 4, 5]] for k, v in part.items()} for part in data(config, SEQUENCE))
    history = model.fit({**inputs, **labels}, batch_size=4, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0]
    output = model(tf_inputs(inputs), output_attentions=True)
    assert output.attentions[0].dtype.name == policy.removeprefix("mixed_"), "the layers compute in half precision"


@pytest.mark.parametrize("kind", ["w.h5", "x.weights.h5", "checkpoint"])
@pytest.mark.parametrize("base", ["v1", "v2"])
def test_keras_weight_files(tmp_path, base, kind):
    config = small_config(base, share_att_key=False) if base == "v2" else small_config(base)
    model, inputs = tf_model(config, SEQUENCE), random_batch(config)
    other = tf_model(config, SEQUENCE, {k: v * 0 + 0.5 for k, v in random_weights(config, SEQUENCE).items()})
    model.save_weights(str(tmp_path / kind))
    other.load_weights(str(tmp_path / kind))
    want = tf_values(model)
    for key, value in tf_values(other).items():
        assert np.array_equal(value, want[key]), key
    assert np.array_equal(other(tf_inputs(inputs)).logits, model(tf_inputs(inputs)).logits)


@pytest.mark.parametrize(("base", "head"), [("v1", SEQUENCE), ("v3", ANSWER)])
def test_files_of_keras_from_when_the_encoder_had_another_class(tmp_path, base, head):
    """Keras names groups by class; they were refused: "Layer 'deberta' expected 1 variables, but received 0"."""
    model = tf_model(small_config(base, num_hidden_layers=1), head)
    model.compile("adam")
    want, paths = tf_values(model), [tmp_path / "x.weights.h5", tmp_path / "x.keras"]
    model.save_weights(str(paths[0]))
    ids = tf_keras.Input([None], dtype="int32")
    nested = tf_keras.Model(ids, model(ids)[0])
    nested.save_weights(str(tmp_path / "nested.weights.h5"))
    model.save(str(paths[1]))
    group, inside = (to_snake_case(type(part).__name__) for part in (model.deberta, model))

    def rename(file):
        at = f"layers/{inside}/layers" if f"layers/{inside}" in file else "layers"
        file.move(f"{at}/{group}", f"{at}/tf_model")

    for path in (paths[0], tmp_path / "nested.weights.h5"):
        with h5py.File(path, "r+") as file:
            rename(file)
    with zipfile.ZipFile(paths[1]) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    image = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(image, "r+") as file:
        rename(file)
    with zipfile.ZipFile(paths[1], "w") as archive:
        for name, part in {**parts, "model.weights.h5": image.getvalue()}.items():
            archive.writestr(name, part)
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    model.load_weights(str(paths[0]))
    loaded = tf_keras.models.load_model(str(paths[1]))
    for found in (model, loaded):
        assert all(np.array_equal(value, want[key]) for key, value in tf_values(found).items())
    for weight in model.weights:
        weight.assign(tf.zeros_like(weight))
    nested.load_weights(str(tmp_path / "nested.weights.h5"))
    assert all(np.array_equal(value, want[key]) for key, value in tf_values(model).items())
    assert type(loaded) is type(model)


@pytest.mark.parametrize("loss", [None, pytest.param("keras", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["whole.keras", pytest.param("folder", marks=pytest.mark.slow)])
def test_whole_models_of_keras(tmp_path, kind, loss):
    """What ``ModelCheckpoint`` writes is read without being told the class, and trains on as the first one does."""
    config = small_config("v2", num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    judge = None if loss is None else tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = tf_model(config, SEQUENCE)
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-2), loss=judge, metrics=["accuracy"])
    inputs, labels = data(config, SEQUENCE)
    given = {"x": inputs, "y": np.maximum(labels["labels"], 0)}  # Keras takes no -100
    model.fit(**given, verbose=0, callbacks=[tf_keras.callbacks.ModelCheckpoint(str(tmp_path / kind))])
    other = tf_keras.models.load_model(str(tmp_path / kind))
    assert type(other) is type(model)
    assert np.array_equal(other(inputs).logits, model(inputs).logits)
    for _ in range(3 if kind == "whole.keras" else 1):  # Keras' folders do not give the optimiser's state back
        np.testing.assert_allclose(other.train_on_batch(**given), model.train_on_batch(**given), rtol=1e-5)


@pytest.mark.parametrize(
    ("base", "head"),
    [
        pytest.param("v1", ANSWER, marks=pytest.mark.slow),
        ("v2", SEQUENCE),
        pytest.param("v2", "Model", marks=pytest.mark.slow),
    ],
)
def test_saved_model(tmp_path, base, head):
    """Reloaded, without a class of this project, it takes other batches and lengths."""
    config = small_config(base, num_hidden_layers=1)
    model = tf_model(config, head)
    spec = {name: tf.TensorSpec([None, None], tf.int64, name=name) for name in ("input_ids", "attention_mask")}

    @tf.function(input_signature=[spec], autograph=False)
    def serve(inputs):
        return dict(model(inputs))

    tf.saved_model.save(model, str(tmp_path), signatures=serve)
    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for batch, length in ((1, 1), (4, 21), (2, 40)):
        inputs = random_batch(config, batch=batch, length=length)
        got, want = loaded(**tf_inputs(inputs)), model(tf_inputs(inputs))
        for name in want:
            assert_close(got[name], want[name], name)


def test_functional_use(tmp_path):
    """The models are layers of a Keras model, also in what it saves."""
    config = small_config("v2", num_hidden_layers=1)
    body = tf_model(config)
    ids = tf_keras.Input([None], dtype=tf.int64, name="input_ids")
    mask = tf_keras.Input([None], dtype=tf.int64, name="attention_mask")
    states = body({"input_ids": ids, "attention_mask": mask}).last_hidden_state
    model = tf_keras.Model([ids, mask], tf_keras.layers.Dense(1)(states[:, 0]))
    batch = random_batch(config)
    inputs = [batch["input_ids"], batch["attention_mask"]]
    model.compile(tf_keras.optimizers.Adam(1e-2), loss="mse")
    before = body.get_input_embeddings().embeddings.numpy()
    model.fit(inputs, np.ones(4), verbose=0)
    assert not np.array_equal(body.get_input_embeddings().embeddings.numpy(), before)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        loaded = tf_keras.models.load_model(tmp_path / name, compile=False)
        assert np.array_equal(loaded(inputs), model(inputs)), name


@pytest.mark.parametrize("base", ["v1", "v2"])
def test_recomputed_gradients(base):
    """Recomputing layers changes memory, not numbers, dropout included."""
    config = small_config(base, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    values, inputs = random_weights(config, SEQUENCE), random_inputs(config, SEQUENCE)
    results = []
    for checkpointing in (False, True):
        model = tf_model(config, SEQUENCE, values)
        model.deberta.dropout_state.assign([11, 0])
        if checkpointing:
            model.deberta.encoder.set_checkpointing(True)
        with tf.GradientTape() as tape:
            loss = model(tf_inputs(inputs), training=True).loss
        found = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
        results.append((loss.numpy(), [tf.convert_to_tensor(g).numpy() for g in found]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        assert_close(two, one, "gradient", floor=0.1)


@pytest.mark.parametrize("signature", [None, [None, None]], ids=["known", "unknown"])
def test_same_gradients_each_time(signature):
    """To the last digit, whichever operations end first: a resumed run is the one that nobody stopped."""
    config = small_config("v3", num_hidden_layers=2)
    model, inputs = tf_model(config, SEQUENCE), tf_inputs(random_inputs(config, SEQUENCE))
    labels, inputs = inputs.pop("labels"), [inputs["input_ids"], inputs["attention_mask"]]

    def gradients(ids, mask):
        with tf.GradientTape() as tape:
            loss = model({"input_ids": ids, "attention_mask": mask, "labels": labels}, training=True).loss
        found = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
        return tf.concat([tf.reshape(x, [-1]) for x in (loss, *found)], 0)

    specs = None if signature is None else [tf.TensorSpec(signature, x.dtype) for x in inputs]
    step, state = tf.function(gradients, input_signature=specs), model.deberta.dropout_state
    start, found = state.numpy(), set()
    for _ in range(500):
        state.assign(start)
        found.add(step(*inputs).numpy().tobytes())
    assert len(found) == 1


def test_all_ignored_is_a_differentiable_zero():
    for head in HEADS:
        config = small_config("v3")
        inputs, labels = data(config, head, rows=4)
        labels = {k: np.full_like(v, -100) for k, v in labels.items()}
        model = tf_model(config, head)
        with tf.GradientTape() as tape:
            loss = model(tf_inputs({**inputs, **labels})).loss
        gradients = tape.gradient(loss, model.trainable_weights, unconnected_gradients="zero")
        assert float(loss) == 0
        assert all(not tf.convert_to_tensor(g).numpy().any() for g in gradients)


def test_summary_and_names():
    config = small_config("v2")
    model = tf_model(config, SEQUENCE)
    lines = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    for name in ("deberta", "pooler", "classifier"):
        assert name in text
    assert f"{model.num_parameters():,}".replace(",", "") in text.replace(",", "")


@pytest.mark.slow
def test_two_replicas():
    """Two virtual devices, each with half of a batch, take the steps of one device with all of it; the devices must be
    made before TensorFlow starts.
    """
    import subprocess
    import sys
    from pathlib import Path

    code = """
import numpy as np, tensorflow as tf, tf_keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.models.helpers import assert_close, random_inputs, small_config, tf_model, tf_values
config = small_config("v3")
inputs = random_inputs(config, "ForSequenceClassification")
inputs["labels"] = np.maximum(inputs["labels"], 0)  # as many labels in each half

def train(strategy):
    with strategy.scope():
        model = tf_model(config, "ForSequenceClassification")
        model.compile(optimizer=tf_keras.optimizers.SGD(0.1))
    history = model.fit(inputs, batch_size=4, epochs=4, shuffle=False, verbose=0).history["loss"]
    return history, tf_values(model)

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
(two, moved), (one, wanted) = train(strategy), train(tf.distribute.get_strategy())
assert_close(two, one, "losses")
assert one[-1] < one[0], one
for key, value in wanted.items():
    assert_close(moved[key], value, key, tolerance=1e-4, floor=0.1)  # four steps, sums in another order
print("ok")
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=400)
    assert done.stdout.strip().endswith("ok"), done.stderr[-2000:]


@pytest.mark.slow
def test_saved_for_one_length_and_with_warnings_of_names(tmp_path, caplog):
    """The signature of ``save`` took the length of the first call, and Keras warned of classes named as its own."""
    config = small_config("v2", num_hidden_layers=1)
    model = tf_model(config, SEQUENCE)
    with pytest.raises(ValueError, match=r"never called.*call it once"):
        model.export(str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"never called.*call it once, on any text, before save\(\)"):
        model.save(str(tmp_path / "none"))
    model(tf_inputs(random_inputs(config, SEQUENCE)))  # with labels, which nobody serves
    model.save(str(tmp_path / "folder"))
    assert "same name" not in caplog.text
    loaded = tf.saved_model.load(str(tmp_path / "folder")).signatures["serving_default"]
    for batch, length in ((1, 1), (4, 21), (2, 40)):
        inputs = tf_inputs(random_batch(config, batch=batch, length=length))
        assert_close(loaded(**inputs)["logits"], model(inputs)["logits"], "logits")


WAYS = ["optimizer", "loss", "metrics", "callbacks", "Input", "Sequential", "data set", "word table"]


@pytest.mark.parametrize("name", WAYS)
def test_objects_of_keras_3(name):
    """Each ends in one sentence that says what to take instead."""
    keras = pytest.importorskip("keras")
    model, ids = tf_model(small_config(num_hidden_layers=1), SEQUENCE), np.ones((2, 3), np.int64)
    ways = {
        "optimizer": lambda: model.compile(keras.optimizers.Adam()),
        "loss": lambda: model.compile("adam", loss={"logits": keras.losses.MeanSquaredError()}),
        "metrics": lambda: model.compile("adam", metrics=[keras.metrics.Accuracy()]),
        "callbacks": lambda: model.fit(ids, np.ones(2), callbacks=[keras.callbacks.EarlyStopping()]),
        "Input": lambda: model({"input_ids": keras.Input([None], dtype="int32")}),
        "Sequential": lambda: keras.Sequential([model]),
        "data set": lambda: (model.compile("adam"), model.fit(object.__new__(keras.utils.PyDataset))),
        "word table": lambda: model.set_input_embeddings(keras.layers.Embedding(9, 4)),
    }
    with pytest.raises(TypeError, match=r"Keras 3.*import tf_keras.*or set TF_USE_LEGACY_KERAS=1"):
        ways[name]()
    assert not hasattr(model, "_keras_history")


@pytest.mark.parametrize("name", ["Optimizer", "Loss", "Metric", "Callback"])
def test_classes_of_ones_own_that_are_derived_from_keras_3(name):
    """Their module is the user's; the sentence names the class to derive from instead."""
    keras = pytest.importorskip("keras")
    model, ids = tf_model(small_config(num_hidden_layers=1), SEQUENCE), np.ones((2, 3), np.int64)
    base = getattr(getattr(keras, {"Loss": "losses"}.get(name, name.lower() + "s")), name)
    own = object.__new__(type("Own", (base,), {"__module__": "users"}))
    ways = {
        "Optimizer": lambda: model.compile(own),
        "Loss": lambda: model.compile("adam", loss=own),
        "Metric": lambda: model.compile("adam", metrics=[own]),
        "Callback": lambda: model.fit(ids, np.ones(2), callbacks=[own]),
    }
    with pytest.raises(TypeError, match=rf"holds a {name} of Keras 3.* and use its {name}"):
        ways[name]()


METHODS = ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]


@pytest.mark.parametrize("method", METHODS)
def test_data_of_pytorch(method):
    """Keras said that torch.int64 is no dtype of TensorFlow."""
    torch = pytest.importorskip("torch")
    model, ids = tf_model(small_config(num_hidden_layers=1), SEQUENCE), np.ones((2, 3), np.int64)
    model.compile("adam")
    loader = torch.utils.data.DataLoader([1, 2])
    wrong = [((torch.tensor(ids),), "x holds a Tensor"), (({"input_ids": torch.tensor(ids)},), "x holds a Tensor")]
    wrong += [(([torch.tensor(ids)],), "x holds a Tensor"), ((loader,), "x holds a DataLoader")]
    wrong += [] if "predict" in method else [((ids, torch.tensor([0, 1])), "y holds a Tensor")]
    for given, text in wrong:
        with pytest.raises(TypeError, match=f"{text} of PyTorch, expected tensors of TensorFlow, arrays"):
            getattr(model, method)(*given)
    with pytest.raises(TypeError, match="x holds a Tensor"):
        getattr(model, method)(x=torch.tensor(ids))


def test_functions_of_keras_3():
    """As losses they failed in the first step, in fifty lines."""
    losses = pytest.importorskip("keras").losses
    model = tf_model(small_config(num_hidden_layers=1), SEQUENCE)
    for given in ({"loss": losses.mean_squared_error}, {"metrics": [losses.mean_squared_error]}):
        with pytest.raises(TypeError, match=r"holds a mean_squared_error of Keras 3.* and use its mean_squared_error"):
            model.compile("adam", **given)


def test_legacy_keras_under_the_name_of_tensorflow():
    """With TF_USE_LEGACY_KERAS=1, ``tf.keras`` is the Keras that the models are of."""
    code = (
        "import tensorflow as tf, deberta_tf, numpy as np;"
        "from tests.models.helpers import small_config;"
        "model = deberta_tf.TFDebertaV2ForSequenceClassification(small_config(num_hidden_layers=1));"
        "model.compile(tf.keras.optimizers.Adam(), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True));"
        "ids = np.ones((2, 3), int);"
        "model.fit(ids, np.ones(2), verbose=0, callbacks=[tf.keras.callbacks.EarlyStopping('loss')]);"
        "ids = tf.keras.Input([None], dtype='int32');"
        "assert tf.keras.Model(ids, model(ids).logits).output_shape == (None, 3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TF_USE_LEGACY_KERAS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("base", BASES)
def test_pruning_only_pytorch_had(base, tmp_path):
    """Heads are gone for good: in logits, files, what is prepared, and in training that goes on."""
    config = small_config(base)
    model, twin = tf_model(config.copy(), SEQUENCE), pt_model(config.copy(), SEQUENCE)  # which pruning changes
    inputs = random_inputs(config, SEQUENCE, labels=False)
    for each in (model, twin):
        each.prune_heads({0: [1]})
        each.prune_heads({1: [0, 2]})
    want = twin(**pt_inputs(inputs)).logits.detach().numpy()
    assert_close(model(tf_inputs(inputs)).logits, want, "logits")
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config.pruned_heads == {0: [1], 1: [0, 2]}
    prepared = deberta_tf.optimize_for_inference(model)
    for other in (loaded, prepared):
        assert_close(other(tf_inputs(inputs)).logits, want, "logits")
    model.compile(tf_keras.optimizers.Adam(1e-2))
    model.fit(inputs, np.zeros(4, np.int64), verbose=0)
    with pytest.raises(ValueError, match=r"heads \[3\] do not exist"):
        model.prune_heads({0: [3]})


def test_parts_that_only_pytorch_could_replace():
    """Word tables, word matrices, and the two groups of weights of an optimiser."""
    config = small_config(tie_word_embeddings=False, num_hidden_layers=1)
    model = tf_model(config, "ForMaskedLM")
    inputs = tf_inputs(random_batch(config))
    before = model(inputs).logits.numpy()
    other = tf_model(config, "ForMaskedLM", random_weights(config, "ForMaskedLM", seed=5))
    model.set_input_embeddings(other.get_input_embeddings())
    model.set_output_embeddings(other.get_output_embeddings())
    assert model.get_output_embeddings() is other.get_output_embeddings()
    assert np.abs(model(inputs).logits.numpy() - before).max() > 0.1
    with pytest.raises(ValueError, match="has no word matrix of its own"):
        tf_model(small_config(num_hidden_layers=1), SEQUENCE).set_output_embeddings(other.get_output_embeddings())
    decayed, plain = model.parameter_groups(0.1)
    assert len(decayed["params"]) + len(plain["params"]) == len(model.trainable_weights)
    assert {len(v.shape) for v in plain["params"]} == {1}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    model.compile(tf_keras.optimizers.AdamW(1e-3))
    model.optimizer.exclude_from_weight_decay(plain["params"])
