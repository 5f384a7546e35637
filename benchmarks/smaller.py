"""What making a model smaller costs in points: models of the bundled tasks, made smaller as the commands do.

    python -m benchmarks.smaller --work /tmp/smaller

trains a model for each task, from scratch or from ``--model DIR``, makes of it one in 8-bit integers, one with the
vocabulary of its texts, one with half of the layers and three quarters of the heads, and one by all of it
(``deberta shrink``), and judges each on the examples that are held back. What was interrupted goes on in ``--work``; a
task that is done is a JSON file there. The exit code is 1 where integers cost more than half a point, or one example if
that is more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.report import fill, markdown
from conversion.reports import in_bytes
from deberta_core.config import AutoConfig
from deberta_core.files import settle, write_text
from deberta_tasks.finetune.command import FROM_SCRATCH
from deberta_tasks.finetune.recipe import MODEL, finetune
from deberta_tasks.finetune.request import Request, names_in_model, read_splits
from deberta_tasks.records import Record
from deberta_tasks.smaller import prune, quantize, shrink, trim
from deberta_tasks.smaller.shrinking import Measure
from deberta_tasks.tasks import TRAINABLE, TrainableTask
from deberta_tasks.training.options import Options

TASKS = ("text-classification", "nli", "token-classification", "question-answering", "multiple-choice")
FROM_MODEL = {"rate": 5e-4, "epochs": 6.0}  # of a small pretrained model, which learns faster than a large one may
KINDS = ("float32", "int8", "trimmed", "pruned", "shrunk")
POINTS = 0.005  # that integers may cost


def judged(task: TrainableTask, model: str | None, work: Path, budget: float, options: Options) -> dict[str, Any]:
    """Train a model, make it smaller in each way, and judge them all.

    Args:
        task: which one.
        model: checkpoint to start from, ``None`` for one from scratch.
        work: folder of the task's models.
        budget: of ``shrink``, a share of the bytes.
        options: of the training, and of what is trained again.
    """
    request = Request(task, work / "run", model=model)
    finetune(request, options)
    whole, splits = request.output / MODEL, read_splits(request)
    names = names_in_model(str(whole)) if task.label_names(splits.train) else []
    parts = {name: written(work / f"{name}.jsonl", getattr(splits, name)) for name in ("train", "validation")}
    learnt = [text for example in splits.train for text in task.texts(example)]
    all_texts = [*learnt, *(text for example in (*splits.validation, *splits.test) for text in task.texts(example))]
    loss = max(1.0, 100 / len(splits.validation)) * 1.001  # a point, or one example
    layers = AutoConfig.from_pretrained(whole).num_hidden_layers
    steps: Mapping[str, Callable[[Path], Any]] = {
        "int8": lambda out: quantize(whole, out, texts=learnt),
        "trimmed": lambda out: trim(whole, out, texts=all_texts),
        "pruned": lambda out: prune(whole, out, texts=learnt, layers=max(layers // 2, 1), heads=0.25),
        "shrunk": lambda out: shrink(
            whole, out, texts=all_texts, train=parts["train"], validation=parts["validation"], budget=budget, loss=loss,
            task=task, options=options, work=work / "steps", say=lambda line: print(line, flush=True),
        ),
    }  # fmt: skip
    measure = Measure(task, names, splits.test, options)
    found = {KINDS[0]: asdict(measure(KINDS[0], whole))}
    for name, step in steps.items():
        out = work / name
        if not settle(out):  # a kill may have left a folder that nothing is in yet
            step(out)
        found[name] = asdict(measure(name, out))
    return {
        "task": task.name, "measure": task.best, "examples": len(splits.test), "model": model, "budget": budget,
        "options": options.changed(), "found": found,
    }  # fmt: skip


def written(path: Path, examples: Iterable[Record]) -> Path:
    """The examples as a file."""
    write_text(path, "".join(json.dumps(example) + "\n" for example in examples))
    return path


def fits(result: Mapping[str, Any]) -> bool:
    """Whether integers cost no more than they may."""
    scores = {name: one["score"] for name, one in result["found"].items()}
    return bool(scores["int8"] >= scores[KINDS[0]] - max(POINTS, 1 / result["examples"]) - 1e-9)


def table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row for each task: score and bytes of each model."""
    rows = []
    for result in results:
        found = result["found"]
        cells = [f"{found[name]['score']:.4f}, {in_bytes(found[name]['nbytes'])}" for name in KINDS]
        rows.append([f"{result['task']}, {result['measure']} ({result['examples']})", *cells])
    return markdown(["held-back examples", *KINDS], rows)


def main(words: Sequence[str] | None = None) -> int:
    """Make what is not there yet, then the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smaller", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="models and results")
    parser.add_argument("--model", metavar="DIR", help="checkpoint to start from; default: small models from scratch")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default all")
    parser.add_argument("--budget", type=float, default=0.2, metavar="SHARE", help="of shrink, default %(default)s")
    parser.add_argument("--epochs", type=float, help="of the training")
    parser.add_argument("--rate", type=float, help="largest learning rate")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default all cores")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="page with the place <!-- smaller -->, or <!-- smaller-model -->"
    )
    given = parser.parse_args(words)
    import torch

    torch.set_num_threads(given.threads)
    changes = {name: value for name, value in (("epochs", given.epochs), ("rate", given.rate)) if value is not None}
    options = Options(**{**(FROM_SCRATCH if given.model is None else FROM_MODEL), **changes})
    asked = {"model": given.model, "budget": given.budget, "options": options.changed()}
    results = []
    for name in given.tasks:
        path = given.work / f"{name}.json"
        if not path.is_file():
            folder = given.work / name
            folder.mkdir(parents=True, exist_ok=True)
            result = judged(TRAINABLE[name], given.model, folder, given.budget, options)
            write_text(path, json.dumps(result, indent=1) + "\n")
        results.append(json.loads(path.read_bytes()))
        for key, value in json.loads(json.dumps(asked)).items():
            if results[-1][key] != value:
                before = results[-1][key]
                parser.error(f"{path} is of a run with {key} {before!r}, now it is {value!r}; give a new --work")
    lines = table(results)
    print("\n".join(lines))
    if given.write:
        fill(given.write, "smaller" if given.model is None else "smaller-model", lines)
    costly = [result["task"] for result in results if not fits(result)]
    if costly:
        print(f"8-bit integers cost more than {100 * POINTS:g} points: {', '.join(costly)}", file=sys.stderr)
    return 1 if costly else 0


if __name__ == "__main__":
    sys.exit(main())
