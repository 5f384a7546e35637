"""What an editor knows of the public names. mypy reads the same code with the packages themselves (``make lint``)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


def pyright(*files: Path) -> list[dict[str, Any]]:
    """What pyright says of files, with the packages as they are installed here."""
    pytest.importorskip("pyright", reason="needs the extra types")
    program = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)
    found: list[dict[str, Any]] = json.loads(done.stdout)["generalDiagnostics"]
    return found


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_code_of_users_has_the_types_that_it_says(framework: str) -> None:
    assert pyright(HERE / f"user_{framework}.py") == []


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    """Else the code above would pass because nothing is known."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import deberta_pt\nfrom deberta_pt import DebertaV2Mode\nfrom tokenization import AutoTokenizr\n"
        "deberta_pt.DebertaV2Model.from_pretrained('my-model', subfolder=3)\n"
        "model = deberta_pt.DebertaV2Model.from_pretrained('my-model')\n"
        "print(model(None).logits)\n"
        "reveal_type(model.__call__)\n",
        encoding="utf-8",
    )
    said = pyright(wrong)
    texts = {finding["range"]["start"]["line"] + 1: finding["message"] for finding in said}
    assert set(texts) == {2, 3, 4, 6, 7}
    assert "output_hidden_states: bool | None = None" in texts[7]
    assert "-> BaseModelOutput[Tensor]" in texts[7]
