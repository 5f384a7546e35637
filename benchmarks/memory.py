"""Memory and time of long texts and large batches; each figure from a process of its own.

A process builds one model, takes its resident memory, and runs: the peak above that is what the run needs. The peak is
reset before the run where the system can do that (Linux), since building a model has a peak too.
"""

from __future__ import annotations

import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings, Shape, label
from benchmarks.timing import Record, Recorder

PEER, OURS, OPTIMIZED, BLOCKED = "transformers", "ours", "ours optimized", "ours blocked"
MOST_MEGABYTES, MOST_SECONDS = 16_000, 60  # what one run may be expected to need in the tables of growth
ENOUGH = 2.0  # seconds after which a figure needs no further runs


def memory(settings: Settings, record: Recorder) -> None:
    """Long texts in inference, and in training with attention by blocks."""
    layers, long = settings.layers or 4, settings.long
    for name, shape, sides in (
        ("inference", (1, long // 4), (PEER, OURS, OPTIMIZED)),
        ("inference", (1, long), (OURS, OPTIMIZED)),
        ("training", (1, long // 8), (PEER, BLOCKED)),
    ):
        for side in sides:
            case = f"{name}, {label(shape)}"
            with record.peer(f"{case}, {side}"):
                seconds, megabytes = in_child(side, shape, layers, train=name == "training", runs=1)
                record(Record(case, side, seconds, megabytes=megabytes))


def growth(settings: Settings, record: Recorder) -> None:
    """Inference at lengths and batches that double."""
    layers = settings.layers or 4
    lengths = [(1, 1 << i) for i in range(5, settings.longest.bit_length())]
    batches = [(1 << i, 128) for i in range(1, settings.largest.bit_length())]  # one text is among the lengths
    for shapes, factor in ((lengths, 4), (batches, 2)):
        expected: dict[str, tuple[float, float]] = {}
        for shape in shapes:
            for side in (PEER, OURS, OPTIMIZED):
                seconds, megabytes = expected.get(side, (0.0, 0.0))
                if seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES:
                    record.note(
                        f"{label(shape)}, {side}: left out, about {seconds:.0f} s and {megabytes:.0f} MB expected"
                    )
                    expected[side] = seconds * factor, megabytes * factor
                    continue
                with record.peer(f"{label(shape)}, {side}"):
                    seconds, megabytes = in_child(side, shape, layers, train=False, runs=3)
                    record(Record(label(shape), side, seconds, megabytes=megabytes))
                    # time and memory at most quadruple with the length, and those of short texts say little yet
                    expected[side] = seconds * factor, megabytes * factor


def in_child(side: str, shape: Shape, layers: int, *, train: bool, runs: int) -> tuple[float, float]:
    """Median seconds, and megabytes above the model.

    Raises:
        RuntimeError: if the process died, as for lack of memory.
    """
    values = json.dumps({"side": side, "shape": shape, "layers": layers, "train": train, "runs": runs})
    done = subprocess.run([sys.executable, "-m", "benchmarks.memory", values], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"exit status {done.returncode} {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["megabytes"]


def figure(side: str, shape: Shape, layers: int, train: bool, runs: int) -> dict[str, float]:
    """Build a model, run it, and take the peak of the first run and the time of all that follow it."""
    import torch

    from benchmarks.models_pt import batch

    model: Any = build(side, layers)
    model.train(train)
    inputs = batch(shape)

    def run() -> None:
        if train:
            model(**inputs).last_hidden_state.sum().backward()
        else:
            with torch.inference_mode():
                model(**inputs)

    gc.collect()
    before = reset_peak()
    first = seconds_of(run)
    megabytes = (peak() - before) / 1e6
    times = [seconds_of(run) for _ in range(runs - 1 if first < ENOUGH else 0)] or [first]
    return {"seconds": statistics.median(times), "megabytes": megabytes}


def build(side: str, layers: int) -> Any:
    """The model of a side."""
    from benchmarks.models_pt import our_model, peer_model

    if side == PEER:
        return peer_model(layers)
    model = our_model(layers, **({"attn_implementation": "blocked"} if side == BLOCKED else {}))
    if side == OPTIMIZED:
        from deberta_pt import optimize_for_inference

        return optimize_for_inference(model)
    return model


def seconds_of(run: Callable[[], None]) -> float:
    """Time of one run."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def status(field: str) -> int | None:
    """Bytes of a field of ``/proc/self/status``; ``None`` where there is no such file."""
    path = Path("/proc/self/status")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)


def reset_peak() -> int:
    """Forget the peak so far where that can be done, and return the bytes to count from."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return peak()  # a peak of the past hides what is below it: what is measured is too little, never too much
    return status("VmRSS") or peak()


def peak() -> int:
    """Largest resident memory in bytes."""
    return status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(figure(**{**given, "shape": tuple(given["shape"])})))
