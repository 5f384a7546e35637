"""CONTRIBUTING and the page on architecture, checked by doing what they say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("deberta_core", "deberta_pt", "deberta_tf", "tokenization", "conversion", "deberta_tasks")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text of a section of CONTRIBUTING."""
    return re.split(r"^## ", CONTRIBUTING, flags=re.MULTILINE)[
        [part.splitlines()[0] for part in re.split(r"^## ", CONTRIBUTING, flags=re.MULTILINE)].index(title)
    ]


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def copy_of_the_packages(folder: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, path
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(program: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


HEAD_AT_WORK = """
import numpy as np, tensorflow as tf, torch
from conversion import convert, inspect
from deberta_core import preset
from deberta_pt.families import DebertaV2ForTokenRegression
from deberta_tf.families import TFDebertaV2ForTokenRegression

config = preset("deberta-v3-small", vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=32, num_labels=1)
torch.manual_seed(0)
model = DebertaV2ForTokenRegression(config).eval()
with torch.no_grad():
    for weight in model.parameters():
        weight.normal_(0, 0.2)
model.save_pretrained("pt")
assert convert("pt", "tf", to="tf").lossless and convert("tf", "again", to="pt").lossless
twin = TFDebertaV2ForTokenRegression.from_pretrained("tf")
again = DebertaV2ForTokenRegression.from_pretrained("again")
assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
ids, mask, labels = np.array([[1, 5, 6, 7, 2], [1, 8, 2, 0, 0]]), np.array([[1] * 5, [1, 1, 1, 0, 0]]), np.ones((2, 5))
with torch.no_grad():
    mine = model(torch.tensor(ids), torch.tensor(mask), labels=torch.tensor(labels, dtype=torch.float32))
theirs = twin({"input_ids": ids, "attention_mask": mask, "labels": labels.astype("float32")})
np.testing.assert_allclose(mine.logits.numpy(), theirs.logits.numpy(), atol=1e-5 * np.abs(mine.logits.numpy()).max())
assert abs(float(mine.loss) - float(theirs.loss)) < 1e-5 * float(mine.loss)
print("DebertaV2ForTokenRegression" in str(inspect("pt")))
"""


@pytest.mark.slow
def test_a_head_is_added_as_the_page_says(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    row, pt, tf, pt_name, tf_name = blocks(section("Add a head"))
    folder = copy_of_the_packages(tmp_path)
    last = '            "ForReplacedTokenDetection",'
    change(folder / "deberta_core" / "heads.py", f"        Head(\n{last}", f"{row}        Head(\n{last}")
    for tree, blocks_of_tree in (("deberta_pt", (pt, pt_name)), ("deberta_tf", (tf, tf_name))):
        for name, block in zip(("heads.py", "families.py"), blocks_of_tree, strict=True):
            with (folder / tree / name).open("a", encoding="utf-8") as file:
                file.write("\n\n" + block)
    assert run(HEAD_AT_WORK, folder).endswith("True\n")


SWITCH_AT_WORK = """
from deberta_core import DebertaV2Config
config = DebertaV2Config(smooth_labels=0.1)
assert DebertaV2Config.from_dict(config.to_dict()).smooth_labels == 0.1 and DebertaV2Config().smooth_labels == 0.0
try:
    DebertaV2Config(smooth_labels=2.0)
except ValueError as error:
    print(error)
"""


def test_a_switch_is_added_as_the_page_says(tmp_path):
    (line,) = blocks(section("Add a switch"))
    folder = copy_of_the_packages(tmp_path)
    before = "    attn_implementation: str"
    change(folder / "deberta_core" / "config.py", before, line + before)
    assert "smooth_labels" in run(SWITCH_AT_WORK, folder)


def test_commands_name_tests_and_targets_that_are_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = re.findall(r"^```sh\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0].split() for block in commands for line in block.splitlines()]
    for words in lines:
        if words[0] == "make":
            assert words[1] in targets
        elif "pytest" in words:
            assert (ROOT / words[3]).is_file()
    assert len(lines) >= 5


@pytest.mark.parametrize("page", [CONTRIBUTING, ARCHITECTURE], ids=["contributing", "architecture"])
def test_what_is_named_is_there(page):
    """Paths in backticks exist, as they stand or in one of the packages, and names in brackets after them are there."""
    named = re.findall(r"`([\w/.]+/|[\w/]+\.(?:py|md))`(?: \(`(\w+)`)?", page)
    assert len(named) > 8
    for path, symbol in named:
        found = [place for base in ("", *PACKAGES) if (place := ROOT / base / path).exists()]
        if "/" not in path and not found:
            found = [place for package in PACKAGES for place in (ROOT / package).rglob(path)]
        assert found, path
        if symbol:
            texts = [place.read_text(encoding="utf-8") for place in found]
            assert any(re.search(rf"\b{symbol}\b", text) for text in texts), (path, symbol)
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (ROOT / target).exists() or (ROOT / "docs" / target).exists(), target
