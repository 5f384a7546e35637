"""``python -m tests.fuzz``: damages files of all kinds and says what came of it; ends with 1 if anything did.

Files that something was wrong with once are tried first.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from pathlib import Path

os.environ.update(
    OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1"
)

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import keep, run

FOUND = Path(__file__).parent / "found"  # files that something was wrong with once


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="of files; default all")
    parser.add_argument("--cases", type=int, default=100, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--keep", type=Path, help="folder for the files that something is wrong with, such as ours in found"
    )
    given = parser.parse_args()
    wrong = 0
    for name in given.kinds:
        started, before = time.monotonic(), sum(os.times()[:4])
        cases = math.ceil(given.cases * KINDS[name].share)
        kept = sorted((FOUND / name.replace(" ", "-")).glob("*.gz"))
        report = run(KINDS[name], range(given.first, given.first + cases), kept)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
        print(
            f"{name}: {counts}, {len(report.findings)} wrong; at most {report.slowest:.1f} s and "
            f"{report.largest / 1e6:.0f} MB a case; {time.monotonic() - started:.0f} s, "
            f"{sum(os.times()[:4]) - before:.0f} of a processor", flush=True,
        )  # fmt: skip
        for case, text in report.findings:
            print(f"  {case.seed} ({case.framework}): {text}", flush=True)
            if given.keep:
                keep(case, given.keep)
        wrong += len(report.findings)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
