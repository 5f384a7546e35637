"""Everything that can be given wrongly gets a sentence that says what was expected."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import deberta_pt
from deberta_tasks.pipelines import pipeline
from tests.pipelines.cases import CASES, TEXTS, make_checkpoint

Make = Callable[..., Path]
LONG = "dog " * 700

CALLS: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    ("text-classification", "", {}, ValueError, "text is empty; expected a text"),
    ("text-classification", " \n", {}, ValueError, "text is empty"),
    ("text-classification", None, {}, TypeError, "got nothing to work on; expected a text, or a dict with text"),
    ("text-classification", 3, {}, TypeError, "got int, expected a text"),
    ("text-classification", [TEXTS[0], None], {}, TypeError, "input 1: text-classification got NoneType"),
    ("text-classification", [TEXTS[0], ""], {}, ValueError, "input 1: text is empty"),
    ("text-classification", {"txt": "a"}, {}, ValueError, "no 'text'; did you mean 'txt'.*got txt"),
    ("text-classification", {"text": ["a"]}, {}, TypeError, "text is list, expected a text"),
    ("text-classification", {"text": "a", "text_pair": ""}, {}, ValueError, "text_pair is empty"),
    ("text-classification", LONG, {}, ValueError, r"has 70\d tokens, the limit is 512; cut it with truncation=True"),
    ("text-classification", "a\ud800", {}, ValueError, "surrogate"),
    ("text-classification", "a", {"topk": 2}, TypeError, "unknown option 'topk'.*did you mean 'top_k'"),
    ("text-classification", "a", {"top_k": -1}, ValueError, "top_k is -1, expected a whole number"),
    ("text-classification", "a", {"max_tokens": 0}, ValueError, "max_tokens is 0"),
    ("text-classification", "a", {"max_length": 2.5}, ValueError, "max_length is 2.5"),
    ("text-classification", "a", {"function_to_apply": "tanh"}, ValueError, "expected one of softmax, sigmoid, none"),
    ("zero-shot-classification", "a", {"candidate_labels": []}, ValueError, "no labels to choose among"),
    ("zero-shot-classification", "a", {"candidate_labels": ["x", " "]}, ValueError, "a label .* is empty"),
    ("zero-shot-classification", "a", {"hypothesis_template": "It is."}, ValueError, "expected {} where"),
    ("zero-shot-classification", "a", {"entailment_label": "entails"}, ValueError,
     "entailment_label is 'entails'; did you mean 'entailment'.*labels are entailment, neutral, contradiction"),
    ("zero-shot-classification", LONG, {"truncation": True, "max_length": 5}, ValueError, "cannot bring the pair down"),
    ("text-ranking", {"query": "a"}, {}, ValueError, "either document or documents"),
    ("text-ranking", {"query": "a", "document": "b", "documents": ["c"]}, {}, ValueError, "either document or"),
    ("text-ranking", {"query": "a", "documents": "b"}, {}, TypeError, "documents is str, expected a list of texts"),
    ("text-ranking", {"query": "a", "documents": []}, {}, ValueError, "documents is an empty list"),
    ("text-ranking", {"query": "a", "documents": ["b", ""]}, {}, ValueError, r"documents\[1\] is empty"),
    ("text-ranking", {"query": "a", "document": "b"}, {"label": "x"}, ValueError, "label is 'x'.*labels are LABEL_0"),
    ("token-classification", "a", {"aggregation_strategy": "mean"}, ValueError, "expected one of none, simple, first"),
    ("token-classification", "a", {"ignore_labels": ["B-PRE"]}, ValueError, "'B-PRE'; did you mean 'B-PER'"),
    ("token-classification", "a", {"ignore_labels": "O"}, ValueError, "expected a list of labels"),
    ("token-classification", "a", {"stride": 510}, ValueError, "stride is 510, but 512 tokens leave 510"),
    ("token-classification", LONG, {}, ValueError, "or read it in windows with stride=64"),
    ("question-answering", "a", {}, TypeError, "got str, expected a dict with question and context"),
    ("question-answering", {"question": "a", "context": "b"}, {"top_k": None}, ValueError, "top_k is None, expected"),
    ("question-answering", {"question": "a"}, {}, ValueError, "there is no 'context'"),
    ("question-answering", {"question": "", "context": "b"}, {}, ValueError, "question is empty"),
    ("question-answering", {"question": LONG, "context": "b"}, {}, ValueError, "leaves 0 of 32 for the context"),
    ("question-answering", {"question": "a", "context": LONG}, {"doc_stride": 31}, ValueError, "smaller doc_stride"),
    ("fill-mask", "no place for a word", {}, ValueError, r"there is no \[MASK\]; write it where a word"),
    ("fill-mask", LONG + "[MASK]", {"truncation": True}, ValueError, r"there is no \[MASK\] that is left"),
    ("fill-mask", "[MASK]", {"targets": ["dog house"]}, ValueError, "is 7 tokens .*expected one"),
    ("fill-mask", "[MASK]", {"targets": []}, ValueError, "targets is an empty list"),
    ("multiple-choice", "a", {}, TypeError, "expected a dict with prompt and choices"),
    ("multiple-choice", {"prompt": "a", "choices": []}, {}, ValueError, "choices is an empty list"),
    ("multiple-choice", {"prompt": "a", "choices": [1]}, {}, TypeError, r"choices\[0\] is int"),
    ("feature-extraction", "a", {"pooling": "max"}, ValueError, "expected one of mean, cls, none"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "item", "options", "error", "message"), CALLS)
def test_calls(
    task: str, item: Any, options: dict[str, Any], error: type[Exception], message: str, checkpoint: Make
) -> None:
    pipe = pipeline(task, checkpoint(task), "pt", **CASES[task].options)
    with pytest.raises(error, match=message) as caught:
        pipe(item, **options)
    assert "\n" not in str(caught.value)


def test_a_stream_is_answered_up_to_the_bad_text(checkpoint: Make) -> None:
    pipe = pipeline("text-classification", checkpoint("text-classification"), "pt")
    answers = pipe(text for text in [*TEXTS, ""])
    assert [next(answers) for _ in TEXTS] == pipe(TEXTS)
    with pytest.raises(ValueError, match="input 3: text is empty"):
        next(answers)


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(("task", "other"), [
    ("text-classification", "feature-extraction"), ("token-classification", "text-classification"),
    ("fill-mask", "token-classification"), ("question-answering", "feature-extraction"),
    ("text-classification", "token-classification"),
])  # fmt: skip
def test_a_checkpoint_without_the_head(framework: str, task: str, other: str, checkpoint: Make) -> None:
    if framework == "tf":
        pytest.importorskip("tensorflow")
    labels = {"id2label": None, "label2id": None, "num_labels": 2}
    with pytest.raises(ValueError, match=f"has no head for {task}: .*needs a checkpoint of a class ending in"):
        pipeline(task, checkpoint(other, **labels), framework)


@pytest.mark.parametrize("head", ["MultipleChoice", "TokenClassification"])
def test_heads_whose_weights_have_the_same_names(head: str, tmp_path: Path, checkpoint: Make) -> None:
    config = deberta_pt.AutoConfig.from_pretrained(checkpoint("text-ranking"))
    model = getattr(deberta_pt, f"DebertaV2For{head}")(config)
    model.save_pretrained(tmp_path)
    tokenizer = checkpoint("text-ranking")
    with pytest.raises(ValueError, match=f"is a DebertaV2For{head}, which has no head for text-ranking"):
        pipeline("text-ranking", tmp_path, "pt", tokenizer=tokenizer)
    with pytest.raises(ValueError, match=f"a DebertaV2For{head} has no head for text-ranking"):
        pipeline("text-ranking", model, tokenizer=tokenizer)


def test_models_that_do_not_fit_the_task(checkpoint: Make) -> None:
    folder = checkpoint("text-classification")
    with pytest.raises(ValueError, match=r"none of the model's labels \(bad, fair, good\) begins with 'entail'"):
        pipeline("zero-shot-classification", folder, "pt")
    with pytest.raises(ValueError, match=r"the model has 3 labels \(bad, fair, good\): ranking needs a model of one"):
        pipeline("text-ranking", folder, "pt")


def test_a_folder_without_a_tokenizer(tmp_path: Path, checkpoint: Make) -> None:
    deberta_pt.AutoModelForSequenceClassification.from_pretrained(checkpoint("text-ranking")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no tokenizer \(no spm.model, merges.txt or tokenizer.json\); copy"):
        pipeline("text-ranking", tmp_path, "pt")
    assert pipeline("text-ranking", tmp_path, tokenizer=checkpoint("text-ranking"))(("a", "b"))["score"] > 0


def test_absolute_positions_have_an_end(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, "v3", "Model", position_biased_input=True)
    pipe = pipeline("feature-extraction", folder, "pt")
    with pytest.raises(ValueError, match="tokens, the limit is 64; cut it"):
        pipe(LONG)
    assert pipe(LONG, truncation=True, pooling="none").shape[0] == 64
    with pytest.raises(ValueError, match="max_length is 65, but the table of absolute positions has 64 rows"):
        pipe("a", max_length=65)


def test_what_is_asked_for_is_checked_before_anything_is_read(tmp_path: Path, checkpoint: Make) -> None:
    with pytest.raises(ValueError, match=r"unknown task 'fillmask'.*did you mean 'fill-mask'"):
        pipeline("fillmask", tmp_path)
    with pytest.raises(TypeError, match="unknown option 'pooling'"):
        pipeline("fill-mask", tmp_path, pooling="mean")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pipeline("fill-mask", tmp_path / "nowhere")
    folder = checkpoint("text-ranking")
    with pytest.raises(ValueError, match="framework is 'jax', expected one of pt, tf"):
        pipeline("text-ranking", folder, "jax")
    with pytest.raises(ValueError, match="device 'cuda:7' cannot be used"):
        pipeline("text-ranking", folder, "pt", device="cuda:7")
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(folder)
    with pytest.raises(ValueError, match="give tokenizer as well"):
        pipeline("text-ranking", model)
    with pytest.raises(ValueError, match="framework is 'tf', but the model is one of 'pt'"):
        pipeline("text-ranking", model, "tf", tokenizer=folder)
    with pytest.raises(TypeError, match="model is int, expected a folder"):
        pipeline("text-ranking", 3, tokenizer=folder)


def test_a_framework_that_is_missing(monkeypatch: pytest.MonkeyPatch, checkpoint: Make) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if re.match("torch|tensorflow", name) else find(name)
    )
    folder = checkpoint("text-ranking")
    with pytest.raises(ImportError, match=re.escape("neither torch nor tensorflow is installed (pip install")):
        pipeline("text-ranking", folder)
    with pytest.raises(ImportError, match=re.escape("tensorflow is not installed (pip install 'deberta-zoo[tf]')")):
        pipeline("text-ranking", folder, "tf")
