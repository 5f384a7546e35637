"""Records of what was measured, and sides that take turns."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Side = Callable[[], object]
WARM_UP = 2  # rounds that do not count: they compile, fill caches and start threads
PAUSE = 0.3  # seconds before each turn: the threads of the side before wait for work for a while, busily
AGAIN = 0.5  # seconds up to which a side runs once before its turn counts: the caches hold the other sides' weights


@dataclass(frozen=True)
class Record:
    """One figure of a table, or a remark if it has no ``case``."""

    case: str = ""
    side: str = ""
    seconds: float | None = None
    spread: tuple[float, float] | None = None  # the least and the most of the rounds that count, seconds
    megabytes: float | None = None
    note: str = ""

    def __str__(self) -> str:
        figures = [
            "" if self.seconds is None else f"{self.seconds * 1000:.1f} ms",
            "" if self.spread is None else f"({self.spread[0] * 1000:.1f} to {self.spread[1] * 1000:.1f})",
            "" if self.megabytes is None else f"{self.megabytes:.0f} MB",
            self.note,
        ]
        return "  ".join(part for part in (self.case, self.side, *figures) if part)


class Recorder:
    """Shows each record as it comes and appends it to a file, so that what was measured outlives a crash."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path

    def __call__(self, record: Record) -> None:
        """Take a record."""
        print(f"  {record}", file=sys.stderr, flush=True)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(record)) + "\n")

    def note(self, text: str) -> None:
        """Record a remark."""
        self(Record(note=text))

    @contextmanager
    def peer(self, name: str) -> Iterator[None]:
        """Go on without a side that is not installed or fails, and say why."""
        try:
            yield
        except ImportError as error:
            self.note(f"{name}: not installed ({error})")
        except Exception as error:
            traceback.print_exc()
            self.note(f"{name}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}")


def read_records(path: Path) -> list[Record]:
    """The records of a file; none if it does not exist. A last line that a kill cut short counts as not written."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [Record(**json.loads(line)) for line in lines if line.endswith("\n")]


def alternate(sides: Mapping[str, Side], rounds: int, pause: float | None = None) -> dict[str, list[float]]:
    """Seconds of each side in each round; all take a turn in each round, every other round in reverse.

    What is measured is a call among others: a short one is made twice, because the first wakes the processor up and
    brings the weights back into the caches.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(-WARM_UP, rounds):
        for name in list(sides) if number % 2 else reversed(sides):
            time.sleep(PAUSE if pause is None else pause)
            taken = duration(sides[name])
            if taken < AGAIN:
                taken = duration(sides[name])
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def duration(side: Side) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    side()
    return time.perf_counter() - begin


def measure(record: Recorder, case: str, sides: dict[str, Side], rounds: int) -> None:
    """Measure all sides of a case; one that fails its first call is left out, with the reason."""
    for name in list(sides):
        before = sides.pop(name)
        with record.peer(f"{case}, {name}"):
            before()
            sides[name] = before
    for name, seconds in alternate(sides, rounds).items():
        record(Record(case, name, statistics.median(seconds), (min(seconds), max(seconds))))
