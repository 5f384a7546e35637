"""The command ``deberta finetune``: what it writes, what it refuses, and that it can be killed at any moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deberta_tasks.cli import main
from deberta_tasks.tasks import TRAINABLE as TASKS
from tests.finetuning.helpers import (
    MODULES,
    WEIGHTS,
    arguments,
    deberta,
    environment,
    few,
    finish,
    finish_with_copies,
    log,
)

STEPS, EVERY, SAVE = 12, 8, 5
ONE_LAYER = ["--layers", "1"]  # where a run and not its model is tested: graphs of TensorFlow are traced layer by layer
FRAMEWORKS = sorted(MODULES)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def short(task: str, framework: str, folder: Path, *more: str) -> list[str]:
    data = few(task, folder)
    return arguments(task, framework, folder / "run", "--train", str(data), "--steps", "4", "--rate", "1e-3", *more)


ALL = [  # the examples train every task in TensorFlow, where most of the time goes into tracing
    *(pytest.param(task, "pt", marks=[] if task == "nli" else pytest.mark.slow) for task in TASKS),
    *(pytest.param(task, "tf", marks=pytest.mark.slow) for task in ("question-answering", "multiple-choice")),
]


@pytest.mark.parametrize(("task", "framework"), ALL)
def test_what_a_run_leaves(task: str, framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(MODULES[framework])
    given = short(task, framework, tmp_path, "--evaluate-every", "2")
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "validation examples" in out
    rows = log(tmp_path / "run")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    best = TASKS[task].best
    assert [best in row for row in rows] == [False, True, False, True]
    model = tmp_path / "run" / "model"
    assert {path.name for path in model.iterdir()} >= {
        WEIGHTS[framework], "config.json", "spm.model", "tokenizer_config.json", "README.md", "scores.json",
    }  # fmt: skip
    scores = json.loads((model / "scores.json").read_text())
    assert scores["scores"][best] == pytest.approx(max(row[best] for row in rows if best in row), abs=1e-6)
    card = (model / "README.md").read_text()
    assert f"Task `{task}`" in card
    assert f"| {best} | {scores['scores'][best]:.4f} |" in card
    assert "is for those who trained it to add" not in card
    if (model / "curves.png").exists():
        assert (model / "curves.png").read_bytes()[:4] == b"\x89PNG"
    capsys.readouterr()
    assert main([*given, "--json"]) == 0, "a run that is done is judged again"
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["part"], told["scores"]) == (str(model), "validation", scores["scores"])
    assert (told["step"], told["examples"]) == (scores["step"], scores["examples"])
    assert log(tmp_path / "run") == rows
    assert json.loads((model / "scores.json").read_text()) == scores


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_deep_models_learn_answers_from_scratch(framework: str, tmp_path: Path) -> None:
    """Their loss touches padding, too, whose gradients must not grow from layer to layer until it is NaN."""
    pytest.importorskip(MODULES[framework])
    size = ["--layers", "6", "--hidden-size", "64", "--heads", "4", "--max-length", "128", "--stride", "32"]
    given = short("question-answering", framework, tmp_path, *size, "--steps", "12", "--rate", "2e-3")
    assert main(given) == 0
    losses = [row["loss"] for row in log(tmp_path / "run")]
    assert sum(losses[-3:]) / 3 < losses[0] - 0.3, losses


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_killed_and_resumed(framework: str, tmp_path: Path) -> None:
    """With dropout: losses, scores and weights are those of the run that nobody stopped, to the last digit."""
    pytest.importorskip(MODULES[framework])
    whole = tmp_path / "whole"
    data = str(few("token-classification", tmp_path))

    def command(folder: Path) -> list[str]:
        return deberta(
            *arguments("token-classification", framework, folder, "--train", data, "--steps", str(STEPS)),
            "--evaluate-every", str(EVERY), "--save-every", str(SAVE), "--rate", "1e-3", "--batch-size", "8",
            "--accumulate", "2", "--layer-decay", "0.9", "--schedule", "cosine", *ONE_LAYER,
        )  # fmt: skip

    # After a checkpoint between evaluations, and after one with an evaluation's scores; in TensorFlow, whose runs take
    # a while, the second alone: what is read from a folder is the same code.
    broken = {step: tmp_path / f"after-{step}" for step in ((SAVE, EVERY) if framework == "pt" else (EVERY,))}
    finish_with_copies(command(whole), whole, {step + 1: copy for step, copy in broken.items()})
    want = log(whole)
    assert [row["step"] for row in want] == list(range(1, STEPS + 1))
    assert len({row["loss"] for row in want}) == STEPS, "losses that never change"
    last = f"checkpoint-{STEPS:08d}"
    for step, folder in broken.items():
        (folder / ".checkpoint-00000099.dead").mkdir()  # as a kill in the middle of writing leaves one
        done = finish(command(folder))
        assert f"resuming after step {step}" in done.stderr + done.stdout
        assert not (folder / ".checkpoint-00000099.dead").exists()
        assert log(folder) == want
        for file in (WEIGHTS[framework], "scores.json", "config.json"):
            assert (whole / "model" / file).read_bytes() == (folder / "model" / file).read_bytes(), file
        assert state_of(framework, whole / last) == state_of(framework, folder / last)


def state_of(framework: str, folder: Path) -> dict[str, Any]:
    """All that the next step would depend on."""
    if framework == "tf":
        tf = pytest.importorskip("tensorflow")
        names = [name for name, _ in tf.train.list_variables(str(folder / "state"))]
        found = {name: tf.train.load_variable(str(folder / "state"), name) for name in names}
        return {name: getattr(value, "tobytes", lambda v=value: v)() for name, value in found.items()}
    torch = pytest.importorskip("torch")

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            return {k: v for key, inner in value.items() for k, v in flat(inner, f"{name}/{key}").items()}
        return {name: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}

    return flat(torch.load(folder / "state.pt", weights_only=True))


def fails(capsys: pytest.CaptureFixture[str], given: list[str], says: str) -> None:
    assert main(given) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.strip().splitlines()) == 1, err


def test_bad_input_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a framework is imported, and before the folder of the run is made."""
    output = tmp_path / "run"
    file = tmp_path / "a.csv"
    given = ["finetune", "--task", "text-classification", "--output", str(output), "--train", str(file)]
    fails(capsys, given, "a.csv: No such file or directory")
    file.write_text("text\nx\n")
    fails(capsys, given, "a.csv, line 2 has no column 'label'")
    file.write_text("text,label\n")
    fails(capsys, given, "a.csv has no records")
    file.write_text("text,label\nx,a\ny,b\n")
    fails(capsys, given, "2 examples are too few to hold one in 8 back")
    file.write_text("text,label\n" + "x,a\n" * 9)
    fails(capsys, given, "a.csv: all labels are 'a', expected at least two different ones")
    file.write_text("text,label\n" + "x,a\ny,b\n" * 9)
    other = tmp_path / "test.csv"
    other.write_text("text,label\nx,c\n")
    fails(capsys, [*given, "--test", str(other)], "test.csv, line 2: label 'c' does not occur in the training data")
    fails(capsys, [*given, "--batch-size", "7", "--accumulate", "2"], "expected a multiple of accumulate, 2")
    fails(capsys, [*given, "--model", str(tmp_path / "none")], "none")
    given[2] = "nil"
    fails(capsys, given, "unknown task 'nil'; did you mean 'nli'?")
    assert not output.exists()


