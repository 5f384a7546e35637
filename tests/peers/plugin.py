"""What became of each test, one line each, for pytest's ``-p``: a test counts once, whatever its subtests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOUND: dict[str, tuple[str, str]] = {}
ORDER = ("passed", "skipped", "failed")


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the worst of a test's phases and subtests, with the last line of what it said."""
    outcome = "failed" if report.failed else "skipped" if report.skipped else "passed"
    known = FOUND.get(report.nodeid)
    if known is None or ORDER.index(outcome) > ORDER.index(known[0]):
        crash = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or str(report.longrepr or "")
        FOUND[report.nodeid] = outcome, crash[:300]


def pytest_sessionfinish() -> None:
    """Write it all down."""
    Path(os.environ["PEERS_REPORT"]).write_text(json.dumps(FOUND, indent=1), encoding="utf-8")
