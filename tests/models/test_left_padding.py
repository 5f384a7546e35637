"""Texts padded on the left gave heads of whole texts the state of padding, without a word."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from deberta_core.checks import LEFT_PADDING
from tests.models.helpers import assert_close, pt_inputs, pt_model, small_config, tf_inputs, tf_model

HEADS = ["ForSequenceClassification", "ForMultipleChoice", "ForReplacedTokenDetection"]
FRAMEWORKS = pytest.mark.parametrize("framework", ["pt", "tf"])
LENGTH, HIDDEN = 9, 4


def texts(head: str, side: str) -> dict[str, Any]:
    """Two texts, the second shorter, padded on one side."""
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(1, 53, (2, LENGTH)), np.ones((2, LENGTH), np.int64)
    ids[1, :HIDDEN], mask[1, :HIDDEN] = 0, 0
    if side == "right":
        ids[1], mask[1] = np.roll(ids[1], -HIDDEN), np.roll(mask[1], -HIDDEN)
    found = {"input_ids": ids, "attention_mask": mask}
    return {name: x[None] if head == "ForMultipleChoice" else x for name, x in found.items()}


def model_of(framework: str, head: str, **changes: Any) -> Any:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    return (pt_model if framework == "pt" else tf_model)(small_config("v3", **changes), head)


def logits(framework: str, model: Any, inputs: dict[str, Any]) -> Any:
    output = model(**(pt_inputs if framework == "pt" else tf_inputs)(inputs))
    return np.asarray(output.logits.detach() if framework == "pt" else output.logits)


@FRAMEWORKS
@pytest.mark.parametrize("head", HEADS)
def test_the_first_visible_row_is_read_when_the_config_says_so(framework, head):
    """Positions are relative, so a text on the right side of its padding gives the logits of one on the left."""
    model = model_of(framework, head, pooled_row="first_visible")
    left, right = (logits(framework, model, texts(head, side)) for side in ("left", "right"))
    if head == "ForReplacedTokenDetection":
        left = np.stack([left[0], np.roll(left[1], -HIDDEN)])
    assert_close(left, right, "logits")
    reading_padding = logits(framework, model_of(framework, head), texts(head, "left"))
    assert np.abs(reading_padding - logits(framework, model, texts(head, "left"))).max() > 0.01


@FRAMEWORKS
@pytest.mark.parametrize("head", HEADS)
def test_reading_padding_is_said_once(framework, head):
    model = model_of(framework, head)
    with warnings.catch_warnings(record=True) as quiet:
        warnings.simplefilter("always")
        logits(framework, model, texts(head, "right"))
    assert not [w for w in quiet if str(w.message) == LEFT_PADDING]
    with pytest.warns(UserWarning, match='padding_side="right"'):
        logits(framework, model, texts(head, "left"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logits(framework, model, texts(head, "left"))
        logits(framework, model_of(framework, head, pooled_row="first_visible"), texts(head, "left"))


def test_nobody_waits_for_the_warning_in_graphs():
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    head = "ForSequenceClassification"
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        given, model = pt_inputs(texts(head, "left")), model_of("pt", head)
        torch._dynamo.reset()
        torch.compile(model, backend="eager", fullgraph=True)(**given)
        torch.export.export(model, (given["input_ids"], given["attention_mask"]))
        inputs, twin = tf_inputs(texts(head, "left")), model_of("tf", head)
        tf.function(lambda: twin(inputs)["logits"])()


@FRAMEWORKS
def test_the_field_is_kept_and_checked(framework, tmp_path):
    model = model_of(framework, HEADS[0], pooled_row="first_visible")
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).config.pooled_row == "first_visible"
    with pytest.raises(ValueError, match="pooled_row is 'last', expected one of first, first_visible"):
        small_config("v3", pooled_row="last")
