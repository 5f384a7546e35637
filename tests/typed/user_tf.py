"""TensorFlow as users write it. mypy knows no type of TensorFlow, pyright those of its source."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
import tensorflow as tf
import tf_keras

from deberta_core import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput
from deberta_tf import (
    AutoTokenizer,
    DebertaV2Config,
    TFAutoModel,
    TFAutoModelForMaskedLM,
    TFAutoModelForSequenceClassification,
    TFDebertaV2ForSequenceClassification,
    TFDebertaV2Model,
    TFDebertaV2PreTrainedModel,
    optimize_for_inference,
)


def load() -> None:
    """Loading and making models."""
    loaded = TFDebertaV2ForSequenceClassification.from_pretrained("my-model", from_pt=True, num_labels=3)
    assert_type(loaded, TFDebertaV2ForSequenceClassification)
    model, info = TFDebertaV2Model.from_pretrained("my-model", output_loading_info=True)
    assert_type(model, TFDebertaV2Model)
    assert_type(info, dict[str, Any])
    assert_type(TFDebertaV2Model(DebertaV2Config(num_hidden_layers=2)), TFDebertaV2Model)
    assert_type(TFDebertaV2Model.from_config(DebertaV2Config()), TFDebertaV2Model)
    assert_type(optimize_for_inference(model), TFDebertaV2Model)
    ids = tf.ones([1, 4], tf.int32)
    assert_type(TFAutoModelForMaskedLM.from_pretrained("my-model")(ids), MaskedLMOutput[tf.Tensor])
    assert_type(TFAutoModel.from_pretrained("my-model")(ids).last_hidden_state, tf.Tensor)
    annotated: TFAutoModel = TFAutoModel.from_config(DebertaV2Config())
    annotated.save_pretrained("my-copy")


def run(texts: list[str], batch: dict[str, tf.Tensor], ids: tf.Tensor, mask: np.ndarray[Any, Any]) -> None:
    """Calls of every kind have the same output."""
    encoded = AutoTokenizer.from_pretrained("my-model")(texts, padding=True, return_tensors="tf")
    model = TFAutoModelForSequenceClassification.from_pretrained("my-model")
    for output in (
        model(ids), model(ids, mask), model(dict(encoded)), model(encoded), model(**encoded), model(batch),
        model(**batch), model([ids, mask]), model(dict(encoded), training=True), model(input_ids=ids, labels=ids),
    ):  # fmt: skip
        assert_type(output, SequenceClassifierOutput[tf.Tensor])
        assert_type(output.logits, tf.Tensor)
        assert_type(output["loss"], tf.Tensor)
        assert_type(output[0], tf.Tensor)
        assert_type(output.hidden_states[-1], tf.Tensor)
    _loss, logits = model(batch, return_dict=False)
    print(logits.shape)


def train(data: tf.data.Dataset) -> None:
    """Keras' way."""
    model = TFDebertaV2ForSequenceClassification.from_pretrained("my-model")
    model.compile(optimizer=tf_keras.optimizers.Adam(2e-5), metrics=["accuracy"])
    model.fit(data, epochs=1)
    model.save_pretrained("my-tf-model")


class WithScore(TFDebertaV2PreTrainedModel):
    """A class of one's own."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.deberta = TFDebertaV2Model(config, name="deberta")
        self.score = tf_keras.layers.Dense(1, name="score")

    def call(self, input_ids: tf.Tensor, attention_mask: tf.Tensor | None = None) -> BaseModelOutput[tf.Tensor]:
        """States, scored."""
        output = self.deberta(input_ids, attention_mask)
        assert_type(output, BaseModelOutput[tf.Tensor])
        return BaseModelOutput(last_hidden_state=self.score(output.last_hidden_state))


def own(ids: tf.Tensor) -> None:
    """It loads, and runs, as itself."""
    model = WithScore.from_pretrained("my-model")
    assert_type(model, WithScore)
    model({"input_ids": ids})
