"""Files of every format, in both frameworks, with and without the other: nothing lost, nothing random in silence."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("tensorflow")
from safetensors.numpy import load_file, save_file  # noqa: E402

import deberta_pt  # noqa: E402
import deberta_tf  # noqa: E402
from deberta_core.checkpoint import find_weights, open_weights  # noqa: E402
from deberta_core.heads import weights  # noqa: E402
from tests.models.helpers import (  # noqa: E402
    BASES,
    class_name,
    existing,
    pt_model,
    pt_values,
    put_pt,
    random_weights,
    small_config,
    tf_model,
    tf_values,
)

ROOT = Path(__file__).parents[2]
HEADS = existing(deberta_pt)
SEQUENCE = "ForSequenceClassification"
WRITERS = {
    "safetensors": lambda pt, tf_, path: pt.save_pretrained(path),
    "sharded safetensors": lambda pt, tf_, path: pt.save_pretrained(path, max_shard_size="9KB"),
    "bin": lambda pt, tf_, path: pt.save_pretrained(path, safe_serialization=False),
    "sharded bin": lambda pt, tf_, path: pt.save_pretrained(path, safe_serialization=False, max_shard_size="9KB"),
    "h5": lambda pt, tf_, path: tf_.save_pretrained(path),
    "sharded h5": lambda pt, tf_, path: tf_.save_pretrained(path, max_shard_size="9KB"),
    "tf safetensors": lambda pt, tf_, path: tf_.save_pretrained(path, safe_serialization=True),
}


def cls_of(config, head, framework="pt"):
    package, prefix = (deberta_pt, "") if framework == "pt" else (deberta_tf, "TF")
    return getattr(package, prefix + class_name(config, head))


def values_of(model):
    return pt_values(model) if isinstance(model, torch.nn.Module) else tf_values(model)


def assert_same_bits(got, want):
    assert got.keys() == want.keys()
    for key in want:
        assert np.array_equal(np.asarray(got[key]), np.asarray(want[key], np.asarray(got[key]).dtype)), key


@pytest.fixture
def saved(tmp_path):
    """A sequence classifier on disk, and its weights."""
    config = small_config("v3")
    model = pt_model(config, SEQUENCE)
    model.save_pretrained(tmp_path)
    return tmp_path, config, pt_values(model)


def rewrite(folder, change):
    """Change the tensors of ``model.safetensors`` by a function of the dict."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("base", BASES)
def test_round_trip(tmp_path, base, writer):
    """Every format, read by both frameworks, bit for bit, without a warning."""
    config = small_config(base, share_att_key=False) if base == "v3" else small_config(base)
    values = {k: v.astype(np.float32) for k, v in random_weights(config, SEQUENCE).items()}
    WRITERS[writer](pt_model(config, SEQUENCE, values), tf_model(config, SEQUENCE, values), tmp_path)
    sharded = "sharded" in writer
    assert any(name.endswith(".index.json") for name in os.listdir(tmp_path)) == sharded
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for framework in ("pt", "tf"):
            model = cls_of(config, SEQUENCE, framework).from_pretrained(tmp_path)
            assert_same_bits(values_of(model), values)
            assert model.config.to_dict() == {**config.to_dict(), **model.config.extra}


@pytest.mark.parametrize("head", HEADS)
def test_round_trip_of_every_head(tmp_path, head):
    config = small_config("v1", embedding_size=10)
    values = {k: v.astype(np.float32) for k, v in random_weights(config, head).items()}
    pt_model(config, head, values).save_pretrained(tmp_path / "pt")
    tf_model(config, head, values).save_pretrained(tmp_path / "tf")
    for folder in ("pt", "tf"):
        for framework in ("pt", "tf"):
            model, info = cls_of(config, head, framework).from_pretrained(tmp_path / folder, output_loading_info=True)
            assert_same_bits(values_of(model), values)
            assert not info["missing_keys"]
            assert not info["unexpected_keys"]
            assert not info["mismatched_keys"]


