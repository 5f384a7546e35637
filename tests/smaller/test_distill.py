"""Distillation: the loss is the same in both frameworks and what the papers say, and runs resume like all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_core.checkpoint import open_weights
from deberta_core.config import AutoConfig
from deberta_tasks.cli import main
from deberta_tasks.distill.lessons import SUBJECTS, Lessons, heads_of_teacher, layer_pairs, state_pairs
from deberta_tasks.distill.recipe import make_student
from deberta_tasks.training.stream import Stream
from tests.conversion.helpers import left_half_way, listing
from tests.models.helpers import random_inputs, random_weights, small_config
from tests.pipelines.cases import SENTENCES, make_checkpoint, named
from tests.smaller.test_prune import pt_model, tf_model

torch = pytest.importorskip("torch")
from deberta_tasks.distill.pt import Lesson  # noqa: E402

SEQUENCES = "ForSequenceClassification"
KINDS = [
    ("v2", SEQUENCES, {}), ("v3", SEQUENCES, {"problem_type": "multi_label_classification"}),
    ("v3", SEQUENCES, {"problem_type": "regression"}), ("v1", "ForTokenClassification", {}),
    ("v3", "ForQuestionAnswering", {"num_labels": 2}), ("v1", "ForMaskedLM", {"mlm_head": "legacy"}),
    ("v3", "ForMultipleChoice", {}),
]  # fmt: skip


def pair(base: str, head: str, **fields: Any) -> tuple[Any, Any]:
    """Configs of a student, with fewer layers and one head less, and of its teacher; their weights are others."""
    teacher = small_config(base, num_hidden_layers=4, **fields)
    return teacher.copy(num_hidden_layers=2, pruned_heads={1: [1]}), teacher


HEADS = {"ForTokenClassification": [], "ForMaskedLM": [pytest.mark.slow]}
OTHER = [pytest.mark.slow, pytest.mark.everything]
CASES = [
    pytest.param(*kind, id="-".join([*kind[:2], *map(str, kind[2].values())]),
                 marks=HEADS.get(kind[1], OTHER))
    for kind in KINDS
]  # fmt: skip


@pytest.mark.parametrize(("base", "head", "fields"), CASES)
def test_the_loss_is_the_same_in_both_frameworks(base: str, head: str, fields: dict[str, Any]) -> None:
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    from deberta_tasks.distill.tf import Lesson as TFLesson

    student, teacher = pair(base, head, **fields)
    values = random_weights(student, head, seed=1), random_weights(teacher, head, seed=2)
    inputs = random_inputs(student, head)
    asked = {"only_masked": True} if head == "ForMaskedLM" else {}
    lessons = Lessons("t", SUBJECTS, temperature=3.0, labels_share=0.25)
    ours, theirs = (pt_model(config, head, one) for config, one in zip((student, teacher), values, strict=True))
    lesson = Lesson(lessons, theirs, student)
    loss = lesson(ours.train(), ours, {name: torch.from_numpy(x) for name, x in inputs.items()}, **asked)
    loss.backward()
    assert all(p.grad is None for p in theirs.parameters())
    one, other = (tf_model(config, head, given) for config, given in zip((student, teacher), values, strict=True))
    tensors = {name: tf.constant(x) for name, x in inputs.items()}
    with tf.GradientTape() as tape:
        twin = TFLesson(lessons, other, student)(one, tensors, **asked)
    np.testing.assert_allclose(float(loss.detach()), float(twin), rtol=1e-5)
    rows = one.weight_rows()
    found = tape.gradient(twin, [one.variable(row) for row in rows.values()])
    largest = max(float(p.grad.abs().max()) for p in ours.parameters() if p.grad is not None)
    for (key, row), gradient in zip(rows.items(), found, strict=True):
        wanted = ours.get_parameter(ours.own_key(key)).grad
        assert (wanted is None) == (gradient is None), key
        if gradient is None:
            continue
        got = tf.convert_to_tensor(gradient).numpy()
        assert np.abs((got.T if row.transposed else got) - wanted.numpy()).max() < 1e-4 * largest, key
    # A model is its own best student.
    if head != "ForMaskedLM":
        again = Lesson(Lessons("t", SUBJECTS, labels_share=0.0), theirs, teacher)
        assert float(again(theirs, theirs, {name: torch.from_numpy(x) for name, x in inputs.items()})) < 1e-5


def test_the_loss_is_what_the_papers_say() -> None:
    student, teacher = pair("v3", SEQUENCES)
    ours, theirs = pt_model(student, SEQUENCES, random_weights(student, SEQUENCES, seed=1)), None
    theirs = pt_model(teacher, SEQUENCES, random_weights(teacher, SEQUENCES, seed=2))
    inputs = {name: torch.from_numpy(x) for name, x in random_inputs(student, SEQUENCES).items()}
    how = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        a, b = ours(**inputs, **how), theirs(**inputs, **how)
    mask = inputs["attention_mask"].numpy() != 0

    def loss(*learn: str, share: float = 0.0) -> float:
        with torch.no_grad():
            return float(Lesson(Lessons("t", learn, 2.0, share), theirs, student)(ours, ours, inputs))

    p, q = (torch.softmax(x.logits.double() / 2, -1) for x in (b, a))
    soft = 4 * float((p * (p / q).log()).sum(-1).mean())
    assert loss("logits") == pytest.approx(soft, rel=1e-5)
    assert loss("logits", share=0.3) == pytest.approx(0.7 * soft + 0.3 * float(a.loss), rel=1e-5)
    pairs = [(0, 0), (1, 1), (2, 4)]
    assert [(i + 1, j + 1) for i, j in layer_pairs(student, teacher)] == pairs[1:]
    squares = [np.square((a.hidden_states[i] - b.hidden_states[j]).numpy()[mask]).mean() for i, j in pairs]
    assert loss("hidden") == pytest.approx(float(np.mean(squares)), rel=1e-5)
    assert heads_of_teacher(student, teacher) == [[0, 1, 2], [0, 2]]
    maps = []
    for i, j, heads in ((0, 0, [0, 1, 2]), (1, 3, [0, 2])):
        q, p = a.attentions[i].double().numpy(), b.attentions[j].double().numpy()[:, heads]
        far = np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-12)), 0).sum(-1).mean(1)
        maps.append(far[mask].mean())
    assert loss("attention") == pytest.approx(float(np.mean(maps)), rel=1e-4)
    one = []
    for model, output in ((ours, a), (theirs, b)):
        own = model.deberta.encoder.layer[-1].attention.self
        with torch.no_grad():
            value = own.value_proj(output.hidden_states[-2]).double().numpy()  # of two heads and three: one part
        scores = np.einsum("bqd,bkd->bqk", value, value) / np.sqrt(value.shape[-1])
        scores = np.exp(np.where(mask[:, None], scores, -1e4) - scores.max(-1, keepdims=True))
        one.append(scores / np.maximum(scores.sum(-1, keepdims=True), 1e-300))
    q, p = one
    far = np.where(p > 0, p * np.log(np.maximum(p, 1e-12) / np.maximum(q, 1e-12)), 0).sum(-1)
    assert loss("values") == pytest.approx(float(far[mask].mean()), rel=1e-4)


def test_a_pruned_student_learns_of_the_layers_that_it_is_made_of() -> None:
    teacher = small_config("v3", num_hidden_layers=6)
    model = pt_model(teacher, SEQUENCES, random_weights(teacher, SEQUENCES))
    model.prune_heads({1: [0]})
    model.prune_layers([2, 5])
    first = model.config.copy()
    assert first.extra["pruned_layers"] == [2, 5]
    assert layer_pairs(first, teacher) == [(0, 0), (1, 1), (2, 3), (3, 4)]
    assert state_pairs(first, teacher) == [(0, 0), (1, 1), (2, 2), (3, 4), (4, 6)]  # the last is what the head reads
    assert heads_of_teacher(first, teacher) == [[0, 1, 2], [1, 2], [0, 1, 2], [0, 1, 2]]
    model.prune_layers([0])  # numbers of those that are left; the file counts as the uncut model does
    again = AutoConfig.from_dict(json.loads(model.config.file_text()))
    assert again.extra["pruned_layers"] == [0, 2, 5]
    assert layer_pairs(again, teacher) == [(0, 1), (1, 3), (2, 4)]
    assert layer_pairs(again, first) == [(0, 1), (1, 2), (2, 3)]
    assert heads_of_teacher(again, first)[0] == [0, 1]  # the places among those that the teacher still has
    other = small_config("v3", num_hidden_layers=5)  # not what it was made of
    assert layer_pairs(again, other) == [(0, 0), (1, 2), (2, 4)]
    again.extra["pruned_layers"] = "all"
    assert layer_pairs(again, teacher) == [(0, 0), (1, 2), (2, 5)]


def data(folder: Path) -> Path:
    """A file whose labels are those of the teacher."""
    rows = [f'"{text}",{("bad", "fair", "good")[i % 3]}\n' for i, text in enumerate(SENTENCES * 4)]
    (folder / "train.csv").write_text("text,label\n" + "".join(rows), encoding="utf-8")
    return folder / "train.csv"


def teacher_of(folder: Path, head: str = SEQUENCES, **fields: Any) -> Path:
    labels = named(["bad", "fair", "good"]) if head == SEQUENCES else {"mlm_head": "legacy"}
    return make_checkpoint(folder, "v3", head, num_hidden_layers=3, **labels, **fields)


def tensors(folder: Path) -> dict[str, Any]:
    with open_weights(folder) as file:
        return {name: np.array(file.read(name)) for name in file.tensors}


@pytest.mark.parametrize("framework", [pytest.param("pt", marks=pytest.mark.slow), pytest.param("tf", marks=OTHER)])
def test_a_run_learns_and_resumes(framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    teacher, train = teacher_of(tmp_path / "teacher"), data(tmp_path)
    before, steps = listing(teacher), {"pt": "12", "tf": "6"}[framework]

    def words(out: str) -> list[str]:
        return ["distill", "--teacher", str(teacher), "--layers", "2", "--task", "text-classification", "--train",
                str(train), "--output", str(tmp_path / out), "--framework", framework, "--steps", steps, "--save-every",
                "3", "--rate", "3e-3", "--batch-size", "8", "--labels-share", "0", "--learn", *SUBJECTS]  # fmt: skip

    assert main(words("whole")) == 0
    model = tmp_path / "whole" / "model"
    assert AutoConfig.from_pretrained(model).num_hidden_layers == 2
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "## Distilled" in card
    assert "`deberta distill`" in card
    assert listing(teacher) == before
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole" / "losses.jsonl").read_text().splitlines()]
    assert len(losses) == int(steps)
    if framework == "tf":
        assert losses[-1] < losses[0]
        return
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    real = Stream.batch

    def broken(self: Stream, step: int) -> Any:
        if step == 8:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Stream, "batch", broken)
    assert main(words("part")) == 130
    monkeypatch.undo()
    assert main(words("part")) == 0
    whole, part = tensors(model), tensors(tmp_path / "part" / "model")
    assert whole.keys() == part.keys()
    assert all(np.array_equal(whole[name], part[name]) for name in whole)


def test_a_student_whose_writer_was_killed_half_way_is_there(tmp_path: Path) -> None:
    teacher, student = teacher_of(tmp_path / "teacher"), tmp_path / "student"
    make_student(teacher, student, 1, "pt")
    before = listing(student)
    left_half_way(student, ["config.json", "model.safetensors"])
    make_student(teacher, student, 1, "pt")
    assert listing(student) == before


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_words_are_learnt_of_a_teacher(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    teacher = teacher_of(tmp_path / "teacher", "ForMaskedLM")
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES * 4), encoding="utf-8")
    words = ["distill", "--teacher", str(teacher), "--layers", "1", "--mlm", "--text", str(tmp_path / "texts.txt")]
    words += ["--output", str(tmp_path / "run"), "--framework", framework, "--steps", "8", "--rate", "3e-3"]
    words += ["--batch-size", "4", "--max-length", "32"]
    assert main(words) == 0
    model = tmp_path / "run" / "model"
    assert AutoConfig.from_pretrained(model).num_hidden_layers == 1
    assert (model / "README.md").read_text(encoding="utf-8").count("## Distilled") == 1
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0]


def test_what_cannot_be(tmp_path: Path, capsys: Any) -> None:
    teacher, train = teacher_of(tmp_path / "teacher"), data(tmp_path)
    usual = ["distill", "--teacher", str(teacher), "--output", str(tmp_path / "run"), "--task", "text-classification"]
    given = [*usual, "--train", str(train), "--steps", "1"]
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,label\n" + "".join(f'"{text}",{i % 3}\n' for i, text in enumerate(SENTENCES * 4)))
    plain = [*usual[:5], "--mlm", "--layers", "1", "--text", str(train)]
    other = make_checkpoint(tmp_path / "other", "v3", SEQUENCES, hidden_size=12, **named(["bad", "fair", "good"]))
    encoder = make_checkpoint(tmp_path / "encoder", "v3", "Model")
    more = make_checkpoint(tmp_path / "more", "v3", SEQUENCES, num_hidden_layers=4, **named(["bad", "fair", "good"]))
    for words, said in (
        ([*given, "--student", str(other)], "hidden_size of the student is 12"),
        ([*given, "--student", str(more)], "the student has 4 layers, more than the 3"),
        ([*given, "--layers", "3"], "layers is 3, expected at least 1 and fewer than the 3"),
        ([*given, "--layers", "1", "--temperature", "0"], "temperature is 0.0, expected a number above 0"),
        ([*given, "--layers", "1", "--labels-share", "2"], "labels_share is 2.0, expected a share"),
        ([*usual, "--layers", "1", "--steps", "1", "--train", str(numbers)], "name the labels of the examples as the"),
        ([*given, "--layers", "1", "--teacher", str(encoder)], "has not learnt what it is to teach"),
        ([*given, "--layers", "1", "--teacher", str(tmp_path / "no")], "is no folder"),
        ([*usual, "--layers", "1", "--text", str(train)], "--text is for --mlm"),
        ([*plain, "--train", str(train)], "--mlm learns from plain text, given by --text and not by --train"),
        ([*plain, "--validation", str(train)], "--validation is for --task"),
        ([*plain, "--epochs", "2"], "--epochs is for --task; --mlm has no use for it"),
    ):  # fmt: skip
        assert main(words) == 2, words
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists(), words
