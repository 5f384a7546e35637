"""Two processes train as one does: the same losses on the same batches, and one form of checkpoint for both."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deberta_tasks.finetune.start import Size, new_tokenizer, small_config
from deberta_tasks.tasks import TRAINABLE as TASKS
from tests.finetuning.helpers import MODULES, ROOT, WEIGHTS, arguments, deberta, few, finish, log, run_here, together

TASK = TASKS["token-classification"]  # whose rows have different numbers of labels
FIRST, ALL = 6, 9


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without dropout, which no two numbers of processes would share, and rows to learn from."""
    torch = pytest.importorskip("torch")
    from deberta_pt import DebertaV2ForTokenClassification

    folder = tmp_path_factory.mktemp("start")
    examples = TASK.read(few(TASK.name, folder))
    tokenizer = new_tokenizer([text for example in examples for text in TASK.texts(example)])
    torch.manual_seed(0)
    config = small_config(
        tokenizer, Size(16, 1, 2), max_length=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        **TASK.config(TASK.label_names(examples)),
    )  # fmt: skip
    DebertaV2ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def given(start: Path, framework: str, output: Path, steps: int, *more: str) -> list[str]:
    data = ["--model", str(start), "--train", str(start / TASK.bundled), "--steps", str(steps), "--batch-size", "8"]
    rate = ["--rate", "2e-3", "--warmup", "0", "--schedule", "constant", "--evaluate-every", "3"]
    return arguments(TASK.name, framework, output, *data, *rate, *more)


@pytest.fixture(scope="module")
def alone(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run of one process in a framework."""

    @functools.cache
    def run(framework: str) -> Path:
        pytest.importorskip(MODULES[framework])
        folder = tmp_path_factory.mktemp(framework) / "run"
        run_here(*given(start, framework, folder, ALL))
        return folder

    return run


def compare(run: Path, other: Path, steps: int) -> None:
    got, want = (np.array([row["loss"] for row in log(folder)]) for folder in (run, other))
    assert len(got) == steps
    np.testing.assert_allclose(got, want[:steps], rtol=1e-4)  # sums in another order, magnified by Adam's first steps
    scores = [[row["accuracy"] for row in log(folder)[:steps] if "accuracy" in row] for folder in (run, other)]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def go_on_alone(start: Path, framework: str, run: Path, other: Path) -> None:
    """One process goes on from the checkpoint of two."""
    settings = json.loads((run / "settings.json").read_text())
    assert settings["steps"] == FIRST
    (run / "settings.json").write_text(json.dumps({**settings, "steps": ALL}))
    assert f"resuming after step {FIRST}" in run_here(*given(start, framework, run, ALL))
    compare(run, other, ALL)


def torchrun(program: list[str], count: int = 2) -> list[str]:
    """The command that starts processes of PyTorch on this host."""
    python, *rest = program
    return [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *rest]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_of_pytorch(kind: str, start: Path, alone: Callable[[str], Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    accumulate = ["--accumulate", "2"] if kind == "ddp" else []
    command = deberta(*given(start, "pt", run, FIRST, "--parallel", kind, *accumulate))
    finish(torchrun(command))
    compare(run, alone("pt"), FIRST)
    assert (run / "model" / WEIGHTS["pt"]).is_file()
    assert {path.name for path in (run / f"checkpoint-{FIRST:08d}").iterdir()} == {"run.json", "state.pt"}
    if kind == "fsdp":
        go_on_alone(start, "pt", run, alone("pt"))


HELD = """
import json, sys
import torch
from deberta_tasks.training import pt
from deberta_tasks.training.options import Options
from tests.finetuning.test_learners import TASK, losses
folder, kind, precision = sys.argv[1:]
compile_module = torch.nn.Module.compile  # to graphs that PyTorch runs itself: machine code takes minutes
torch.nn.Module.compile = lambda part, **how: compile_module(part, backend="aot_eager", **how)
options = Options(accumulate=2, checkpointing=True, precision=precision, compile=kind == "fsdp")
learning = pt.TorchLearner(pt.new_model(TASK.head, None, folder, 0), options, kind=kind)
found = losses(learning)
weights = list(learning.model.parameters())
moments = [x for state in learning.optimizer.state.values() for name, x in state.items() if name != "step"]
held = [getattr(x, "_local_tensor", x) for x in (*weights, *(weight.grad for weight in weights), *moments)]
assert {str(x.dtype) for x in held} == {"torch.float32"}
print(json.dumps({"losses": found, "held": sum(x.nbytes for x in held)}) + "\\n", end="", flush=True)
learning.stop()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "precision"), [("ddp", "float32"), ("fsdp", "bfloat16")])
def test_what_two_processes_hold(kind: str, precision: str, tmp_path: Path) -> None:
    """As many bytes as the page says; parts of a step, layers that are computed again or compiled change no loss."""
    pytest.importorskip("torch")
    from benchmarks.scale import Scale
    from deberta_core.config import AutoConfig
    from deberta_tasks.training.options import Options
    from tests.finetuning.test_learners import STILL, learner, losses

    learner("pt", Options(), **STILL).save_model(tmp_path / "start")
    want = losses(learner("pt", Options(precision=precision), tmp_path / "start"))
    (tmp_path / "held.py").write_text(HELD)
    done = finish(torchrun([sys.executable, str(tmp_path / "held.py"), str(tmp_path / "start"), kind, precision]))
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == 2
    scale = Scale.of(AutoConfig.from_pretrained(tmp_path / "start"), 2, TASK.head)
    for one in found:
        np.testing.assert_allclose(one["losses"], want, rtol=1e-4 if precision == "float32" else 0.02)
        assert one["held"] == pytest.approx(scale.ddp if kind == "ddp" else scale.fsdp_held, rel=0.02)


