"""Runs cases in children with limits, forked from one process that has imported all they need, 50 cases each.

A child that dies or hangs takes its report with it from the case on: the cases that it had left are then run singly.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fnmatch
import functools
import gc
import gzip
import importlib
import itertools
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutators import Mutator

TOGETHER = 50
SECONDS = 5.0  # of one case, on a processor of its own
HANGS = 60.0  # seconds of the clock; other work may have the processors
BYTES = 200_000_000  # of memory that one case may take
LIMIT = 1 << 30  # bytes; beyond, an allocation fails in the child
READ, REFUSED = "read", "refused"


@dataclass(frozen=True)
class Kind:
    """Files that are damaged, and what reads them.

    Args:
        name: of the kind.
        make: fills a folder with valid files.
        file: the one that is damaged, or a pattern for several, of which each case damages one.
        mutators: how.
        attempt: opens the folder in a framework, and uses what it got; raises what a caller would get.
        frameworks: that take turns.
        share: of the cases that are asked for, where a case takes long.
    """

    name: str
    make: Callable[[Path], object]
    file: str
    mutators: Sequence[Mutator]
    attempt: Callable[[Path, str], object]
    frameworks: Sequence[str] = ("pt", "tf")
    share: float = 1.0


@dataclass
class Case:
    """One damaged file; ``file`` is its path in the folder, ``framework`` the one that reads it."""

    kind: Kind
    seed: int
    framework: str
    file: str
    content: bytes


@dataclass
class Report:
    """What became of the cases of a kind."""

    counts: dict[str, int] = field(default_factory=lambda: {READ: 0, REFUSED: 0})
    findings: list[tuple[Case, str]] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0

    def take(self, case: Case, line: Mapping[str, float | str]) -> None:
        """Add one case's line."""
        self.slowest = max(self.slowest, float(line.get("seconds", 0)))
        self.largest = max(self.largest, int(line.get("bytes", 0)))
        outcome = str(line["outcome"])
        if outcome in self.counts:
            self.counts[outcome] += 1
        else:
            self.findings.append((case, outcome))


def judge(case: Case, folder: Path) -> str:
    """What comes of a case: ``read``, ``refused``, or what is wrong with the way it is refused."""
    try:
        case.kind.attempt(folder, case.framework)
    except (ValueError, OSError) as error:
        text = str(error)
        if str(folder) not in text and Path(case.file).name not in text:
            return f"no file named: {_last(error)}"
        return REFUSED if "\x1b" not in text else f"escapes of the file in the text: {text!r}"
    except BaseException as error:
        return f"raw: {_last(error)}"
    return READ


def _last(error: BaseException) -> str:
    where = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return f"{type(error).__name__}: {str(error)[:300]!r} at {' '.join(where[-5:])}"


