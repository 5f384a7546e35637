"""What ``verify`` says of checkpoints that are the same, and of those that are not."""

import json

import numpy as np
import pytest

import conversion.verification
from conversion import convert, verify
from conversion.batches import make_batches
from conversion.verification import compare_outputs
from tests.conversion.helpers import command, pytorch_values, small_config, write_checkpoint, write_pt

pytest.importorskip("torch")
pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")

CASES = [
    ("v1", "ForSequenceClassification", {}),
    pytest.param("v2", "ForMultipleChoice", {"type_vocab_size": 3}, marks=pytest.mark.slow),
    ("v3", "ForMaskedLM", {"mlm_head": "emd"}),
    pytest.param("v3", "Model", {"position_biased_input": True}, marks=pytest.mark.slow),
    pytest.param("v3", "ForReplacedTokenDetection", {}, marks=pytest.mark.slow),
    pytest.param("v2", "ForQuestionAnswering", {"embedding_size": 10, "conv_groups": 3}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("base", "head", "changes"), CASES, ids=lambda value: str(value)[:30])
def test_one_checkpoint_in_both_frameworks(tmp_path, base, head, changes):
    config = small_config(base, **changes)
    source = write_checkpoint(tmp_path / "source", config, head)
    found = verify(source)
    assert found.ok
    assert found.head == head
    assert [c.other.rpartition("source, ")[2] for c in found.comparisons] == [
        "tensorflow, float32", "torch, bfloat16", "tensorflow, bfloat16"
    ]  # fmt: skip
    names = [row.name for row in found.comparisons[0].rows]
    assert names[: config.num_hidden_layers + 1] == ["embeddings", "layer 1", "layer 2"]
    assert len(names) > config.num_hidden_layers + 1
    assert all(row.largest > 0.01 for row in found.comparisons[0].rows)
    assert max(row.relative for row in found.comparisons[1].rows) > 1e-4  # it was bfloat16 indeed
    assert found.to_dict()["ok"] is True


def test_two_that_are_the_same(tmp_path):
    source = write_checkpoint(tmp_path / "source", small_config("v2", share_att_key=False), "ForTokenClassification")
    report = convert(source, tmp_path / "made", to="tf", verify=True)
    found = report.verification
    assert found.ok
    assert found.weights.identical == report.tensors
    assert len(found.comparisons) == 3 + 4


def damage(folder, key, change):
    """Change one tensor of a PyTorch folder."""
    from safetensors.numpy import load_file, save_file

    values = load_file(folder / "model.safetensors")
    values[key] = change(values[key])
    save_file(values, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    "key",
    [
        "deberta.encoder.layer.1.attention.self.key_proj.bias",
        pytest.param("deberta.encoder.rel_embeddings.weight", marks=pytest.mark.slow),
        pytest.param("deberta.embeddings.LayerNorm.weight", marks=pytest.mark.slow),
        pytest.param("pooler.dense.bias", marks=pytest.mark.slow),
    ],
)
def test_one_wrong_weight_is_found(tmp_path, key):
    config = small_config("v3")
    source = write_checkpoint(tmp_path / "source", config, "ForSequenceClassification")
    other = write_checkpoint(tmp_path / "other", config, "ForSequenceClassification")
    damage(other, key, lambda value: value + np.resize(np.float32([0.5, -0.5]), value.shape))
    found = verify(source, other, dtypes=["float32"])
    assert not found.ok
    assert list(found.weights.different) == [key]
    assert found.weights.different[key] == pytest.approx(0.5)
    by_side = {comparison.other: comparison.ok for comparison in found.comparisons}
    assert [ok for name, ok in by_side.items() if "other" in name] == [False, False]
    assert [ok for name, ok in by_side.items() if "source" in name] == [True]


def test_a_wrong_framework_is_found(tmp_path, monkeypatch):
    """One tree that computes something else than the other: the layer that differs is shown."""
    source = write_checkpoint(tmp_path / "source", small_config("v1"), "ForSequenceClassification")
    run = conversion.verification.run_model

    def run_wrongly(framework, *arguments):
        outputs = run(framework, *arguments)
        if framework == "tensorflow":
            outputs[-1]["layer 2"][0, 0, 0] += 0.1
        return outputs

    monkeypatch.setattr(conversion.verification, "run_model", run_wrongly)
    found = verify(source, dtypes=["float32"])
    assert not found.ok
    assert found.comparisons[0].worst.name == "layer 2"
    assert [row.relative <= 1e-5 for row in found.comparisons[0].rows] == [True, True, False, True]


def test_nan_is_never_within_the_limit(tmp_path):
    config = small_config("v3")
    values = pytorch_values(config, "Model")
    values["encoder.layer.1.output.dense.bias"][0] = np.nan
    source = write_pt(tmp_path / "source", values, config=config)
    found = verify(source, dtypes=["float32"], limit=1e9)
    assert not found.ok
    rows = {row.name: row.difference for row in found.comparisons[0].rows}
    assert rows["layer 1"] < 1
    assert rows["layer 2"] == float("inf")


@pytest.mark.slow
def test_rounded_weights_are_measured_by_the_wider_limit(tmp_path):
    source = write_checkpoint(tmp_path / "source", small_config("v3"), "ForSequenceClassification")
    report = convert(source, tmp_path / "made", to="tf", format="safetensors", dtype="bfloat16", verify=True)
    found = report.verification
    assert len(found.weights.rounded) == report.tensors
    assert found.ok
    assert {c.limit for c in found.comparisons if "made" in c.other} == {0.1}
    assert {c.limit for c in found.comparisons if "source, tensorflow, float32" in c.other} == {1e-5}
    back = verify(tmp_path / "made", source, dtypes=["float32"])
    assert len(back.weights.different) == report.tensors  # the wide file has more than the narrow one


def test_missing_weights_and_other_shapes(tmp_path):
    config = small_config("v3")
    source = write_checkpoint(tmp_path / "source", config, "ForSequenceClassification")
    body = write_checkpoint(tmp_path / "body", config, "Model")
    found = verify(source, body)
    assert not found.ok
    head = ["classifier.bias", "classifier.weight", "pooler.dense.bias", "pooler.dense.weight"]
    assert sorted(found.weights.only_first) == head
    assert found.comparisons == []
    assert "outputs are not compared: the second checkpoint lacks weights" in found.notes[0]
    more = verify(body, source, dtypes=["float32"])
    assert (more.ok, len(more.weights.only_second)) == (False, 4)
    assert all(comparison.ok for comparison in more.comparisons)
    wide = write_checkpoint(tmp_path / "wide", small_config("v3", intermediate_size=28), "ForSequenceClassification")
    assert "deberta.encoder.layer.0.intermediate.dense.weight" in verify(source, wide).weights.other_shape


def test_without_a_config_only_weights_are_compared(tmp_path):
    source = write_checkpoint(tmp_path / "source", small_config("v3"), "Model")
    other = write_checkpoint(tmp_path / "other", small_config("v3"), "Model", ("tf", "h5"))
    (other / "config.json").unlink()
    found = verify(source, other)
    assert found.ok
    assert found.comparisons == []
    assert "has no config.json" in found.notes[0]
    with pytest.raises(ValueError, match=r"has no config\.json"):
        verify(other)


def test_one_framework_is_enough_for_two_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion.verification, "installed", lambda: ["torch"])
    source = write_checkpoint(tmp_path / "source", small_config("v3"), "Model")
    assert verify(source, source).ok
    with pytest.raises(ImportError, match="takes both frameworks, there is torch; install the other one"):
        verify(source)
    with pytest.raises(ImportError, match="tensorflow is not installed"):
        verify(source, source, frameworks=["tensorflow"])
    with pytest.raises(ValueError, match="dtypes holds 'float16', expected float32 and bfloat16"):
        verify(source, source, dtypes=["float16"])


