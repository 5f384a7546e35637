"""The sides of the TensorFlow tables: inference and training, as graphs and compiled by XLA."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

import deberta_tf
from benchmarks.elsewhere import Elsewhere
from benchmarks.floor import FLOOR, Product, by_layer
from benchmarks.settings import (
    PIECES,
    PRETRAINING_SHAPES,
    SHAPES,
    TRAINING_SHAPES,
    WAYS,
    WHOLE,
    Settings,
    Shape,
    filled,
    hidden_words,
    label,
    model_values,
    uneven,
)
from benchmarks.timing import Recorder, Side, measure

PEER, HUB = "transformers", "keras-hub"
HUB_PROGRAM = ["-m", "benchmarks.keras_hub_side"]
HUB_VARIABLES = {"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}  # it is built on Keras 3
HUB_PACKAGES = ["keras-hub==0.32.0", "tensorflow==2.21.0"]
MODES = {" graph": False, " XLA": True}
Inputs = dict[str, tf.Tensor]


def batch(shape: Shape, lengths: list[int] | None = None) -> Inputs:
    """Random tokens; without ``lengths`` of the texts, none is padding."""
    ids = np.random.default_rng(0).integers(5, 1999, shape, dtype=np.int32)
    visible = np.arange(shape[1]) < np.array(lengths or [shape[1]])[:, None]
    return {"input_ids": tf.constant(ids), "attention_mask": tf.constant(np.broadcast_to(visible, shape), tf.int32)}


def both_models(record: Recorder, layers: int) -> dict[str, Any]:
    """Ours and, where it is installed, transformers' with the same weights."""
    models: dict[str, Any] = {}
    with record.peer(PEER), tempfile.TemporaryDirectory() as folder:
        from transformers import DebertaV2Config, TFDebertaV2Model

        peer = TFDebertaV2Model(DebertaV2Config(**model_values(layers)))
        peer(batch((1, 8)))
        peer.save_pretrained(folder)
        models = {PEER: peer, "ours": deberta_tf.TFDebertaV2Model.from_pretrained(folder)}
    models.setdefault("ours", deberta_tf.TFDebertaV2Model(deberta_tf.DebertaV2Config(**model_values(layers))))
    return models


def states(model: Any, inputs: Inputs) -> tf.Tensor:
    """The last states of a model of either library."""
    return model(inputs, training=False).last_hidden_state


def products(shape: Shape, layers: int, compiled: bool = False, training: bool = False) -> Side:
    """The matrix products alone, those of a layer in one call."""

    def factors(product: Product) -> tuple[tf.Tensor, tf.Tensor]:
        count, rows, inner, columns = product
        batch = (count,) if count > 1 else ()
        return tf.random.normal((*batch, rows, inner)), tf.random.normal((*batch, inner, columns))

    def multiply(pairs: list[tuple[tf.Tensor, tf.Tensor]]) -> list[tf.Tensor]:
        return [tf.matmul(first, second) for first, second in pairs]

    prepared = by_layer(factors, shape, layers, training)
    run = tf.function(multiply, jit_compile=compiled, autograph=False)

    def side() -> None:
        for layer in prepared:
            run(layer)[-1].numpy()

    return side


def inference(settings: Settings, record: Recorder) -> None:
    """All sides of inference, each traced and compiled for its shape, and the matrix products alone."""
    layers = settings.layers or 12
    calls: dict[str, Callable[[Inputs], tf.Tensor]] = {}
    for name, model in both_models(record, layers).items():
        calls[name] = functools.partial(states, model)
        optimize = getattr(deberta_tf, "optimize_for_inference", None)
        if name == "ours" and optimize:
            calls["ours optimized"] = functools.partial(states, optimize(model))
    if PEER in calls:
        compare(record, calls)
    with contextlib.ExitStack() as stack:
        hub: Elsewhere | None = None
        with record.peer(HUB):
            hub = stack.enter_context(Elsewhere(HUB, HUB_PACKAGES, [*HUB_PROGRAM, str(layers)], HUB_VARIABLES))
        for shape in settings.shapes or SHAPES:
            # a function for each shape: the shapes are static, which is every side's fastest case
            sides: dict[str, Side] = {
                name + mode: functools.partial(tf.function(call, jit_compile=compiled, autograph=False), batch(shape))
                for name, call in calls.items()
                for mode, compiled in MODES.items()
            }
            sides = {name: ended(side) for name, side in sides.items()}
            if hub:
                sides |= {HUB + mode: hub.side(shape, compiled) for mode, compiled in MODES.items()}
            sides |= {FLOOR + mode: products(shape, layers, compiled) for mode, compiled in MODES.items()}
            measure(record, label(shape), sides, settings.rounds)


def compare(record: Recorder, calls: dict[str, Callable[[Inputs], tf.Tensor]]) -> None:
    """Note how far each side is from transformers, in the largest absolute difference of a state."""
    inputs = batch((2, 40))
    expected = calls[PEER](inputs)
    far = [f"{name} {np.abs(call(inputs) - expected).max():.1e}" for name, call in calls.items() if name != PEER]
    record.note("largest difference from transformers: " + ", ".join(far))


def ended(side: Side) -> Side:
    """A side that waits for its result."""
    return lambda: tf.nest.map_structure(lambda tensor: tensor.numpy(), side())