def start_folder(folder: Path, **fields: Any) -> Path:
    """A tiny checkpoint with a tokenizer."""
    torch = pytest.importorskip("torch")
    from deberta_pt import DebertaV2Model
    from deberta_tasks.finetune.start import Size, new_tokenizer, small_config

    task = TASKS["text-classification"]
    tokenizer = new_tokenizer([e["text"] for e in task.read(few(task.name, folder.parent))])
    torch.manual_seed(0)
    DebertaV2Model(small_config(tokenizer, Size(16, 2, 2), **fields)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_head_goes_on_with_its_own_labels(tmp_path: Path) -> None:
    """Whose order in the file need not be that of the alphabet."""
    pytest.importorskip("torch")
    from deberta_core.config import AutoConfig

    names = ["weather", "sport", "music", "cooking"]
    fields = {"num_labels": 4, "id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    start = start_folder(tmp_path / "start", **fields)
    assert main(short("text-classification", "pt", tmp_path, "--model", str(start))) == 0
    assert AutoConfig.from_pretrained(tmp_path / "run" / "model").id2label == dict(enumerate(names))


def test_a_batch_that_cannot_be_shared_out_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from deberta_tasks.training.pt_parallel import Processes

    monkeypatch.setattr(Processes, "start", lambda: Processes(0, 3))
    monkeypatch.setattr(Processes, "wrap", lambda group, model, *how: model)
    fails(capsys, short("text-classification", "pt", tmp_path), "batch_size 16 cannot be cut into 3 equal parts")
    assert not (tmp_path / "run").exists()


def test_lengths_beyond_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = start_folder(tmp_path / "start", max_length=32, position_biased_input=True)
    given = short("text-classification", "pt", tmp_path, "--model", str(start))
    fails(capsys, given, "takes at most 32 tokens (max_position_embeddings); give --max-length 32 or less")


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_a_checkpoint_of_another_shape(framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other settings, and another model in the place of the one the run began with."""
    pytest.importorskip(MODULES[framework])
    start = start_folder(tmp_path / "start")
    given = short("text-classification", framework, tmp_path, "--model", str(start))
    assert main(given) == 0
    capsys.readouterr()
    fails(capsys, [*given, "--seed", "1"], "holds a run with seed 0, now it is 1; resume with the settings it was")
    start_folder(start, intermediate_size=24) if framework == "pt" else start_folder(start, conv_kernel_size=3)
    assert main(given) == 2
    err = capsys.readouterr().err
    assert "cannot be resumed" in err
    assert "start from the model that the run began with, or in a new folder" in err


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_disk_that_fills_up(framework: str, tmp_path: Path) -> None:
    """No file may grow beyond a limit from the second checkpoint on: the first one stays, and the text says why."""
    import subprocess

    pytest.importorskip(MODULES[framework])
    given = short("text-classification", framework, tmp_path, "--evaluate-every", "2", *ONE_LAYER)
    code = f"""
import resource, sys
from deberta_tasks.cli import main
from deberta_tasks.training import Run
save = Run.save
def limited(self, step, *more):
    if step == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    save(self, step, *more)
Run.save = limited
sys.exit(main({given!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "error: " in done.stderr
    assert "the checkpoint cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "run").glob("*checkpoint-*")] == ["checkpoint-00000002"]
    assert main(given) == 0
    assert [row["step"] for row in log(tmp_path / "run")] == [1, 2, 3, 4]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_long_texts_with_numbers_for_tags(framework: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words with spaces, ``ner_tags``, their names, windows in evaluation; the model that is left answers by name."""
    pytest.importorskip(MODULES[framework])
    from deberta_tasks.pipelines import pipeline

    labels = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-X", "I-X"]
    path = tmp_path / "named.jsonl"
    rows = [json.loads(line) for line in few("token-classification", tmp_path, 24).read_text().splitlines()]
    numbers = [{"tokens": " ".join(r["tokens"]), "ner_tags": [labels.index(t) for t in r["tags"]]} for r in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in numbers))
    given = arguments("token-classification", framework, tmp_path / "run", "--train", str(path), "--steps", "2")
    more = ["--max-length", "12", "--stride", "4", "--combine", "mean", "--labels", ", ".join(labels)]
    assert main([*given, *more]) == 0
    assert capsys.readouterr().err.count("were cut") <= 1  # of those to learn from, not of those to judge by
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert [config["id2label"][str(number)] for number in range(len(labels))] == labels
    found = pipeline("ner", tmp_path / "run" / "model", framework, ignore_labels=[])(tokens=rows[0]["tokens"])
    assert {one["entity"] for one in found} <= set(labels)
    assert main([*given, *more[:-1], "O", "B-PER"]) == 2
    assert "has 2 names, for 0 to 1" in capsys.readouterr().err
