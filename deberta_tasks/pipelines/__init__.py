"""From text to answer in one call: ``pipeline(task, model)``.

What goes in and what comes out is the same in both frameworks, and so are the numbers; ``runner_pt`` and ``runner_tf``
are all that differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deberta_core.config import near
from deberta_tasks.pipelines.base import Pipeline
from deberta_tasks.pipelines.features import FeatureExtraction
from deberta_tasks.pipelines.fill_mask import FillMask
from deberta_tasks.pipelines.loading import HUB, load_runner, load_tokenizer
from deberta_tasks.pipelines.multiple_choice import MultipleChoice
from deberta_tasks.pipelines.question_answering import QuestionAnswering
from deberta_tasks.pipelines.text_classification import TextClassification
from deberta_tasks.pipelines.text_ranking import TextRanking
from deberta_tasks.pipelines.token_classification import TokenClassification
from deberta_tasks.pipelines.zero_shot import ZeroShotClassification

__all__ = ["TASKS", "Pipeline", "pipeline", "task_class"]

TASKS: dict[str, type[Pipeline[Any]]] = {
    cls.task: cls
    for cls in (
        TextClassification, ZeroShotClassification, TextRanking, TokenClassification, QuestionAnswering, FillMask,
        MultipleChoice, FeatureExtraction,
    )
}  # fmt: skip
OLD_NAMES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}


def task_class(task: str) -> type[Pipeline[Any]]:
    """The class of a task.

    Raises:
        ValueError: for an unknown task.
    """
    found = TASKS.get(OLD_NAMES.get(task, task))
    if found is None:
        raise ValueError(f"unknown task {task!r}, expected one of {', '.join(TASKS)}{near(task, TASKS)}")
    return found


def pipeline(
    task: str,
    model: Any,
    framework: str | None = None,
    *,
    tokenizer: Any = None,
    device: str | int | None = None,
    dtype: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Pipeline[Any]:
    """A task with a model and its tokenizer, ready to be called with texts.

    Args:
        task: ``text-classification``, ``zero-shot-classification``, ``text-ranking``, ``token-classification``,
            ``question-answering``, ``fill-mask``, ``multiple-choice`` or ``feature-extraction``.
        model: folder with a checkpoint of either framework, a name on the hub, or a model object.
        framework: ``pt`` or ``tf``; default the model's own, else PyTorch where it is installed.
        tokenizer: a tokenizer, or its folder or name; default the one beside the model.
        device: such as ``cuda:1`` (PyTorch) or ``GPU:1`` (TensorFlow), or the number of a GPU, or -1 for the CPU;
            default the first GPU, else the CPU.
        dtype: of the weights; default float32.
        model_kwargs: further keywords of ``from_pretrained``, such as ``{"generator": True}``.
        **options: defaults of what a call can be asked for, see the task's options class; and how to fetch a model by
            name: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``force_download``, ``subfolder``.

    Raises:
        FileNotFoundError: if the model is not there.
        ImportError: if the framework is not installed.
        TypeError: for an unknown option.
        ValueError: for an unknown task, a checkpoint without a head for it, a folder without a tokenizer.
    """
    cls = task_class(task)
    fetch = {name: options.pop(name) for name in HUB if name in options}
    cls.options_class().changed(options)  # before anything is read
    found = load_tokenizer(tokenizer, model, fetch)
    wanted = {**fetch, **({} if dtype is None else {"dtype": dtype}), **(model_kwargs or {})}
    runner = load_runner(cls.task, cls.head, model, framework, device=device, options=wanted)
    return cls(runner, found, **options)
