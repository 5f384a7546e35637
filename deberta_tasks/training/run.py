"""The folder of a training run: settings, checkpoints, a log of losses and its plot.

A checkpoint is written under a temporary name and renamed, so a run that is killed at any moment finds its last whole
one; the log is cut back to it, and the resumed run writes the lines that the killed one would have written.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

CHECKPOINT, STATE, LOG, SETTINGS, PLOT = "checkpoint-", "run.json", "losses.jsonl", "settings.json", "losses.png"


def linear_rate(step: int, steps: int, peak: float, *, warmup: int) -> float:
    """Learning rate that rises to ``peak`` during ``warmup`` steps and falls to zero after the last.

    Args:
        step: number of the step, from 1.
        steps: number of all steps.
        peak: largest rate.
        warmup: steps of the rise.
    """
    if step <= warmup:
        return peak * step / warmup
    return peak * (steps + 1 - step) / (steps + 1 - warmup)


class Run:
    """A folder that a run writes, and goes on from.

    Args:
        folder: made if needed.
        settings: what the losses depend on; a run is only resumed with the same.
        writes: whether this process writes; of several that train one model only the first one does.

    Raises:
        ValueError: if the folder holds a run with other settings.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any], *, writes: bool = True) -> None:
        self.folder, self.writes = Path(folder), writes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._check_settings(json.loads(json.dumps(dict(settings), default=os.fspath)))
        self._log: Any = None

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            for name in sorted(before.keys() | settings.keys()):
                was, now = before.get(name), settings.get(name)
                if was != now:
                    raise ValueError(
                        f"{self.folder} holds a run with {name} {was!r}, now it is {now!r}; "
                        "resume with the settings it was started with, or start in a new folder"
                    )
        elif self.writes:
            _write(path, json.dumps(settings, indent=2) + "\n")

    def latest(self) -> Path | None:
        """The last whole checkpoint."""
        found = sorted(p for p in self.folder.glob(f"{CHECKPOINT}*") if (p / STATE).is_file())
        return found[-1] if found else None

    def resume(self, data: Any, read: Callable[[Path], None]) -> int:
        """Go on from the last checkpoint, if there is one.

        Args:
            data: whose ``load_state_dict`` takes what its ``state_dict`` gave.
            read: reads into models and optimisers what ``write`` of ``save`` wrote into the folder.

        Returns:
            Steps done before.
        """
        for rest in self.folder.glob(f".{CHECKPOINT}*") if self.writes else ():  # of a run killed while it wrote
            shutil.rmtree(rest, ignore_errors=True)
        latest, step = self.latest(), 0
        if latest is not None:
            state = json.loads((latest / STATE).read_text(encoding="utf-8"))
            step = int(state["step"])
            data.load_state_dict(state["data"])
            read(latest)
            if self.writes:
                tqdm.write(f"resuming after step {step} from {latest}")
        if not self.writes:
            return step
        lines = [json.dumps(row) + "\n" for row in self.losses() if row["step"] <= step]
        _write(self.folder / LOG, "".join(lines))
        return step

    def save(self, step: int, data: Any, write: Callable[[Any], None]) -> None:
        """Write a checkpoint and drop the ones before.

        Args:
            step: steps done.
            data: with a ``state_dict`` that fits into JSON.
            write: writes models, optimisers and random states into the folder it is given; ``None`` in a process that
                does not write.

        Raises:
            OSError: if it cannot be written; the checkpoint before stays.
        """
        if not self.writes:
            write(None)
            return
        if self._log is not None:
            os.fsync(self._log.fileno())
        name = f"{CHECKPOINT}{step:08d}"
        if (self.folder / name).exists():
            return
        made = self.folder / f".{name}.{secrets.token_hex(4)}"
        made.mkdir()
        try:
            write(made)
            _write(made / STATE, json.dumps({"step": step, "data": data.state_dict()}))
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        old = [p for p in self.folder.glob(f"{CHECKPOINT}*") if p.name != name]
        os.replace(made, self.folder / name)
        for path in old:
            shutil.rmtree(path)

    def log(self, step: int, **losses: float) -> None:
        """Add a line to the log."""
        if not self.writes:
            return
        if self._log is None:
            self._log = open(self.folder / LOG, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run lasts
        self._log.write(json.dumps({"step": step, **losses}) + "\n")
        self._log.flush()

    def losses(self) -> list[dict[str, float]]:
        """The lines of the log; one that a kill cut short is left out."""
        path = self.folder / LOG
        found = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else ():
            if line.endswith("\n"):
                found.append(json.loads(line))
        return found

    def progress(self, done: int, steps: int) -> Any:
        """A progress bar that begins at ``done``; shown where there is a terminal, by the process that writes."""
        return tqdm(total=steps, initial=done, unit="step", disable=None if self.writes else True, dynamic_ncols=True)

    def plot(self) -> Path | None:
        """Draw losses, and scores below them, into ``losses.png``; without matplotlib say so and return ``None``."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            print(f"no plot: matplotlib is not installed (pip install 'deberta[bench]'); losses are in {LOG}")
            return None
        rows = self.losses()
        names = dict.fromkeys(key for row in rows for key in row if key not in ("step", "rate"))
        losses = [name for name in names if name.endswith("loss")]
        scores = [name for name in names if name not in losses]
        figure = Figure(figsize=(7, 7 if scores else 4), layout="constrained")
        FigureCanvasAgg(figure)
        for place, (kind, drawn) in enumerate([("loss", losses), *([("score", scores)] if scores else [])], 1):
            axes = figure.add_subplot(2 if scores else 1, 1, place, xlabel="step", ylabel=kind)
            for name in drawn:
                found = [row for row in rows if name in row]
                axes.plot([r["step"] for r in found], [r[name] for r in found], label=name, linewidth=1)
            axes.legend()
        made = self.folder / f".{PLOT}"
        figure.savefig(made, format="png", dpi=120)
        os.replace(made, self.folder / PLOT)
        return self.folder / PLOT


def _write(path: Path, text: str) -> None:
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(made, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(made, path)