def training(settings: Settings, record: Recorder) -> None:
    """Forward and backward pass with dropout, alone and with an AdamW step; the matrix products alone.

    XLA is measured with the step only: of gradients that nothing applies, it would compute the rows summed alone.
    """
    import tf_keras

    layers = settings.layers or 4
    models = both_models(record, layers)
    for shape in settings.shapes or TRAINING_SHAPES:
        sides: dict[str, Side] = {}
        for name, model in models.items():
            optimizer = tf_keras.optimizers.AdamW(1e-6)
            optimizer.build(model.trainable_variables)
            modes = {" graph": (None, False), " graph + AdamW": (optimizer, False), " XLA + AdamW": (optimizer, True)}
            for mode, (chosen, compiled) in modes.items():
                run = tf.function(functools.partial(step, model, chosen), jit_compile=compiled, autograph=False)
                sides[name + mode] = functools.partial(run, batch(shape))
        sides = {name: ended(side) for name, side in sides.items()}
        sides |= {FLOOR + mode: products(shape, layers, compiled, training=True) for mode, compiled in MODES.items()}
        measure(record, label(shape), sides, settings.rounds)


def pretraining(settings: Settings, record: Recorder) -> None:
    """A step of masked-LM training: transformers' own model and loss, and ours."""
    import tf_keras

    fields = {**model_values(settings.layers or 4), "vocab_size": PIECES}
    models: dict[str, tuple[Any, dict[str, Any]]] = {}
    with record.peer(PEER):
        from transformers import DebertaV2Config, TFDebertaV2ForMaskedLM

        models[PEER] = TFDebertaV2ForMaskedLM(DebertaV2Config(**fields)), {}
        models[PEER][0](batch((1, 8)))  # makes its weights
    ours = deberta_tf.TFDebertaV2ForMaskedLM(deberta_tf.DebertaV2Config(**fields))
    models["ours"] = ours, {"only_masked": True}
    for shape in settings.shapes or PRETRAINING_SHAPES:
        ids, labels = hidden_words(shape)
        visible = tf.ones(shape, tf.int64)
        inputs = {"input_ids": tf.constant(ids), "attention_mask": visible, "labels": tf.constant(labels)}
        sides: dict[str, Side] = {}
        for name, (model, asked) in models.items():
            optimizer = tf_keras.optimizers.AdamW(1e-6)
            optimizer.build(model.trainable_variables)
            run = tf.function(functools.partial(mlm_step, model, optimizer, asked), autograph=False)
            sides[name + " graph"] = functools.partial(run, inputs)
        measure(record, label(shape), {name: ended(side) for name, side in sides.items()}, settings.rounds)


def mlm_step(model: Any, optimizer: Any, asked: dict[str, Any], inputs: Inputs) -> tf.Tensor:
    """A step on the model's own loss, which is what comes back."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(inputs, training=True, **asked).loss)
    variables = model.trainable_variables
    pairs = [(g, v) for g, v in zip(tape.gradient(loss, variables), variables, strict=True) if g is not None]
    optimizer.apply_gradients(pairs)
    return loss


def perturbation(settings: Settings, record: Recorder) -> None:
    """A step of fine-tuning against each perturbation."""
    from deberta_core.perturbation import Perturbation
    from deberta_tasks.training.options import Options
    from deberta_tasks.training.tf import KerasLearner

    fields = model_values(settings.layers or 4)
    for shape in settings.shapes or PRETRAINING_SHAPES:
        ids, _ = hidden_words(shape)
        given = {"input_ids": ids % 2000, "attention_mask": np.ones_like(ids), "labels": np.arange(shape[0]) % 2}
        sides: dict[str, Side] = {}
        for name, wanted in WAYS.items():
            config = deberta_tf.DebertaV2Config(**fields)
            make = functools.partial(deberta_tf.TFDebertaV2ForSequenceClassification, config)
            learner = KerasLearner(make, Options(), perturbation=Perturbation(**wanted))
            sides[name] = functools.partial(learner.step, given, 1e-6, 1)
        measure(record, label(shape), sides, settings.rounds)


def padding(settings: Settings, record: Recorder) -> None:
    """Uneven texts padded to one length, by all sides, and the same shape without padding by ours; all as graphs."""
    layers = settings.layers or 4
    models = both_models(record, layers)
    prepared = {"ours optimized": deberta_tf.optimize_for_inference(models["ours"])}
    calls = {name: functools.partial(states, model) for name, model in {**models, **prepared}.items()}
    steps = {name: functools.partial(step, model, None) for name, model in models.items()}
    for shape in settings.shapes or TRAINING_SHAPES:
        padded, whole = batch(shape, uneven(shape)), batch(shape)
        for part, given in (("inference", calls), ("training", steps)):
            graphs = {name: tf.function(call, autograph=False) for name, call in given.items()}
            sides: dict[str, Side] = {name: functools.partial(graph, padded) for name, graph in graphs.items()}
            sides |= {name + WHOLE: functools.partial(graph, whole) for name, graph in graphs.items() if name != PEER}
            measure(record, f"{part}, {label(shape)}", {k: ended(side) for k, side in sides.items()}, settings.rounds)
        record.note(filled(shape))


def step(model: Any, optimizer: Any, inputs: Inputs) -> tf.Tensor:
    """Gradients of the sum of the last states, applied if there is an optimizer; a sum of them as the result."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs, training=True).last_hidden_state)
    variables = model.trainable_variables
    pairs = [(g, v) for g, v in zip(tape.gradient(loss, variables), variables, strict=True) if g is not None]
    if optimizer:
        optimizer.apply_gradients(pairs)
    # every gradient must be computed, and only one number leaves the graph
    return tf.add_n([tf.reduce_sum(tf.convert_to_tensor(gradient)[:1]) for gradient, _ in pairs])
