"""Keras ``fit``, ``evaluate`` and ``predict``: with a Keras loss on the logits, or with the model's own loss.

Compiled without a loss, a model trains on its own: labels come among the inputs (``labels``, or ``start_positions`` and
``end_positions``) or as ``y``. Compiled with one, Keras compares ``y`` with the logits as it does for any model.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras

from deberta_core.heads import HEADS
from deberta_tf.inputs import is_by_name, parameters, read_inputs, refuse_keras3, refuse_other_data
from deberta_tf.weighting import LossWeights, loss_weights

NOT_PREDICTIONS = ("loss", "hidden_states", "attentions")
LABELS = tuple(dict.fromkeys(name for head in HEADS.values() for name in head.labels))
OWN_LOSS = ("auto", "auto_with_warning", "passthrough")  # how scripts of the documented classes ask for it


class KerasTraining:
    """The steps that Keras calls; mixed into every model."""

    call: ClassVar[Any]
    _own_loss = False
    _own_loss_mean: Any = None
    _class_weight: Any = None
    train_function: Any

    @property
    def label_names(self) -> tuple[str, ...]:
        """Which inputs of ``call`` are labels."""
        return tuple(name for name in LABELS if name in parameters(type(self).call))

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Any = None, **options: Any) -> None:
        """As Keras' ``compile``.

        Args:
            optimizer: of ``tf_keras``, or its name.
            loss: on the logits; ``None`` (or ``"auto"``) for the model's own.
            metrics: of ``tf_keras``.
            **options: as for Keras.

        Raises:
            TypeError: for objects of Keras 3.
        """
        loss = None if isinstance(loss, str) and loss in OWN_LOSS else loss
        refuse_keras3(optimizer=optimizer, loss=loss, metrics=metrics, **options)
        self._own_loss = loss is None
        if self._own_loss and self._own_loss_mean is None:
            with self.distribute_strategy.scope():  # type: ignore[attr-defined]
                self.__dict__["_own_loss_mean"] = tf_keras.metrics.Mean(name="loss")  # Keras would list it twice
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **options)  # type: ignore[misc]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as ``load_model`` asks, so that training goes on where a saved model left it."""
        self.compile(**tf_keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def make_train_function(self, force: bool = False) -> Any:
        """As Keras'; a step that makes variables, as an optimizer does in its first one, would be traced twice."""
        if not force and self.train_function is not None:
            return self.train_function
        function, ready = super().make_train_function(force), False  # type: ignore[misc]

        @functools.wraps(function)
        def run(iterator: Any) -> Any:
            nonlocal ready
            if not ready and self._has_all_weights():  # not earlier: callbacks may change what is trained
                with self.distribute_strategy.scope():  # type: ignore[attr-defined]
                    self._build_optimizer()
            ready = True
            return function(iterator)

        self.train_function = run
        return run

    def _build_optimizer(self) -> None:
        optimizer = self.optimizer  # type: ignore[attr-defined]
        if isinstance(optimizer, tf_keras.optimizers.Optimizer):  # not a legacy one, which makes its state by itself
            optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]

    def _has_all_weights(self) -> bool:
        """Whether it is known that a step makes none, and trains no others: of our own layers, in our own step."""
        own, keras = __name__.partition(".")[0], tf_keras.layers.Layer

        def is_known(layer: Any) -> bool:
            kind, package = type(layer), type(layer).__module__.partition(".")[0]
            return package == own or (package == "tf_keras" and (layer.built or kind.build is keras.build))

        layers = self._flatten_layers()  # type: ignore[attr-defined]
        return "train_step" not in self.__dict__ and all(is_known(layer) for layer in layers)

    def fit(self, *data: Any, **options: Any) -> Any:
        """As Keras' ``fit``; ``class_weight`` is for the model's own loss, too, wherever its labels come from."""
        refuse_other_data(options, *data[:2])
        refuse_keras3(callbacks=options.get("callbacks", data[5:6]))
        return super().fit(*data, **self._take_class_weight(options))  # type: ignore[misc]

    def _take_class_weight(self, options: dict[str, Any]) -> dict[str, Any]:
        """What is left for Keras, which looks for the labels of ``class_weight`` in ``y`` alone."""
        if not self._own_loss:
            return options
        given = options.pop("class_weight", None)
        if given and self.label_names != ("labels",):
            raise ValueError(f"class_weight is for classes, {type(self).__name__} takes no labels that are")
        if given != self._class_weight:
            self.__dict__["_class_weight"] = dict(given) if given else None  # Keras would track it
            self.train_function = None  # of the old weights
        return options

    def evaluate(self, *data: Any, **options: Any) -> Any:
        """As Keras' ``evaluate``."""
        refuse_other_data(options, *data[:2])
        refuse_keras3(callbacks=options.get("callbacks", data[6:7]))
        return super().evaluate(*data, **options)  # type: ignore[misc]

    def predict(self, *data: Any, **options: Any) -> Any:
        """As Keras' ``predict``."""
        refuse_other_data(options, *data[:1])
        refuse_keras3(callbacks=options.get("callbacks", data[4:5]))
        return super().predict(*data, **options)  # type: ignore[misc]

    def train_on_batch(self, *data: Any, **options: Any) -> Any:
        """As Keras' ``train_on_batch``; ``class_weight`` as of ``fit``."""
        refuse_other_data(options, *data[:2])
        return super().train_on_batch(*data, **self._take_class_weight(options))  # type: ignore[misc]

    def test_on_batch(self, *data: Any, **options: Any) -> Any:
        """As Keras' ``test_on_batch``."""
        refuse_other_data(options, *data[:2])
        return super().test_on_batch(*data, **options)  # type: ignore[misc]

    def predict_on_batch(self, x: Any) -> Any:
        """As Keras' ``predict_on_batch``."""
        refuse_other_data({}, x)
        return super().predict_on_batch(x)  # type: ignore[misc]

    @property
    def metrics(self) -> list[Any]:
        """Running means that Keras resets with each epoch."""
        found: list[Any] = super().metrics  # type: ignore[misc]
        return [self._own_loss_mean, *found] if self._own_loss else found

    def train_step(self, data: Any) -> Any:
        """One step of ``fit``."""
        inputs, labels, weight = self._read(data)
        with tf.GradientTape() as tape:
            predictions, loss = self._predict_and_judge(inputs, labels, weight, training=True)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)  # type: ignore[attr-defined]
        return self.compute_metrics(inputs, self._beside(labels, predictions), predictions, weight)  # type: ignore[attr-defined]

    def test_step(self, data: Any) -> Any:
        """One step of ``evaluate``."""
        inputs, labels, weight = self._read(data)
        predictions, _ = self._predict_and_judge(inputs, labels, weight, training=False)
        return self.compute_metrics(inputs, self._beside(labels, predictions), predictions, weight)  # type: ignore[attr-defined]

    def predict_step(self, data: Any) -> Any:
        """One step of ``predict``: the output without loss."""
        inputs, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
        output = self(inputs, training=False)  # type: ignore[operator]
        return type(output)({k: v for k, v in output.items() if k != "loss"}) if isinstance(output, dict) else output

    def _read(self, data: Any) -> tuple[Any, Any, Any]:
        """Inputs without labels, labels (one tensor, or a dict where the head has several), and sample weights."""
        x, labels, weight = tf_keras.utils.unpack_x_y_sample_weight(data)
        if not is_by_name(type(self).call):
            return x, labels, weight
        inputs, options = read_inputs(type(self).call, (x,), {})
        names = self.label_names
        among = {name: inputs.pop(name) for name in names if name in inputs}
        if labels is None and among:
            labels = among if len(names) > 1 else among[names[0]]
        elif len(names) > 1 and isinstance(labels, (list, tuple)):
            labels = dict(zip(names, labels, strict=True))
        elif isinstance(labels, dict) and labels.keys() == set(names) and len(names) == 1:
            labels = labels[names[0]]
        if self._own_loss and labels is None:
            wanted = " and ".join(names) or "a head"
            raise ValueError(f"no labels to train on: give {wanted} among the inputs or as y, or compile with a loss")
        return {**inputs, **options}, labels, weight

    def _beside(self, labels: Any, predictions: Any) -> Any:
        """Labels under the names of the predictions that metrics compare them with."""
        names = self.label_names
        if not (isinstance(labels, dict) and isinstance(predictions, dict) and set(labels) == set(names)):
            return labels
        return {given: labels[name] for given, name in zip(predictions, names, strict=True)}

    def _predict_and_judge(self, inputs: Any, labels: Any, weight: Any, *, training: bool) -> tuple[Any, tf.Tensor]:
        options = {"return_dict": True} if "return_dict" in parameters(type(self).call) else {}
        if self._own_loss:
            named = labels if isinstance(labels, dict) else {self.label_names[0]: labels}
            classes = self._class_weight if training else None
            weights = LossWeights(weight, classes) if weight is not None or classes else None
            with loss_weights(weights):
                output = self(inputs, training=training, **options, **named)  # type: ignore[operator]
            loss = output.get("loss") if isinstance(output, dict) else None
            if loss is None:
                raise ValueError(
                    f"{type(self).__name__} gave no loss: let its call return a dict with one, or compile with a loss"
                )
            if weights is not None and not weights.used:
                raise ValueError(
                    f"the loss of {type(self).__name__} takes no weights of examples or classes: compile with a Keras "
                    "loss, or compute it by hf_compute_loss"
                )
            loss = tf.reduce_mean(loss)  # a scalar, but for a loss of a class of your own
            regularization = tf.add_n(self.losses) if self.losses else 0.0  # type: ignore[attr-defined]
            loss += regularization
            self._own_loss_mean.update_state(loss)
            replicas = tf.distribute.get_strategy().num_replicas_in_sync  # whose gradients are added up
            return predictions_of(output), loss / replicas
        output = self(inputs, training=training, **options)  # type: ignore[operator]
        predictions = predictions_of(output)
        return predictions, self.compute_loss(inputs, labels, predictions, weight)  # type: ignore[attr-defined]


def predictions_of(output: Any) -> Any:
    """What a Keras loss compares with ``y``: the logits, or a dict where the head has several."""
    if not isinstance(output, dict):
        return output
    found = {name: value for name, value in output.items() if name not in NOT_PREDICTIONS}
    return next(iter(found.values())) if len(found) == 1 else found
