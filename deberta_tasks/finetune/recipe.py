"""Fine-tuning from files to a model with its scores."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deberta_tasks.distill.teaching import make_lesson
from deberta_tasks.finetune.card import write_card
from deberta_tasks.finetune.request import Request, names_in_order, read_splits
from deberta_tasks.finetune.start import start
from deberta_tasks.records import Record
from deberta_tasks.tasks import Feature, Limits, TrainableTask
from deberta_tasks.training.loop import Evaluation, TaskLearner, check_room, train, written
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import Run, say
from deberta_tasks.training.stream import Collator, Stream, predictions, shares

MODEL = "model"


@dataclass(frozen=True)
class Judge:
    """Says how well a model does on examples.

    Attributes:
        task: of the model.
        names: labels by number.
        examples: to judge by.
        features: of the examples.
        collate: makes batches of them.
        batch_size: features in a batch.
    """

    task: TrainableTask
    names: Sequence[str]
    examples: Sequence[Record]
    features: Sequence[Feature]
    collate: Collator
    batch_size: int = 16

    def answers(self, learner: TaskLearner) -> list[Any]:
        """What the model says to each example."""
        outputs = predictions(learner.predict, self.features, self.collate, self.batch_size, learner.processes)
        return self.task.answers(outputs, self.features, self.examples, self.names)

    def __call__(self, learner: TaskLearner) -> dict[str, float]:
        """The scores of the model."""
        return self.task.scores(self.answers(learner), self.examples, self.names)


def finetune(
    request: Request, options: Options, *, tell: Callable[[str, Mapping[str, Any]], None] = say
) -> dict[str, float]:
    """Train, or go on with a run that was interrupted; the best checkpoint is in ``output/model``.

    Args:
        request: what to train, and on what.
        options: how.
        tell: gets what the run came to: in a sentence, and as what JSON can hold.

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
    for examples in (splits.train, splits.validation, splits.test):
        task.check_labels(examples, names)
    if request.framework == "tf":
        from deberta_tasks.training.tf_parallel import start_strategy

        strategy = start_strategy(request.devices)  # before anything else of TensorFlow
    else:
        strategy = None
    tokenizer, config = start(task, names, splits.train, request.model, request.size, options)
    limits, collate = Limits(options.max_length, options.stride), Collator(tokenizer.pad_token_id)
    whole = replace(limits, combine=request.combine)  # to learn from, a text is cut; to be judged by, it need not be
    features = task.features(splits.train, tokenizer, names, limits)
    learner = make_learner(request, options, config, names, strategy)
    batch_size = max(options.batch_size // options.accumulate, learner.processes)
    validation, test = (
        Judge(task, names, examples, task.features(examples, tokenizer, names, whole) if examples else [], collate,
              batch_size)
        for examples in (splits.validation, splits.test)
    )  # fmt: skip
    stream = Stream(features, collate, options.batch_size, seed=options.seed, by_length=options.by_length)
    shares(stream.batch(1), learner.processes * options.accumulate)  # says at once if it cannot be
    request.output.mkdir(parents=True, exist_ok=True)
    if learner.first:
        check_room(request.output, learner.model.num_parameters())
    run = Run(request.output, settings(request, options, features), writes=learner.first)
    folder = request.output / MODEL

    def keep() -> None:
        learner.save_model(folder if learner.first else None)
        if learner.first:
            tokenizer.save_pretrained(folder)

    history = train(learner, run, stream, options, Evaluation(lambda: validation(learner), task.best, keep))
    learner.wait()  # the best model may just be on its way to the disk
    learner.load_model(folder)
    part, judge = ("test", test) if test.examples else ("validation", validation)
    scores = judge(learner)
    if learner.first:
        count = len(judge.examples)
        write_card(folder, request, options, part, scores, history.best_step, count, run.plot())
        sentence = f"{folder}: best of step {history.best_step}; on {count} {part} examples {written(scores)}"
        best = {"model": str(folder), "step": history.best_step, "part": part, "examples": count, "scores": scores}
        tell(sentence, best)
    learner.stop()
    return scores


def make_learner(request: Request, options: Options, config: Any, names: Sequence[str], strategy: Any) -> TaskLearner:
    """The model in its framework."""
    fields = request.task.config(names) if request.model else {}
    fields |= request.lessons.student_fields() if request.lessons else {}
    new = (request.task.head, config, request.model, options.seed)
    if request.framework == "tf":
        from deberta_tasks.training import tf

        return tf.KerasLearner(
            lambda: tf.new_model(*new, **fields), options, strategy, lesson=lesson_of(request),
            perturbation=request.perturbation,
        )  # fmt: skip
    from deberta_tasks.training import pt

    model, lesson = pt.new_model(*new, **fields), lesson_of(request)
    return pt.TorchLearner(
        model, options, kind=request.parallel, lesson=None if lesson is None else lesson(model.config),
        perturbation=request.perturbation,
    )  # fmt: skip


def lesson_of(request: Request) -> Callable[[Any], Callable[..., Any]] | None:
    """What makes, of the student's config, the loss that its teacher takes part in; ``None`` without a teacher."""
    lessons = request.lessons
    return None if lessons is None else partial(make_lesson, lessons, request.task.head, request.framework)


def settings(request: Request, options: Options, features: Sequence[Feature]) -> dict[str, Any]:
    """What the weights depend on; the number of processes is not part of it."""
    digest = zlib.crc32(repr([(f.inputs["input_ids"], f.labels) for f in features]).encode())
    size = {"hidden_size": request.size.hidden_size, "layers": request.size.layers, "heads": request.size.heads}
    return {
        "task": request.task.name, "framework": request.framework, "model": request.model,
        **(size if request.model is None else {}),
        "data": f"{len(features)} rows, checksum {digest:08x}",  # as earlier versions have it, whose runs go on
        **options.settings(), **({"combine": request.combine} if request.combine else {}),
        **(request.lessons.settings() if request.lessons else {}),
        **request.perturbation.settings(),
    }  # fmt: skip
