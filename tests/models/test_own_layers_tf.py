"""Classes of a user's own in TensorFlow: an encoder with other layers, a head of ours with one more, under any name."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
import tf_keras  # noqa: E402

import deberta_tf  # noqa: E402
from tests.models.helpers import one_warning, small_config, tf_model  # noqa: E402

IDS = np.array([[1, 5, 7, 2]])


class Mine(deberta_tf.TFDebertaV2PreTrainedModel):
    """As scripts write it: a main layer by its usual name, layers of many kinds that Keras builds at the first call."""

    def __init__(self, config, *inputs, width=7, **kwargs):
        super().__init__(config, *inputs, **kwargs)
        self.deberta = deberta_tf.TFDebertaV2MainLayer(config, name="deberta")
        self.lstm = tf_keras.layers.LSTM(width, return_sequences=True, name="lstm")
        self.norm = tf_keras.layers.LayerNormalization(name="norm")
        self.blocks = [tf_keras.layers.Dense(5, name=f"block_{i}") for i in range(2)]
        self.dropout = tf_keras.layers.Dropout(0.5)
        self.classifier = tf_keras.layers.Dense(config.num_labels, name="classifier")

    def call(self, input_ids=None, attention_mask=None, labels=None, return_dict=None, training=False):
        states = self.deberta(input_ids, attention_mask=attention_mask, training=training)[0]
        x = self.norm(self.lstm(states))
        for block in self.blocks:
            x = block(x)
        logits = self.classifier(self.dropout(x[:, 0], training=training))
        loss = None if labels is None else self.hf_compute_loss(labels, logits)
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


class More(deberta_tf.TFDebertaV2ForSequenceClassification):
    """A head of ours with one more layer before it."""

    def __init__(self, config):
        super().__init__(config)
        self.more = tf_keras.layers.Dense(config.hidden_size, name="more")

    def call(self, input_ids=None, attention_mask=None, labels=None, training=None, **options):
        states = self.deberta(input_ids, attention_mask, training=training, return_dict=True).last_hidden_state
        logits = self.predict_from(self.more(states), None, training=training)
        loss = None if labels is None else self.hf_compute_loss(labels, logits)
        return {"logits": logits} if loss is None else {"loss": loss, "logits": logits}


class Other(deberta_tf.TFDebertaV2PreTrainedModel):
    """The encoder under another name, and inputs as a Keras layer takes them."""

    def __init__(self, config):
        super().__init__(config)
        self.backbone = deberta_tf.TFDebertaV2Model(config)
        self.out = tf_keras.Sequential([tf_keras.layers.Dense(4), tf_keras.layers.Dense(2)])

    def call(self, inputs, training=False):
        return self.out(self.backbone(inputs, training=training).last_hidden_state[:, 0])


FRESH = {
    Mine: ["lstm.cell.weight", "lstm.cell.recurrent_kernel", "lstm.cell.bias", "norm.weight", "norm.bias",
           *(f"blocks.{i}.{leaf}" for i in range(2) for leaf in ("weight", "bias"))],
    More: ["more.weight", "more.bias"],
    Other: [f"out.{i}.{leaf}" for i in range(2) for leaf in ("weight", "bias")],
}  # fmt: skip


def source_of(folder, cls=None):
    """A checkpoint with a head of ours, whose every weight is drawn at random; Mine has another classifier."""
    source = tf_model(small_config("v3"), "ForTokenClassification" if cls is Other else "ForSequenceClassification")
    source.save_pretrained(folder)
    return source


def values(model):
    return {key: model.variable(row).numpy() for key, row in model.weight_rows().items()}


def same(one, other):
    a, b = values(one), values(other)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def run(model):
    output = model(tf.constant(IDS))
    return (output["logits"] if isinstance(output, dict) else output).numpy()


@pytest.mark.parametrize("cls", FRESH)
def test_what_matches_is_filled_and_the_rest_begins(cls, tmp_path):
    source = source_of(tmp_path, cls)
    options = {"ignore_mismatched_sizes": True} if cls is Mine else {}
    fresh = sorted(FRESH[cls] + (["classifier.weight"] if cls is Mine else []))
    with one_warning() as seen:
        model, info = cls.from_pretrained(tmp_path, output_loading_info=True, **options)
    assert sorted(info["missing_keys"] + [m[0] for m in info["mismatched_keys"]]) == fresh
    assert f"{cls.__name__}: " in str(seen[0].message)
    want, got = values(source), values(model)
    assert all(np.array_equal(want[key], got[key]) for key in want if key.startswith("deberta."))
    for safe in (False, True):
        model.save_pretrained(tmp_path / f"own{safe}", safe_serialization=safe)
        with one_warning(0):
            again, info = cls.from_pretrained(tmp_path / f"own{safe}", output_loading_info=True)
        assert same(again, model)
        assert not info["missing_keys"]
        np.testing.assert_allclose(run(again), run(model), atol=1e-6)
    if cls is not Mine:  # whose classifier is another; the head that More and Other do not have is carried along
        assert same(type(source).from_pretrained(tmp_path / "ownTrue"), source)


def test_arguments_and_inputs_of_ones_own(tmp_path):
    source_of(tmp_path)
    load = {"ignore_mismatched_sizes": True}
    with one_warning():
        model = Mine.from_pretrained(tmp_path, width=9, name="mine", **load)
    assert (model.lstm.units, model.name) == (9, "mine")
    with pytest.raises(TypeError, match="no keyword and its config no field 'widht'"):
        Mine.from_pretrained(tmp_path, widht=9)
    mask = np.ones_like(IDS)
    want = model({"input_ids": IDS, "attention_mask": mask})["logits"]
    for output in (model(IDS, mask), model([IDS, mask]), model(input_ids=IDS, attention_mask=mask), model.call(IDS)):
        np.testing.assert_allclose(output["logits"], want, atol=1e-6)
    with pytest.raises(TypeError, match="unknown input 'atention_mask'; did you mean 'attention_mask'"):
        model(IDS, atention_mask=mask)
    assert model.base_model is model.deberta
    assert model.get_input_embeddings() is model.deberta.embeddings.word_embeddings


@pytest.mark.parametrize("cls", [Mine, More])
def test_training(cls, tmp_path):
    """By the loss that the own call gives, and by one of Keras."""
    x = {"input_ids": np.random.default_rng(0).integers(1, 53, (8, 6))}
    y = x["input_ids"][:, 0] % 3
    for loss in (None, tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)):
        model = cls(small_config("v3", num_hidden_layers=1))
        model.compile(tf_keras.optimizers.Adam(1e-2), loss=loss)
        losses = model.fit(x, y, batch_size=8, epochs=8, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
    dropped = Mine(small_config("v3", hidden_dropout_prob=0.5))
    one, two = (dropped(IDS, training=True)["logits"].numpy() for _ in range(2))
    assert not np.allclose(one, two), "dropout draws anew"


def test_a_loss_that_takes_no_weights_says_so():
    class Bare(More):
        def call(self, input_ids=None, labels=None, training=None):
            logits = super().call(input_ids, training=training)["logits"]
            return {"loss": tf.reduce_mean(tf.square(logits)), "logits": logits}

    model = Bare(small_config("v3", num_hidden_layers=1))
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match="the loss of Bare takes no weights of examples or classes"):
        model.fit(IDS, np.array([1]), sample_weight=np.array([0.5]), verbose=0)


def test_own_classes_go_between_frameworks(tmp_path):
    torch = pytest.importorskip("torch")
    import deberta_pt
    from conversion import convert

    class Twin(deberta_pt.DebertaV2ForSequenceClassification):
        def __init__(self, config):
            super().__init__(config)
            self.more = torch.nn.Linear(config.hidden_size, config.hidden_size)
            self.post_init()

        def forward(self, input_ids):
            states = self.deberta(input_ids).last_hidden_state
            return self.predict_from(self.more(states), None)

    source_of(tmp_path)
    with one_warning():
        model = More.from_pretrained(tmp_path)
    model.more.bias.assign_add(tf.range(24.0))
    model.save_pretrained(tmp_path / "tf")
    convert(tmp_path / "tf", tmp_path / "pt", to="pt")
    with one_warning(0):
        loaded = [Twin.from_pretrained(tmp_path / name) for name in ("tf", "pt")]
    for twin in loaded:
        np.testing.assert_allclose(twin(torch.tensor(IDS)).detach(), run(model), atol=1e-5)
    loaded[0].save_pretrained(tmp_path / "other")
    convert(tmp_path / "other", tmp_path / "back", to="tf")
    for name in ("other", "back"):
        with one_warning(0):
            assert same(More.from_pretrained(tmp_path / name), model)


class Halved(tf_keras.layers.Layer):
    """Around a layer of ours, with a branch that AutoGraph makes one of the graph."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        x = self.inner(x)
        if tf.reduce_sum(x) > 0:
            x = x / 2
        return x


