"""The folder of a training run: settings, checkpoints, a log of losses and its plot.

A checkpoint takes its name when it is whole and on the disk, so a run that is killed at any moment finds the last one;
the log is cut back to it, and the resumed run writes the lines that the killed one would have written.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import secrets
import shutil
import socket
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from deberta_core.files import Replacement, replacing, write_text

CHECKPOINT, STATE, LOG, SETTINGS, PLOT = "checkpoint-", "run.json", "losses.jsonl", "settings.json", "losses.png"
LOCK, _LOCKED_BYTE = ".running", 1 << 30
msvcrt: Any = importlib.import_module("msvcrt") if os.name == "nt" else None
_ME = f"process {os.getpid()} on {socket.gethostname()}, {secrets.token_hex(4)}"
_DAMAGED = (ValueError, OSError, RuntimeError, LookupError, TypeError, AttributeError)  # what readers raise


class Run:
    """A folder that a run writes, and goes on from.

    Args:
        folder: made if needed.
        settings: what the losses depend on; a run is only resumed with the same.
        writes: whether this process writes; of several that train one model only the first one does.

    Raises:
        ValueError: if another process is at the run, or the folder holds one with other settings.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any], *, writes: bool = True) -> None:
        self.folder, self.writes = Path(folder), writes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log: Any = None
        self._lock = self._occupied()
        self._check_settings(json.loads(json.dumps(dict(settings), default=os.fspath)))

    def _check_settings(self, settings: dict[str, Any]) -> None:
        path = self.folder / SETTINGS
        if path.is_file():
            before = _read_object(path, "start in a new folder")
            for name in sorted(before.keys() & settings.keys()):
                if before[name] != settings[name]:
                    raise ValueError(
                        f"{self.folder} holds a run with {name} {before[name]!r}, now it is {settings[name]!r}; "
                        "resume with the settings it was started with, or start in a new folder"
                    )
            if before.keys() != settings.keys():
                names = ", ".join(sorted(before.keys() ^ settings.keys()))
                raise ValueError(
                    f"{self.folder} holds a run of another command or an earlier version: only one of its settings and "
                    f"those of now has {names}, so nobody can tell whether it would go on alike; start in a new folder"
                )
        elif self.writes:
            write_text(path, json.dumps(settings, indent=2) + "\n")

    def _occupied(self) -> Any:
        """A file that is locked as long as it is open, so that a process that ends, however it does, lets go of it.

        Raises:
            ValueError: if another process has it.
        """
        if not self.writes:
            return None
        file = open(self.folder / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 - open as long as the run lasts
        try:
            _lock(file.fileno())
        except (BlockingIOError, PermissionError):
            file.seek(0)
            other = file.read()
            file.close()
            if other == _ME:  # a run that this process has broken off
                return None
            raise ValueError(
                f"{self.folder} is in use by another run ({other.rpartition(',')[0] or 'of another process'}); wait "
                "until it ends, or start in another folder"
            ) from None
        except OSError:  # a file system without locks
            file.close()
            return None
        file.truncate(0)
        file.write(_ME)
        file.flush()
        return file

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, the last one first: there are two where a kill came before the older one was dropped."""
        return sorted((path for path in self._named() if (path / STATE).is_file()), reverse=True)

    def _named(self) -> list[Path]:
        """What bears the name of a checkpoint; other programs' have fewer digits, and are not ours to drop."""
        return list(self.folder.glob(CHECKPOINT + 8 * "[0-9]"))

    def latest(self) -> Path | None:
        """The last whole checkpoint."""
        return next(iter(self.checkpoints()), None)

    def _read(self, checkpoint: Path, data: Any, read: Callable[[Path], None]) -> int:
        state = _read_object(checkpoint / STATE, "")
        step = state.get("step")
        if not isinstance(step, int) or checkpoint.name != f"{CHECKPOINT}{step:08d}" or "data" not in state:
            raise ValueError(f"{checkpoint / STATE} does not say what step it is of")
        data.load_state_dict(state["data"])
        read(checkpoint)
        return step

    def resume(self, data: Any, read: Callable[[Path], None]) -> int:
        """Go on from the last checkpoint, if there is one.

        Args:
            data: whose ``load_state_dict`` takes what its ``state_dict`` gave.
            read: reads into models and optimisers what ``write`` of ``save`` wrote into the folder.

        Returns:
            Steps done before.

        Raises:
            ValueError: if no checkpoint can be read.
        """
        for rest in self.folder.glob(f".{CHECKPOINT}*") if self.writes else ():  # that a kill left half dropped
            shutil.rmtree(rest, ignore_errors=True)
        step, damage = 0, ""
        for latest in self.checkpoints():
            try:
                step = self._read(latest, data, read)
            except _DAMAGED as error:
                damage = damage or (str(error) if str(latest) in str(error) else f"{latest} cannot be resumed: {error}")
                continue
            # Damaged ones are of steps that come again, and are to be kept then; a kill may have left older ones.
            for path in self._named() if self.writes else ():
                if path != latest:
                    self._drop(path)
            if damage:
                warnings.warn(f"{damage}; going on from {latest.name}, the checkpoint before", stacklevel=2)
            if self.writes:
                tqdm.write(f"resuming after step {step} from {latest}")
            break
        else:
            if damage:
                hint = "" if "new folder" in damage else "; delete it to begin again, or start in a new folder"
                raise ValueError(f"{damage}{hint}")
        if self.writes:  # lines after the checkpoint are written again, and are then those that stand here
            lines = [json.dumps(line) + "\n" for line in self.losses() if line["step"] <= step]
            write_text(self.folder / LOG, "".join(lines))
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
        name = f"{CHECKPOINT}{step:08d}"
        if (self.folder / name).exists():
            return
        # The order is what a kill, or a machine that goes down, may leave: first the lines of the steps are on the
        # disk, then the state and its name, and only then does the checkpoint before go.
        if self._log is not None:
            os.fsync(self._log.fileno())
        before = self._named()
        with Replacement(self.folder) as files:
            made = files.create(name, folder=True)
            write(made)
            (made / STATE).write_text(json.dumps({"step": step, "data": data.state_dict()}), encoding="utf-8")
            files.commit()
        for path in before:
            self._drop(path)

    def _drop(self, checkpoint: Path) -> None:
        """Under a name that ``resume`` takes away: a kill may come between two of its files."""
        shutil.rmtree(checkpoint.rename(self.folder / f".{checkpoint.name}"))

    def log(self, step: int, **losses: float) -> None:
        """Add a line to the log."""
        if not self.writes:
            return
        if self._log is None:
            self._log = open(self.folder / LOG, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run lasts
        self._log.write(json.dumps({"step": step, **losses}) + "\n")
        self._log.flush()

    def losses(self) -> list[dict[str, float]]:
        """The lines of the log; one that a kill cut short, or that is damaged, is left out."""
        path = self.folder / LOG
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, AttributeError, OverflowError, RecursionError):
                values = json.loads(line)
                "".join(values).encode()  # half a character in a name cannot be drawn, nor a number beyond all floats
                if all(float(value) == value or math.isnan(value) for value in values.values()):
                    found += [values] if "step" in values else []
        if len(found) < len(lines):
            warnings.warn(f"{path}: {len(lines) - len(found)} damaged lines are left out", stacklevel=2)
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
            print(f"no plot: matplotlib is not installed (pip install 'deberta-zoo[draw]'); losses are in {LOG}")
            return None
        lines = self.losses()
        names = dict.fromkeys(name for line in lines for name in line if name not in ("step", "rate"))
        losses = [name for name in names if name.endswith("loss")]
        scores = [name for name in names if name not in losses]
        shown = {"loss": losses, "score": scores} if scores else {"loss": losses}
        figure = Figure(figsize=(7, 4 if len(shown) == 1 else 7), layout="constrained")
        FigureCanvasAgg(figure)
        for number, (kind, drawn) in enumerate(shown.items(), 1):
            axes = figure.add_subplot(len(shown), 1, number, xlabel="step", ylabel=kind)
            for name in drawn:
                points = [(line["step"], line[name]) for line in lines if name in line]
                axes.plot(*zip(*points, strict=True), label=name.replace("$", r"\$"), linewidth=1)
            axes.legend()
        with replacing(self.folder / PLOT) as made:
            figure.savefig(made, format="png", dpi=120)
        return self.folder / PLOT


def _lock(descriptor: int) -> None:
    """Lock an open file, with the life of this process at most.

    Raises:
        BlockingIOError: if another process has it; on Windows a ``PermissionError``.
        OSError: of a file system without locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        # A byte behind all that the file holds: on Windows nobody else may read one that is locked.
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def say(sentence: str, _result: Mapping[str, Any]) -> None:
    """Tell people what a run came to."""
    print(sentence)


def _read_object(path: Path, hint: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: if the file holds none; the text names it.
    """
    try:
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
        reason = f"a JSON {type(found).__name__}"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise ValueError(f"{path} is damaged ({reason}), expected a JSON object" + (f"; {hint}" if hint else ""))
