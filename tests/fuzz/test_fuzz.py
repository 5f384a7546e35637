"""Damaged files, kills, full disks and threads: a small run of what ``make harness`` does at length."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="all runs in forked children")


def harness(module: str, *arguments: str) -> None:
    """Run a part in a process of its own, which has nothing running that a fork would break."""
    for name in ("torch", "tensorflow", "h5py", "huggingface_hub"):
        pytest.importorskip(name)
    line = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"


@pytest.mark.slow
def test_damaged_files_of_every_kind() -> None:
    harness("tests.fuzz", "--cases", "100")


@pytest.mark.slow
def test_kills_and_full_disks() -> None:
    harness("tests.fuzz.kills", "--kills", "5")


@pytest.mark.slow
def test_tokenizers_in_threads_and_forks() -> None:
    """Serving is for ``make harness``: a minute does not tell what oneDNN keeps for each new length from a leak."""
    harness("tests.fuzz.soak", "--calls", "8000", "--frameworks")
