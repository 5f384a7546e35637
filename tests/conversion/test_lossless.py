"""What no model of ours has a use for, and old spellings: kept or brought up to date, and said."""

import json

import numpy as np
import pytest

from conversion import convert
from conversion.side_file import SIDE_FILE
from deberta_core.checkpoint import CheckpointError, TensorInfo, open_weights, write_weights
from tests.conversion.helpers import (
    contents,
    edit_config,
    entries,
    pytorch_values,
    random_weights,
    save_config,
    small_config,
    write_checkpoint,
    write_pt,
)

WORDS = "deberta.embeddings.word_embeddings.weight"


def there_and_back(source, tmp_path, format="h5"):
    report = convert(source, tmp_path / "there", to="tf", format=format)
    convert(tmp_path / "there", tmp_path / "back", to="pt")
    return report, contents(tmp_path / "back")


def published_file(config):
    """The tensors of a file as published for v3: encoder, table of positions, both pretraining heads."""
    values = random_weights(config.copy(mlm_head="emd"), "ForMaskedLM", seed=1)
    heads = random_weights(config, "ForReplacedTokenDetection", seed=2)
    return {**values, **{key: value for key, value in heads.items() if key.startswith("mask_predictions.")}}


@pytest.mark.parametrize("format", ["h5", "safetensors"])
def test_a_published_file_keeps_its_position_table_and_both_heads(tmp_path, format):
    config = small_config("v3")
    source = write_pt(tmp_path / "source", published_file(config), config=config, format="bin")
    report, back = there_and_back(source, tmp_path, format)
    assert report.aside == []
    assert back == contents(source)
    there = contents(tmp_path / "there")
    assert "deberta/embeddings/position_embeddings/embeddings:0" in there
    assert "mask_predictions/classifier/kernel:0" in there
    assert "lm_predictions/lm_head/bias:0" in there


STRANGERS = {
    "deberta.embeddings.word_embeddings._weight": (53, 24),
    "deberta.embeddings.position_embeddings._weight": (16, 24),
    "deberta.embeddings.position_ids": (1, 16),
    "my_head.dense.weight": (7, 24),
    "my_head.scale": (),
}


@pytest.mark.parametrize("format", ["h5", "safetensors"])
def test_tensors_without_a_use_go_to_the_side_file_and_come_back(tmp_path, format):
    config = small_config("v3")
    rng = np.random.default_rng(3)
    strange = {name: rng.normal(size=shape) for name, shape in STRANGERS.items()}
    values = {**pytorch_values(config, "ForTokenClassification"), **strange}
    dtypes = {"deberta.embeddings.position_ids": "int64", "my_head.scale": "float16"}
    source = write_pt(
        tmp_path / "source", values, config=config, head="ForTokenClassification", format="bin", dtypes=dtypes
    )
    report, back = there_and_back(source, tmp_path, format)
    assert sorted(report.aside) == sorted(STRANGERS)
    assert sorted(contents(tmp_path / "there" / SIDE_FILE)) == sorted(STRANGERS)
    assert not STRANGERS.keys() & contents(tmp_path / "there").keys()
    assert back == contents(source)
    assert not (tmp_path / "back" / SIDE_FILE).exists()


def test_a_foreign_head_of_a_tensorflow_file_stays_in_the_weights_and_goes_home(tmp_path):
    config = small_config("v3")
    source = write_checkpoint(tmp_path / "source", config, "Model", ("tf", "safetensors"))
    with open_weights(source) as file:
        pairs = [(info, file.read_raw(name)) for name, info in file.tensors.items()]
        kernel = np.arange(24 * 5, dtype=np.float32).reshape(24, 5)
        pairs.append((TensorInfo("my_head/dense/kernel:0", kernel.shape, "float32"), kernel))
        pairs.append((TensorInfo("my_head/table/embeddings:0", (3,), "float32"), np.arange(3, dtype=np.float32)))
        write_weights(source, pairs, format="safetensors", naming="tf")
    report = convert(source, tmp_path / "there", to="pt")
    there = contents(tmp_path / "there")
    assert there["my_head.dense.weight"] == ((5, 24), "float32", kernel.T.tobytes())
    assert report.aside == []
    convert(tmp_path / "there", tmp_path / "back", to="tf", format="safetensors")
    assert contents(tmp_path / "back") == contents(source)
    convert(tmp_path / "there", tmp_path / "h5", to="tf")
    assert contents(tmp_path / "h5") == contents(source)


