"""The scripts in examples/, and the command on the same sets: each learns to the score stated, in two minutes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_tasks.tasks import DATA, TRAINABLE, split
from tests.finetuning.helpers import (
    MODULES,
    ROOT,
    WEIGHTS,
    deberta,
    few,
    finish,
    finish_with_copies,
    log,
    processor_seconds,
)

# Of each task the score, at least so much of it, and the epochs in which the command learns it.
STATED = {
    "text-classification": ("accuracy", 0.5, 10),
    "regression": ("pearson", 0.9, 8),
    "nli": ("accuracy", 0.6, 8),
    "token-classification": ("f1", 0.9, 8),
    "question-answering": ("exact_match", 0.7, 9),
    "multiple-choice": ("accuracy", 0.7, 8),
}
# Of each script that learns a bundled set the task, and how its first lines say what it learns.
SCRIPTS = {
    "text_classification_pt": ("text-classification", "more than half of 96"),
    "own_head_pt": ("regression", "more than 0.9 (Pearson)"),
    "nli_tf": ("nli", "more than 60% of 240"),
    "token_classification_pt": ("token-classification", "an F1 of more than 0.9"),
    "question_answering_tf": ("question-answering", "more than 70% of 240"),
    "multiple_choice_tf": ("multiple-choice", "more than 70% of 200"),
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_the_scripts_are_pages() -> None:
    """All of them together, and each of them."""
    lines = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES}
    assert sum(lines.values()) <= 700
    assert max(lines.values()) <= 100
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.py`" in table for name in lines)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_learns(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert SCRIPTS[name][1] in " ".join(text.split())
    assert f"python examples/{name}.py --output run" in text
    if 'default="deberta-zoo/mini-generator"' in text:
        epochs = STATED[SCRIPTS[name][0]][2]
        assert f"From scratch: ``--model '' --rate 2e-3 --epochs {epochs}``" in " ".join(text.split())


def example(name: str, *given: Any) -> list[str]:
    """A script of examples/."""
    return [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, given)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_learns(name: str, tmp_path: Path) -> None:
    framework = name[-2:]
    pytest.importorskip(MODULES[framework])
    score, least, _ = STATED[SCRIPTS[name][0]]
    before = processor_seconds()
    done = finish(example(name, "--output", tmp_path / "run"))
    took = processor_seconds() - before
    found = re.search(rf"wrote .*held back: .*\b{score} (-?\d\.\d+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) > least
    assert took < 2 * 120
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert names >= {WEIGHTS[framework], "config.json", "spm.model"}


def write(examples: Any, path: Path) -> Path:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples), encoding="utf-8")
    return path


def commands() -> Iterator[Any]:
    """Every task in PyTorch; in TensorFlow those that no script learns there, the others with ``make test-all``."""
    scripts = {task for name, (task, _) in SCRIPTS.items() if name.endswith("_tf")}
    for name in STATED:
        yield name, "pt"
        yield pytest.param(name, "tf", marks=[pytest.mark.everything] if name in scripts else [])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "framework"), list(commands()))
def test_the_command_learns(name: str, framework: str, tmp_path: Path) -> None:
    """From scratch, from what the scripts learn from, to the score that they state, after the last epoch."""
    pytest.importorskip(MODULES[framework])
    score, least, epochs = STATED[name]
    task = TRAINABLE[name]
    train, held = split(task, task.read(DATA / task.bundled), every=5)
    before = processor_seconds()
    finish(deberta(
        "finetune", "--task", name, "--framework", framework, "--output", str(tmp_path / "run"),
        "--train", str(write(train, tmp_path / "train.jsonl")), "--epochs", str(epochs),
        "--validation", str(write(held, tmp_path / "held.jsonl")),
    ))  # fmt: skip
    assert processor_seconds() - before < 2 * 120
    assert log(tmp_path / "run")[-1][score] > least
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert names >= {WEIGHTS[framework], "config.json", "spm.model"}


def topics() -> list[str]:
    return [example["text"] for example in TRAINABLE["text-classification"].read(DATA / "topics.csv")]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier with starting weights, and its tokenizer."""
    torch = pytest.importorskip("torch")
    from deberta_pt import DebertaV2ForSequenceClassification
    from deberta_tasks.finetune.start import Size, new_tokenizer, small_config

    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = new_tokenizer(topics())
    torch.manual_seed(0)
    fields = {"num_labels": 2, "id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
    DebertaV2ForSequenceClassification(small_config(tokenizer, Size(16, 2, 2), **fields)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_packed_texts_have_the_states_they_have_alone(classifier: Path) -> None:
    done = finish(example("packing_pt", "--model", classifier))
    shares = [int(share) for share in re.findall(r"(\d+)%", done.stdout)]
    assert shares[0] > 95 > shares[1]
    assert float(done.stdout.split()[-1]) < 1e-5


@pytest.mark.slow
def test_converted_and_gone_on_with(classifier: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    done = finish(example("convert_and_go_on", "--model", classifier, "--output", tmp_path))
    assert "tensors, without loss" in done.stdout
    assert "the same states in both frameworks: True" in done.stdout
    assert float(done.stdout.split()[-1]) < 1e-5
    one, two = (tmp_path / name / WEIGHTS["pt"] for name in ("pytorch", "pytorch-again"))
    assert one.read_bytes() != two.read_bytes(), "Keras learnt nothing"


@pytest.mark.slow
def test_served_answers_come_in_the_order_of_the_texts(classifier: Path, tmp_path: Path) -> None:
    import subprocess

    from deberta_tasks import pipeline
    from tests.finetuning.helpers import environment

    texts = topics()[:60]
    done = subprocess.run(
        example("serve", "--model", classifier, "--max-tokens", "256"), input="\n".join(texts), env=environment(),
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    want = pipeline("text-classification", str(classifier))(texts)
    assert [answer["label"] for answer in found] == [answer["label"] for answer in want]
    np.testing.assert_allclose([a["score"] for a in found], [a["score"] for a in want], atol=1e-5)
    assert len({round(answer["score"], 4) for answer in found}) > 10


@pytest.mark.slow
def test_text_is_learnt_from(classifier: Path, tmp_path: Path) -> None:
    """Masked words in PyTorch, going on from a checkpoint; replaced ones in TensorFlow, from scratch."""
    from tests.pretraining.helpers import sentences

    (tmp_path / "texts.txt").write_text("\n".join(sentences()[0]), encoding="utf-8")
    given = ["--text", tmp_path / "texts.txt", "--length", 32]
    done = finish(example("mlm_pt", *given, "--model", classifier, "--output", tmp_path / "mlm", "--rate", "5e-3"))
    losses = [float(loss) for loss in re.findall(r"mean loss (\d+\.\d+)", done.stdout)]
    assert losses[-1] < losses[0] - 0.3
    pytest.importorskip("tensorflow")
    sizes = ["--vocab-size", 600, "--hidden-size", 64, "--layers", 2, "--steps", 60, "--rate", "3e-3"]
    done = finish(example("rtd_tf", *given, *sizes, "--output", tmp_path / "rtd"))
    first, last = re.search(r"mlm_loss (\d\.\d+) -> (\d\.\d+)", done.stdout).groups()  # type: ignore[union-attr]
    assert float(last) < float(first) - 0.3
    names = {path.name for path in (tmp_path / "rtd" / "model").iterdir()}
    assert names >= {WEIGHTS["tf"], "model.generator.safetensors", "generator_config.json", "spm.model"}


def script(name: str, task: str, folder: Path, output: str, *more: str) -> list[str]:
    given = ["--data", few(task, folder), "--output", folder / output, "--epochs", 3, "--batch-size", 8]
    return example(name, *given, *more)


@pytest.mark.slow
def test_a_plain_loop_is_killed_and_resumed(tmp_path: Path) -> None:
    """Dropout and data order included."""
    pytest.importorskip("torch")
    scratch = ("--model", "", "--rate", "2e-3")
    command = script("token_classification_pt", "token-classification", tmp_path, "whole", *scratch)
    finish_with_copies(command, tmp_path / "whole", {8: tmp_path / "broken"})
    done = finish(script("token_classification_pt", "token-classification", tmp_path, "broken", *scratch))
    assert "resuming after step 6" in done.stderr + done.stdout
    assert log(tmp_path / "broken") == log(tmp_path / "whole")
    whole, broken = (tmp_path / name / "model" / WEIGHTS["pt"] for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


@pytest.mark.slow
def test_a_fit_is_killed_and_resumed(tmp_path: Path) -> None:
    """In the second epoch; its log shows which epochs were done."""
    pytest.importorskip("tensorflow")
    import h5py

    scratch = ("--model", "", "--rate", "2e-3")
    command = script("question_answering_tf", "question-answering", tmp_path, "whole", *scratch)
    finish_with_copies(command, tmp_path / "whole", {2: tmp_path / "broken"})  # a title and an epoch
    done = finish(script("question_answering_tf", "question-answering", tmp_path, "broken", *scratch))
    assert "Epoch 1/3" not in done.stdout
    assert "Epoch 3/3" in done.stdout
    whole, broken = (tmp_path / name / "model" / WEIGHTS["tf"] for name in ("whole", "broken"))
    with h5py.File(whole) as one, h5py.File(broken) as two:
        names: list[str] = []
        one.visit(names.append)
        arrays = [name for name in names if isinstance(one[name], h5py.Dataset)]
        assert len(arrays) > 10
        for name in arrays:
            assert np.array_equal(one[name][()], two[name][()]), name