@pytest.mark.parametrize("kind", ["legacy", "plain", "emd"])
def test_masked_lm_head_follows_the_file(tmp_path, kind):
    """A config that says ``auto`` gets the head whose keys the file holds, in both frameworks and both formats."""
    config = small_config("v3", mlm_head=kind)
    values = {k: v.astype(np.float32) for k, v in random_weights(config, "ForMaskedLM").items()}
    pt_model(config, "ForMaskedLM", values).save_pretrained(tmp_path / "pt")
    tf_model(config, "ForMaskedLM", values).save_pretrained(tmp_path / "tf")
    for folder in ("pt", "tf"):
        file = tmp_path / folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "mlm_head": "auto", "legacy": True}))
        for framework in ("pt", "tf"):
            model = cls_of(config, "ForMaskedLM", framework).from_pretrained(tmp_path / folder)
            assert model.kind == kind
            assert_same_bits(values_of(model), values)


@pytest.mark.parametrize("tied", [True, False])
def test_no_alias_is_saved(tmp_path, tied):
    config = small_config("v3", mlm_head="legacy", tie_word_embeddings=tied)
    model = pt_model(config, "ForMaskedLM")
    keys = set(model.state_dict())
    assert keys == set(weights(config, "ForMaskedLM"))
    assert ("cls.predictions.decoder.weight" in keys) != tied
    assert "cls.predictions.decoder.bias" not in keys
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == keys
    assert_same_bits(pt_values(type(model).from_pretrained(tmp_path)), pt_values(model))


def test_published_file_with_aliases(tmp_path):
    """Files of other software hold the tied matrix and the bias twice."""
    config = small_config("v3", mlm_head="legacy")
    model = pt_model(config, "ForMaskedLM")
    model.save_pretrained(tmp_path)
    want = pt_values(model)
    table, bias = want["deberta.embeddings.word_embeddings.weight"], want["cls.predictions.bias"]
    aliases = {"cls.predictions.decoder.weight": table, "cls.predictions.decoder.bias": bias}
    rewrite(tmp_path, lambda t: {**t, **aliases})
    for framework in ("pt", "tf"):
        model, info = cls_of(config, "ForMaskedLM", framework).from_pretrained(tmp_path, output_loading_info=True)
        assert_same_bits(values_of(model), want)
        assert not info["unexpected_keys"]
    fresh = pt_model(config, "ForMaskedLM", {k: v * 0 for k, v in want.items()})
    fresh.load_state_dict({**{k: torch.from_numpy(v) for k, v in want.items()}, **{
        k: torch.from_numpy(v) for k, v in aliases.items()}})
    assert_same_bits(pt_values(fresh), want)


def test_table_only_under_its_alias(tmp_path):
    config = small_config("v3", mlm_head="legacy")
    model = pt_model(config, "ForMaskedLM")
    model.save_pretrained(tmp_path)
    word = "deberta.embeddings.word_embeddings.weight"
    rewrite(tmp_path, lambda t: {("cls.predictions.decoder.weight" if k == word else k): v for k, v in t.items()})
    assert_same_bits(pt_values(type(model).from_pretrained(tmp_path)), pt_values(model))


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_a_decoder_of_its_own_survives_a_class_without_it(tmp_path, framework):
    config = small_config("v3", mlm_head="legacy", tie_word_embeddings=False)
    whole = pt_model(config, "ForMaskedLM")
    whole.save_pretrained(tmp_path)
    encoder, info = cls_of(config, "Model", framework).from_pretrained(tmp_path, output_loading_info=True)
    assert "cls.predictions.decoder.weight" in info["unexpected_keys"]
    encoder.save_pretrained(tmp_path / "again")
    assert_same_bits(pt_values(type(whole).from_pretrained(tmp_path / "again")), pt_values(whole))


def test_a_bias_only_under_its_alias_survives_a_class_without_it(tmp_path):
    config = small_config("v3", mlm_head="legacy")
    whole = pt_model(config, "ForMaskedLM")
    whole.save_pretrained(tmp_path)
    bias, alias = "cls.predictions.bias", "cls.predictions.decoder.bias"
    rewrite(tmp_path, lambda t: {(alias if k == bias else k): v for k, v in t.items()})
    cls_of(config, "Model", "pt").from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert_same_bits(pt_values(type(whole).from_pretrained(tmp_path / "again")), pt_values(whole))


def spelled(key):
    return key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


