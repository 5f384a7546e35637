"""The reference is built from the docstrings without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pdoc")
pytest.importorskip("torch")
pytest.importorskip("tensorflow")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_public_name_has_its_page(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "build.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    page = (tmp_path / "deberta_pt.html").read_text(encoding="utf-8")
    assert 'id="DebertaV2ForSequenceClassification"' in page
    for name in ("guide", "guide/training", "guide/names", "guide/attention", "deberta_pt/pretrained", "conversion"):
        assert (tmp_path / f"{name}.html").is_file(), name
    assert "from_pretrained" in (tmp_path / "deberta_pt" / "pretrained.html").read_text(encoding="utf-8")
