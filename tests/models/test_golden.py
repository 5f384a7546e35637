"""Both frameworks against what the reference implementations computed, in files of their own making."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from deberta_core.config import AutoConfig
from tests.models.helpers import assert_close, class_name, flatten, pt_inputs, tf_inputs

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "io.npz").exists())
HEADS = {
    "base": "Model", "mlm_legacy": "ForMaskedLM", "emd": "ForMaskedLM", "seqcls": "ForSequenceClassification",
    "regression": "ForSequenceClassification", "multilabel": "ForSequenceClassification",
    "tokcls": "ForTokenClassification", "qa": "ForQuestionAnswering", "choice": "ForMultipleChoice",
    "rtd": "ForReplacedTokenDetection",
}  # fmt: skip
OUTPUT = 2e-5  # float32, of the largest value: two implementations that add in other orders, through all layers
GRADIENT = 2e-4  # likewise, through the backward pass, measured for each weight by itself


def read(case: str) -> tuple[str, dict, dict, dict, np.ndarray]:
    """Kind of the case, inputs with labels as this project takes them, outputs, gradients, original labels."""
    kind, io = case.split("__")[1], np.load(GOLDEN / case / "io.npz")
    inputs = {name[3:]: io[name] for name in io.files if name.startswith("in_")}
    wanted = {name[4:]: io[name] for name in io.files if name.startswith("out_") and name != "out_labels"}
    labels = inputs.get("labels")
    if kind == "emd":
        inputs["labels"] = np.where(labels > 0, labels, -100)
    elif kind == "rtd":
        inputs["labels"] = ((labels > 0) & (labels != inputs["input_ids"])).astype(np.int64)
    return kind, inputs, wanted, {name[5:]: io[name] for name in io.files if name.startswith("grad_")}, labels


def check(kind, output, wanted, labels):
    got = flatten(output)
    for name, want in wanted.items():
        have = got[name]
        if kind == "emd" and name == "logits":
            have = have[labels > 0]
        if kind in ("emd", "rtd") and name == "loss":
            want = want.mean()
        assert_close(have, want, name, tolerance=OUTPUT, floor=1.0)


def options_of(kind):
    return {"output_hidden_states": True, "output_attentions": True} if kind == "base" else {}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_pytorch(case, attention):
    pytest.importorskip("torch")
    import deberta_pt

    kind, inputs, wanted, gradients, labels = read(case)
    cls = getattr(deberta_pt, class_name(AutoConfig.from_pretrained(GOLDEN / case), HEADS[kind]))
    model = cls.from_pretrained(GOLDEN / case, attn_implementation=attention)
    output = model(**pt_inputs(inputs), **options_of(kind))
    check(kind, output, wanted, labels)
    if gradients:
        output.loss.backward()
    own = dict(model.named_parameters())
    for name, want in gradients.items():
        assert_close(own[name].grad, want, f"gradient of {name}", tolerance=GRADIENT, floor=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_tensorflow(case):
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    import deberta_tf
    from tests.models.helpers import tf_gradients

    kind, inputs, wanted, gradients, labels = read(case)
    cls = getattr(deberta_tf, "TF" + class_name(AutoConfig.from_pretrained(GOLDEN / case), HEADS[kind]))
    model = cls.from_pretrained(GOLDEN / case, from_pt=True)
    with tf.GradientTape() as tape:
        output = model(tf_inputs(inputs), **options_of(kind))
    check(kind, output, wanted, labels)
    if gradients:
        found = tf_gradients(model, tape, output.loss)
        for name, want in gradients.items():
            assert_close(found[name], want, f"gradient of {name}", tolerance=GRADIENT, floor=1e-3)


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize("case", [c for c in CASES if (GOLDEN / c / "tf_model.h5").exists()])
def test_from_the_tensorflow_file(case, framework, tmp_path):
    """The published TF file alone, in both frameworks."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    shutil.copytree(GOLDEN / case, tmp_path / case, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    kind, inputs, wanted, _, labels = read(case)
    name = class_name(AutoConfig.from_pretrained(tmp_path / case), HEADS[kind])
    if framework == "pt":
        import deberta_pt

        output = getattr(deberta_pt, name).from_pretrained(tmp_path / case)(**pt_inputs(inputs), **options_of(kind))
    else:
        import deberta_tf

        model = getattr(deberta_tf, "TF" + name).from_pretrained(tmp_path / case)
        output = model(tf_inputs(inputs), **options_of(kind))
    check(kind, output, wanted, labels)


def test_the_recorded_cases_are_small_and_of_every_kind():
    """The repository carries them for ever."""
    assert sum(file.stat().st_size for file in GOLDEN.rglob("*") if file.is_file()) < 3_000_000
    kinds = {case.split("__")[1] for case in CASES}
    assert kinds == set(HEADS)
    families = {json.loads((GOLDEN / case / "config.json").read_text())["model_type"] for case in CASES}
    assert families == {"deberta", "deberta-v2"}
