"""What starting from ``deberta-zoo/mini-generator`` buys on the sets that come with the package, beside from scratch.

    python -m benchmarks.mini --work /tmp/mini --write docs/mini.md

Each task is learnt twice in PyTorch, as ``deberta finetune`` does it: the best checkpoint by examples that are held
back is judged by others. What was interrupted goes on from ``--work``; ``--write`` fills the place in the page.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import fill, markdown
from deberta_core.files import write_text
from deberta_core.packaged import GENERATOR
from deberta_tasks.finetune.command import FROM_SCRATCH
from deberta_tasks.finetune.recipe import finetune
from deberta_tasks.finetune.request import Request
from deberta_tasks.tasks import TRAINABLE
from deberta_tasks.training.options import Options

MARK = "starts"
STARTS = {None: Options(**FROM_SCRATCH), GENERATOR: Options(epochs=6, rate=1e-3)}
RESULT = "result.json"


def learn(task: str, model: str | None, options: Options, folder: Path) -> dict[str, Any]:
    """Scores on the examples held back, and the seconds of the processor that it took; read where it was done.

    Raises:
        ValueError: the folder holds a result of other options.
    """
    if not (folder / RESULT).is_file():
        whole, started = not folder.exists(), time.process_time()
        scores = finetune(Request(TRAINABLE[task], folder, model=model), options, tell=lambda *_: None)
        # Of a run that was interrupted nobody knows what the part before had cost.
        seconds = time.process_time() - started if whole else None
        found = {"scores": scores, "seconds": seconds, "options": options.settings()}
        write_text(folder / RESULT, json.dumps(found))
    result: dict[str, Any] = json.loads((folder / RESULT).read_bytes())
    if result.get("options") != options.settings():
        raise ValueError(f"{folder} holds a result of other options; give another --work, or delete the folder")
    return result


def table(tasks: Sequence[str], work: Path, steps: int) -> list[str]:
    """A row for each task, in Markdown."""
    rows = []
    for name in tasks:
        row = [f"`{name}`", TRAINABLE[name].best.replace("_", " ")]
        for model, options in STARTS.items():
            start = "mini" if model else "scratch"
            found = learn(name, model, replace(options, steps=steps), work / start / name)
            seconds = "-" if found["seconds"] is None else f"{found['seconds']:.0f}"
            row += [f"{found['scores'][TRAINABLE[name].best]:.3f}", seconds]
            print(name, start, found, flush=True)
        rows.append(row)
    heading = ["task", "score", "from scratch", "s", f"from `{GENERATOR}`", "s"]
    return markdown(heading, rows)


def main(words: Sequence[str] | None = None) -> None:
    """Learn all tasks from both starts, and show or write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mini", description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="folder of the runs; the same goes on")
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"Markdown with a place <!-- {MARK} -->")
    parser.add_argument("--tasks", nargs="+", choices=TRAINABLE, default=list(TRAINABLE), metavar="TASK")
    parser.add_argument("--steps", type=int, default=0, help="of each run, for a trial; default: epochs as usual")
    args = parser.parse_args(words)
    lines = table(args.tasks, args.work, args.steps)
    if args.write:
        fill(args.write, MARK, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