class Clipped(deberta_tf.TFDebertaV2ForSequenceClassification):
    """A method of ours with such a branch."""

    def predict_from(self, hidden, mask, training=None):
        if tf.reduce_max(hidden) > 1:
            hidden = hidden / tf.reduce_max(hidden)
        return super().predict_from(hidden, mask, training=training)


@pytest.mark.parametrize("own", ["layer", "class"])
def test_autograph_rewrites_what_is_ones_own(own, monkeypatch):
    """And none of the layers of this project, which took most of the time of the first step."""
    from tensorflow.python.autograph.impl import api

    rewritten, convert = [], api._convert_actual
    monkeypatch.setattr(api, "_convert_actual", lambda what, *more: (rewritten.append(what), convert(what, *more))[1])
    config = small_config(num_hidden_layers=1)
    if own == "layer":
        model = tf_model(config, "ForSequenceClassification")
        model.deberta.encoder.layer[0].intermediate = Halved(model.deberta.encoder.layer[0].intermediate)
    else:
        model = Clipped(config)
    want, graph = model(IDS).logits, tf.function(lambda ids: model(ids).logits)
    np.testing.assert_allclose(graph(tf.constant(IDS)), want, atol=1e-5)
    model.compile("sgd")
    model.fit(IDS, np.zeros(1, int), verbose=0)
    names = {f"{entity.__module__}.{entity.__qualname__}" for entity in rewritten}
    method = "Halved.call" if own == "layer" else "Clipped.predict_from"
    assert f"{__name__}.{method}" in names
    layers = {name for name in names if name.startswith("deberta_tf.") and name.endswith((".call", ".__call__"))}
    derived = {"deberta_tf.heads.TFLabelledModel.call", "deberta_tf.pretrained.TFPreTrainedModel.__call__"}
    assert layers == (set() if own == "layer" else derived)