SPELLINGS = {
    "gamma and beta": spelled,
    "bert prefix": lambda key: key.replace("deberta.", "bert.") if key.startswith("deberta.") else key,
    "module prefix": lambda key: "module." + key,
    "no prefix": lambda key: key.removeprefix("deberta."),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_other_spellings(saved, framework, spelling):
    folder, config, want = saved
    rewrite(folder, lambda t: {SPELLINGS[spelling](k): v for k, v in t.items()})
    model, info = cls_of(config, SEQUENCE, framework).from_pretrained(folder, output_loading_info=True)
    assert_same_bits(values_of(model), want)
    assert not info["unexpected_keys"]
    if spelling != "no prefix":
        assert info["renamed_keys"]


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_what_is_not_needed_is_listed(saved, framework):
    folder, config, want = saved
    positions = np.zeros((16, 24), np.float32)
    extra = {
        "deberta.embeddings.position_ids": np.arange(16)[None],
        "deberta.embeddings.position_embeddings.weight": positions,
        "deberta.embeddings.word_embeddings._weight": positions,
        "lm_predictions.lm_head.bias": np.zeros(53, np.float32),
        "mask_predictions.dense.bias": np.zeros(24, np.float32),
    }
    rewrite(folder, lambda t: {**t, **extra})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, info = cls_of(config, SEQUENCE, framework).from_pretrained(folder, output_loading_info=True)
    assert_same_bits(values_of(model), want)
    assert set(info["unexpected_keys"]) == set(extra) - {"deberta.embeddings.position_ids"}


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_base_and_head_exchange_files(tmp_path, framework):
    """An encoder's file starts a classifier, whose new head is named in a warning; a classifier's starts an encoder."""
    config = small_config("v2")
    body = pt_model(config)
    body.save_pretrained(tmp_path / "base")
    assert not any(k.startswith("deberta.") for k in load_file(tmp_path / "base" / "model.safetensors"))
    with pytest.warns(UserWarning, match="newly initialised") as seen:
        model = cls_of(config, SEQUENCE, framework).from_pretrained(tmp_path / "base")
    text = str(seen[0].message)
    for key in ("pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"):
        assert key in text
    assert "deberta." not in text.split("not found")[0].replace("TFDeberta", "").replace("Deberta", "")
    loaded = values_of(model)
    assert_same_bits({k: loaded[k] for k in pt_values(body)}, pt_values(body))
    assert 0.01 < loaded["classifier.weight"].std() < 0.03
    assert not loaded["classifier.bias"].any()
    model.save_pretrained(tmp_path / "head")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again = cls_of(config, "Model", framework).from_pretrained(tmp_path / "head")
    assert_same_bits(values_of(again), pt_values(body))


@pytest.mark.parametrize("framework", ["pt", "tf"])
class TestRefusals:
    def load(self, framework, config, folder, **options):
        return cls_of(config, SEQUENCE, framework).from_pretrained(folder, **options)

    def test_a_weight_of_the_encoder_is_missing(self, saved, framework):
        folder, config, _ = saved
        key = "deberta.encoder.layer.1.attention.self.query_proj.bias"
        rewrite(folder, lambda t: {k: v for k, v in t.items() if k != key})
        with pytest.raises(ValueError, match=rf"model.safetensors lacks 1 weights of the encoder.*{re.escape(key)}"):
            self.load(framework, config, folder)

    def test_only_a_difference_to_a_generator(self, saved, framework):
        folder, config, _ = saved
        word = "deberta.embeddings.word_embeddings."
        rewrite(folder, lambda t: {k.replace(word + "weight", word + "_weight"): v for k, v in t.items()})
        with pytest.raises(ValueError, match=r"_weight.*merge it with the generator"):
            self.load(framework, config, folder)

    def test_wrong_number_of_labels(self, saved, framework):
        folder, config, want = saved
        text = r"num_labels is 5.*classifier.weight is \[3, 24\], the config asks for \[5, 24\].*ignore_mismatched"
        with pytest.raises(ValueError, match=text):
            self.load(framework, config, folder, num_labels=5)
        with pytest.warns(UserWarning, match=r"classifier.\w+, classifier.\w+ not found"):
            model, info = self.load(
                framework, config, folder, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
            )
        got = values_of(model)
        assert got["classifier.weight"].shape == (5, 24)
        assert sorted(k for k, *_ in info["mismatched_keys"]) == ["classifier.bias", "classifier.weight"]
        kept = [k for k in want if not k.startswith("classifier.")]
        assert_same_bits({k: got[k] for k in kept}, {k: want[k] for k in kept})

    def test_a_body_of_other_sizes(self, saved, framework):
        folder, config, _ = saved
        for options in ({}, {"ignore_mismatched_sizes": True}):
            text = r"intermediate.dense.weight is \[20, 24\], the config asks for \[28, 24\]"
            with pytest.raises(ValueError, match=text):
                self.load(framework, config, folder, intermediate_size=28, **options)

    def test_unknown_keyword(self, saved, framework):
        folder, config, _ = saved
        with pytest.raises(TypeError, match="no field 'num_lables'; did you mean 'num_labels'"):
            self.load(framework, config, folder, num_lables=3)

    def test_no_weights(self, saved, framework):
        folder, config, _ = saved
        (folder / "model.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=re.escape(str(folder))):
            self.load(framework, config, folder)

    def test_no_folder(self, saved, framework):
        folder, config, _ = saved
        with pytest.raises(FileNotFoundError, match=r"no config\.json"):
            self.load(framework, config, folder / "nowhere")

    @pytest.mark.parametrize("kind", ["cut short", "empty", "another kind"])
    @pytest.mark.parametrize("writer", ["safetensors", "bin", "h5"])
    def test_damaged(self, tmp_path, framework, writer, kind):
        config = small_config("v3")
        WRITERS[writer](pt_model(config, SEQUENCE), tf_model(config, SEQUENCE), tmp_path)
        file = find_weights(tmp_path)
        content = file.read_bytes()
        damaged = {"cut short": content[: len(content) * 2 // 3], "empty": b"", "another kind": b"GIF89a" * 99}
        file.write_bytes(damaged[kind])
        with pytest.raises(ValueError, match=re.escape(file.name)):
            self.load(framework, config, tmp_path)

    def test_dtype(self, saved, framework):
        folder, config, _ = saved
        for dtype in ("int32", "float17"):
            with pytest.raises(ValueError, match=f"dtype is '{dtype}', expected 'auto' or a floating-point dtype"):
                self.load(framework, config, folder, dtype=dtype)

    def test_config_of_the_other_family(self, saved, framework):
        with pytest.raises(TypeError, match="takes a DebertaV2Config, got a DebertaConfig"):
            cls_of(saved[1], SEQUENCE, framework)(small_config("v1"))


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [
        ("float16", None, "float32"), ("float16", "auto", "float16"), ("float16", "float16", "float16"),
        ("float32", "bfloat16", "bfloat16"), ("mixed", None, "float32"), ("mixed", "auto", "float32"),
    ],
)  # fmt: skip
def test_dtype(saved, framework, stored, asked, expected):
    """Explicit: float32 unless asked, whatever the file holds."""
    folder, config, want = saved
    word = "deberta.embeddings.word_embeddings.weight"
    half = {k for k in want if stored == "float16" or (stored == "mixed" and k != word)}
    rewrite(folder, lambda t: {k: v.astype(np.float16) if k in half else v for k, v in t.items()})
    cls = cls_of(config, SEQUENCE, framework)
    for name in ("dtype", "torch_dtype"):
        model = cls.from_pretrained(folder, **({} if asked is None else {name: asked}))
        found = (
            {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
            if framework == "pt" else {v.dtype.name for v in model.trainable_weights}
        )  # fmt: skip
        assert found == {expected}
    if expected == "float32":
        kept = {k: v.astype(np.float16) if k in half else v for k, v in want.items()}
        assert_same_bits(values_of(model), {k: v.astype(np.float32) for k, v in kept.items()})


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_half_precision_round_trip(tmp_path, framework):
    config = small_config("v2")
    pt_model(config).save_pretrained(tmp_path / "full")
    cls = cls_of(config, "Model", framework)
    model = cls.from_pretrained(tmp_path / "full", dtype="bfloat16")
    if framework == "tf":
        with pytest.raises(ValueError, match=r"h5 cannot hold .* of type bfloat16"):
            model.save_pretrained(tmp_path / "half")
    model.save_pretrained(tmp_path / "half", safe_serialization=True)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    first = cls_of(config, "Model", "pt").from_pretrained(tmp_path / "half")
    again = cls.from_pretrained(tmp_path / "half", dtype="auto")
    other = cls_of(config, "Model", "tf").from_pretrained(tmp_path / "half")
    assert_same_bits(tf_values(other), pt_values(first))
    name = str(again.dtype) if framework == "pt" else again.trainable_weights[0].dtype.name
    assert name.removeprefix("torch.") == "bfloat16"


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_choice_of_the_file(tmp_path, framework):
    """Where a folder holds several formats, keywords choose among them."""
    config = small_config("v3")
    by_format = {}
    for writer, scale in (("bin", 2), ("safetensors", 1), ("h5", 3)):
        values = {k: (v * scale).astype(np.float32) for k, v in random_weights(config, SEQUENCE).items()}
        WRITERS[writer](pt_model(config, SEQUENCE, values), tf_model(config, SEQUENCE, values), tmp_path)
        by_format[writer] = values
    cls = cls_of(config, SEQUENCE, framework)
    own = "safetensors" if framework == "pt" else "h5"
    other = {"from_tf": True} if framework == "pt" else {"from_pt": True}
    foreign = "h5" if framework == "pt" else "safetensors"
    for options, writer in (({}, own), (other, foreign), ({"use_safetensors": True}, "safetensors")):
        assert_same_bits(values_of(cls.from_pretrained(tmp_path, **options)), by_format[writer])
    never = cls.from_pretrained(tmp_path, use_safetensors=False)
    assert_same_bits(values_of(never), by_format["bin" if framework == "pt" else "h5"])


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_subfolder_and_auto_classes(saved, framework, tmp_path):
    folder, config, want = saved
    package, prefix = (deberta_pt, "") if framework == "pt" else (deberta_tf, "TF")
    auto = getattr(package, f"{prefix}AutoModelForSequenceClassification")
    model = auto.from_pretrained(folder.parent, subfolder=folder.name, attn_implementation="eager")
    assert type(model) is cls_of(config, SEQUENCE, framework)
    assert_same_bits(values_of(model), want)
    assert model.config.attn_implementation == "eager"
    made = getattr(package, f"{prefix}AutoModel").from_config(small_config("v1"))
    assert type(made).__name__ == f"{prefix}DebertaModel"
    assert type(auto.from_pretrained(folder, config=config)) is cls_of(config, SEQUENCE, framework)
    with pytest.raises(TypeError, match="from_pretrained or from_config"):
        auto()
    with pytest.raises(TypeError, match="takes a folder or a name"):
        auto.from_pretrained(None)
    with pytest.raises(ValueError, match="model_type is 'bert', expected one of deberta, deberta-v2"):
        auto.from_config(type("BertConfig", (), {"model_type": "bert"})())


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_auto_classes_name_the_file_of_an_unknown_family(saved, framework, tmp_path):
    folder, config, _ = saved
    shutil.copytree(folder, tmp_path / "other")
    auto = deberta_pt.AutoModel if framework == "pt" else deberta_tf.TFAutoModel
    for kind in (None, 5, ["deberta-v2"], "bert"):
        (tmp_path / "other" / "config.json").write_text(json.dumps({**config.to_dict(), "model_type": kind}))
        text = rf"config\.json: model_type is {re.escape(repr(kind))}, expected one of deberta, deberta-v2"
        with pytest.raises(ValueError, match=text):
            auto.from_pretrained(tmp_path / "other")


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_auto_classes_cover_every_head(framework):
    package, prefix = (deberta_pt, "") if framework == "pt" else (deberta_tf, "TF")
    for head in HEADS:
        assert getattr(package, f"{prefix}AutoModel{'' if head == 'Model' else head}").head == head


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_failed_save_leaves_the_old_state(tmp_path, framework, sharded, monkeypatch):
    """Either the old state or the new one: a disk that fills up half-way changes nothing."""
    config = small_config("v3")
    model = pt_model(config, SEQUENCE) if framework == "pt" else tf_model(config, SEQUENCE)
    options = {"max_shard_size": "9KB"} if sharded else {}
    model.save_pretrained(tmp_path, **options)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    module = sys.modules[f"deberta_{framework}.pretrained"]
    real, calls = module._reader, []

    def failing(value):
        calls.append(1)
        if len(calls) > 20:
            def read():
                raise OSError(28, "No space left on device")
            return read
        return real(value)

    monkeypatch.setattr(module, "_reader", failing)
    with pytest.raises(OSError, match="28"):
        model.save_pretrained(tmp_path, **options)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(
    "change",
    [
        {"num_labels": 10**9}, {"num_hidden_layers": 200_000}, {"vocab_size": 10**9}, {"hidden_size": 3 * 10**6},
        {"intermediate_size": 10**9}, {"position_buckets": 10**9}, {"max_position_embeddings": 10**9},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_absurd_sizes_are_refused_before_anything_is_built(tmp_path, framework, change):
    config = small_config("v3", position_biased_input=True)
    model = pt_model(config, SEQUENCE)
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    if "num_labels" in change:
        values.pop("id2label"), values.pop("label2id")
    (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
    started = time.monotonic()
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        cls_of(config, SEQUENCE, framework).from_pretrained(tmp_path)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_an_empty_tensor_is_no_reason_for_many_labels(tmp_path, framework):
    """It takes no byte of the file, whatever it claims."""
    config = small_config("v3")
    pt_model(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({**tensors, "empty": np.zeros((10**9, 0), np.float32)}, tmp_path / "model.safetensors")
    values = json.loads((tmp_path / "config.json").read_text())
    del values["id2label"], values["label2id"]
    (tmp_path / "config.json").write_text(json.dumps({**values, "num_labels": 100_000}))
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.*num_labels is 100000, but"):
        cls_of(config, SEQUENCE, framework).from_pretrained(tmp_path)


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_loads_beside_a_save(tmp_path, framework):
    """Config and weights of two models take turns; a reader has those of one."""
    models = []
    for labels in (2, 5):
        config = small_config("v3", num_labels=labels)
        models.append(pt_model(config, SEQUENCE) if framework == "pt" else tf_model(config, SEQUENCE))
    models[0].save_pretrained(tmp_path)
    ended = threading.Event()

    def work():
        while not ended.is_set():
            for model in reversed(models):
                model.save_pretrained(tmp_path)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        count = 25 if framework == "pt" else 6
        found = [type(models[0]).from_pretrained(tmp_path).config.num_labels for _ in range(count)]
    finally:
        ended.set()
        writer.join()
    assert set(found) <= {2, 5}
    assert set(os.listdir(tmp_path)) <= {"config.json", "README.md", "model.safetensors", "tf_model.h5"}


def test_saving_leaves_no_stale_shards(tmp_path):
    config = small_config("v3")
    model = pt_model(config, SEQUENCE)
    model.save_pretrained(tmp_path, max_shard_size="9KB")
    put_pt(model, {k: v + 1 for k, v in random_weights(config, SEQUENCE).items()})
    model.save_pretrained(tmp_path)
    assert_same_bits(pt_values(type(model).from_pretrained(tmp_path)), pt_values(model))


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize("limit", ["5GB", "9KB"])
def test_what_was_saved_is_what_is_read(tmp_path, framework, safe, limit):
    """Whatever format the folder held before: a file that would be read first does not outlive it."""
    config, make = small_config("v3"), {"pt": pt_model, "tf": tf_model}[framework]
    old, new = (random_weights(config, SEQUENCE, seed=seed) for seed in (1, 2))
    make(config, SEQUENCE, old).save_pretrained(tmp_path, safe_serialization=not safe, max_shard_size=limit)
    model = make(config, SEQUENCE, new)
    model.save_pretrained(tmp_path, safe_serialization=safe)
    model.save_pretrained(tmp_path, safe_serialization=safe, variant="fp16")
    for variant in (None, "fp16"):
        loaded = type(model).from_pretrained(tmp_path, variant=variant)
        assert_same_bits(values_of(loaded), new)


ALONE = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {hidden!r}:
            return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import {package}
model = {package}.{cls}.from_pretrained({source!r})
model.save_pretrained({target!r})
assert not set(sys.modules) & set({hidden!r})
print("ok")
"""


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_without_the_other_framework(tmp_path, framework):
    """PyTorch reads TensorFlow's h5 with no TensorFlow installed, TensorFlow PyTorch's files with no PyTorch."""
    config = small_config("v2")
    values = {k: v.astype(np.float32) for k, v in random_weights(config, SEQUENCE).items()}
    if framework == "pt":
        tf_model(config, SEQUENCE, values).save_pretrained(tmp_path / "source")
        hidden = ("tensorflow", "tf_keras", "keras")
    else:
        pt_model(config, SEQUENCE, values).save_pretrained(tmp_path / "source", safe_serialization=False)
        hidden = ("torch",)
    cls = cls_of(config, SEQUENCE, framework)
    code = ALONE.format(
        hidden=hidden, package=f"deberta_{framework}", cls=cls.__name__,
        source=str(tmp_path / "source"), target=str(tmp_path / "target"),
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "ok", done.stderr[-2000:]
    assert_same_bits(values_of(cls.from_pretrained(tmp_path / "target")), values)


def test_neither_core_nor_tokenizers_import_a_framework():
    code = "import deberta_core.heads, deberta_core.loading, tokenization, conversion, sys; " \
        "print([m for m in ('torch', 'tensorflow', 'tf_keras', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("head", HEADS)
def test_the_weight_table_is_the_model(base, head):
    """Names and shapes of the table are those of ``state_dict`` and, by attribute path, of the TensorFlow variables."""
    config = small_config(base, embedding_size=10, type_vocab_size=2, position_biased_input=True, num_labels=4)
    if base == "v1":
        config.talking_head = True
    table = weights(config, head)
    model = cls_of(config, head)(config)
    found = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert found == {model.own_key(key): weight.shape for key, weight in table.items()}
    twin = cls_of(config, head, "tf")(config)
    variables = {key: twin.variable(weight) for key, weight in table.items()}
    for key, weight in table.items():
        assert tuple(variables[key].shape) == (weight.shape[::-1] if weight.transposed else weight.shape), key
    assert {id(v) for v in variables.values()} == {id(v) for v in twin.trainable_weights}
    assert len({v.name for v in twin.weights}) == len(twin.weights), "Keras' own files need names of their own"


@pytest.mark.parametrize("writer", ["h5", "sharded h5"])
def test_h5_is_laid_out_as_published(tmp_path, writer):
    import h5py

    config = small_config("v2", share_att_key=False, mlm_head="legacy")
    model = tf_model(config, "ForMaskedLM")
    WRITERS[writer](None, model, tmp_path)
    if "sharded" in writer:
        index = json.loads((tmp_path / "tf_model.h5.index.json").read_text())
        assert set(index["weight_map"]) == {w.tf_name for w in weights(config, "ForMaskedLM").values()}
        return
    with h5py.File(tmp_path / "tf_model.h5") as file:
        names = [n.decode() if isinstance(n, bytes) else n for n in file.attrs["layer_names"]]
        assert names == ["deberta", "cls"]
        assert file.attrs["backend"] in ("tensorflow", b"tensorflow")
        assert "top_level_model_weights" in file
        cls = [n.decode() if isinstance(n, bytes) else n for n in file["cls"].attrs["weight_names"]]
        root = "tf_deberta_v2_for_masked_lm/"
        assert root + "cls/predictions/bias:0" in cls
        assert root + "deberta/embeddings/word_embeddings/weight:0" in cls, "the tied layer repeats the embeddings"
        body = [n.decode() if isinstance(n, bytes) else n for n in file["deberta"].attrs["weight_names"]]
        assert root + "deberta/encoder/rel_embeddings.weight:0" in body
        assert root + "deberta/encoder/layer_._1/attention/self/pos_proj/kernel:0" in body
        for name in body:
            assert name in file["deberta"]


def test_the_reader_lists_what_was_written(saved):
    folder, config, want = saved
    with open_weights(find_weights(folder)) as file:
        assert set(file.tensors) == set(weights(config, SEQUENCE))
        for key in want:
            assert np.array_equal(file.read(key), want[key])


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_answers_have_two_outputs_whatever_the_config_says(framework, tmp_path):
    """A classifier's config, used for question answering: the saved file says what it holds."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    model = (pt_model if framework == "pt" else tf_model)(small_config("v3", num_labels=3), "ForQuestionAnswering")
    model.save_pretrained(tmp_path)
    assert type(model.config).from_pretrained(tmp_path).num_labels == 2


@pytest.mark.parametrize("base", ["v1", "v3"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_the_encoder_inside_is_of_the_public_class(framework, base, tmp_path):
    """It was of a class that nobody could name, and a saved encoder said so in its config."""
    package = pytest.importorskip(f"deberta_{framework}", exc_type=ImportError)
    config, prefix = small_config(base), "TF" if framework == "tf" else ""
    for head in [head for head in HEADS if head != "Model"]:
        model = getattr(package, prefix + class_name(config, head))(config)
        assert type(model.deberta) is getattr(package, prefix + class_name(config, "Model"))
    assert isinstance(model.deberta, getattr(package, prefix + class_name(config, "PreTrainedModel")))
    model.deberta.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [class_name(config, "Model")]
