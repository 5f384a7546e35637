"""Names that Keras scripts expect of any model, and data sets made for it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

import deberta_tf  # noqa: E402
from tests.models.helpers import small_config, tf_model  # noqa: E402

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForMultipleChoice", "ForQuestionAnswering"]


@pytest.mark.parametrize("head", HEADS)
def test_dummy_inputs_and_signatures_fit(head):
    model = tf_model(small_config("v3"), head)
    output = model(model.dummy_inputs)
    assert all(np.isfinite(value).all() for value in output.values())
    assert model.serving(model.dummy_inputs).keys() == output.keys()
    for name, spec in model.input_signature.items():
        if name in model.dummy_inputs:
            assert spec.is_compatible_with(model.dummy_inputs[name])
    assert (model.framework, model.can_generate(), model.name_or_path) == ("tf", False, "")
    before = len(model.weights)
    model.build_in_name_scope()
    assert len(model.weights) == before


class Wrapped(deberta_tf.TFDebertaV2Model):
    """A user's encoder that holds another one under the usual name."""

    def __init__(self, config):
        super().__init__(config)
        self.deberta = deberta_tf.TFDebertaV2Model(config)


@pytest.mark.parametrize("family", ["Deberta", "DebertaV2"])
def test_the_main_layer_of_an_encoder(family, tmp_path):
    model = tf_model(small_config("v1" if family == "Deberta" else "v3"), "Model")
    assert model.deberta is model
    assert [layer.name for layer in model.layers] == ["embeddings", "encoder"]  # not itself: walks would never end
    model.deberta.trainable = False
    assert not model.trainable_weights
    model.deberta.trainable = True
    assert len(model.deberta.encoder.layer) == model.config.num_hidden_layers
    model.deberta.embeddings.trainable = False
    assert not any("embeddings" in v.name and "rel" not in v.name for v in model.trainable_weights)
    model.save_pretrained(tmp_path)
    again = deberta_tf.TFAutoModel.from_pretrained(tmp_path)
    assert len(again.weights) == len(model.weights)
    assert np.array_equal(model(model.dummy_inputs)[0], again.deberta(model.dummy_inputs)[0])
    inner = Wrapped(small_config("v3"))
    assert inner.deberta is not inner
    assert type(inner.deberta) is deberta_tf.TFDebertaV2Model


@pytest.mark.parametrize("limit", ["1GB", "9KB"])
@pytest.mark.parametrize("safe", [True, False])
def test_variants(limit, safe, tmp_path):
    head = "ForSequenceClassification"
    model, other = (
        tf_model(small_config("v3"), head),
        deberta_tf.TFDebertaV2ForSequenceClassification(small_config("v3")),
    )
    model.save_pretrained(tmp_path, safe_serialization=safe)
    other.save_pretrained(tmp_path, variant="fp16", safe_serialization=safe, max_shard_size=limit)
    single = "model.fp16.safetensors" if safe else "tf_model.fp16.h5"
    index = "model.safetensors.index.fp16.json" if safe else "tf_model.h5.index.fp16.json"
    assert (tmp_path / (single if limit == "1GB" else index)).is_file()
    ids = model.dummy_inputs
    for variant, want in ((None, model), ("fp16", other)):
        for cls in (type(model), deberta_tf.TFAutoModelForSequenceClassification):
            assert np.array_equal(cls.from_pretrained(tmp_path, variant=variant)(ids).logits, want(ids).logits)
    with pytest.raises(FileNotFoundError, match=r"looked for .*\.bf16\."):
        type(model).from_pretrained(tmp_path, variant="bf16")
    other.save_pretrained(tmp_path, variant="fp16", safe_serialization=safe)  # one file in the place of shards
    names = {path.name for path in tmp_path.iterdir() if "fp16" in path.name}
    assert names == {single}


def test_from_config_leaves_the_config_of_its_caller():
    config = small_config("v3")
    model = deberta_tf.TFAutoModel.from_config(config, attn_implementation="eager")
    assert (model.config.attn_implementation, config.attn_implementation) == ("eager", "auto")
    with pytest.raises(ValueError, match="attn_implementation"):
        deberta_tf.TFAutoModel.from_config(config, attn_implementation="sdap")
    assert deberta_tf.TFAutoModel.from_config(config).config is config