@pytest.mark.slow
def test_two_devices_of_tensorflow(start: Path, alone: Callable[[str], Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish(deberta(*given(start, "tf", run, FIRST, "--devices", "2")))
    compare(run, alone("tf"), FIRST)


def free_ports(count: int) -> list[int]:
    """Below those that a system gives to who asks for any: another test could be given them before they are used."""
    ports: list[int] = []
    for port in random.Random(os.getpid()).sample(range(12_000, 32_000), 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
        if len(ports) == count:
            break
    return ports


def workers(count: int = 2) -> list[dict[str, str]]:
    """What tells each worker of TensorFlow who the others are."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})} for i in range(count)
    ]


@pytest.mark.slow
def test_two_workers_of_tensorflow(start: Path, alone: Callable[[str], Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    together([deberta(*given(start, "tf", run, FIRST))] * 2, workers())
    compare(run, alone("tf"), FIRST)
    names = {path.name for path in (run / f"checkpoint-{FIRST:08d}").iterdir()}
    assert names == {"run.json", "state.index", "state.data-00000-of-00001"}
    go_on_alone(start, "tf", run, alone("tf"))


def example(name: str, start: Path, data: Path, output: Path) -> list[str]:
    """A script of examples/, in short."""
    program = [sys.executable, str(ROOT / "examples" / name), "--model", str(start), "--data", str(data)]
    return [*program, "--output", str(output), "--epochs", "2", "--batch-size", "8", "--rate", "1e-3"]


@pytest.mark.slow
def test_the_same_example_under_torchrun(start: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    finish(example("token_classification_pt.py", start, start / TASK.bundled, one))
    finish(torchrun(example("token_classification_pt.py", start, start / TASK.bundled, two)))
    got, want = (np.array([row["loss"] for row in log(folder)]) for folder in (two, one))
    assert len(got) == len(want) > 6
    assert got[-1] < got[0]
    # Its plain loop takes the mean of both processes' means, which have a few more or less words each.
    np.testing.assert_allclose(got, want, rtol=0.05)
    assert (two / "model" / WEIGHTS["pt"]).is_file()


@pytest.mark.slow
def test_the_same_example_on_two_workers(start: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    data = few("question-answering", tmp_path)
    finish(example("question_answering_tf.py", start, data, one))
    together([example("question_answering_tf.py", start, data, two)] * 2, workers())
    import h5py

    with h5py.File(one / "model" / WEIGHTS["tf"]) as a, h5py.File(two / "model" / WEIGHTS["tf"]) as b:
        names: list[str] = []
        a.visit(names.append)
        for name in names:
            if isinstance(a[name], h5py.Dataset):
                np.testing.assert_allclose(b[name][()], a[name][()], atol=0.02)
