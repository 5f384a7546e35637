"""Published numbers of models whose weights are a formula: nothing of the references is needed but the digits.

The limit is 2e-5: the digits are six, and the references computed in float32.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deberta_core.config import DebertaConfig, DebertaV2Config
from deberta_core.heads import weights
from tests.models.helpers import flatten, pt_inputs, pt_model, tf_inputs, tf_model

NUMBERS = json.loads((Path(__file__).parents[1] / "golden" / "sine_weights.json").read_text())
SEQUENCE = "ForSequenceClassification"
IDS = np.array([[1, 5, 9, 13, 2, 0, 0], [1, 7, 11, 20, 23, 29, 2]])
TYPES = np.array([[0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]])
REAL = IDS != 0
LABELS = np.array([[0, 0, 9, 0, 0, 0, 0], [0, 8, 0, 0, 3, 0, 0]])
POSITION_KEY = "deberta.embeddings.position_embeddings.weight"
LIMIT = 2e-5


def config_of(case, **changes):
    cls = DebertaConfig if case.startswith("v1") else DebertaV2Config
    fields = {**NUMBERS["base_config"], **NUMBERS["sequence_classification"][case]["config"], **changes}
    return cls(**fields)


def sine_weights(config, head, also=()):
    """The formula; ``also`` are keys that are counted but that the model does not have."""
    shapes = {key: weight.shape for key, weight in weights(config, head).items()}
    found = {}
    for k, key in enumerate(sorted({*shapes, *also})):
        if key in shapes:
            i = np.arange(np.prod(shapes[key], dtype=int))
            value = (0.15 * np.sin(0.7 * i + 1.3 * k + 0.5)).astype(np.float32).reshape(shapes[key])
            found[key] = value + np.float32(key.endswith("LayerNorm.weight"))
    return found


def run(framework, config, head, inputs, also=(), **options):
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    values = sine_weights(config, head, also)
    if framework == "pt":
        return flatten(pt_model(config, head, values)(**pt_inputs(inputs), **options))
    return flatten(tf_model(config, head, values)(tf_inputs(inputs), **options))


def inputs_for(config, **more):
    types = {"token_type_ids": TYPES} if config.type_vocab_size else {}
    return {"input_ids": IDS, "attention_mask": REAL.astype(np.int64), **types, **more}


def near(got, want, limit=LIMIT):
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)


def test_the_formula():
    values = sine_weights(config_of("v3_like"), SEQUENCE)
    assert len(values) == 42
    assert sorted(values)[:3] == ["classifier.bias", "classifier.weight", "deberta.embeddings.LayerNorm.bias"]
    near(values["classifier.bias"], [0.071914, 0.139806, 0.141945], 1e-6)
    near(values["classifier.weight"][0, :3], [0.146077, 0.089771, -0.008756], 1e-6)
    near(values["deberta.embeddings.LayerNorm.bias"][:3], [0.006237, -0.091779, -0.146630], 1e-6)


@pytest.mark.parametrize("case", NUMBERS["sequence_classification"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_sequence_classification(framework, case):
    config, want = config_of(case), NUMBERS["sequence_classification"][case]
    got = run(framework, config, SEQUENCE, inputs_for(config), output_hidden_states=True, output_attentions=True)
    last = got[f"hidden_states_{config.num_hidden_layers}"]
    near(last[0, 0, :4], want["state_0_0"])
    near(last[1, 6, :4], want["state_1_6"])
    near(np.abs(last[REAL]).sum(), want["sum"], REAL.sum() * config.hidden_size * LIMIT)
    near(got["logits"], want["logits"])
    edges = NUMBERS["edges"]
    if case in edges["state1_0_0"]:
        near(got["hidden_states_0"][0, 0, :4], edges["embedding_0_0"])
        near(got["hidden_states_1"][0, 0, :4], edges["state1_0_0"][case])
        near(got["attentions_0"][0, 0, 0], edges["attention0_0_0_0"][case])
        near(last[0, 5, :4], edges["padded_row_0_5"][case]["zero"])


@pytest.mark.parametrize("case", NUMBERS["edges"]["padded_row_0_5"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_uniform_masked_rows(framework, case):
    config = config_of(case, masked_rows="uniform")
    got = run(framework, config, SEQUENCE, inputs_for(config), output_hidden_states=True)
    near(got["hidden_states_2"][0, 5, :4], NUMBERS["edges"]["padded_row_0_5"][case]["uniform"])


@pytest.mark.parametrize("case", NUMBERS["edges"]["long_input"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_longer_than_all_positions(framework, case):
    want = NUMBERS["edges"]["long_input"][case]
    ids = np.array([[1, *(3 + 7 * i % 26 for i in range(22)), 2]])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    last = run(framework, config_of(case), SEQUENCE, inputs, output_hidden_states=True)["hidden_states_2"]
    near(last[0, 0, :4], want["state_0_0"])
    near(last[0, 23, :4], want["state_0_23"])
    near(np.abs(last).sum(), want["sum"], last.size * LIMIT)
    clamped = run(framework, config_of(case, clamp_distances=True), SEQUENCE, inputs, output_hidden_states=True)
    near(clamped["hidden_states_2"][0, 0, :4], want["clamped_state_0_0"])


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_losses(framework):
    config, edges = config_of("v3_like"), NUMBERS["edges"]
    got = run(framework, config, SEQUENCE, inputs_for(config, labels=np.array([2, 0])))
    near(got["loss"], edges["v3_like_loss_of_labels_2_0"])
    choices = {k: v[None] for k, v in inputs_for(config).items()}
    got = run(framework, config_of("v3_like", num_labels=1), "ForMultipleChoice", {**choices, "labels": np.array([1])})
    near(got["loss"], edges["v3_like_choice"]["loss_of_label_1"])


@pytest.mark.parametrize("head", ["ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering"])
@pytest.mark.parametrize("case", NUMBERS["heads"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_other_head(framework, case, head):
    config, (first, total) = config_of(case, mlm_head="legacy"), NUMBERS["heads"][case][head]
    got = run(framework, config, head, inputs_for(config))
    both = [got["start_logits"], got["end_logits"]] if "start_logits" in got else [got["logits"]]
    out = np.stack(both, -1) if len(both) == 2 else both[0]
    near(out[0, 1, : len(first)], first)
    near(np.abs(out[REAL]).sum(), total, REAL.sum() * out.shape[-1] * LIMIT)


@pytest.mark.parametrize("case", NUMBERS["pretraining"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_enhanced_mask_decoder(framework, case):
    want, config = NUMBERS["pretraining"][case], config_of(case, mlm_head="emd")
    got = run(framework, config, "ForMaskedLM", inputs_for(config, labels=np.where(LABELS > 0, LABELS, -100)))
    targets = got["logits"][LABELS > 0]
    near(targets[0, :4], want["emd_0"])
    near(targets[2, :4], want["emd_2"])
    near(got["loss"], np.mean(want["emd_losses"]))


@pytest.mark.parametrize("case", NUMBERS["pretraining"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_replaced_token_detection(framework, case):
    """The original's file holds a table of positions, unused here, that is counted in the formula."""
    want, config = NUMBERS["pretraining"][case], config_of(case)
    targets = ((LABELS > 0) & (LABELS != IDS)).astype(np.int64)
    assert targets[REAL].nonzero()[0].tolist() == [6, 9]  # position [0, 2] holds the original token
    inputs = inputs_for(config, labels=targets)
    got = run(framework, config, "ForReplacedTokenDetection", inputs, also=(POSITION_KEY,))
    near(got["logits"][0], want["rtd_0"])
    near(got["loss"], want["rtd_loss"])
