"""The loop of training, where a device is still computing the losses of a step when it begins the next one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from deberta_tasks.tasks import Feature
from deberta_tasks.training import loop
from deberta_tasks.training.loop import train
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import Run
from deberta_tasks.training.stream import Collator, Stream

STEPS, EVERY = 8, 4


class OnDevice:
    """A loss that is not known before it is read."""

    def __init__(self, value: float, learner: Learner) -> None:
        self.value, self.learner = value, learner

    def __float__(self) -> float:
        self.learner.read.append(self.learner.steps)
        return self.value


class Learner:
    """Its losses are one over the number of the step, but for one of them."""

    first, processes = True, 1

    def __init__(self, bad: int = 0, is_far: bool = True) -> None:
        self.bad, self.is_far, self.steps = bad, is_far, 0
        self.read = list[int]()  # how many steps had begun when a loss was read

    def step(self, batch: Any, rate: float, step: int) -> Any:
        self.steps = step
        value = math.nan if step == self.bad else 1 / step
        return {"loss": OnDevice(value, self) if self.is_far else value}

    def save_state(self, folder: Path) -> None:
        (folder / "steps").write_text(str(self.steps), encoding="utf-8")

    def load_state(self, folder: Path) -> None:
        self.steps = int((folder / "steps").read_text(encoding="utf-8"))


def run(folder: Path, learner: Any) -> Run:
    """Train in a folder."""
    made = Run(folder, {})
    features = [Feature({"input_ids": [1, 2]}, {"labels": 0}, i) for i in range(4)]
    train(learner, made, Stream(features, Collator(0), 2), Options(steps=STEPS, save_every=EVERY))
    return made


def test_losses_are_read_a_step_later_and_logged_alike(tmp_path: Path) -> None:
    far = Learner()
    lines = run(tmp_path / "far", far).losses()
    assert lines == run(tmp_path / "near", Learner(is_far=False)).losses()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert far.read == [2, 3, 4, 4, 6, 7, 8, 8]  # at once where a checkpoint is written


def test_a_log_shows_that_it_goes_on(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """Where there is no terminal for a bar."""
    monkeypatch.setattr(loop, "SAY_EVERY", 0)
    run(tmp_path, Learner(is_far=False))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == STEPS
    assert lines[1].startswith(f"step 2 of {STEPS}: loss 0.5000, ")
    monkeypatch.setattr(loop, "SAY_EVERY", 1e9)
    run(tmp_path / "quiet", Learner(is_far=False))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bad", range(1, STEPS + 1))
def test_no_checkpoint_is_written_of_a_loss_that_is_no_number(bad: int, tmp_path: Path) -> None:
    """Nor of the step after it; what came before is whole, and a run goes on from it."""
    with pytest.raises(FloatingPointError, match=rf"the loss of step {bad} is nan"):
        run(tmp_path, Learner(bad))
    last = (bad - 1) // EVERY * EVERY
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{last:08d}"] * bool(last)
    again = Learner()
    lines = run(tmp_path, again).losses()
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all(line["loss"] == 1 / line["step"] for line in lines)
    assert again.read[0] == last + 2
