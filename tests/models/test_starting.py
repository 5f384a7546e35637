"""Starting values by the same rule in both frameworks, and dropout where it belongs, at its rate, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deberta_core.heads import weights
from tests.models.helpers import (
    class_name,
    existing,
    pt_inputs,
    pt_model,
    pt_values,
    random_batch,
    random_inputs,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
    tf_values,
)

FRAMEWORKS = pytest.mark.parametrize("framework", ["pt", "tf"])
SEQUENCE, CHOICE = "ForSequenceClassification", "ForMultipleChoice"


def fresh(framework, config, head):
    """Starting values of a new model by key."""
    if framework == "pt":
        pytest.importorskip("torch")
        import deberta_pt

        return pt_values(getattr(deberta_pt, class_name(config, head))(config))
    pytest.importorskip("tensorflow")
    import deberta_tf

    return tf_values(getattr(deberta_tf, "TF" + class_name(config, head))(config))


def heads():
    pytest.importorskip("torch")
    import deberta_pt

    return existing(deberta_pt)


@FRAMEWORKS
@pytest.mark.parametrize("base", ["v1", "v2"])
def test_starting_values(framework, base):
    """Normal matrices and tables, zero biases and pad row, unit norms; the convolution starts as PyTorch's does."""
    sizes = {"hidden_size": 96, "intermediate_size": 128, "vocab_size": 200, "type_vocab_size": 64}
    config = small_config(
        base, **sizes, num_attention_heads=24, initializer_range=0.05, position_biased_input=True, pad_token_id=7,
        max_position_embeddings=64, num_labels=40, embedding_size=80,
        **(
            {"talking_head": True} if base == "v1"
            else {"share_att_key": False, "conv_groups": 2, "position_buckets": 64}
        ),
    )  # fmt: skip
    for head in heads():
        for key, value in fresh(framework, config, head).items():
            if ".conv.conv." in key:
                bound = 1 / math.sqrt(3 * 96 / 2)
                assert np.abs(value).max() <= bound
                assert value.std() == pytest.approx(bound / math.sqrt(3), rel=0.25 if key.endswith("bias") else 0.05)
            elif key.endswith("LayerNorm.weight"):
                assert (value == 1).all(), key
            elif value.ndim == 1:
                assert not value.any(), key
            else:
                if "word_embeddings" in key:
                    assert not value[7].any()
                    value = np.delete(value, 7, 0)
                many = math.sqrt(value.size)  # the standard error of a deviation is about deviation / sqrt(2 n)
                assert value.std() == pytest.approx(0.05, rel=5 / many), key
                assert abs(value.mean()) < 5 * 0.05 / many, key
                if value.size > 5000:
                    assert np.abs(value).max() > 0.1, f"{key} is cut off at two deviations"


@FRAMEWORKS
def test_two_models_start_differently_and_a_seed_repeats(framework):
    config = small_config("v3")
    first, second = fresh(framework, config, SEQUENCE), fresh(framework, config, SEQUENCE)
    assert not np.array_equal(first["classifier.weight"], second["classifier.weight"])
    if framework == "pt":
        from torch import manual_seed as seed
    else:
        from tf_keras.utils import set_random_seed as seed
    seed(5)
    third = fresh(framework, config, SEQUENCE)
    seed(5)
    again = fresh(framework, config, SEQUENCE)
    assert all(np.array_equal(third[key], again[key]) for key in third)


@FRAMEWORKS
def test_the_pad_row_gets_no_gradient(framework):
    """Except through a tied decoder, which scores the pad token as it does any word."""
    for head, expected in (("Model", False), ("ForMaskedLM", True)):
        config = small_config("v3", pad_token_id=3, mlm_head="legacy")
        inputs = random_inputs(config, head)
        inputs["input_ids"][0, :5] = 3  # visible pad tokens
        if framework == "pt":
            pytest.importorskip("torch")
            model = pt_model(config, head)
            output = model(**pt_inputs(inputs))
            (output["loss"] if "loss" in output else output.last_hidden_state.square().sum()).backward()
            gradient = model.get_input_embeddings().weight.grad.numpy()
        else:
            tf = pytest.importorskip("tensorflow")
            model = tf_model(config, head)
            with tf.GradientTape() as tape:
                output = model(tf_inputs(inputs))
                goal = output["loss"] if "loss" in output else tf.reduce_sum(tf.square(output.last_hidden_state))
            gradient = tf.convert_to_tensor(tape.gradient(goal, model.get_input_embeddings().embeddings)).numpy()
        assert gradient[3].any() == expected
        assert gradient[int(inputs["input_ids"][0, 8])].any()


def run(framework, model, inputs, training, **options):
    if framework == "pt":
        model.train(training)
        return model(**pt_inputs(inputs), **options)
    return model(tf_inputs(inputs), training=training, **options)


def array(x):
    return x.detach().numpy() if hasattr(x, "detach") else x.numpy()


def build(framework, config, head="Model", values=None):
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    return (pt_model if framework == "pt" else tf_model)(config, head, values)


OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "cls_dropout": 0.0, "pooler_dropout": 0.0}
SITES = {  # switch, head -> does training change the output?
    ("hidden_dropout_prob", "Model"): True, ("attention_probs_dropout_prob", "Model"): True,
    ("cls_dropout", "Model"): False, ("pooler_dropout", "Model"): False,
    ("cls_dropout", SEQUENCE): True, ("pooler_dropout", SEQUENCE): True,
    ("cls_dropout", CHOICE): True, ("pooler_dropout", CHOICE): True,
    ("cls_dropout", "ForTokenClassification"): False, ("cls_dropout", "ForQuestionAnswering"): False,
    ("pooler_dropout", "ForQuestionAnswering"): False,
}  # fmt: skip