def test_inputs_have_the_names_and_the_order_of_the_documented_classes():
    transformers = pytest.importorskip("transformers")
    for head in HEADS:
        for family in ("Deberta", "DebertaV2"):
            theirs = getattr(transformers, f"TF{family}{head}", None)
            if theirs is None:
                continue
            names = list(inspect.signature(getattr(deberta_tf, f"TF{family}{head}").call).parameters)
            assert [name for name in names if name != "only_masked"] == list(inspect.signature(theirs.call).parameters)


def test_labels_at_their_place_and_of_one_text():
    model = tf_model(small_config("v3"), "ForSequenceClassification")
    ids = tf.constant([[1, 5, 7]])
    want = model(ids, labels=tf.constant([2])).loss
    for given in ((ids, *[None] * 7, tf.constant([2])), (ids, *[None] * 7, tf.constant(2))):
        np.testing.assert_allclose(model(given).loss, want)
        np.testing.assert_allclose(model(*given).loss, want)
        np.testing.assert_allclose(model.call(*given)["loss"], want)
    np.testing.assert_allclose(model.hf_compute_loss(tf.constant(2), model(ids).logits), want)
    choice = tf_model(small_config("v3"), "ForMultipleChoice")
    assert choice(ids[None], labels=tf.constant(0)).loss.shape == ()
    number = tf_model(small_config("v3", num_labels=1), "ForSequenceClassification")
    np.testing.assert_allclose(number(ids, labels=tf.constant(2.0)).loss, (number(ids).logits[0, 0] - 2) ** 2)
    answer = tf_model(small_config("v3"), "ForQuestionAnswering")
    places = {"start_positions": tf.constant([0]), "end_positions": tf.constant([1])}
    output = answer(ids, **places)
    logits = output.start_logits, output.end_logits
    np.testing.assert_allclose(answer.hf_compute_loss(places, logits), output.loss)


def test_served_models(tmp_path, monkeypatch):
    model = tf_model(small_config("v3", output_hidden_states=True), "ForSequenceClassification")
    save, there = type(model).save, []

    def watched(*given, **more):
        there.append([path.name for path in (tmp_path / "saved_model").iterdir() if path.name[0] != "."])
        save(*given, **more)

    monkeypatch.setattr(type(model), "save", watched)
    for _ in range(2):  # the second takes the place of the first
        model.save_pretrained(tmp_path, saved_model=True, version=3, token=None)
    assert there == [[], ["3"]], "a version that TensorFlow Serving would load before it is whole"
    served = tf.saved_model.load(str(tmp_path / "saved_model" / "3"))
    assert [path.name for path in (tmp_path / "saved_model").iterdir()] == ["3"]
    ids = np.array([[1, 5, 7, 2]])
    for name, dtype in (("serving_default", tf.int32), ("int64_serving", tf.int64)):
        given = {"input_ids": tf.constant(ids, dtype), "attention_mask": tf.ones_like(ids, dtype)}
        output = served.signatures[name](**given)
        np.testing.assert_allclose(output["logits"], model(ids).logits, atol=1e-6)
        assert output["hidden_states"].shape == (3, 1, 4, 24)
    assert type(model).from_pretrained(tmp_path)(ids).logits.shape == (1, 3)


BESIDE = """
import copy, pickle, sys, deberta_tf, tf_keras, numpy as np
from deberta_core.config import DebertaV2Config
sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
model = deberta_tf.TFDebertaV2ForSequenceClassification(DebertaV2Config(vocab_size=30, **sizes))
want = model(model.dummy_inputs).logits
assert "transformers" not in sys.modules
import transformers
assert isinstance(model, transformers.TFPreTrainedModel) and isinstance(model, tf_keras.Model)
assert not isinstance(model, transformers.PreTrainedModel)
model.save(sys.argv[1])
for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), tf_keras.models.load_model(sys.argv[1])):
    assert type(again) is type(model)
    np.testing.assert_allclose(again(model.dummy_inputs).logits, want, atol=1e-6)
"""


def test_transformers_takes_ours_for_its_own_once_it_is_loaded(tmp_path):
    pytest.importorskip("transformers")
    command = [sys.executable, "-c", BESIDE, str(tmp_path / "model.keras")]
    subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "TF_USE_LEGACY_KERAS": "1"})


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
