"""Files go back and forth between this project and transformers 4.57.6, with the same numbers.

Compared are real tokens of right-padded batches: what stands at a padded position differs by design, because
transformers' PyTorch classes let a row that sees nothing attend to everything.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
tf = pytest.importorskip("tensorflow")
transformers = pytest.importorskip("transformers")

import deberta_pt  # noqa: E402
import deberta_tf  # noqa: E402
from tests.models.helpers import (  # noqa: E402
    assert_close,
    class_name,
    pt_inputs,
    pt_model,
    pt_values,
    small_config,
    tf_inputs,
    tf_model,
    tf_values,
)

HEADS = ["Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM"]
LIMIT = 1e-5


def batch():
    """Two texts, one of them padded on the right."""
    ids = np.random.default_rng(0).integers(1, 53, (2, 21))
    mask = np.ones_like(ids)
    mask[1, 13:] = ids[1, 13:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def config_for(base, head):
    more = {"ForMaskedLM": {"mlm_head": "legacy"}, "ForQuestionAnswering": {"num_labels": 2}}
    return small_config(base, **more.get(head, {}))


def outputs(model, inputs, framework):
    """Arrays by name, tokens that are padded left out."""
    output = model(**pt_inputs(inputs)) if framework == "pt" else model(tf_inputs(inputs))
    found = {k: np.asarray(v.detach() if hasattr(v, "detach") else v) for k, v in output.items()}
    real = inputs["attention_mask"] != 0
    return {k: v[real] if v.shape[:2] == real.shape else v for k, v in found.items()}


def pairs():
    for base in ("v1", "v2", "v3"):
        for head in HEADS:
            few = base == "v3" or head in ("Model", "ForSequenceClassification")
            yield pytest.param(base, head, marks=[] if few else pytest.mark.slow)


@pytest.mark.parametrize(("base", "head"), list(pairs()))
def test_transformers_reads_ours(tmp_path, base, head):
    config = config_for(base, head)
    model = pt_model(config, head)
    model.save_pretrained(tmp_path)
    theirs, info = getattr(transformers, class_name(config, head)).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] or set(info["missing_keys"]) <= {"cls.predictions.decoder.weight",
                                                                    "cls.predictions.decoder.bias"}
    assert not info["unexpected_keys"]
    want, got = outputs(model, batch(), "pt"), outputs(theirs.eval(), batch(), "pt")
    for name in want:
        assert_close(got[name], want[name], name, tolerance=LIMIT)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize(("base", "head"), list(pairs()))
def test_we_read_transformers(tmp_path, base, head, safe):
    config = config_for(base, head)
    pt_model(config, head).save_pretrained(tmp_path / "ours")
    theirs = getattr(transformers, class_name(config, head)).from_pretrained(tmp_path / "ours").eval()
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=safe)
    want = outputs(theirs, batch(), "pt")
    ours = getattr(deberta_pt, class_name(config, head)).from_pretrained(tmp_path / "theirs")
    twin = getattr(deberta_tf, "TF" + class_name(config, head)).from_pretrained(tmp_path / "theirs")
    values, other = pt_values(ours), tf_values(twin)
    assert all(np.array_equal(values[key], other[key]) for key in values)
    for got in (outputs(ours, batch(), "pt"), outputs(twin, batch(), "tf")):
        for name in want:
            assert_close(got[name], want[name], name, tolerance=LIMIT)


@pytest.mark.parametrize(("base", "head"), list(pairs()))
def test_h5_both_ways(tmp_path, base, head):
    """Its TensorFlow classes read our h5 in a folder without safetensors, and we read theirs, in both frameworks."""
    config = config_for(base, head)
    model = tf_model(config, head)
    model.save_pretrained(tmp_path / "ours")
    theirs = getattr(transformers, "TF" + class_name(config, head)).from_pretrained(tmp_path / "ours")
    want = outputs(model, batch(), "tf")
    got = outputs(theirs, batch(), "tf")
    for name in want:
        assert_close(got[name], want[name], name, tolerance=LIMIT)
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=False)
    again = getattr(deberta_pt, class_name(config, head)).from_pretrained(tmp_path / "theirs")
    twin = getattr(deberta_tf, "TF" + class_name(config, head)).from_pretrained(tmp_path / "theirs")
    expected = tf_values(model)
    for found in (pt_values(again), tf_values(twin)):
        for key in expected:
            assert np.array_equal(found[key], expected[key]), key
