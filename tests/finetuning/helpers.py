"""Small files of every task, and runs of the command on them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deberta_tasks.cli import main
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


def finish(command: Sequence[str], *, timeout: int = 600, **more: str) -> Any:
    """Run to the end, which has to be a good one."""
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def processor_seconds() -> float:
    """What ended processes have used: unlike the clock, it hardly depends on what else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_here(*given: str) -> str:
    """The command ``deberta`` in this process, which has imported what it takes; what it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        assert main(list(given)) == 0, said.getvalue()[-3000:]
    return said.getvalue()


def together(commands: Sequence[Sequence[str]], environments: Sequence[dict[str, str]], *, timeout: int = 600) -> None:
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


# A program that runs another one, and stands still when the log of its run, or of its fit, has so many lines. It stops
# by itself: on a busy machine, who looks at the log from outside may see it some steps later.
STANDS_STILL = """
import os, runpy, signal, sys
from deberta_tasks.training import run
lines, program = set(map(int, sys.argv[1].split(","))), sys.argv[2:]

def standing_still(write, path):
    def call(self, *given, **more):
        write(self, *given, **more)
        if open(path(self), "rb").read().count(b"\\n") in lines:
            os.kill(os.getpid(), signal.SIGSTOP)
    return call

run.Run.log = standing_still(run.Run.log, lambda self: self.folder / run.LOG)
if program[0].endswith("_tf.py"):
    from tf_keras.callbacks import CSVLogger
    CSVLogger.on_epoch_end = standing_still(CSVLogger.on_epoch_end, lambda self: self.filename)
sys.argv = program if program[0] != "-m" else program[1:]
if program[0] == "-m":
    runpy.run_module(program[1], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(program[0], run_name="__main__")
"""


def finish_with_copies(command: Sequence[str], folder: Path, copies: Mapping[int, Path]) -> None:
    """Run to the end, and copy the run's folder once its log has so many lines, while the process stands still.

    A copy is what a kill at that moment would have left: files as they are, with nothing of what memory still held.

    Args:
        command: starts the run, in Python.
        folder: that it writes.
        copies: where to copy it to, by the lines that its log then has, in rising order.
    """
    python, *program = command
    line = [python, "-c", STANDS_STILL, ",".join(map(str, copies)), *program]
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        line, env=environment(), stdout=said, stderr=said, text=True
    ) as process:  # fmt: skip
        try:
            limit = time.monotonic() + 600
            for lines, copy in copies.items():
                while not (found := os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG))[0]:
                    assert time.monotonic() < limit, f"no line {lines} for 600 seconds"
                    time.sleep(0.01)
                assert os.WIFSTOPPED(found[1]), f"it ended before line {lines}: {said.seek(0)}{said.read()[-3000:]}"
                shutil.copytree(folder, copy)
                process.send_signal(signal.SIGCONT)
            assert process.wait(600) == 0, (said.seek(0), said.read()[-3000:])[1]
        finally:
            process.kill()
