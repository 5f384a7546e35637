"""Pipelines and ``deberta run`` on exported graphs give the answers of the model."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import conversion
from deberta_core.heads import TASK_HEADS
from deberta_tasks.cli import main
from deberta_tasks.pipelines import TASKS, pipeline
from tests.pipelines.cases import CASES, assert_same

ROOT = Path(__file__).parents[2]
# One task for each way that outputs are read; in the quick suite the two that ask the model for more than logits.
HEADS = ["feature-extraction", "fill-mask", "multiple-choice", "question-answering", "token-classification"]


def test_every_task_has_a_head() -> None:
    assert {name: TASK_HEADS[name] for name in TASKS} == {name: task.head for name, task in TASKS.items()}


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[] if task == "fill-mask" else [pytest.mark.slow]) for task in HEADS]
)
def test_same_answers(task: str, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    case, folder = CASES[task], checkpoint(task)
    conversion.export(folder, tmp_path / "out", to="torch", task=task)
    pipe, wanted = pipeline(task, tmp_path / "out", **case.options), pipeline(task, folder, "pt", **case.options)
    assert pipe.runner.framework == "export"
    assert_same(pipe(case.inputs), wanted(case.inputs))
    assert_same([pipe(item) for item in case.inputs], wanted(case.inputs))


def test_an_export_on_the_command_line(checkpoint: Callable[..., Path], tmp_path: Path, capsys) -> None:
    task, out = "text-classification", tmp_path / "out"
    folder = checkpoint(task, architectures=["DebertaV2ForSequenceClassification"])
    assert main(["export", str(folder), str(out), "--to", "torch", "--quiet"]) == 0
    assert "in its runtime against the model" in capsys.readouterr().out
    (tmp_path / "texts.txt").write_text("\n".join(CASES[task].inputs[:3]) + "\n")
    answers = []
    for model in (folder, out):
        written = tmp_path / f"{model.name}.jsonl"
        command = ["run", "--task", task, "--model", str(model), "--input", str(tmp_path / "texts.txt")]
        assert main([*command, "--output", str(written)]) == 0
        answers.append([json.loads(line) for line in written.read_text().splitlines()])
    assert_same(answers[1], answers[0])
    for arguments, text in (
        (["--task", "fill-mask"], "is an export of ForSequenceClassification, which has no head for fill-mask"),
        (["--task", task, "--framework", "tf"], "leave framework out"),
        (["--task", task, "--dtype", "bfloat16"], "leave dtype out"),
    ):
        assert main(["run", "--model", str(out), "--input", str(tmp_path / "texts.txt"), *arguments]) == 2
        assert text in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("onnxruntime", "onnxscript"))), reason="needs the extra onnx: make test-slow"
)
def test_without_either_framework(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    task = "text-classification"
    conversion.export(checkpoint(task), tmp_path / "out", to="onnx", task=task)
    code = (
        "import sys; from deberta_tasks import pipeline\n"
        f"print(pipeline({task!r}, {str(tmp_path / 'out')!r})('my dog')[0]['label'])\n"
        "print(*{'torch', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    label, loaded = done.stdout.split("\n")[:2]
    assert (label, loaded) == (pipeline(task, checkpoint(task), "pt")("my dog")[0]["label"], "")
