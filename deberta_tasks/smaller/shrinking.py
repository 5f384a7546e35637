"""``shrink``: trimming, pruning, distilling and quantising one after the other, down to a share of the bytes.

After each step the model is judged on examples; where it has lost too much, the step before is what is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from conversion.folder import Extra, Target, carry, find_extras
from conversion.reports import Table, in_bytes
from conversion.source import open_source
from deberta_core.checkpoint import open_weights
from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.file_names import CARD
from deberta_core.files import Replacement, settle, workplace, write_text
from deberta_core.heads import weights
from deberta_core.integers import is_scale
from deberta_core.pruning import heads_left, kept_columns
from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.distill.recipe import distill
from deberta_tasks.finetune.recipe import MODEL, Judge
from deberta_tasks.finetune.request import Request, names_in_model, read_splits
from deberta_tasks.smaller.folders import Sample, add_to_card, refuse_integers, source_folder
from deberta_tasks.smaller.pruning import prune
from deberta_tasks.smaller.quantizing import quantize
from deberta_tasks.smaller.trimming import trim
from deberta_tasks.tasks import TRAINABLE, Limits, TrainableTask
from deberta_tasks.training.options import Options
from deberta_tasks.training.stream import Collator

SHARES = (0.0, 0.25, 0.5)  # of heads and columns that may go; a narrower model learns little
_OF_LAYERS = (".attention.self.", ".dense.weight", "encoder.conv.conv.weight", "word_embeddings.weight")
_ROUNDS, _BATCH = 5, 8  # that are timed; examples in each


@dataclass
class Step:
    """A model on the way.

    Attributes:
        name: what was done.
        parameters: of the model.
        nbytes: of its weights.
        ms: of a batch of 8 examples, prepared for inference.
        score: on the validation examples.
        kept: whether the score was good enough.
    """

    name: str
    parameters: int
    nbytes: int
    ms: float
    score: float
    kept: bool = True


@dataclass
class ShrinkReport:
    """What came of it.

    Attributes:
        source: where the model came from.
        target: where it is.
        task: that it was judged by.
        measure: which score of the task.
        budget: bytes that were asked for.
        steps: the model before, and after each step.
        met: whether the budget was met.
        notes: what else there is to know.
    """

    source: str
    target: str
    task: str
    measure: str
    budget: int
    steps: list[Step]
    met: bool = True
    notes: list[str] = field(default_factory=list)

    def tables(self) -> list[Table]:
        """Its content for people."""
        columns = ("step", "parameters", "weights", "share", "ms", self.measure, "kept")
        first = self.steps[0].nbytes
        rows = [
            (step.name, f"{step.parameters:,}", in_bytes(step.nbytes), f"{step.nbytes / first:.3f}", f"{step.ms:.1f}",
             f"{step.score:.4f}", "yes" if step.kept else "no")
            for step in self.steps
        ]  # fmt: skip
        facts = [("task", self.task), ("budget", in_bytes(self.budget)), ("met", "yes" if self.met else "no")]
        facts += [("note", note) for note in self.notes]
        return [Table("Made smaller", columns, list(rows)), Table("", rows=list(facts))]

    def to_dict(self) -> dict[str, Any]:
        """Its content for programs."""
        return asdict(self)


def shrink(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    texts: Iterable[str],
    train: str | os.PathLike[str],
    budget: float = 0.25,
    loss: float = 1.0,
    task: TrainableTask | None = None,
    validation: str | os.PathLike[str] | None = None,
    options: Options | None = None,
    work: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    note: str = "",
) -> ShrinkReport:
    """Write a model of a share of the bytes: trimmed, pruned and distilled as far as needed, quantised; needs PyTorch.

    Args:
        model: folder of a model that has learnt the task, with its tokenizer.
        out: folder to write; it does not exist yet, or is empty.
        texts: what the model is to read; the vocabulary is cut down to them and the examples.
        train: labelled examples that the smaller model learns from.
        budget: share of the bytes of the model's weights.
        loss: points of the score (of a hundred) that may be lost; the step that loses more is undone, and the last.
        task: by default the first of the model's head.
        validation: examples to judge by; default one in eight of ``train``.
        options: of the training.
        work: folder of the steps, outside the model's, which the same call goes on with; default one that is gone in
            the end.
        say: is told of each step.
        note: a line for the card, such as the command.

    Raises:
        FileExistsError: ``out`` holds something.
        FileNotFoundError: there is no model, or no file.
        ValueError: the budget cannot be met, the first step loses too much, and whatever its steps refuse.
    """
    if not 0 < budget < 1:
        raise ValueError(f"budget is {budget}, expected a share of the bytes between 0 and 1")
    if not loss >= 0:
        raise ValueError(f"loss is {loss}, expected a number of points, at least 0")
    source, target = source_folder(model), Target(out, overwrite=None)
    with open_source(source, isolate_h5=True) as opened:
        target.refuse_source(opened.file.paths[0])
        refuse_integers(opened, "shrink")
        head = opened.head
    place = Path() if work is None else Path(os.path.realpath(work))
    for taken in (source, target.path):
        if Path(os.path.realpath(taken)) in (place, *place.parents):
            raise ValueError(f"work is {work}, in the folder {taken} of a model; give one of its own")
    task, options = task or _task_of(head), options or Options(rate=5e-5, epochs=5.0)
    if task.head != head:
        raise ValueError(f"{source} has the head {head}, but {task.name} needs {task.head}; train it for that first")
    request = Request(
        task, Path(), model=os.fspath(source), train=Path(train), validation=Path(validation) if validation else None
    )
    splits, names = read_splits(request), list[str]()
    if task.label_names(splits.train):
        # Numbers are what the model calls so, and a label that no example has keeps its place among its outputs.
        names = names_in_model(os.fspath(source))
        request = replace(request, labels=tuple(names))
        splits = read_splits(request)
    given = [texts] if isinstance(texts, str) else list(texts)
    Sample(given, source, by_choice=False, purpose="shrink")  # refuses what fits the model less than the examples do
    read = [*given, *(text for example in (*splits.train, *splits.validation) for text in task.texts(example))]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # what steps print is no part of the report
        folder = stack.enter_context(workplace(target.path.parent)) if work is None else Path(work)
        checksum = zlib.crc32("\n".join(read).encode(errors="surrogatepass"))
        _same_as_before(folder, {
            "model": os.fspath(source), "budget": budget, "task": task.name, "train": str(train),
            "validation": str(validation), "texts": f"{len(read)}, checksum {checksum:08x}",
        })  # fmt: skip
        measure = Measure(task, names, splits.validation, options)
        before = measure("before", source)
        report = ShrinkReport(
            os.fspath(model), os.fspath(out), task.name, task.best, int(budget * before.nbytes), [before]
        )
        say(_line(before))
        kept = source
        for name, judged, step in _steps(source, folder, head, read, request, options, report):
            done = step()
            found = measure(name, done)
            found.kept = not judged or 100 * (before.score - found.score) <= loss
            report.steps.append(found)
            say(_line(found))
            if not found.kept:
                lost = 100 * (before.score - found.score)
                report.notes.append(f"stopped: {name} lost {lost:.1f} points of {task.best}, {loss:g} were allowed")
                break
            kept = done if judged else kept
        if kept == source:
            raise ValueError(f"{report.notes[-1]}; so nothing was written: give more texts, or allow more points")
        report.met = measure.nbytes(kept) <= report.budget
        if not report.met and all(step.kept for step in report.steps):
            report.notes.append("some products stayed float, and the weights are larger than was planned")
        _put(kept, source, target, report, note)
    return report


Steps = Iterable[tuple[str, bool, Callable[[], Path]]]


def _steps(
    source: Path, work: Path, head: str, texts: Sequence[str], request: Request, options: Options, report: ShrinkReport
) -> Steps:
    """Name, whether its score decides, and what writes a folder; what pruning loses is to be learnt again first."""
    trimmed, pruned, small = work / "trimmed", work / "pruned", work / "integers"
    yield "trim", True, lambda: _unless(trimmed, lambda: trim(source, trimmed, texts=texts))
    config = AutoConfig.from_pretrained(trimmed)
    layers, share = planned(config, head, report.budget)
    last = trimmed
    if layers is not None or share:
        of_heads, of_columns = _shares(config, layers or config.num_hidden_layers, share)
        cut: dict[str, Any] = {"layers": layers, "heads": of_heads or None, "intermediate": of_columns or None}
        yield "prune", False, lambda: _unless(pruned, lambda: prune(trimmed, pruned, texts=texts, **cut))
        run = work / "run"

        def learn() -> Path:
            distill(replace(request, output=run, model=os.fspath(pruned)), options, Lessons(os.fspath(trimmed)))
            return run / MODEL

        yield "distil", True, learn
        last = run / MODEL
    yield "quantise", True, lambda: _unless(small, lambda: quantize(last, small, texts=texts))


def planned(config: BaseConfig, head: str, budget: int) -> tuple[int | None, float]:
    """How many layers stay (``None``: all) and what share of heads and columns goes, so that integers fit a budget.

    The largest model that fits is taken.

    Args:
        config: of the model.
        head: of it, a key of ``deberta_core.heads.HEADS``.
        budget: bytes.

    Raises:
        ValueError: not even one layer fits.
    """
    count, sizes = config.num_hidden_layers, {}
    shares = SHARES if not config.mixes_heads else SHARES[:1]
    for layers, share in itertools.product(range(1, count + 1), shares):
        sizes[layers, share] = nbytes_in_integers(_cut(config, layers, share), head)
    fitting = [key for key, size in sizes.items() if size <= budget]
    if not fitting:
        least = in_bytes(min(sizes.values()))
        raise ValueError(
            f"the budget of {in_bytes(budget)} cannot be met: with one layer in integers, the vocabulary of the texts "
            f"and half of the heads, the weights still take {least}; give a larger budget, or trim with fewer texts"
        )
    layers, share = max(fitting, key=lambda key: (sizes[key], -key[1]))
    return (layers if layers < count else None), share


def _cut(config: BaseConfig, layers: int, share: float) -> BaseConfig:
    """The config of a model so pruned, if those layers stay that have most heads: which will, texts decide later."""
    of_heads, of_columns = _shares(config, layers, share)
    left = sorted(heads_left(config), reverse=True)[:layers]
    for _ in range(round(of_heads * sum(left))):
        left[left.index(max(left))] -= 1
    cut = {layer: config.num_attention_heads - count for layer, count in enumerate(left)}
    size = kept_columns(config, of_columns) if of_columns else config.intermediate_size
    heads = {layer: [*range(count)] for layer, count in cut.items() if count}
    found: BaseConfig = config.copy(num_hidden_layers=layers, intermediate_size=size, pruned_heads=heads)
    return found


def _shares(config: BaseConfig, layers: int, share: float) -> tuple[float, float]:
    """What of a share of heads and columns can go whichever layers stay: of heads none if one of them is a layer's only
    one, or if it is less than one of all.
    """
    least = min(heads_left(config))
    of_heads = share if least > 1 and round(share * least * layers) else 0.0
    return of_heads, share if share and kept_columns(config, share) < config.intermediate_size else 0.0


def nbytes_in_integers(config: BaseConfig, head: str) -> int:
    """Bytes of a model's weights once it is quantised, if no product stays float."""
    total = 0
    for key, weight in weights(config, head).items():
        rounded = len(weight.shape) > 1 and key.startswith("deberta.") and any(part in key for part in _OF_LAYERS)
        scales = 4 * weight.shape[0] + 4 * weight.shape[-1] if rounded else 0
        total += prod(weight.shape) * (1 if rounded else 4) + scales
    return total


