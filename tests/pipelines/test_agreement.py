"""Both frameworks give the same answers, alone and in batches, from lists and from streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

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
