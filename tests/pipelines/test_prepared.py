"""Pipelines run prepared models by themselves, and leave what is the caller's alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

import torch

import deberta_pt
import deberta_tf
from deberta_tasks.cli import main
from deberta_tasks.pipelines import pipeline
from deberta_tasks.training.options import Options
from deberta_tasks.training.pt import TorchLearner
from tests.pipelines.cases import CASES, assert_same

TASK = "text-classification"
INPUTS = CASES[TASK].inputs
FACES: dict[str, Any] = {"pt": deberta_pt, "tf": deberta_tf}
CLASSES: dict[str, Any] = {
    "pt": deberta_pt.AutoModelForSequenceClassification, "tf": deberta_tf.TFAutoModelForSequenceClassification
}  # fmt: skip


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_folder_is_prepared_and_says_the_same(
    framework: str, family: str, checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(TASK, family)
    fast, plain = pipeline(TASK, folder, framework), pipeline(TASK, folder, framework, prepare=False)
    assert fast.runner.model.prepared
    assert not plain.runner.model.prepared
    assert_same(fast(INPUTS), plain(INPUTS))


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_a_model_object_is_prepared_when_asked_and_never_changed(
    framework: str, checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(TASK)
    face = FACES[framework]
    tokenizer = face.AutoTokenizer.from_pretrained(folder)
    model = CLASSES[framework].from_pretrained(folder)

    def values() -> list[Any]:
        return [x.detach().numpy().copy() for x in model.parameters()] if framework == "pt" else model.get_weights()

    before = values()
    assert pipeline(TASK, model, tokenizer=tokenizer).runner.model is model
    fast = pipeline(TASK, model, tokenizer=tokenizer, prepare=True)
    assert fast.runner.model is not model
    assert fast.runner.model.prepared
    assert not model.prepared
    assert_same(fast(INPUTS), pipeline(TASK, model, tokenizer=tokenizer)(INPUTS))
    assert all((old == new).all() for old, new in zip(before, values(), strict=True))
    assert face.optimize_for_inference(fast.runner.model) is fast.runner.model


def _trained(model: Any) -> None:
    model.train()


def _hooked(model: Any) -> None:
    model.deberta.encoder.layer[0].register_forward_hook(lambda *_: None)


def _adapted(model: Any) -> None:
    class Adapter(torch.nn.Linear):
        pass

    model.deberta.encoder.layer[1].output.dense.__class__ = Adapter


def _of_reference(model: Any) -> None:
    model.set_attn_implementation("eager")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_trained, "training mode"),
        (_hooked, "hooks on"),
        (_adapted, "linear layer is a"),
        (_of_reference, "was chosen"),
    ],
)
def test_a_model_that_would_lose_something_stays_as_it_is(
    change: Callable[[Any], None], reason: str, checkpoint: Callable[..., Path]
) -> None:
    folder = checkpoint(TASK)
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(folder)
    change(model)
    tokenizer = deberta_pt.AutoTokenizer.from_pretrained(folder)
    with pytest.warns(UserWarning, match=reason):
        pipe = pipeline(TASK, model, tokenizer=tokenizer, prepare=True)
    assert pipe.runner.model is model


def test_an_implementation_that_was_chosen_is_the_one_that_runs(checkpoint: Callable[..., Path]) -> None:
    for framework in ("pt", "tf"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pipe = pipeline(TASK, checkpoint(TASK), framework, model_kwargs={"attn_implementation": "eager"})
        assert not pipe.runner.model.prepared


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_loading_prepares_when_asked(framework: str, checkpoint: Callable[..., Path]) -> None:
    model, info = CLASSES[framework].from_pretrained(checkpoint(TASK), prepare=True, output_loading_info=True)
    assert model.prepared
    assert not info["missing_keys"]
    with pytest.raises(ValueError, match="cannot be saved"):
        model.save_pretrained("nowhere")


def test_the_command_line_prepares_unless_told_not_to(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr("deberta_tasks.pipelines.runner_pt.prepared", lambda model, **_: asked.append(1) or model)
    texts = tmp_path / "texts.txt"
    texts.write_text("Good.\n", encoding="utf-8")
    command = ["run", "--task", TASK, "--model", str(checkpoint(TASK)), "--framework", "pt", "--input", str(texts)]
    for more, count in (((), 1), (("--prepare",), 2), (("--no-prepare",), 2)):
        assert main([*command, "--output", str(tmp_path / "out.jsonl"), *more]) == 0
        assert len(asked) == count


def test_evaluation_between_steps_sees_the_weights_of_the_last_step(checkpoint: Callable[..., Path]) -> None:
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(checkpoint(TASK))
    learner = TorchLearner(model, Options(steps=3))
    batch = {"input_ids": np.array([[5, 6, 7, 8], [9, 10, 0, 0]]), "attention_mask": np.array([[1] * 4, [1, 1, 0, 0]])}
    for step in range(3):
        found = learner.predict(batch)["logits"]
        assert learner._judged.prepared
        with torch.no_grad():
            plain = model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.numpy()
        assert np.abs(found - plain).max() <= 1e-5 * np.abs(plain).max()
        learner.step({**batch, "labels": np.array([0, 1])}, 1e-2, step)
