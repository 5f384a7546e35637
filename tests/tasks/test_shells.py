"""Completion in the shells themselves, where they are installed: the first tab does it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deberta_tasks.cli import main


def script(shell: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    path.write_text(capsys.readouterr().out, encoding="utf-8")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_commands_options_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("fish", tmp_path / "complete", capsys)
    asked = {
        "deberta co": {"convert", "compare-tokenizers", "completion"},
        "deberta convert --ov": {"--overwrite"},
        "deberta convert a b --to ": {"pt", "tf"},
        "deberta completion z": {"zsh"},
    }
    for line, names in asked.items():
        program = ["fish", "--no-config", "-c", f"source complete; complete -C '{line}'"]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert {shown.split("\t")[0] for shown in done.stdout.splitlines()} == names


@pytest.mark.skipif(not shutil.which("zsh") or sys.platform == "win32", reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "shown"),
    [("deberta finet", "une "), ("deberta convert --ov", "erwrite "), ("deberta completion z", "sh ")],
)
def test_zsh_completes_at_the_first_tab(
    typed: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file lies in ``fpath``, as the documentation says, and is read when it is first needed."""
    import pty  # here, for Windows has none

    (tmp_path / "functions").mkdir()
    script("zsh", tmp_path / "functions" / "_deberta", capsys)
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "ZDOTDIR": str(tmp_path)}
    shell = subprocess.Popen(["zsh", "-f", "-i"], stdin=its, stdout=its, stderr=its, cwd=tmp_path, env=environment)

    def read_until(text: str) -> str:
        found, end = "", time.monotonic() + 30
        while text not in found and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                found += os.read(ours, 4096).decode(errors="replace")
        return found

    try:
        setting = "unsetopt zle_bracketed_paste; fpath=(functions $fpath); autoload -U compinit; compinit -u -D"
        os.write(ours, f"{setting}; echo READ''Y\n".encode())
        assert "READY" in read_until("READY")
        os.write(ours, f"{typed}\t".encode())
        assert typed + shown in read_until(typed + shown)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(its)