class Measure:
    """Judges a folder on examples, and times it.

    Args:
        task: of the model.
        names: labels by number.
        examples: to judge by.
        options: whose lengths features have.
    """

    def __init__(self, task: TrainableTask, names: Sequence[str], examples: Sequence[Any], options: Options) -> None:
        self.task, self.names, self.examples, self.options = task, names, examples, options

    def __call__(self, name: str, folder: Path) -> Step:
        """What is known of a folder.

        Args:
            name: of what was done to it.
            folder: of the model.
        """
        from deberta_tasks.training.pt import TorchLearner, new_model
        from tokenization import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        limits = Limits(self.options.max_length, self.options.stride)
        features = self.task.features(self.examples, tokenizer, self.names, limits)
        learner = TorchLearner(new_model(self.task.head, None, folder, 0), Options())
        collate = Collator(tokenizer.pad_token_id)
        judge = Judge(self.task, self.names, self.examples, features, collate, _BATCH)
        scores = judge(learner)
        chosen = (list(features) * _BATCH)[:_BATCH]
        batch = {k: x for k, x in collate(chosen).items() if k not in chosen[0].labels}
        taken = []
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            learner.predict(batch)
            taken.append(time.perf_counter() - start)
        with open_weights(folder) as file:
            count = sum(prod(info.shape) for key, info in file.tensors.items() if not is_scale(key))
        ms = 1000 * statistics.median(taken)
        return Step(name, count, self.nbytes(folder), ms, float(scores[self.task.best]))

    @staticmethod
    def nbytes(folder: Path) -> int:
        """Of a folder's weights."""
        with open_weights(folder) as file:
            return sum(info.nbytes for info in file.tensors.values())


