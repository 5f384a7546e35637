"""Damaged files of every kind: read, or refused in a sentence that names the file, within 5 s and 200 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = 100
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the cases run in forked children")


@pytest.mark.slow
def test_damaged_files_of_every_kind() -> None:
    """In a process of its own, which has nothing running that a fork would break."""
    for name in ("torch", "tensorflow", "h5py"):
        pytest.importorskip(name)
    line = [sys.executable, "-m", "tests.fuzz", "--cases", str(CASES)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
