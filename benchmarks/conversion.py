"""Time and memory of converting a large checkpoint, against copying it with ``cp`` on the same disk.

``python -m benchmarks.conversion --folder DIR``, from the root of the repository, makes a checkpoint of the sizes of
deberta-v2-xxlarge (1.56 billion float32 parameters, 6.3 GB; ``--layers 12`` makes a third of that), converts it from
safetensors to h5, back, and from .bin, each in a process of its own, and prints a table. Copies and conversions take
turns, and of several runs of each the fastest is shown beside the median, because other work on the machine only ever
makes them slower. It needs five times the size of the checkpoint on the disk.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conversion.reports import Row, Table, as_markdown
from deberta_core.checkpoint import TensorInfo, write_weights
from deberta_core.heads import weights
from deberta_core.presets import preset

CASES = (
    ("safetensors -> h5", "pt", ("tf", "h5")),
    ("h5 -> safetensors", "h5", ("pt", "safetensors")),
    ("bin -> h5", "bin", ("tf", "h5")),
    ("bin -> safetensors", "bin", ("pt", "safetensors")),
)


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--layers", type=int, default=48, help="encoder layers; 48 make 6.3 GB, 12 make 2.2 GB")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="conversion-", dir=args.folder))
    try:
        print(as_markdown(measure(work, args.layers, args.repeat)))
    finally:
        shutil.rmtree(work)


def measure(work: Path, layers: int, repeat: int) -> list[Table]:
    """All cases, each against ``cp`` of its source right before it."""
    largest, total = make_sources(work, layers)
    rows: list[Row] = []
    for label, source, (to, format) in CASES:
        runs = [measure_once(work, work / source, to, format) for _ in range(repeat)]
        above = max(run[3] for run in runs) - largest
        for choose in (np.min, np.median):
            copy, flushed, seconds = (float(choose([run[i] for run in runs])) for i in range(3))
            times = (f"{copy:.1f}", f"{flushed:.1f}", f"{seconds:.1f}")
            ratios = (f"{seconds / copy:.2f}", f"{seconds / flushed:.2f}")
            rows.append((label, "fastest" if choose is np.min else "median", *times, *ratios, f"{above / 1e6:.0f}"))
    columns = ("", "", "cp, s", "cp and flush, s", "convert, s", "times cp", "times cp and flush", "memory above, MB")
    title = (
        f"{total / 1e9:.2f} GB in float32, largest tensor {largest / 1e6:.0f} MB; {repeat} runs each; "
        f"{os.cpu_count()} cores, Python {platform.python_version()}"
    )
    return [Table(title, columns, rows)]


def make_sources(work: Path, layers: int) -> tuple[int, int]:
    """The checkpoint in the three source formats; bytes of the largest tensor and of all."""
    config = preset("deberta-v2-xxlarge", num_hidden_layers=layers)
    noise = np.random.default_rng(0).normal(0.0, 0.02, 1 << 24).astype(np.float32)
    infos = [TensorInfo(w.key.removeprefix("deberta."), w.shape, "float32") for w in weights(config).values()]
    for folder, format in (("pt", "safetensors"), ("bin", "bin")):
        write_weights(work / folder, [(info, _supplier(noise, info)) for info in infos], format=format)
        config.save_pretrained(work / folder)
    run([sys.executable, "-m", "conversion", "convert", str(work / "pt"), str(work / "h5"), "--to", "tf"])
    return max(info.nbytes for info in infos), sum(info.nbytes for info in infos)


def _supplier(noise: np.ndarray[Any, Any], info: TensorInfo) -> Callable[[], np.ndarray[Any, Any]]:
    return lambda: np.resize(noise, info.shape)


def measure_once(work: Path, source: Path, to: str, format: str) -> tuple[float, float, float, int]:
    """Seconds of ``cp``, of ``cp`` with everything on the disk, of the conversion, and its peak memory in bytes."""
    weights_file = max(source.iterdir(), key=lambda path: path.stat().st_size)
    copy, made = work / "copy", work / "made"
    os.sync()
    started = time.monotonic()
    subprocess.run(["cp", str(weights_file), str(copy)], check=True)
    copied = time.monotonic() - started
    subprocess.run(["sync", str(copy)], check=True)
    flushed = time.monotonic() - started
    copy.unlink()
    os.sync()
    command = [sys.executable, "-m", "conversion", "convert", str(source), str(made), "--to", to, "--format", format]
    seconds, peak = run(command)
    shutil.rmtree(made)
    return copied, flushed, seconds, peak


def run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident memory, in bytes, of a command and the processes it starts."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return time.monotonic() - started, int(done.stdout) * unit


if __name__ == "__main__":
    main()
