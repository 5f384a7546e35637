"""The run: steps, evaluations, checkpoints. The same for both frameworks, which differ in the learner alone."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deberta_tasks.finetuning.options import Options
from deberta_tasks.finetuning.stream import Batch, Padder, Stream, padded_batches
from deberta_tasks.records import Record
from deberta_tasks.tasks import Feature, TrainableTask
from deberta_tasks.training import Run

MODEL = "model"


class Learner(Protocol):
    """A model that is trained, in a framework, by one process or by several that all run the same loop."""

    model: Any
    processes: int
    first: bool

    def step(self, batch: Batch, shares: NDArray[np.float32], rate: float, step: int) -> float:
        """One step of training; returns the loss before it.

        Args:
            batch: all rows of the step, for all processes.
            shares: for each process, one after the other, the weight of each part in the loss.
            rate: learning rate.
            step: its number, from which the random numbers of dropout come.
        """
        ...

    def predict(self, batch: Batch) -> dict[str, NDArray[np.float32]]:
        """The model's entries for all rows of a batch."""
        ...

    def save_state(self, folder: Path | None) -> None:
        """Write all that the next step depends on; all processes call, those that do not write with ``None``."""
        ...

    def load_state(self, folder: Path) -> None:
        """Read what ``save_state`` wrote.

        Raises:
            ValueError: if it is of another model.
        """
        ...

    def save_model(self, folder: Path | None) -> None:
        """Write a checkpoint for ``from_pretrained``; all processes call, as for ``save_state``."""
        ...

    def load_model(self, folder: Path) -> None:
        """Read the weights of such a checkpoint."""
        ...

    def wait(self) -> None:
        """Until all processes are here."""
        ...

    def stop(self) -> None:
        """The run is over."""
        ...


@dataclass
class History:
    """How the scores went.

    Attributes:
        best: highest score.
        best_step: its step, 0 for none.
        since: evaluations since.
        stopped: whether the run has ended early.
    """

    best: float = -math.inf
    best_step: int = 0
    since: int = 0
    stopped: bool = False

    def add(self, step: int, score: float, patience: int) -> bool:
        """Take down a score; says whether it is the best so far."""
        better = score > self.best or self.best_step == 0
        if better:
            self.best, self.best_step, self.since = score, step, 0
        else:
            self.since += 1
            self.stopped = 0 < patience <= self.since
        return better

    def state_dict(self) -> dict[str, Any]:
        """Fits into JSON."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        for name in asdict(self):
            setattr(self, name, state[name])


@dataclass(frozen=True)
class Judged:
    """Examples to judge by.

    Attributes:
        examples: the examples.
        features: their rows.
    """

    examples: Sequence[Record]
    features: Sequence[Feature]


def judge(
    task: TrainableTask, learner: Learner, data: Judged, names: Sequence[str], padder: Padder, batch_size: int
) -> tuple[dict[str, float], list[Any]]:
    """Scores of a model, and what it says to each example."""
    outputs: list[dict[str, NDArray[np.float32]]] = [{} for _ in data.features]
    for numbers, batch in padded_batches(data.features, padder, batch_size, learner.processes):
        found = learner.predict(batch)
        for row, number in enumerate(numbers):
            outputs[number] = {name: values[row] for name, values in found.items()}
    answers = task.answers(outputs, data.features, data.examples, names)
    return task.scores(answers, data.examples, names), answers


def train(
    learner: Learner,
    run: Run,
    stream: Stream,
    options: Options,
    *,
    best: str,
    evaluate: Callable[[], Mapping[str, float]],
    save_model: Callable[[], None],
) -> History:
    """Train, from the last checkpoint on if there is one.

    Args:
        learner: the model.
        run: its folder.
        stream: batches.
        options: how.
        best: name of the score that decides.
        evaluate: scores of the model as it is.
        save_model: keeps the model as the best one.

    Raises:
        FloatingPointError: if the loss is no number any more.
    """
    steps = options.total(stream.steps_per_epoch)
    every = options.evaluate_every or stream.steps_per_epoch
    history = History()
    done = run.resume(history, learner.load_state)
    with run.progress(done, steps) as bar:
        for step in range(done + 1, steps + 1):
            if history.stopped:
                break
            rate = options.rate_at(step, steps)
            shares = stream.shares(step, learner.processes * options.accumulate)
            loss = learner.step(stream.batch(step), shares, rate, step)
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss of step {step} is {loss}; start again with a lower rate, or with precision float32"
                )
            scores: Mapping[str, float] = {}
            if step % every == 0 or step == steps:
                scores = evaluate()
                if history.add(step, scores[best], options.patience):
                    save_model()
                if learner.first:
                    bar.write(f"step {step}: loss {loss:.4f}, " + written(scores))
            run.log(step, loss=loss, rate=rate, **scores)
            if scores or (options.save_every and step % options.save_every == 0):
                run.save(step, history, learner.save_state)
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
    return history


def written(scores: Mapping[str, float]) -> str:
    """Scores in one line."""
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


def check_room(folder: Path, parameters: int) -> None:
    """Refuse to start where the checkpoints would not fit.

    Args:
        folder: of the run; it exists.
        parameters: of the model.

    Raises:
        OSError: if the disk has too little room.
    """
    needed = 4 * parameters * (1 + 2 * 3) + 2**20  # the best model; two checkpoints of weights and two moments
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC, f"{free / 1e6:.0f} MB are free, the checkpoints need {needed / 1e6:.0f} MB; make room first",
            os.fspath(folder),
        )  # fmt: skip
