"""The table of tasks made smaller: who fits is said, and a run with little training makes all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.smaller import KINDS, fits, main, table


def result(int8: float, examples: int) -> dict[str, Any]:
    found = {name: {"score": 0.9, "nbytes": 2_000_000} for name in KINDS}
    found["int8"]["score"] = int8
    return {"task": "nli", "measure": "accuracy", "examples": examples, "found": found}


def test_integers_may_cost_half_a_point_or_one_example() -> None:
    assert fits(result(0.895, 1000))
    assert not fits(result(0.894, 1000))
    assert fits(result(0.89, 100))
    assert not fits(result(0.88, 100))
    row = table([result(0.88, 100)])[-1]
    assert row == f"| nli, accuracy (100) | 0.9000, 2.00 MB | 0.8800, 2.00 MB |{' 0.9000, 2.00 MB |' * 3}"


def test_results_of_another_call_are_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = {**result(0.9, 100), "model": "mine", "budget": 0.2, "options": {"epochs": 6.0, "rate": 5e-4}}
    (tmp_path / "nli.json").write_text(json.dumps(made), encoding="utf-8")
    words = ["--work", str(tmp_path), "--tasks", "nli", "--model", "mine"]
    assert main(words) == 0
    assert "| nli, accuracy (100) |" in capsys.readouterr().out
    for more, said in (("--budget=0.3", "budget 0.2, now it is 0.3"), ("--epochs=2", "options {'epochs': 6.0")):
        with pytest.raises(SystemExit):
            main([*words, more])
        assert said in capsys.readouterr().err


@pytest.mark.everything
@pytest.mark.slow
def test_a_run_makes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, words = tmp_path / "page.md", ["--work", str(tmp_path / "work"), "--tasks", "text-classification"]
    page.write_text("A\n<!-- smaller -->\n<!-- /smaller -->\n", encoding="utf-8")
    words += ["--epochs", "1", "--budget", "0.25", "--write", str(page)]
    assert main(words) in (0, 1)
    found = json.loads((tmp_path / "work" / "text-classification.json").read_text(encoding="utf-8"))
    sizes = {name: one["nbytes"] for name, one in found["found"].items()}
    assert sizes["int8"] < 0.4 * sizes["float32"]
    assert max(sizes["pruned"], sizes["shrunk"]) < sizes["float32"]
    assert sizes["trimmed"] == sizes["float32"]  # the vocabulary was made of these very texts
    assert "| text-classification, accuracy (96) |" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(words) in (0, 1)  # from what is there
    assert "epoch" not in capsys.readouterr().out