@pytest.mark.parametrize("prefix", ["", "deberta."])
@pytest.mark.parametrize("beside", [(), ("my_head.scale",), ("embeddings.position_ids",)])
def test_the_prefix_comes_back_whatever_else_is_in_the_file(tmp_path, prefix, beside):
    config = small_config("v1")
    values = {prefix + key.removeprefix("deberta."): value for key, value in random_weights(config).items()}
    values |= {name: np.zeros(3) for name in beside}
    source = write_pt(tmp_path / "source", values, config=config)
    _, back = there_and_back(source, tmp_path)
    assert back == contents(source)


@pytest.mark.parametrize("to", ["pt", "tf"])
def test_the_original_codes_names_are_brought_up_to_date(tmp_path, to):
    config = small_config("v1")
    today = pytorch_values(config, "ForSequenceClassification")
    old = {
        name.replace("deberta.", "bert.", 1).replace("LayerNorm.weight", "LayerNorm.gamma")
        .replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in today.items()
    }  # fmt: skip
    source = write_pt(tmp_path / "old", old, config=config, head="ForSequenceClassification", format="bin")
    report = convert(source, tmp_path / "made", to=to)
    write_checkpoint(tmp_path / "today", config, "ForSequenceClassification", (to, report.format))
    assert contents(tmp_path / "made") == contents(tmp_path / "today")
    assert report.renamed["bert.embeddings.LayerNorm.gamma"] == "deberta.embeddings.LayerNorm.weight"
    assert len(report.renamed) == sum(old_name != name for old_name, name in zip(old, today, strict=True))
    assert "original code" in report.read_as


