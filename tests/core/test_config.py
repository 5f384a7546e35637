"""Configs: defaults, checks and their texts, unknown keys, label maps, files that come back byte for byte."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
import time
import warnings

import pytest

from deberta_core.config import AutoConfig, BaseConfig, DebertaConfig, DebertaV2Config
from deberta_core.heads import parameter_count
from deberta_core.presets import PRESETS, preset
from deberta_core.weight_names import body_weights

BOTH = pytest.mark.parametrize("cls", [DebertaConfig, DebertaV2Config])

PUBLISHED_COUNTS = {
    "deberta-base": 138_601_728, "deberta-large": 405_163_008, "deberta-xlarge": 757_804_032,
    "deberta-v2-xlarge": 884_593_152, "deberta-v2-xxlarge": 1_564_549_632, "deberta-v3-xsmall": 70_682_112,
    "deberta-v3-small": 141_304_320, "deberta-v3-base": 183_831_552, "deberta-v3-large": 434_012_160,
    "mdeberta-v3-base": 278_218_752,
}  # fmt: skip

DEFAULTS = {
    "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512, "type_vocab_size": 0, "initializer_range": 0.02, "layer_norm_eps": 1e-7,
    "relative_attention": False, "max_relative_positions": -1, "pad_token_id": 0, "position_biased_input": True,
    "pos_att_type": None, "pooler_dropout": 0, "pooler_hidden_act": "gelu", "legacy": True, "num_labels": 2,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"}, "problem_type": None, "tie_word_embeddings": True,
    "output_attentions": False, "output_hidden_states": False, "return_dict": True, "cls_dropout": None,
}  # fmt: skip


@BOTH
@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_default(cls, name, value):
    assert getattr(cls(), name) == value


def test_defaults_of_one_family():
    assert DebertaConfig().vocab_size == 50265
    assert DebertaConfig().hidden_size == 768
    assert DebertaConfig().talking_head is False
    config = DebertaV2Config()
    sizes = config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    assert sizes == (128100, 1536, 24, 24)
    assert (config.intermediate_size, config.conv_act, config.conv_groups) == (6144, "tanh", 1)
    assert (config.position_buckets, config.share_att_key, config.norm_rel_ebd) == (-1, False, "none")


@pytest.mark.parametrize(("name", "count"), PUBLISHED_COUNTS.items())
def test_preset_has_the_published_number_of_parameters(name, count):
    assert parameter_count(preset(name)) == count
    assert preset("microsoft/" + name) == preset(name)


def test_presets():
    assert PRESETS.keys() == PUBLISHED_COUNTS.keys()
    assert preset("deberta-v3-base", num_labels=3).num_labels == 3
    with pytest.raises(KeyError, match=r"unknown preset 'deberta-v4'.*deberta-v3-base"):
        preset("deberta-v4")


BAD = [
    ({"hidden_size": 30}, ValueError, "hidden_size 30 is not divisible by num_attention_heads 12"),
    ({"hidden_size": -768}, ValueError, "hidden_size is -768, expected a positive number"),
    ({"hidden_size": 0}, ValueError, "hidden_size is 0, expected a positive number"),
    ({"vocab_size": -1}, ValueError, "vocab_size is -1"),
    ({"num_hidden_layers": 0}, ValueError, "num_hidden_layers is 0"),
    ({"type_vocab_size": -2}, ValueError, "type_vocab_size is -2, expected zero or more"),
    ({"hidden_dropout_prob": 1.0}, ValueError, r"hidden_dropout_prob is 1.0, expected a probability, 0 <= p < 1"),
    ({"attention_probs_dropout_prob": -0.1}, ValueError, "attention_probs_dropout_prob is -0.1"),
    ({"cls_dropout": 2}, ValueError, "cls_dropout is 2"),
    ({"layer_norm_eps": -1e-7}, ValueError, "layer_norm_eps is -1e-07"),
    ({"hidden_act": "geul"}, ValueError, "hidden_act is 'geul', expected one of gelu"),
    ({"pooler_hidden_act": "x"}, ValueError, "pooler_hidden_act is 'x'"),
    ({"problem_type": "regresion"}, ValueError, "problem_type is 'regresion', expected one of regression"),
    ({"masked_rows": "none"}, ValueError, "masked_rows is 'none', expected one of zero, uniform"),
    ({"attn_implementation": "flash"}, ValueError, "attn_implementation is 'flash', expected one of"),
    ({"mlm_head": "x"}, ValueError, "mlm_head is 'x'"),
    ({"pos_att_type": "p2p"}, ValueError, "pos_att_type holds 'p2p'"),
    ({"pos_att_type": ["c2p", "p2p"]}, ValueError, "pos_att_type holds 'p2p'"),
    ({"pos_att_type": "c2q"}, ValueError, "pos_att_type is 'c2q', expected c2p, p2c, both or none"),
    ({"pooler_hidden_size": 12}, ValueError, "pooler_hidden_size is 12, expected hidden_size"),
    ({"pad_token_id": 10**6}, ValueError, "pad_token_id is 1000000, expected an id below vocab_size"),
    ({"pad_token_id": -1}, ValueError, "pad_token_id is -1"),
    ({"num_labels": 0}, ValueError, "num_labels is 0"),
    ({"hidden_size": "768"}, TypeError, "hidden_size is '768' of type str, expected int"),
    ({"hidden_size": 768.0}, TypeError, "hidden_size is 768.0 of type float, expected int"),
    ({"hidden_size": True}, TypeError, "hidden_size is True of type bool"),
    ({"relative_attention": "yes"}, TypeError, "relative_attention is 'yes' of type str, expected bool"),
    ({"hidden_act": None}, TypeError, "hidden_act is None"),
    ({"hidden_dropout_prob": "0.1"}, TypeError, "hidden_dropout_prob is '0.1'"),
    ({"pos_att_type": 3}, TypeError, "pos_att_type is 3"),
]
BAD_V2 = [
    ({"conv_kernel_size": 4}, ValueError, "conv_kernel_size is 4, expected 0 .no convolution. or an odd number"),
    ({"conv_kernel_size": -3}, ValueError, "conv_kernel_size is -3"),
    ({"conv_act": "x"}, ValueError, "conv_act is 'x'"),
    ({"conv_groups": 7}, ValueError, "conv_groups is 7, expected a divisor of hidden_size 1536"),
    ({"conv_groups": 0}, ValueError, "conv_groups is 0"),
    ({"attention_head_size": 32}, ValueError, "attention_head_size is 32, expected 64"),
]


@pytest.mark.parametrize(
    ("cls", "fields", "error", "text"),
    [(c, *row) for c in (DebertaConfig, DebertaV2Config) for row in BAD if c is DebertaConfig or "30" not in row[2]]
    + [(DebertaV2Config, *row) for row in BAD_V2],
)
def test_bad_value(cls, fields, error, text):
    with pytest.raises(error, match=text):
        cls(**fields)


@BOTH
def test_bad_value_set_later(cls):
    config = cls()
    with pytest.raises(ValueError, match="hidden_dropout_prob is 3"):
        config.hidden_dropout_prob = 3
    with pytest.raises(AttributeError, match="no field 'hiden_act'; did you mean 'hidden_act'"):
        config.hiden_act  # noqa: B018
    assert config.hidden_dropout_prob == 0.1


POSITION_TYPES = {
    "missing": (None, (), 1, 1), "empty": ([], (), 1, 1), "string": ("c2p|p2c", ("c2p", "p2c"), 3, 3),
    "untidy": (" P2C | c2p", ("p2c", "c2p"), 3, 3), "one": ("c2p", ("c2p",), 2, 2), "list": (["p2c"], ("p2c",), 2, 2),
    "none in a list": (["none"], ("none",), 2, 1), "none": ("none", ("none",), 2, 1),
    "twice": (["c2p", "c2p"], ("c2p", "c2p"), 3, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", POSITION_TYPES)
def test_position_types(case):
    """v1 counts every entry of the list in its scale, ``none`` too; v2 counts the terms it knows."""
    given, read, first, second = POSITION_TYPES[case]
    for cls, terms in ((DebertaConfig, first), (DebertaV2Config, second)):
        config = cls(pos_att_type=given, relative_attention=True)
        assert config.position_types == read
        assert config.score_terms == terms
        assert (config.c2p, config.p2c) == ("c2p" in read, "p2c" in read)
        assert config.to_dict().get("pos_att_type") == given  # unset is left out
        off = cls(pos_att_type=given)
        assert (off.c2p, off.p2c, off.score_terms) == (False, False, terms)


def test_derived_sizes():
    config = DebertaV2Config(max_relative_positions=-1, max_position_embeddings=64)
    assert (config.max_distance, config.span, config.buckets) == (64, 64, 0)
    config = DebertaV2Config(max_relative_positions=0, position_buckets=0)
    assert (config.max_distance, config.span) == (512, 512)
    config = DebertaV2Config(max_relative_positions=128, position_buckets=32)
    assert (config.max_distance, config.span, config.buckets) == (128, 32, 32)
    assert DebertaConfig(embedding_size=128).embedding_width == 128
    assert DebertaConfig().embedding_width == 768
    keys = [body_weights(DebertaV2Config(norm_rel_ebd=given)) for given in ("X | Layer_Norm ", "none")]
    assert ["deberta.encoder.LayerNorm.weight" in found for found in keys] == [True, False]


@BOTH
def test_labels_stay_in_step(cls):
    config = cls(num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    config = cls(id2label={"0": "no", "1": "perhaps", "2": "yes"})
    assert (config.num_labels, config.id2label[1], config.label2id) == (3, "perhaps", {"no": 0, "perhaps": 1, "yes": 2})
    with pytest.warns(UserWarning, match=r"names of 3 labels are dropped \(no, perhaps, yes\)"):
        config.num_labels = 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    config.id2label = {0: "a", 1: "b", 2: "c", 3: "d"}
    assert (config.num_labels, config.label2id["d"]) == (4, 3)
    config = cls.from_dict({"num_labels": 5, "id2label": {"0": "a", "1": "b"}})
    assert config.num_labels == 2, "the names say it: old files disagree with themselves"
    with pytest.warns(UserWarning, match=r"names of 2 labels are dropped \(a, b\)"):
        config = cls.from_dict({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, num_labels=3)
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    config = cls.from_dict({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, num_labels=2)
    assert config.label2id == {"a": 0, "b": 1}


def read_again(config, path):
    """Write, read, write: both files, and what was warned of in between."""
    first = config.save_pretrained(path / "first").read_bytes()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        again = AutoConfig.from_pretrained(path / "first")
    return first, again.save_pretrained(path / "second").read_bytes(), [str(w.message) for w in seen], again


@pytest.mark.parametrize("name", PRESETS)
def test_file_round_trip(name, tmp_path):
    config = preset(name, id2label={0: "nein", 1: "ja", 2: "größer"}, pruned_heads={1: [0, 2]})
    first, second, warned, again = read_again(config, tmp_path)
    assert first == second
    assert again == config
    assert not warned
    assert b'"gr\xc3\xb6\xc3\x9fer"' in first
    values = json.loads(first)
    assert list(values) == sorted(values)
    assert values["pos_att_type"] in ("c2p|p2c", "p2c|c2p"), "written back as it came"
    assert values["max_relative_positions"] == -1
    assert "attn_implementation" not in values, "a choice of the run, not of the model"


def test_every_field_survives_a_file(tmp_path):
    changed = {
        "share_att_key": True, "position_buckets": 7, "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3,
        "conv_act": "gelu", "conv_groups": 2, "embedding_size": 8, "cls_dropout": 0.3, "masked_rows": "uniform",
        "clamp_distances": True, "mlm_head": "plain", "pad_token_id": None, "problem_type": "regression",
        "pooler_dropout": 0.2, "layer_norm_eps": 1e-5, "tie_word_embeddings": False, "legacy": False,
    }  # fmt: skip
    config = DebertaV2Config(**changed)
    again = read_again(config, tmp_path)[-1]
    assert {name: getattr(again, name) for name in changed} == changed
    assert again == config


def test_unknown_keys_of_a_file_are_kept_and_named_once(tmp_path):
    values = {"model_type": "deberta-v2", "hidden_size": 48, "positon_buckets": 256, "weird": {"a": [1]}, "z_steps": 0}
    values["torch_dtype"] = "float16"
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.warns(UserWarning, match="unknown config key") as seen:
        config = AutoConfig.from_pretrained(tmp_path)
    texts = [str(w.message) for w in seen]
    assert len(texts) == 1
    assert "'positon_buckets'; did you mean 'position_buckets'?" in texts[0]
    assert "'weird'" in texts[0]
    assert "z_steps" not in texts[0], "known to belong to other software"
    assert config.hidden_size == 48
    assert config.weird == {"a": [1]}
    written = json.loads(config.save_pretrained(tmp_path / "again").read_text())
    assert {k: written[k] for k in values} == values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config.copy(hidden_size=96)  # one warning is enough


def test_null_values_of_a_file_mean_the_default():
    config = DebertaV2Config.from_dict({"hidden_size": None, "embedding_size": None, "cls_dropout": None})
    assert config.hidden_size == 1536
    assert DebertaConfig.from_dict({"pad_token_id": None}).pad_token_id is None


def test_names_of_the_original_code():
    file = {"padding_idx": 3, "pooling": {"dropout": 0.25, "hidden_act": "tanh"}, "num_labels": 3}
    config = DebertaConfig.from_dict(file)
    assert (config.pad_token_id, config.pooler_dropout, config.pooler_hidden_act) == (3, 0.25, "tanh")
    assert config.num_labels == 3
    assert config.to_dict()["pooling"] == file["pooling"], "written back"
    config = DebertaConfig.from_dict({**file, "pad_token_id": 1, "pooler_dropout": 0.0})
    assert (config.pad_token_id, config.pooler_dropout) == (1, 0.0), "the published name wins"


def test_keywords_override_the_file(tmp_path):
    DebertaV2Config(hidden_size=48, num_attention_heads=4).save_pretrained(tmp_path)
    assert DebertaV2Config.from_pretrained(tmp_path, hidden_size=96).hidden_size == 96
    assert AutoConfig.from_pretrained(tmp_path / "config.json", num_labels=7).num_labels == 7


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ("{", ValueError, "is not valid json"),
        ("[1]", ValueError, "holds a list, expected an object"),
        ("{}", ValueError, "model_type is None, expected one of deberta, deberta-v2"),
        ('{"model_type": "bert"}', ValueError, "model_type is 'bert', expected one of deberta, deberta-v2"),
        ('{"model_type": "deberta", "hidden_size": "768"}', TypeError, "hidden_size is '768'"),
    ],
)
def test_bad_file(tmp_path, content, error, text):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(error, match=text):
        AutoConfig.from_pretrained(tmp_path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config.json at .*expected a folder that holds one"):
        AutoConfig.from_pretrained(tmp_path)


def test_file_of_the_other_family(tmp_path):
    DebertaConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is 'deberta', DebertaV2Config expects 'deberta-v2'; use AutoConfig"):
        DebertaV2Config.from_pretrained(tmp_path)


def test_saving_onto_a_file_is_refused(tmp_path):
    (tmp_path / "place").write_text("x")
    with pytest.raises(NotADirectoryError, match="expected a folder"):
        DebertaConfig().save_pretrained(tmp_path / "place")
    assert (tmp_path / "place").read_text() == "x"


def test_a_failed_save_leaves_the_old_file(tmp_path):
    config = DebertaConfig()
    file = config.save_pretrained(tmp_path)
    before = file.read_bytes()
    config.extra["broken"] = {1, 2}  # json cannot write a set
    with pytest.raises(TypeError):
        config.save_pretrained(tmp_path)
    assert file.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@BOTH
def test_every_field_says_what_it_means(cls):
    for field in dataclasses.fields(cls):
        assert field.metadata.get("meaning"), field.name


def test_two_configs_share_nothing():
    first, second = DebertaConfig(), DebertaConfig()
    first.id2label[0] = "x"
    first.extra["y"] = 1
    first.pruned_heads[0] = [1]
    assert second.id2label[0] == "LABEL_0"
    assert (second.extra, second.pruned_heads) == ({}, {})


NAMES = [  # given, what the warning says; None: a name of the user's own, and not a word
    ("hidden_dropout", "'hidden_dropout_prob' is the one that is read"),
    ("hiden_size", "'hidden_size' is the one that is read"),
    ("attention_dropout", "'attention_probs_dropout_prob' is the one that is read"),
    ("num_layers", "'num_hidden_layers' is the one that is read"),
    ("num_heads", "'num_attention_heads' is the one that is read"),
    ("span", "works 'span' out itself"),
    ("finetuning_task", None), ("rms_norm_eps", None), ("dropout", None), ("nonsense", None), ("gold_layer", None),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("name", "text"), NAMES)
@pytest.mark.parametrize("way", ["constructor", "later", "dict", "file"])
def test_any_name_is_kept(cls, name, text, way, tmp_path):
    cls().save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        if way == "constructor":
            config = cls(**{name: 0.5})
        elif way == "later":
            config = cls()
            setattr(config, name, 1)
            setattr(config, name, 0.5)
        elif way == "dict":
            config = cls.from_dict({}, **{name: 0.5})
        else:
            config = AutoConfig.from_pretrained(tmp_path, **{name: 0.5})
    assert [w.filename for w in seen] == [__file__] * (text is not None), "once, and at the line that did it"
    assert all(text in str(w.message) for w in seen)
    assert getattr(config, name) == (0.5 if name != "span" else 512), "a derived value stays what it is"
    assert config.to_dict()[name] == json.loads(config.save_pretrained(tmp_path).read_text())[name] == 0.5
    assert getattr(copy.deepcopy(config), name) == getattr(config, name)


def test_a_field_of_the_other_family():
    with pytest.warns(UserWarning, match="'talking_head' is a field of DebertaConfig: DebertaV2Config keeps it"):
        config = DebertaV2Config(talking_head=True)
    assert config.talking_head is True
    assert config.mixes_heads is False


def test_copies_share_no_names():
    config = DebertaConfig(mine=1)
    for other in (copy.copy(config), copy.deepcopy(config), config.copy(), pickle.loads(pickle.dumps(config))):
        other.mine = 2
        assert (config.mine, other.mine) == (1, 2)
        assert other == config
    del config.mine
    assert not hasattr(config, "mine")
    assert "mine" not in config.to_dict()


@BOTH
def test_settings_that_every_config_answers_for(cls):
    """The same names and values as in the public documentation; what is not set is not there."""
    theirs = pytest.importorskip("transformers")
    other, config = getattr(theirs, cls.__name__)(), cls()
    values = other.to_dict()
    skipped = {"transformers_version", "_name_or_path"} | {f.name for f in dataclasses.fields(cls)}
    assert {k: getattr(config, k) for k in values.keys() - skipped} == {k: values[k] for k in values.keys() - skipped}
    for name in ("auto_map", "decoder", "text_config", "quantization_config", "rope_scaling"):
        assert not hasattr(config, name)
    for name in ("name_or_path", "_name_or_path", "_commit_hash", "use_return_dict", "num_labels", "sub_configs"):
        assert getattr(config, name) == getattr(other, name), name
    assert config.get_text_config() is config
    config._attn_implementation = "eager"
    assert config.attn_implementation == config._attn_implementation == "eager"
    config.torchscript = True
    assert config.use_return_dict is False
    config.torch_dtype = "float16"
    assert str(config.dtype) == str(config.torch_dtype) in ("float16", "torch.float16")
    assert config.to_dict()["torch_dtype"] == "float16"


def test_dictionaries_and_json(tmp_path):
    config = DebertaV2Config(hidden_size=48, num_attention_heads=4, num_labels=12, mine={"a": [1]}, problem_type=None)
    assert config.to_dict()["id2label"][11] == "LABEL_11"
    assert config.to_dict()["problem_type"] is None
    assert DebertaV2Config.from_dict(config.to_dict()) == config
    short = config.to_diff_dict()
    assert short["hidden_size"] == 48
    assert short["vocab_size"] == 128100, "what the model is stays, default or not"
    assert short["mine"] == {"a": [1]}
    assert "output_attentions" not in short
    assert "num_labels" in short
    assert json.loads(config.to_json_string()).keys() == short.keys()
    assert json.loads(config.to_json_string(use_diff=False)).keys() == config.to_dict().keys()
    for use_diff in (True, False):
        config.to_json_file(tmp_path / "a.json", use_diff=use_diff)
        again = DebertaV2Config.from_json_file(tmp_path / "a.json")
        assert again == config
        assert again.mine == {"a": [1]}
    values, unused = DebertaV2Config.get_config_dict(tmp_path / "a.json", subfolder="", revision="main", other=3)
    assert (values["hidden_size"], unused) == (48, {"other": 3})
    config.update({"num_labels": 2, "id2label": {0: "no", 1: "yes"}, "hidden_act": "relu", "new": 1})
    assert (config.num_labels, config.label2id, config.hidden_act, config.new) == (2, {"no": 0, "yes": 1}, "relu", 1)
    config.update_from_string("hidden_size=96,relative_attention=true,hidden_dropout_prob=0.5,hidden_act=gelu")
    found = config.hidden_size, config.relative_attention, config.hidden_dropout_prob, config.hidden_act
    assert found == (96, True, 0.5, "gelu")
    with pytest.raises(ValueError, match="no field 'hiden_size'; did you mean 'hidden_size'"):
        config.update_from_string("hiden_size=3")


def test_unused_keywords_are_handed_back(tmp_path):
    DebertaConfig(mine=1).save_pretrained(tmp_path)
    for cls in (DebertaConfig, AutoConfig, BaseConfig):
        config, unused = cls.from_pretrained(
            tmp_path, return_unused_kwargs=True, hidden_act="relu", mine=2, finetuning_task="x", other=3
        )
        assert (type(config), unused) == (DebertaConfig, {"other": 3})
        assert (config.hidden_act, config.mine, config.finetuning_task) == ("relu", 2, "x")
        assert (config.name_or_path, config._name_or_path, config._commit_hash) == (str(tmp_path), str(tmp_path), None)
        assert "_name_or_path" not in config.to_dict()


@BOTH
def test_labels_in_any_order(cls):
    names, inverse = {0: "a", 1: "b", 2: "c"}, {"a": 0, "b": 1, "c": 2}
    for values in ({"id2label": names}, {"label2id": inverse}):
        for config in (cls(**values), cls(num_labels=3, **values), cls.from_dict({}, **values), cls()):
            for name, value in values.items():
                setattr(config, name, value)
            config.num_labels = 3
            assert (config.num_labels, config.id2label, config.label2id) == (3, names, inverse)
    config = cls()
    for name, value in {"label2id": inverse, "id2label": names}.items():
        setattr(config, name, value)
        assert (config.id2label, config.label2id) == (names, inverse)
    config.id2label = {0: "x", 1: "y"}
    assert config.label2id == {"x": 0, "y": 1}
    config.id2label[2] = "z"
    assert config.num_labels == 3
    with pytest.warns(UserWarning, match="num_labels is 2, but 3 labels have names: a, b, c"):
        assert cls(num_labels=2, id2label=names).num_labels == 3
    with pytest.raises(ValueError, match="num_labels is 2, but there are names of 3 labels"):
        cls.from_dict({}, num_labels=2, id2label=names)
    with pytest.warns(UserWarning, match="does not fit id2label"):
        assert cls(id2label=names, label2id={"a": 0}).label2id == inverse
    config = cls.from_dict({"id2label": {"0": "p", "1": "q"}, "label2id": {"p": 0, "q": 1}}, id2label=names)
    assert config.label2id == inverse, "what is given replaces all that the file says of labels"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # names that nobody gave are no loss
        assert cls.from_dict({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}, num_labels=4).num_labels == 4
        synonyms = cls(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "NO": 0, "yes": 1})
    assert synonyms.label2id == {"no": 0, "NO": 0, "yes": 1}


@pytest.mark.parametrize("label2id", [{"0": 0, "1": 1}, None])
def test_integer_names_of_labels(label2id, tmp_path):
    file = {"model_type": "deberta", "id2label": {"0": 0, "1": 1}, **({"label2id": label2id} if label2id else {})}
    (tmp_path / "config.json").write_text(json.dumps(file))
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.num_labels, config.id2label) == (2, {0: 0, 1: 1})
    config.extra["mixed"] = {1: "a", "b": 2}
    written = json.loads(config.save_pretrained(tmp_path).read_text())
    assert (written["id2label"], written["label2id"]) == ({"0": 0, "1": 1}, {"0": 0, "1": 1})
    assert read_again(config, tmp_path)[0] == read_again(config, tmp_path)[1]


@BOTH
def test_config_objects_of_transformers(cls):
    theirs = pytest.importorskip("transformers")
    other = getattr(theirs, cls.__name__)(
        hidden_size=48, num_attention_heads=4, num_labels=3, mine=1, hidden_act="relu"
    )
    other._name_or_path = "somewhere"
    for config in (cls.of(other), BaseConfig.of(other)):
        assert type(config) is cls
        assert (config.hidden_size, config.num_labels, config.mine, config.hidden_act) == (48, 3, 1, "relu")
        assert config.name_or_path == "somewhere"
        assert "max_length" not in config.to_dict()
        assert cls.of(config) is config
    with pytest.raises(TypeError, match=r"a model takes a Deberta(V2)?Config, got a BertConfig"):
        cls.of(theirs.BertConfig(), "a model")
    assert getattr(theirs, cls.__name__)(**cls.of(other).to_dict()).hidden_size == 48


@pytest.mark.parametrize("name", PRESETS)
def test_other_widths_of_published_models(name, tmp_path):
    config = preset(name, hidden_size=96, num_attention_heads=8)
    assert config.head_size == 12
    preset(name).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, hidden_size=96, num_attention_heads=8) == config
    assert preset(name).copy(num_attention_heads=1).head_size == preset(name).hidden_size


def test_a_config_class_of_ones_own(tmp_path):
    class Mine(DebertaV2Config):
        model_type = "mine"
        attribute_map = {"d_model": "hidden_size"}  # noqa: RUF012

        def __init__(self, gates: int = 3, **values: object) -> None:
            self.gates = gates
            super().__init__(**values)

    config = Mine(gates=5, d_model=48, num_attention_heads=4)
    assert (config.gates, config.hidden_size, config.d_model) == (5, 48, 48)
    config.d_model = 96
    assert config.hidden_size == 96
    written = json.loads(config.save_pretrained(tmp_path).read_text())
    assert (written["gates"], written["model_type"], "d_model" in written) == (5, "mine", False)
    again = Mine.from_pretrained(tmp_path)
    assert (again.gates, again == config) == (5, True)
    DebertaV2Config(hidden_size=48, num_attention_heads=4).save_pretrained(tmp_path)
    assert (Mine.from_pretrained(tmp_path, gates=4).gates, Mine.from_pretrained(tmp_path).hidden_size) == (4, 48)


def test_errors_of_a_file_name_it_and_those_of_a_keyword_do_not(tmp_path):
    """And both say the field; what the file has is a ValueError whatever is wrong, and a TypeError as ever."""
    path = tmp_path / "config.json"
    wrong = [
        {"hidden_size": "768"}, {"hidden_dropout_prob": 7}, {"layer_norm_eps": math.inf}, {"num_labels": 10**9},
        {"id2label": [1]}, {"id2label": {"x": "a"}}, {"label2id": {"a": math.nan}}, {"pruned_heads": {"x": [1]}},
        {"model_type": {}}, {"model_type": ["deberta-v2"]},
    ]  # fmt: skip
    for values in wrong:
        path.write_text(json.dumps({"model_type": "deberta-v2", **values}))
        (name,) = values
        for load in (AutoConfig.from_pretrained, DebertaV2Config.from_pretrained):
            started = time.process_time()
            with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{name}"):
                load(tmp_path)
            assert time.process_time() - started < 1
    path.write_text('{"model_type": "deberta-v2", "hidden_size": "768"}')
    with pytest.raises(TypeError, match=re.escape(str(path))):
        AutoConfig.from_pretrained(tmp_path, num_labels=3)
    path.write_text('{"model_type": "deberta-v2"}')
    with pytest.raises(TypeError, match=r"^hidden_size is '768' of type str, expected int$"):
        AutoConfig.from_pretrained(tmp_path, hidden_size="768")


def test_half_of_a_character_comes_back_from_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "deberta", "task_specific_params": {"x": "\\ud800"}}')
    AutoConfig.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").task_specific_params == {"x": "\ud800"}