class TestBatches:
    @pytest.mark.parametrize(("buckets", "distance"), [(256, 512), (4, 16), (-1, 512), (-1, 7)])
    def test_lengths_lie_on_both_sides_of_buckets_and_distances(self, buckets, distance):
        config = small_config("v3", position_buckets=buckets, max_position_embeddings=distance)
        lengths = [batch.inputs["input_ids"].shape[-1] for batch in make_batches(config, "Model")]
        for limit in {config.span, config.max_distance}:
            assert min(lengths) < limit < max(lengths)
        assert max(lengths) <= 640
        assert len(lengths) >= 3

    @pytest.mark.parametrize("changes", [{"position_biased_input": True}, {"mlm_head": "emd"}])
    def test_a_table_of_positions_limits_them(self, changes):
        config = small_config("v3", **changes)
        assert max(b.inputs["input_ids"].shape[-1] for b in make_batches(config, "ForMaskedLM")) == 16

    def test_rows_are_padded_on_both_sides_and_one_is_empty(self):
        for number, batch in enumerate(make_batches(small_config("v1"), "Model")):
            mask = batch.inputs["attention_mask"]
            assert mask[0].all()
            assert mask[1, 0] == 1 and mask[1, -1] == 0  # noqa: PT018 - one statement on one row
            assert mask[2, 0] == 0 and mask[2, -1] == 1  # noqa: PT018
            assert (len(mask) == 4 and not mask[3].any()) == (number == 0)


def test_layers_of_other_shapes_cannot_be_compared():
    one, two = [{"a": np.zeros((2, 3))}], [{"a": np.zeros((2, 4))}]
    with pytest.raises(ValueError, match="a is not there in both models, or has two shapes"):
        compare_outputs(one, two)


@pytest.mark.slow
def test_the_command(tmp_path):
    config = small_config("v3")
    source = write_checkpoint(tmp_path / "source", config, "ForSequenceClassification")
    other = write_checkpoint(tmp_path / "other", config, "ForSequenceClassification", seed=1)
    fine = command("verify", source, "--dtype", "float32", "--json", "--quiet")
    assert fine.returncode == 0, fine.stderr
    assert json.loads(fine.stdout)["ok"] is True
    over = command("verify", source, other, "--dtype", "float32", "--framework", "torch", "--markdown")
    assert over.returncode == 1, over.stderr
    assert "OVER THE LIMIT" in over.stdout
    assert "running" in over.stderr
    done = command("convert", source, tmp_path / "made", "--to", "tf", "--verify")
    assert done.returncode == 0, done.stderr
    assert "within the limits" in done.stdout
