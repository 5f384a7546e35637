"""The scripts in examples/: each learns its bundled set to the score that it states, in two minutes of two cores."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.finetuning.helpers import MODULES, ROOT, WEIGHTS, few, finish, kill_after, log

# Of the score, at least so much; said in the first lines of each script as well.
STATED = {
    "text_classification": ("accuracy", 0.5, "more than half of 96"),
    "text_regression": ("pearson", 0.9, "more than 0.9 (Pearson)"),
    "nli": ("accuracy", 0.6, "more than 60% of 240"),
    "token_classification": ("f1", 0.9, "an F1 of more than 0.9"),
    "question_answering": ("exact_match", 0.7, "more than 70% of 240"),
    "multiple_choice": ("accuracy", 0.7, "more than 70% of 200"),
}
NAMES = [f"{task}_{framework}" for task in STATED for framework in MODULES]


@pytest.mark.parametrize("name", NAMES)
def test_a_script_says_what_it_learns(name: str) -> None:
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert STATED[name.rsplit("_", 1)[0]][2] in " ".join(text.split())
    assert 100 <= len(text.splitlines()) <= 150
    assert f"python examples/{name}.py --output run" in text


def processor_seconds() -> float:
    """What ended processes have used: unlike the clock, it hardly depends on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_script_learns(name: str, tmp_path: Path) -> None:
    task, framework = name.rsplit("_", 1)
    pytest.importorskip(MODULES[framework])
    score, least, _ = STATED[task]
    before = processor_seconds()
    done = finish([sys.executable, str(ROOT / "examples" / f"{name}.py"), "--output", str(tmp_path / "run")])
    took = processor_seconds() - before
    found = re.search(rf"wrote .*held back: .*\b{score} (-?\d\.\d+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) > least
    assert took < 2 * 120
    names = {path.name for path in (tmp_path / "run" / "model").iterdir()}
    assert names >= {WEIGHTS[framework], "config.json", "spm.model"}


def script(name: str, folder: Path, output: str, *more: str) -> list[str]:
    data = few("token-classification", folder)
    return [
        sys.executable, str(ROOT / "examples" / name), "--data", str(data), "--output", str(folder / output),
        "--epochs", "3", "--batch-size", "8", *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_plain_loop_is_killed_and_resumed(tmp_path: Path) -> None:
    """Dropout and data order included."""
    pytest.importorskip("torch")
    finish(script("token_classification_pt.py", tmp_path, "whole"))
    command = script("token_classification_pt.py", tmp_path, "broken")
    kill_after(command, tmp_path / "broken", 8)
    done = finish(command)
    assert "resuming after step 6" in done.stderr + done.stdout
    assert log(tmp_path / "broken") == log(tmp_path / "whole")
    whole, broken = (tmp_path / name / "model" / WEIGHTS["pt"] for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


@pytest.mark.slow
def test_a_fit_is_killed_and_resumed(tmp_path: Path) -> None:
    """In the second epoch; its log shows which epochs were done."""
    pytest.importorskip("tensorflow")
    import os
    import signal
    import subprocess

    import h5py

    from tests.finetuning.helpers import environment

    finish(script("token_classification_tf.py", tmp_path, "whole"))
    command = script("token_classification_tf.py", tmp_path, "broken")
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Epoch 2/3"):
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait(60) == -signal.SIGKILL
    done = finish(command)
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
