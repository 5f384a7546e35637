"""The one loop of training: steps, evaluations, checkpoints. Frameworks and objectives differ in the learner alone."""

from __future__ import annotations

import errno
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, SupportsFloat

from deberta_tasks.training.options import Options
from deberta_tasks.training.run import Run
from deberta_tasks.training.stream import Batch, Stream

SAY_EVERY = 30.0  # seconds, where no bar is shown: a log of some lines, and somebody who waits knows that it goes on


class Learner(Protocol):
    """A model that is trained, in a framework, by one process or by several that all run the same loop.

    Attributes:
        first: whether this is the process that writes.
        processes: how many train it.
    """

    first: bool
    processes: int

    def step(self, batch: Batch, rate: float, step: int) -> Mapping[str, SupportsFloat]:
        """One step of training; returns the losses before it, by name, which a device may still be computing.

        Args:
            batch: all examples of the step, for all processes.
            rate: learning rate.
            step: its number, from which the random numbers of dropout come.
        """
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

    def wait(self) -> None:
        """Until all processes are here."""
        ...

    def stop(self) -> None:
        """The run is over."""
        ...


class TaskLearner(Learner, Protocol):
    """A learner whose model is judged, too, and the best one of all steps taken.

    Attributes:
        model: of either framework.
    """

    model: Any

    def predict(self, batch: Batch) -> Mapping[str, Any]:
        """The model's entries for all examples of a batch, arrays ``[B, ...]`` by name."""
        ...

    def load_model(self, folder: Path) -> None:
        """Read the weights of a checkpoint."""
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
        better = score > self.best or self.best_step == 0  # the first model is the best so far, whatever its score
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
        """Go on where ``state_dict`` was taken.

        Raises:
            TypeError: a value is of another type.
        """
        for field in fields(self):
            value, kind = state[field.name], type(field.default)
            if type(value) is not kind and (kind is not float or type(value) is not int):
                raise TypeError(f"{field.name} is {value!r}, expected {kind.__name__}")
            setattr(self, field.name, value)


@dataclass(frozen=True)
class Evaluation:
    """What is done between steps to find the best model.

    Attributes:
        judge: the scores of the model as it is; every process calls it.
        decides: name of the score that says which model is best.
        keep: keeps the model as the best one; every process calls it.
        enough: score at which the run ends.
        report: a line on step, losses and scores.
    """

    judge: Callable[[], Mapping[str, float]]
    decides: str
    keep: Callable[[], None]
    enough: float = math.inf
    report: Callable[[int, Mapping[str, float], Mapping[str, float]], str] = (
        lambda step, losses, scores: f"step {step}: {written(losses)}, {written(scores)}"
    )


def train(
    learner: Learner, run: Run, stream: Stream, options: Options, evaluation: Evaluation | None = None
) -> History:
    """Train, from the last checkpoint on if there is one.

    Args:
        learner: the model.
        run: its folder.
        stream: batches.
        options: how.
        evaluation: how the best model is found; without one the last is as good as any.

    Raises:
        FloatingPointError: if a loss is no number any more.
    """
    steps = options.total(stream.steps_per_epoch)
    every = options.evaluate_every or stream.steps_per_epoch
    history = History()
    done, speed = run.resume(history, learner.load_state), Speed()
    unread: list[tuple[int, Mapping[str, SupportsFloat], float]] = []  # the step before, if its losses are on a device
    said = time.monotonic()
    with run.progress(done, steps) as bar:

        def tell(step: int, losses: Mapping[str, float], rate: float, **scores: float) -> None:
            run.log(step, **losses, rate=rate, **scores)
            shown = {name: f"{loss:.3f}" for name, loss in losses.items()}
            bar.set_postfix({**shown, "tokens/s": f"{speed:.0f}"})
            nonlocal said
            if bar.disable and run.writes and time.monotonic() >= said + SAY_EVERY:
                said = time.monotonic()
                print(f"step {step} of {steps}: {written(losses)}, {speed:.0f} tokens/s", file=sys.stderr, flush=True)

        for step in range(done + 1, steps + 1):
            if history.stopped:
                break
            rate = options.rate_at(step, steps)
            begun = time.perf_counter()
            batch = stream.batch(step)
            found = learner.step(batch, rate, step)
            if unread:
                before, its, its_rate = unread.pop()
                tell(before, read(before, its), its_rate)
            scores: Mapping[str, float] = {}
            judges = evaluation is not None and (step % every == 0 or step == steps)
            saves = judges or step == steps or bool(options.save_every and step % options.save_every == 0)
            later = not saves and not all(isinstance(loss, float) for loss in found.values())
            losses = {} if later else read(step, found)
            speed.add(batch, time.perf_counter() - begun)
            bar.update()
            if later:
                # Read after the next step has begun: while it is asked for them, a GPU would have nothing to do.
                unread.append((step, found, rate))
                continue
            if evaluation is not None and judges:
                scores = evaluation.judge()
                if history.add(step, scores[evaluation.decides], options.patience):
                    evaluation.keep()
                history.stopped |= history.best >= evaluation.enough
                if learner.first:
                    bar.write(evaluation.report(step, losses, scores))
            tell(step, losses, rate, **scores)
            # After the best model is kept, never before: a run that is killed in between judges and keeps again,
            # where the other way round it would know of a best model that is not there.
            if saves:
                run.save(step, history, learner.save_state)
    return history


def read(step: int, losses: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """The losses of a step, as soon as its device has them.

    Raises:
        FloatingPointError: if one is no number.
    """
    found = {name: float(loss) for name, loss in losses.items()}
    for name, loss in found.items():
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the {name} of step {step} is {loss}; start again with a lower rate, or with precision float32"
            )
    return found


class Speed:
    """Tokens a second, padding not counted, over the last steps: the first, which makes graphs, is soon forgotten."""

    def __init__(self) -> None:
        self.tokens, self.seconds = 0.0, 0.0

    def add(self, batch: Batch, seconds: float) -> None:
        """What a step has learnt from, and how long it took."""
        mask, ids = batch.get("attention_mask"), batch["input_ids"]
        seen = ids.size if mask is None else (mask.any(-1) if mask.ndim > ids.ndim else mask).sum()
        self.tokens, self.seconds = 0.9 * self.tokens + float(seen), 0.9 * self.seconds + seconds

    def __format__(self, form: str) -> str:
        return format(self.tokens / max(self.seconds, 1e-9), form)


def written(scores: Mapping[str, float]) -> str:
    """Losses or scores in one line."""
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
