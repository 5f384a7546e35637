"""Both frameworks give the same answers, alone and in batches, from lists and from streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

from deberta_core.config import DebertaV2Config
from deberta_core.heads import HEADS
from deberta_core.hub.card import model_card
from deberta_tasks import tasks
from deberta_tasks.cli import main
from deberta_tasks.pipelines import TASKS, pipeline
from deberta_tasks.pipelines.runner_tf import EAGER_BATCHES
from tests.pipelines.cases import CASES, assert_same


def test_every_task_has_a_case() -> None:
    assert list(CASES) == list(TASKS)


@pytest.mark.parametrize("family", ["v1", "v3"])
@pytest.mark.parametrize("task", CASES)
def test_frameworks_agree(task: str, family: str, checkpoint: Callable[..., Path]) -> None:
    case, folder = CASES[task], checkpoint(task, family)
    answers = {}
    for framework in ("pt", "tf"):
        pipe = pipeline(task, folder, framework, **case.options)
        assert pipe.runner.framework == framework
        answers[framework] = pipe(case.inputs)
        assert_same([pipe(item) for item in case.inputs], answers[framework])  # padding and neighbours change nothing
        assert_same(list(pipe(item for item in case.inputs)), answers[framework])
    assert len(answers["pt"]) == len(case.inputs)
    assert_same(answers["tf"], answers["pt"])


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "multiple-choice"])
def test_long_work_in_tensorflow_goes_through_a_graph(task: str, checkpoint: Callable[..., Path]) -> None:
    case, folder = CASES[task], checkpoint(task)
    pipe = pipeline(task, folder, "tf", batch_size=1, **case.options)
    many = case.inputs * EAGER_BATCHES
    assert_same(pipe(many), pipeline(task, folder, "pt", **case.options)(many))
    assert pipe.runner._graph.experimental_get_tracing_count() == 1


def test_the_package_has_it() -> None:
    import deberta_tasks

    assert deberta_tasks.pipeline is pipeline
    with pytest.raises(AttributeError, match="pipline"):
        _ = deberta_tasks.pipline


def test_a_new_task_is_a_new_file(
    tmp_path: Path, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pipelines, the command line and fine-tuning have it, with its columns."""
    (tmp_path / "mood.py").write_text(
        "from deberta_tasks.tasks.text_classification import TextClassification\n\n\n"
        "class Mood(TextClassification):\n    name, fields, optional = 'mood', ('review',), ()\n\n\nTASK = Mood()\n"
    )
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    found = tasks.find_tasks()
    assert set(found) == {*TASKS, "mood"}
    for table in (tasks.TASKS, tasks.TRAINABLE):
        monkeypatch.setitem(table, "mood", found["mood"])
    folder = checkpoint("text-classification")
    answer = pipeline("mood", folder)(review="my dog")
    assert_same(answer, pipeline("text-classification", folder)(text="my dog"))
    assert (
        main(["run", "--task", "mood", "--model", str(folder), "--review", "my dog", "--output", str(tmp_path / "a")])
        == 0
    )
    assert_same(json.loads((tmp_path / "a").read_text())["result"], answer)
    (tmp_path / "b.csv").write_text("review,label\nmy dog,good\nmy cat,\n")
    assert (
        main(["finetune", "--task", "mood", "--train", str(tmp_path / "b.csv"), "--output", str(tmp_path / "c")]) == 2
    )
    assert "b.csv, line 3: the row has no label" in capsys.readouterr().err


def test_model_cards_call_tasks_what_pipelines_call_them() -> None:
    for head in HEADS:
        config = DebertaV2Config()
        config.extra["architectures"] = [f"DebertaV2{head}"]
        named = [line.split()[1] for line in model_card(config, "x").splitlines() if line.startswith("pipeline_tag:")]
        assert [TASKS[task].head for task in named] == [head] * (head != "ForReplacedTokenDetection")
