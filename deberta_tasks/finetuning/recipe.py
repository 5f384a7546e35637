"""Fine-tuning from files to a model with its scores."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deberta_core.config import AutoConfig
from deberta_tasks.finetuning.card import write_card
from deberta_tasks.finetuning.loop import MODEL, Judged, Learner, check_room, judge, train, written
from deberta_tasks.finetuning.options import Options
from deberta_tasks.finetuning.start import Size, start
from deberta_tasks.finetuning.stream import Padder, Stream
from deberta_tasks.records import Record
from deberta_tasks.tasks import DATA, Feature, TrainableTask, split
from deberta_tasks.training import Run

TEST_EVERY, VALIDATION_EVERY = 5, 8


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what.

    Attributes:
        task: which task.
        output: folder of the run.
        framework: ``pt`` or ``tf``.
        model: checkpoint to start from; ``None`` for a small model from scratch.
        train: CSV or JSONL file; ``None`` for the bundled set.
        validation: file to choose the best checkpoint by; ``None`` holds one in eight examples of ``train`` back.
        test: file to judge the best checkpoint by; ``None``: of the bundled set what is held back, else none.
        size: of a model from scratch.
        parallel: ``ddp`` or ``fsdp``, for several processes of PyTorch.
        devices: of this host, for TensorFlow; 0 for all GPUs, or one CPU.
    """

    task: TrainableTask
    output: Path
    framework: str = "pt"
    model: str | None = None
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    size: Size = field(default_factory=Size)
    parallel: str = "ddp"
    devices: int = 0


@dataclass(frozen=True)
class Splits:
    """Examples to learn from, to choose the best checkpoint by, and to judge that by (there may be none)."""

    train: Sequence[Record]
    validation: Sequence[Record]
    test: Sequence[Record]


def read_splits(request: Request) -> Splits:
    """Read all files, and hold back what is not given as a file.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: for what cannot be learnt from; the text names file and line.
    """
    task = request.task
    learnt = task.read(request.train or DATA / task.bundled)
    test: list[Record] = task.read(request.test) if request.test else []
    if request.train is None and not test:
        learnt, test = split(task, learnt, every=TEST_EVERY)
    if request.validation:
        validation = task.read(request.validation)
    else:
        learnt, validation = split(task, learnt, every=VALIDATION_EVERY)
    return Splits(learnt, validation, test)


def finetune(request: Request, options: Options) -> dict[str, float]:
    """Train, or go on with a run that was interrupted; the best checkpoint is in ``output/model``.

    Returns:
        Scores of the best checkpoint on the test examples, or else on those for validation.

    Raises:
        FileNotFoundError: if a file or folder is not there.
        OSError: if the disk has too little room.
        ValueError: for data, checkpoints or options that do not fit.
    """
    task = request.task
    splits = read_splits(request)
    names = names_in_order(request, task.label_names(splits.train))
    for part in (splits.validation, splits.test):
        task.check_labels(part, names)
    if request.framework == "tf":
        from deberta_tasks.training.tf_parallel import start_strategy

        strategy = start_strategy(request.devices)  # before anything else of TensorFlow
    else:
        strategy = None
    tokenizer, config = start(task, names, splits.train, request.model, request.size, options)
    features = task.features(splits.train, tokenizer, names, options.limits)
    judged = [Judged(part, task.features(part, tokenizer, names, options.limits) if part else [])
              for part in (splits.validation, splits.test)]  # fmt: skip
    learner = make_learner(request, options, config, names, strategy)
    padder = Padder(tokenizer.pad_token_id)
    stream = Stream(task, features, padder, options.batch_size, seed=options.seed, by_length=options.by_length)
    stream.shares(1, learner.processes * options.accumulate)  # says at once if it cannot be
    request.output.mkdir(parents=True, exist_ok=True)
    if learner.first:
        check_room(request.output, learner.model.num_parameters())
    run = Run(request.output, settings(request, options, features), writes=learner.first)
    scores = _run(learner, run, request, options, names, tokenizer, stream, judged)
    learner.stop()
    return scores


def _run(
    learner: Learner, run: Run, request: Request, options: Options, names: Sequence[str], tokenizer: Any,
    stream: Stream, judged: Sequence[Judged],
) -> dict[str, float]:  # fmt: skip
    task, folder = request.task, request.output / MODEL
    padder = stream.padder
    rows = max(options.batch_size // options.accumulate, learner.processes)

    def scores(data: Judged) -> dict[str, float]:
        return judge(task, learner, data, names, padder, rows)[0]

    def save_model() -> None:
        learner.save_model(folder if learner.first else None)
        if learner.first:
            tokenizer.save_pretrained(folder)

    history = train(
        learner, run, stream, options, best=task.best, evaluate=lambda: scores(judged[0]), save_model=save_model
    )
    learner.wait()  # the best model may just be on its way to the disk
    learner.load_model(folder)
    part, data = ("test", judged[1]) if judged[1].examples else ("validation", judged[0])
    found = scores(data)
    if learner.first:
        plot = run.plot()
        write_card(folder, request, options, part, found, history.best_step, len(data.examples), plot)
        print(f"{folder}: best of step {history.best_step}; on {len(data.examples)} {part} examples {written(found)}")
    return found


def make_learner(request: Request, options: Options, config: Any, names: Sequence[str], strategy: Any) -> Learner:
    """The model in its framework."""
    fields = request.task.config(names) if request.model else {}
    if request.framework == "tf":
        from deberta_tasks.finetuning.tf import KerasLearner
        from deberta_tasks.finetuning.tf import new_model as new_tf_model

        return KerasLearner(
            lambda: new_tf_model(request.task.head, config, request.model, options.seed, **fields), options, strategy
        )
    from deberta_tasks.finetuning.pt import TorchLearner, new_model

    model = new_model(request.task.head, config, request.model, options.seed, **fields)
    return TorchLearner(model, options, kind=request.parallel)


def names_in_order(request: Request, names: list[str]) -> list[str]:
    """The labels by number: sorted, or as the checkpoint has them if it has the same ones.

    Args:
        request: with the checkpoint.
        names: labels of the training data, sorted.

    Raises:
        ValueError: for a single label, with which there is nothing to tell apart.
    """
    if len(names) == 1:
        where = request.train or request.task.bundled
        raise ValueError(f"{where}: all labels are {names[0]!r}, expected at least two different ones")
    if request.model and names:
        known = AutoConfig.from_pretrained(request.model).id2label or {}
        own = [known[number] for number in sorted(known)]
        if sorted(own) == sorted(names):
            return own
    return names


def settings(request: Request, options: Options, features: Sequence[Feature]) -> dict[str, Any]:
    """What the weights depend on; the number of processes is not part of it."""
    digest = zlib.crc32(repr([(f.inputs["input_ids"], f.labels) for f in features]).encode())
    size = {"hidden_size": request.size.hidden_size, "layers": request.size.layers, "heads": request.size.heads}
    return {
        "task": request.task.name, "framework": request.framework, "model": request.model,
        **(size if request.model is None else {}), "data": f"{len(features)} rows, checksum {digest:08x}",
        **options.settings(),
    }  # fmt: skip