def test_names_from_inside_data_parallel(tmp_path):
    config = small_config("v3")
    values = {f"module.{name}": value for name, value in pytorch_values(config, "ForQuestionAnswering").items()}
    source = write_pt(tmp_path / "source", values, config=config, head="ForQuestionAnswering")
    write_checkpoint(tmp_path / "expected", config, "ForQuestionAnswering", ("tf", "h5"))
    convert(source, tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")


def test_projections_of_unshared_positions_change_their_names(tmp_path):
    config = small_config("v2", share_att_key=False)
    source = write_checkpoint(tmp_path / "source", config, "Model")
    convert(source, tmp_path / "there", to="tf")
    there = contents(tmp_path / "there")
    here = contents(source)
    for pt, tf in (("pos_key_proj", "pos_proj"), ("pos_query_proj", "pos_q_proj")):
        kernel = np.frombuffer(there[f"deberta/encoder/layer_._1/attention/self/{tf}/kernel:0"][2], np.float32)
        weight = np.frombuffer(here[f"encoder.layer.1.attention.self.{pt}.weight"][2], np.float32)
        assert (weight.reshape(24, 24) == kernel.reshape(24, 24).T).all()
        assert not any(pt in name for name in there)


ALIASES = {"cls.predictions.decoder.weight": WORDS, "cls.predictions.decoder.bias": "cls.predictions.bias"}


class TestTiedNames:
    def source(self, tmp_path, aliases, **changes):
        config = small_config("v3", mlm_head="legacy", **changes)
        values = {k: v for k, v in random_weights(config, "ForMaskedLM").items() if ".decoder." not in k}
        return write_pt(
            tmp_path / "source", values, config=config, head="ForMaskedLM", format="bin", aliases=aliases
        )

    @pytest.mark.parametrize("kind", [("tf", "h5"), ("tf", "safetensors"), ("pt", "safetensors")])
    @pytest.mark.parametrize("aliases", [ALIASES, {}, {"cls.predictions.decoder.bias": "cls.predictions.bias"}])
    def test_they_are_left_out_and_come_back(self, tmp_path, kind, aliases):
        source = self.source(tmp_path, aliases)
        report = convert(source, tmp_path / "there", to=kind[0], format=kind[1])
        assert report.aliases_dropped == aliases
        assert not any("decoder" in name for name in contents(tmp_path / "there"))
        convert(tmp_path / "there", tmp_path / "back", to="pt", format="bin")
        assert contents(tmp_path / "back") == contents(source)
        with open_weights(tmp_path / "back") as file:
            assert dict(file.aliases) == aliases

    def test_between_bin_files_they_stay(self, tmp_path):
        source = self.source(tmp_path, ALIASES)
        convert(source, tmp_path / "made", to="pt", format="bin")
        with open_weights(tmp_path / "made") as file:
            assert dict(file.aliases) == ALIASES
        assert contents(tmp_path / "made") == contents(source)

    def test_a_decoder_that_only_shares_memory_is_a_weight_where_the_config_does_not_tie(self, tmp_path):
        source = self.source(tmp_path, ALIASES, tie_word_embeddings=False)
        report = convert(source, tmp_path / "made", to="tf")
        assert report.aliases_dropped == {"cls.predictions.decoder.bias": "cls.predictions.bias"}
        assert "cls/predictions/decoder/kernel:0" in contents(tmp_path / "made")


class TestBfloat16:
    def test_h5_widens_and_the_way_back_narrows(self, tmp_path):
        config = small_config("v3")
        values = pytorch_values(config, "Model")
        half = {name: "bfloat16" for number, name in enumerate(values) if number % 2}
        source = write_pt(tmp_path / "source", values, config=config, dtypes=half)
        report, back = there_and_back(source, tmp_path)
        assert sorted(report.widened) == sorted(half)
        assert back == contents(source)

    def test_weights_that_were_trained_in_between_are_not_rounded(self, tmp_path):
        config = small_config("v3")
        source = write_checkpoint(tmp_path / "source", config, "Model", dtype="bfloat16")
        convert(source, tmp_path / "there", to="tf")
        trained = write_checkpoint(tmp_path / "trained", config, "Model", ("tf", "h5"), seed=5)
        (tmp_path / "there" / "tf_model.h5").write_bytes((trained / "tf_model.h5").read_bytes())
        convert(tmp_path / "there", tmp_path / "back", to="pt")
        convert(trained, tmp_path / "expected", to="pt")
        assert contents(tmp_path / "back") == contents(tmp_path / "expected")


class TestDtype:
    def test_rounding_is_said_and_is_to_the_nearest(self, tmp_path):
        config = small_config("v1")
        source = write_checkpoint(tmp_path / "source", config, "Model")
        for dtype in ("float16", "bfloat16"):
            report = convert(source, tmp_path / dtype, to="tf", format="safetensors", dtype=dtype)
            kind = ("tf", "safetensors")
            expected = write_checkpoint(tmp_path / f"{dtype}-expected", config, "Model", kind, dtype=dtype)
            assert contents(tmp_path / dtype) == contents(expected)
            assert not report.lossless
            assert len(report.narrowed) == report.tensors
            assert json.loads((tmp_path / dtype / "config.json").read_text())["dtype"] == dtype

    def test_integers_stay(self, tmp_path):
        config = small_config("v1")
        values = {**pytorch_values(config, "Model"), "embeddings.position_ids": np.arange(16.0)}
        source = write_pt(tmp_path / "source", values, config=config, dtypes={"embeddings.position_ids": "int64"})
        convert(source, tmp_path / "made", to="pt", dtype="float16")
        assert contents(tmp_path / "made")["embeddings.position_ids"] == contents(source)["embeddings.position_ids"]

    def test_overflow_is_counted(self, tmp_path):
        config = small_config("v1")
        values = pytorch_values(config, "Model")
        values["embeddings.LayerNorm.bias"][:3] = 1e30, -1e30, np.inf
        source = write_pt(tmp_path / "source", values, config=config)
        report = convert(source, tmp_path / "made", to="pt", dtype="float16")
        assert report.overflowed == {"embeddings.LayerNorm.bias": 2}
        assert report.not_finite == {"embeddings.LayerNorm.bias": (0, 1)}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_nan_and_infinity_are_carried_and_counted(tmp_path, dtype):
    config = small_config("v3")
    values = pytorch_values(config, "Model")
    values["encoder.LayerNorm.bias"][2] = np.nan
    values["embeddings.word_embeddings.weight"][5, :4] = np.nan, np.inf, -np.inf, np.nan
    source = write_pt(tmp_path / "source", values, config=config, dtypes=dict.fromkeys(values, dtype))
    report, back = there_and_back(source, tmp_path)
    assert report.not_finite == {
        "encoder.LayerNorm.bias": (1, 0),
        "embeddings.word_embeddings.weight": (2, 2),
    }
    assert back == contents(source)


def test_entries_that_are_no_tensors_are_named(tmp_path):
    torch = pytest.importorskip("torch")
    config = small_config("v1")
    values = pytorch_values(config, "ForSequenceClassification")
    save_config(tmp_path / "source", config, "ForSequenceClassification")
    state = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    for number, zipped in enumerate((True, False)):  # both containers of torch.save
        saved = {**state, "config": {"hidden_size": 24}, "step": 7}
        torch.save(saved, tmp_path / "source" / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
        report = convert(tmp_path / "source", tmp_path / f"made{number}", to="tf")
        assert report.not_weights == {"config": "dict", "step": "int"}
        assert not report.lossless
        write_checkpoint(tmp_path / f"expected{number}", config, "ForSequenceClassification", ("tf", "h5"))
        assert contents(tmp_path / f"made{number}") == contents(tmp_path / f"expected{number}")


def test_a_generator_file_takes_its_own_config(tmp_path):
    config = small_config("v3")
    write_pt(tmp_path / "source", published_file(config), config=config)
    generator = small_config("v3", num_hidden_layers=1, mlm_head="emd")
    values = random_weights(generator, "ForMaskedLM", seed=9)
    write_weights(tmp_path / "source", entries(values), format="bin", file_name="pytorch_model.generator.bin")
    small = write_pt(tmp_path / "small", values, config=generator, head="ForMaskedLM")
    (tmp_path / "source" / "generator_config.json").write_bytes((small / "config.json").read_bytes())
    report = convert(tmp_path / "source" / "pytorch_model.generator.bin", tmp_path / "made", to="pt")
    assert contents(tmp_path / "made") == contents(small)
    assert json.loads((tmp_path / "made" / "config.json").read_text())["num_hidden_layers"] == 1
    assert report.head == "ForMaskedLM"


def test_without_a_config_the_sizes_are_read_off_the_shapes(tmp_path):
    config = small_config("v2")
    source = write_checkpoint(tmp_path / "source", config, "ForTokenClassification")
    (source / "config.json").unlink()
    report, back = there_and_back(source, tmp_path)
    assert back == contents(source)
    assert "no config.json" in report.notes[0]
    assert not (tmp_path / "there" / "config.json").exists()


class TestRecord:
    """The header of a side file is data from outside, too."""

    def there(self, tmp_path):
        config = small_config("v3")
        values = {**pytorch_values(config, "Model"), "my_head.scale": np.ones(2)}
        convert(write_pt(tmp_path / "source", values, config=config), tmp_path / "there", to="tf")
        return tmp_path / "there"

    @pytest.mark.parametrize(
        "text", ["{", "[]", '{"prefix": 3}', '{"names": {"a": 1}}', '{"widened": "x"}', '{"what": 1}', '{"aliases": 5}']
    )
    def test_nonsense_is_refused(self, tmp_path, text):
        there = self.there(tmp_path)
        write_weights(there, [], metadata={"conversion": text}, file_name=SIDE_FILE)
        with pytest.raises(CheckpointError, match="no conversion writes; delete it"):
            convert(there, tmp_path / "back", to="pt")

    def test_names_that_are_not_there_change_nothing(self, tmp_path):
        there = self.there(tmp_path)
        text = json.dumps({"names": {"x": "y/kernel:0"}, "widened": ["z"], "aliases": {"a": "b"}, "prefix": ""})
        write_weights(there, [], metadata={"conversion": text}, file_name=SIDE_FILE)
        convert(there, tmp_path / "back", to="pt")
        there_names = {name for name in contents(tmp_path / "source") if name != "my_head.scale"}
        assert contents(tmp_path / "back").keys() == there_names

    def test_a_side_file_that_is_gone_is_not_missed(self, tmp_path):
        there = self.there(tmp_path)
        (there / SIDE_FILE).unlink()
        convert(there, tmp_path / "back", to="pt")
        assert contents(tmp_path / "back").keys() == contents(tmp_path / "source").keys() - {"my_head.scale"}


def test_the_config_is_carried_as_it_is(tmp_path):
    config = small_config("v3")
    source = write_checkpoint(tmp_path / "source", config, "Model")
    edit_config(source, something_unknown={"a": [1, None]}, architectures=["DebertaV2Model"], pos_att_type="P2C | c2p")
    _, _ = there_and_back(source, tmp_path)
    for made in ("there", "back"):
        assert (tmp_path / made / "config.json").read_bytes() == (source / "config.json").read_bytes()


@pytest.mark.parametrize("format", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [None, "2kB"])
def test_one_name_as_tensorflow_has_them_does_not_make_the_others_so(tmp_path, format, shards):
    config = small_config("v2")
    values = pytorch_values(config, "ForSequenceClassification")
    plain = write_pt(tmp_path / "plain", values, config=config, head="ForSequenceClassification", format=format)
    mine = write_pt(
        tmp_path / "mine", {**values, "mine/w:0": np.ones(3000)}, config=config, head="ForSequenceClassification",
        format=format, max_shard_size=shards,
    )  # fmt: skip
    convert(plain, tmp_path / "a", to="tf")
    convert(mine, tmp_path / "b", to="tf")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    convert(tmp_path / "b", tmp_path / "back", to="pt", format=format)
    assert {**contents(tmp_path / "back"), **contents(tmp_path / "b" / SIDE_FILE)} == contents(mine)