def _task_of(head: str) -> TrainableTask:
    """The first task of a head.

    Raises:
        ValueError: there is none.
    """
    for name in ("text-classification", *TRAINABLE):
        if TRAINABLE[name].head == head:
            return TRAINABLE[name]
    raise ValueError(f"no task can judge a model with the head {head}; train it for one first (deberta finetune)")


def _unless(folder: Path, step: Callable[[], Any]) -> Path:
    """Run a step unless an earlier call has done it: what stands in its folder is whole, once a kill's rest is gone."""
    if not settle(folder):
        step()
    return folder


def _same_as_before(work: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a folder of steps of another call.

    Raises:
        ValueError: it is one.
    """
    path = work / "settings.json"
    text = json.dumps(dict(settings), indent=2) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{work} holds the steps of a call with another model, budget or texts; give a new folder")
    work.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _put(made: Path, source: Path, target: Target, report: ShrinkReport, note: str) -> None:
    """The last good step as the result, with the report behind the card of the model before."""
    extras, _ = find_extras(made, whole=True, weights=[], skip=target.path)
    with open_weights(made) as file:
        paths = file.paths
    there = {extra.path for extra in extras}
    extras += [Extra(path, path.name, path.stat().st_size) for path in paths if path not in there]
    with Replacement(target.path) as files:
        carry([extra for extra in extras if extra.name != CARD], files)
        add_to_card(files, source, report, note)
        files.commit()


def _line(step: Step) -> str:
    return (
        f"{step.name}: {step.parameters:,} parameters, {in_bytes(step.nbytes)}, {step.ms:.1f} ms, "
        f"score {step.score:.4f}" + ("" if step.kept else ", too low")
    )
