"""The notebooks: their cells run one behind the other, without a network, and come to what their texts say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
# Runs the cells as a notebook does, all in one room, and says what an expression is there.
RUNNER = """
import json, sys
room = {"__name__": "__main__"}
for number, code in enumerate(json.loads(sys.argv[1])):
    exec(compile(code, f"<cell {number}>", "exec"), room)
print("\\n" + json.dumps(eval(sys.argv[2], room)))
"""


def cells(name: str) -> list[str]:
    """The code of a notebook."""
    book = json.loads((ROOT / "examples" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def run(name: str, folder: Path, expression: str) -> Any:
    """What an expression is after the last cell."""
    program = [sys.executable, "-c", RUNNER, json.dumps(cells(name)), expression]
    offline = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        program, cwd=folder, env={**os.environ, **offline}, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_notebooks_are_kept_without_what_a_run_leaves() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        book = json.loads(path.read_text(encoding="utf-8"))
        assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
        assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
        assert "".join(book["cells"][0]["source"]).startswith("# ")
        for cell in book["cells"]:
            assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.slow
def test_fill_mask_and_attention(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    expression = "[{t: found[0]['token_str'] for t, found in answers.items()}, colours, float(error), maps.tokens]"
    filled, colours, error, tokens = run("fill_mask_and_attention", tmp_path, expression)
    assert len(colours) == 12
    assert sum(filled[thing] == colour for thing, colour in colours.items()) >= 10
    assert error < 1e-5
    assert tokens[-2] == "[MASK]"
    assert "<script" in (tmp_path / "attention.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_finetune_and_convert(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    expression = "[report.lossless, verified.ok, float(right), float(difference)]"
    lossless, same, right, difference = run("finetune_and_convert", tmp_path, expression)
    assert lossless
    assert same
    assert right > 0.4  # of four labels
    assert difference < 1e-5


@pytest.mark.slow
def test_smaller_and_deployed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    expression = "[trimmed.parameters, answers, [example['label'] for example in held]]"
    (before, after), answers, labels = run("smaller_and_deployed", tmp_path, expression)
    assert after < 0.9 * before
    assert list(answers) == ["big", "trimmed", "small", "graph"]
    assert answers["trimmed"] == answers["big"]
    for found in answers.values():
        assert sum(answer["label"] == label for answer, label in zip(found, labels, strict=True)) > 0.4 * len(labels)
    for one, other in zip(answers["graph"], answers["trimmed"], strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)

    def size(folder: str) -> int:
        return sum(path.stat().st_size for path in (tmp_path / "made-smaller" / folder).glob("*.safetensors"))

    assert size("small") < 0.5 * size("trimmed") < 0.5 * size("big")
    assert [path.name for path in tmp_path.iterdir()] == ["made-smaller"]
