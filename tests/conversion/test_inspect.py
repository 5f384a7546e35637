"""What ``inspect`` says of a checkpoint, against what loading and converting then do."""

import json
from contextlib import nullcontext

import numpy as np
import pytest

from conversion import convert, inspect
from deberta_core.heads import HEADS, parameter_count
from deberta_core.presets import PRESETS, preset
from deberta_tasks.cli import main
from tests.conversion.helpers import (
    CASES,
    FORMATS,
    IDS,
    contents,
    pytorch_values,
    small_config,
    write_checkpoint,
    write_pt,
)


@pytest.mark.parametrize(("base", "head", "changes"), CASES, ids=IDS)
def test_family_head_and_parameters(tmp_path, base, head, changes):
    config = small_config(base, **changes)
    for kind in FORMATS:
        found = inspect(write_checkpoint(tmp_path / "-".join(kind), config, head, kind))
        assert (found.family, found.head, found.format) == (config.model_type, head, kind[1])
        assert found.parameters == parameter_count(config, head)
        assert found.layers == config.num_hidden_layers
        assert sum(count for count, _ in found.dtypes.values()) == len(pytorch_values(config, head))
        own = next(fit for fit in found.classes if fit.name.endswith(head))
        assert (own.missing, own.unexpected, own.mismatched) == ([], [], {})
        assert found.conversions["pt, safetensors"] == []


@pytest.mark.parametrize(
    ("head", "labels"),
    [("ForMultipleChoice", 2), ("ForSequenceClassification", 3), ("ForSequenceClassification", 1)],
)
def test_the_head_of_a_config_that_names_no_class(tmp_path, head, labels):
    source = write_checkpoint(tmp_path / "source", small_config("v3", num_labels=labels), head)
    values = json.loads((source / "config.json").read_text())
    del values["architectures"]
    (source / "config.json").write_text(json.dumps(values))
    assert inspect(source).head == head
    convert(source, tmp_path / "there", to="tf")
    convert(tmp_path / "there", tmp_path / "back", to="pt")
    assert contents(tmp_path / "back") == contents(source)


@pytest.mark.parametrize("base", ["v1", "v3"])
def test_what_each_class_finds_is_what_loading_reports(tmp_path, base):
    pytest.importorskip("torch")
    from deberta_pt import families

    config = small_config(base, mlm_head="legacy")
    source = write_checkpoint(tmp_path / "source", config, "ForTokenClassification")
    found = {fit.name: fit for fit in inspect(source).classes}
    assert [name.removeprefix("DebertaV2").removeprefix("Deberta") for name in found] == list(HEADS)
    for name, fit in found.items():
        with pytest.warns(UserWarning, match="newly initialised") if fit.missing or fit.mismatched else nullcontext():
            _, info = getattr(families, name).from_pretrained(
                source, output_loading_info=True, ignore_mismatched_sizes=True
            )
        assert info["missing_keys"] == fit.missing
        assert info["unexpected_keys"] == fit.unexpected
        assert [key for key, _, _ in info["mismatched_keys"]] == list(fit.mismatched)


def test_what_a_conversion_would_do_is_what_it_does(tmp_path):
    config = small_config("v3", mlm_head="legacy")
    values = {
        **pytorch_values(config, "ForMaskedLM"),
        "deberta.embeddings.position_ids": np.zeros((1, 16)),
        "my.w": np.ones(2),
    }
    source = write_pt(
        tmp_path / "source", values, config=config, head="ForMaskedLM", format="bin",
        aliases={"cls.predictions.decoder.bias": "cls.predictions.bias"}, dtypes=dict.fromkeys(values, "bfloat16"),
    )  # fmt: skip
    said = inspect(source)
    assert said.foreign == ["deberta.embeddings.position_ids", "my.w"]
    assert said.aliases == {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    assert said.dtypes == {"bfloat16": (len(values), 2 * said.parameters)}
    report = convert(source, tmp_path / "made", to="tf")
    assert said.conversions["tf, h5"] == [
        f"to unused_weights.safetensors: 2 ({', '.join(report.aside)})",
        f"{len(report.widened)} bfloat16 tensors widened to float32",
        "second names left out: cls.predictions.decoder.bias",
    ]
    assert said.conversions["pt, bin"] == []
    assert inspect(tmp_path / "made").side_file == report.aside


@pytest.mark.parametrize("name", PRESETS)
def test_published_sizes_are_recognised(tmp_path, name):
    """By a file of the right shapes whose data is a hole in the disk."""
    import json

    from deberta_core.heads import weights

    config = preset(name)
    header, position = {}, 0
    for key, weight in weights(config).items():
        end = position + 2 * int(np.prod(weight.shape))
        header[key] = {"dtype": "F16", "shape": weight.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    for with_config in (False, True):
        if with_config:
            config.save_pretrained(tmp_path)
        found = inspect(tmp_path)
        assert found.published == name
        assert found.parameters == parameter_count(config)
        assert (found.config is not None) == with_config
        assert found.classes[0].missing == []


def test_values_are_looked_at_on_request(tmp_path):
    config = small_config("v3")
    values = pytorch_values(config, "Model")
    values["embeddings.LayerNorm.bias"][:2] = np.nan, np.inf
    source = write_pt(tmp_path / "source", values, config=config)
    assert inspect(source).not_finite is None
    assert inspect(source, values=True).not_finite == {"embeddings.LayerNorm.bias": (1, 1)}


def test_a_config_of_other_sizes_is_shown_not_refused(tmp_path):
    source = write_checkpoint(tmp_path / "source", small_config("v3"), "ForSequenceClassification")
    small_config("v3", num_labels=7, intermediate_size=21).save_pretrained(source)
    fits = {fit.name: fit for fit in inspect(source).classes}
    mismatched = fits["DebertaV2ForSequenceClassification"].mismatched
    assert mismatched["classifier.weight"] == ((3, 24), (7, 24))
    assert mismatched["deberta.encoder.layer.0.intermediate.dense.weight"] == ((20, 24), (21, 24))


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_escape_sequences_of_a_file_were_printed(tmp_path, capsys, form):
    name, config = "evil\x1b[2J\u202e\nname|<b>\x9b", small_config("v3")
    write_pt(tmp_path, {**pytorch_values(config, "Model"), name: np.ones(2)}, config=config)
    assert main(["inspect", str(tmp_path), *form]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert "evil\\u001b[2J\\u202e\\nname" in out
    if form == ["--json"]:
        assert name in str(json.loads(out)["foreign"][0])
    assert ("<b>" in out) == (form != ["--markdown"])
