"""Names that Keras scripts expect of any model, and data sets made for it."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

from tests.models.helpers import small_config, tf_model  # noqa: E402

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForMultipleChoice", "ForQuestionAnswering"]


@pytest.mark.parametrize("head", HEADS)
def test_dummy_inputs_and_signatures_fit(head):
    model = tf_model(small_config("v3"), head)
    output = model(model.dummy_inputs)
    assert all(np.isfinite(value).all() for value in output.values())
    assert model.serving_output(output) is output
    for name, spec in model.input_signature.items():
        if name in model.dummy_inputs:
            assert spec.is_compatible_with(model.dummy_inputs[name])
    assert (model.framework, model.can_generate(), model.name_or_path) == ("tf", False, "")
    before = len(model.weights)
    model.build_in_name_scope()
    assert len(model.weights) == before


@pytest.mark.parametrize("kind", ["legacy", "plain"])
def test_the_bias_that_predicts_words(kind):
    model = tf_model(small_config("v3", mlm_head=kind), "ForMaskedLM")
    head = model.get_lm_head()
    assert head is model.get_output_layer_with_bias()
    assert model.get_prefix_bias_name() == head.name
    before = model(model.dummy_inputs).logits
    model.set_bias({"bias": model.get_bias()["bias"] + 1})
    np.testing.assert_allclose(model(model.dummy_inputs).logits, before + 1, atol=1e-5)
    assert model._get_word_embedding_weight(model.get_input_embeddings()).shape == (53, 24)
    other = tf_model(small_config("v3"))
    assert (other.get_lm_head(), other.get_bias(), other.get_prefix_bias_name()) == (None, None, None)
    with pytest.raises(ValueError, match="TFDebertaV2Model predicts no words"):
        other.set_bias({"bias": 1})


def rows(count, head):
    rng = np.random.default_rng(0)
    for i in range(count):
        ids = rng.integers(1, 53, 7)
        row = {"input_ids": ids.tolist(), "attention_mask": [1] * 7, "number": i, "text": "x"}
        if head == "ForQuestionAnswering":
            yield {**row, "start_positions": 1, "end_positions": 2}
        else:
            yield {**row, "label": int(ids[0] > 26)}


@pytest.mark.parametrize("head", ["ForSequenceClassification", "ForQuestionAnswering"])
def test_rows_become_batches_to_fit(head):
    model = tf_model(small_config("v3", num_labels=2), head)
    data = model.prepare_tf_dataset(list(rows(11, head)), batch_size=4, shuffle=False)
    batches = list(data)
    assert [len(inputs["input_ids"]) for inputs, _ in batches] == [4, 4, 3]
    inputs, labels = batches[0]
    assert inputs.keys() == {"input_ids", "attention_mask"}
    if head == "ForQuestionAnswering":
        assert labels.keys() == {"start_positions", "end_positions"}
    else:
        assert labels.numpy().tolist() == [row["label"] for row in rows(4, head)]
    model.compile(optimizer=tf_keras.optimizers.Adam(1e-3))
    losses = model.fit(model.prepare_tf_dataset(list(rows(16, head)), batch_size=4), epochs=3, verbose=0).history[
        "loss"
    ]
    assert losses[-1] < losses[0]


def test_rows_are_shuffled_anew_and_the_last_few_left_out():
    model = tf_model(small_config("v3", num_labels=2), "ForSequenceClassification")
    tf.random.set_seed(0)
    data = model.prepare_tf_dataset(list(rows(11, "")), batch_size=4, prefetch=False)
    first, second = ([inputs["input_ids"].numpy().tolist() for inputs, _ in data] for _ in range(2))
    assert len(first) == 2
    assert first != second
    states = tf_model(small_config("v3")).prepare_tf_dataset(list(rows(3, "")), batch_size=2, shuffle=False)
    assert next(iter(states)).keys() == {"input_ids", "attention_mask"}, "no labels, no pairs"


def test_collators_and_bad_rows():
    model = tf_model(small_config("v3", num_labels=2), "ForSequenceClassification")

    def collate(given, length):
        ids = np.zeros((len(given), length))
        for i, row in enumerate(given):
            ids[i, : len(row["input_ids"])] = row["input_ids"]
        return {"input_ids": ids.astype(int), "labels": [row["label"] for row in given]}

    given = [{"input_ids": [1] * n, "label": n % 2} for n in (3, 5, 4)]
    options = {"batch_size": 2, "shuffle": False, "collate_fn": collate, "collate_fn_args": {"length": 6}}
    shapes = [inputs["input_ids"].shape for inputs, _ in model.prepare_tf_dataset(given, **options)]
    assert shapes == [(2, 6), (1, 6)]
    with pytest.raises(ValueError, match="the data set has no rows"):
        model.prepare_tf_dataset([])
    with pytest.raises(ValueError, match="rows have text, expected inputs of the model such as input_ids"):
        model.prepare_tf_dataset([{"text": "x"}])