@FRAMEWORKS
@pytest.mark.parametrize(("switch", "head"), SITES)
def test_which_switch_acts_on_which_head(framework, switch, head):
    config = small_config("v3", **{**OFF, switch: 0.4})
    model, inputs = build(framework, config, head), random_inputs(config, head, labels=False)
    quiet = array(run(framework, model, inputs, False)[0])
    loud = array(run(framework, model, inputs, True)[0])
    assert (not np.array_equal(quiet, loud)) == SITES[switch, head]
    assert np.array_equal(array(run(framework, model, inputs, False)[0]), quiet), "evaluation stays quiet"


@FRAMEWORKS
def test_the_classifier_falls_back_to_hidden_dropout(framework):
    """Without ``cls_dropout`` its rate is ``hidden_dropout_prob``; a rate of 0 is not the same as none given."""
    for given, expected in ((None, 0.25), (0.0, 0.0), (0.5, 0.5)):
        model = build(framework, small_config("v3", hidden_dropout_prob=0.25, cls_dropout=given), SEQUENCE)
        rate = model.dropout.p if framework == "pt" else model.dropout.rate
        assert rate == expected


@FRAMEWORKS
def test_rate_and_scale_of_hidden_dropout(framework):
    """Embedding output: a share of the entries is zero and the others are divided by the share that is kept."""
    rate = 0.3
    config = small_config("v3", num_hidden_layers=1, hidden_dropout_prob=rate)
    model = build(framework, config)
    inputs = {"input_ids": np.random.default_rng(0).integers(1, 53, (40, 50))}
    quiet = array(run(framework, model, inputs, False, output_hidden_states=True).hidden_states[0])
    loud = array(run(framework, model, inputs, True, output_hidden_states=True).hidden_states[0])
    kept, n = loud != 0, loud.size
    assert abs((~kept).mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(loud[kept], quiet[kept] / (1 - rate), rtol=1e-5)
    again = array(run(framework, model, inputs, True, output_hidden_states=True).hidden_states[0])
    both = ((again == 0) & (loud == 0)).mean()
    assert abs(both - rate**2) < 5 * math.sqrt(rate**2 / n), "a new forward draws a new mask, independent of the last"
    columns = (~kept).mean((0, 1))
    assert np.abs(columns - rate).max() < 5 * math.sqrt(rate * (1 - rate) / 2000), "no column is favoured"


@FRAMEWORKS
def test_rate_and_scale_of_attention_dropout(framework):
    """Returned probabilities are those after dropout."""
    rate = 0.2
    config = small_config("v3", num_hidden_layers=2, attention_probs_dropout_prob=rate)
    model = build(framework, config)
    inputs = {"input_ids": np.random.default_rng(0).integers(1, 53, (30, 40))}
    quiet = array(run(framework, model, inputs, False, output_attentions=True).attentions[0])
    loud, other = (array(a) for a in run(framework, model, inputs, True, output_attentions=True).attentions)
    kept, n = loud != 0, loud.size
    assert abs((~kept).mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)
    np.testing.assert_allclose(loud[kept], quiet[kept] / (1 - rate), rtol=1e-4)
    both = ((loud == 0) & (other == 0)).mean()
    assert abs(both - rate**2) < 5 * math.sqrt(rate**2 / n), "each layer draws a mask of its own"


@FRAMEWORKS
def test_dropout_of_the_relative_table_differs_from_layer_to_layer(framework):
    """With nothing else to drop, two layers of the same weights give different probabilities in training."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    config = small_config("v3", hidden_dropout_prob=0.0)
    values = random_weights(config)
    for key in weights(config):
        if ".layer.1." in key:
            values[key] = values[key.replace(".layer.1.", ".layer.0.")]
    model = build(framework, config, "Model", values)
    rows = []
    for layer in model.encoder.layer:
        attention = layer.attention.self
        if framework == "pt":
            attention.pos_dropout.p = 0.5
        else:
            attention.pos_dropout.rate = 0.5
        original = attention.project_positions

        def remember(table, original=original):
            rows.append(array(table))
            return original(table)

        attention.project_positions = remember
    run(framework, model, random_batch(config), True)
    assert len(rows) == 2
    for table in rows:
        assert 0.3 < (table == 0).mean() < 0.7
    assert not np.array_equal(rows[0] == 0, rows[1] == 0)


@pytest.mark.parametrize("way", ["weights", "checkpoint"])
def test_dropout_of_tensorflow_resumes(way, tmp_path):
    """The counter that dropout is seeded from is saved with the weights: a resumed run drops what it would have."""
    tf = pytest.importorskip("tensorflow")
    config = small_config("v3", hidden_dropout_prob=0.3)
    model, inputs = build("tf", config), random_batch(config)
    run("tf", model, inputs, True)
    if way == "weights":
        model.save_weights(str(tmp_path / "w.h5"))
    else:
        tf.train.Checkpoint(model).write(str(tmp_path / "w"))
    want = [array(run("tf", model, inputs, True)[0]) for _ in range(2)]
    assert not np.array_equal(*want)
    other = build("tf", config)
    if way == "weights":
        other.load_weights(str(tmp_path / "w.h5"))
    else:
        tf.train.Checkpoint(other).read(str(tmp_path / "w")).assert_consumed()
    got = [array(run("tf", other, inputs, True)[0]) for _ in range(2)]
    assert np.array_equal(got, want)