def memory() -> dict[str, int]:
    """Bytes that this process has, had at most, and may write to."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return {name: found[name] for name in ("VmRSS", "VmHWM", "VmData")}


def work(cases: Sequence[Case], files: Mapping[str, bytes], report: int) -> None:
    """The child: one line for each case."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    be_quiet()
    with tempfile.TemporaryDirectory() as top:
        for framework in sorted({case.framework for case in cases}):  # what a first use takes is no case's
            warm = Case(cases[0].kind, 0, framework, cases[0].file, files[cases[0].file])
            outcome = judge(warm, _write(Path(top) / f"warm-{framework}", warm, files))
            if outcome != READ:
                os.write(report, json.dumps({"outcome": f"the valid file: {outcome}"}).encode() + b"\n")
                return
        most = memory()["VmData"] + LIMIT
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        for number, case in enumerate(cases):
            folder = _write(Path(top) / str(number), case, files)
            Path("/proc/self/clear_refs").write_text("5")  # the most memory that was had counts anew
            before, started = memory()["VmRSS"], time.process_time()
            signal.setitimer(signal.ITIMER_REAL, HANGS)
            outcome = judge(case, folder)
            signal.setitimer(signal.ITIMER_REAL, 0)
            seconds, taken = time.process_time() - started, max(0, memory()["VmHWM"] - before)
            if outcome in (READ, REFUSED) and seconds > SECONDS:
                outcome = f"slow: {seconds:.1f} s"
            if outcome in (READ, REFUSED) and taken > BYTES + 2 * len(case.content):
                outcome = f"memory: {taken / 1e6:.0f} MB"
            line = {"seed": case.seed, "outcome": outcome, "seconds": seconds, "bytes": taken}
            os.write(report, json.dumps(line).encode() + b"\n")
            shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, case: Case, files: Mapping[str, bytes]) -> Path:
    for name, content in {**files, case.file: case.content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def in_child(cases: Sequence[Case], files: Mapping[str, bytes]) -> tuple[list[dict[str, float | str]], int]:
    """Lines that a child wrote, and its status at the end."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(out)
            work(cases, files, into)
            os._exit(0)
        os._exit(1)
    os.close(into)
    received = b""
    while select.select([out], [], [], 2 * HANGS)[0] and (part := os.read(out, 1 << 16)):
        received += part
    else:
        os.close(out)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL) if not received.endswith(b"\n") else None
    _, status = os.waitpid(child, 0)
    return [json.loads(line) for line in received.splitlines() if line.endswith(b"}")], status


def made_in_child(make: Callable[[], object]) -> None:
    """Make files in a child, so that no framework has begun here; what it had to import for that is imported here.

    Raises:
        RuntimeError: it did not end well; with its traceback.
    """
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        be_quiet()
        before, error = set(sys.modules), ""
        try:
            make()
        except BaseException:
            error = traceback.format_exc()
        with contextlib.suppress(BaseException), open(into, "w", encoding="utf-8") as file:
            json.dump([error, *(name for name in sys.modules if name not in before)], file)
        os._exit(0)
    os.close(into)
    with open(out, encoding="utf-8") as file:
        told = file.read()
    os.waitpid(child, 0)
    error, *modules = json.loads(told or '["it died"]')
    if error:
        raise RuntimeError(error)
    for name in modules:
        with contextlib.suppress(Exception):  # parts of a package that only it can import
            importlib.import_module(name)
    freeze()


def freeze() -> None:
    """Before children are forked: leave what is here to them as it is. To look through all of it for what nobody needs
    would take a child a second, and a copy of each page.
    """
    gc.collect()
    gc.freeze()


def be_quiet() -> None:
    """Print nothing from here on, in a child, which ends with it."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - ends with the process
    warnings.simplefilter("ignore")


def made_files(kind: Kind) -> dict[str, bytes]:
    """The valid files of a kind, by their path."""
    with tempfile.TemporaryDirectory() as top:
        made_in_child(lambda: kind.make(Path(top)))
        return {p.relative_to(top).as_posix(): p.read_bytes() for p in Path(top).rglob("*") if p.is_file()}


def import_readers(kind: Kind, files: Mapping[str, bytes]) -> None:
    """Import here what reading a kind takes, once for all children."""
    name = sorted(fnmatch.filter(files, kind.file))[0]
    for framework in kind.frameworks:
        with tempfile.TemporaryDirectory() as top:
            folder = _write(Path(top), Case(kind, 0, framework, name, files[name]), files)
            made_in_child(functools.partial(kind.attempt, folder, framework))


def run(kind: Kind, seeds: Iterable[int], found: Sequence[Path] = ()) -> Report:
    """Damage a kind's file again and again.

    Args:
        kind: of files.
        seeds: one for each case.
        found: damaged files to try first in each framework, kept by ``keep``.
    """
    files, report = made_files(kind), Report()
    import_readers(kind, files)
    pending = itertools.chain(
        (_kept(kind, path, framework, files) for framework in kind.frameworks for path in found),
        # Those of one framework together: what it takes to start is a child's, and is most of its time.
        (damage(kind, seed, files) for seed in sorted(seeds, key=lambda seed: seed % len(kind.frameworks))),
    )
    while cases := list(itertools.islice(pending, TOGETHER)):
        lines, status = in_child(cases, files)
        _take(report, cases, lines)
        for case in cases[len(lines) :]:
            lines, status = in_child([case], files)
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
            hung = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGKILL)
            _take(report, [case], lines or [{"outcome": "hung" if hung else f"the process ended: {ended}"}])
    return report


def _take(report: Report, cases: Sequence[Case], lines: Sequence[Mapping[str, float | str]]) -> None:
    for case, line in zip(cases, lines, strict=False):
        report.take(case, line)


def damage(kind: Kind, seed: int, files: Mapping[str, bytes]) -> Case:
    """A case; frameworks take turns."""
    draw = random.Random(f"{kind.name} {seed}")
    names = sorted(fnmatch.filter(files, kind.file))
    name = names[0] if len(names) == 1 else draw.choice(names)
    framework = kind.frameworks[seed % len(kind.frameworks)]
    return Case(kind, seed, framework, name, draw.choice(kind.mutators)(files[name], draw))


def keep(case: Case, folder: Path) -> None:
    """Keep a damaged file, for ``run`` to try again: packed, under its kind, its seed and its name."""
    folder = folder / case.kind.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case.seed}-{Path(case.file).name}.gz").write_bytes(gzip.compress(case.content, 9, mtime=0))


def _kept(kind: Kind, path: Path, framework: str, files: Mapping[str, bytes]) -> Case:
    seed, _, name = path.name.removesuffix(".gz").partition("-")
    (file,) = [file for file in sorted(fnmatch.filter(files, kind.file)) if Path(file).name == name][:1]
    return Case(kind, int(seed), framework, file, gzip.decompress(path.read_bytes()))
