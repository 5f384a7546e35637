"""Small files of every task, and runs of the command on them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deberta_tasks.tasks import DATA
from deberta_tasks.tasks import TRAINABLE as TASKS

ROOT = Path(__file__).parents[2]
MODULES = {"pt": "torch", "tf": "tensorflow"}
WEIGHTS = {"pt": "model.safetensors", "tf": "tf_model.h5"}
TINY = ["--hidden-size", "16", "--layers", "2", "--heads", "2", "--max-length", "64", "--stride", "8"]


def few(task: str, folder: Path, count: int = 60) -> Path:
    """The first rows of a bundled set, as a file of their own."""
    source = DATA / TASKS[task].bundled
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    if task == "text-classification":  # sorted by label
        lines = lines[:1] + lines[1 :: len(lines) // count]
    path = folder / source.name
    path.write_text("".join(lines[: count + (source.suffix == ".csv")]), encoding="utf-8")
    return path


def arguments(task: str, framework: str, output: Path, *more: str) -> list[str]:
    """Of the command ``deberta``."""
    return ["finetune", "--task", task, "--framework", framework, "--output", str(output), *TINY, *more]


def environment(**more: str) -> dict[str, str]:
    """Of another process."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    found.pop("TF_CONFIG", None)
    return {**found, **more}


def deberta(*given: str) -> list[str]:
    """The command in another process."""
    return [sys.executable, "-m", "deberta_tasks.cli", *given]


def finish(command: Sequence[str], *, timeout: int = 300, **more: str) -> Any:
    """Run to the end, which has to be a good one."""
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def together(commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]], *, timeout: int = 300) -> None:
    """Run several processes that wait for each other to the end."""
    processes = [
        subprocess.Popen(c, env=environment(**e), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for c, e in zip(commands, environments, strict=True)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=timeout)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def log(folder: Path) -> list[dict[str, float]]:
    """The whole lines of a run's log."""
    path = folder / "losses.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def kill_after(command: Sequence[str], folder: Path, step: int) -> None:
    """Start a run and kill it, with no chance to tidy up, once its log has ``step``."""
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < limit:
            if len(log(folder)) >= step:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert process.wait(30) == -signal.SIGKILL, "the run ended before it could be killed"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
