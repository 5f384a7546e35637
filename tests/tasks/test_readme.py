"""Everything that the README says can be typed is typed here, from top to bottom, in one folder."""

import re
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

import torch

import deberta_pt
import deberta_tf
from deberta_core.heads import HEADS
from deberta_core.presets import preset
from deberta_tasks.cli import main
from tokenization import train_from_iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def make_tiny_model(folder: Path) -> None:
    """A classifier of a few thousand weights with its tokenizer, in place of a published model."""
    tokenizer = train_from_iterator(["A fine day at last.", "Rain again, and no end of it."], 300)
    torch.manual_seed(0)
    config = preset(
        "deberta-v3-small", vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    deberta_pt.DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_every_block_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_model(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
        else:
            for line in code.splitlines():
                program, *arguments = line.split("#")[0].split()
                if program != "make":  # the tests run inside of it
                    assert program == "deberta"
                    assert main(arguments) == 0, line
    out = capsys.readouterr().out
    assert out.count("0.") >= 8  # two tables of probabilities
    assert "42 True\nTrue\n" in out  # the last block
    written = {path.name for path in tmp_path.iterdir()}
    assert {"my-trained-model", "my-trained-tf-model", "my-new-model", "my-model-again"} <= written


def test_there_are_blocks_of_both_languages() -> None:
    languages = [language for language, _ in BLOCKS]
    assert set(languages) == {"python", "sh"}
    assert languages.count("python") >= 4


def test_the_table_of_classes_is_the_table_of_heads() -> None:
    rows = [re.findall(r"`(\w+)`", line) for line in README.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if len(row) == 4 and row[0].startswith("Deberta")]
    expected = [[f"Deberta{head}", f"TFDeberta{head}", f"DebertaV2{head}", f"TFDebertaV2{head}"] for head in HEADS]
    assert sorted(rows) == sorted(expected)
    for v1, tf_v1, v2, tf_v2 in rows:
        assert hasattr(deberta_pt, v1)
        assert hasattr(deberta_pt, v2)
        assert hasattr(deberta_tf, tf_v1)
        assert hasattr(deberta_tf, tf_v2)


def test_the_versions_are_those_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    heading, _, versions = README[README.index("| torch | tensorflow") :].splitlines()[:3]
    named = dict(zip(heading.strip("| ").split(" | "), versions.strip("| ").split(" | "), strict=True))
    assert named.items() <= pinned.items()
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"Python {required.removeprefix('>=')} or later" in README


def test_the_imports_of_the_table_for_switchers_work() -> None:
    lines = re.findall(r"\| `(from (?!transformers)[^`]+)` \|$", README, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        exec(line, {})
