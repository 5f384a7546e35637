"""Everything that README and guides say can be typed is typed here, from top to bottom, in one folder each."""

import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")

import torch

import deberta_pt
import deberta_tf
from conversion.command_line import _parser
from deberta_core.heads import HEADS
from deberta_core.presets import preset
from deberta_tasks.cli import COMMANDS, main
from tokenization import train_from_iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
GUIDES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("**/*.md"))


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


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


def type_in(language: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a block as a reader would: Python as it stands, shell lines word for word but without a shell."""
    if language == "python":
        exec(compile(code, "block", "exec"), {"__name__": "block"})
        return
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words[0] in ("make", "cp", "."):  # the tests run inside of make, whose demo leaves the folder that is copied
            continue
        if words[0] == "echo" and words[2] == ">":
            Path(words[3]).write_text(words[1] + "\n")
            continue
        if words[0] == "echo":
            assert words[2] == "|"
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((words[1] + "\n").encode()), encoding="utf-8"))
            words = words[3:]
        assert words[0] == "deberta"
        assert main(words[1:]) == 0, line


@pytest.mark.slow
def test_every_block_of_the_readme_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_model(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    for language, code in blocks(README):
        type_in(language, code, monkeypatch)
    out = capsys.readouterr().out
    assert out.count("0.") >= 8  # two tables of probabilities
    assert "42 True\nTrue\n" in out  # the converter's block
    assert out.count("'label': 'LABEL_") == 2  # two answers
    written = {path.name for path in tmp_path.iterdir()}
    made = {"my-trained-model", "my-trained-tf-model", "my-model-again", "my-run", "answers.jsonl"}
    assert made <= written


@pytest.mark.parametrize("name", GUIDES)
def test_every_block_of_a_guide_runs_in_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_model(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    for language, code in blocks((DOCS / name).read_text(encoding="utf-8")):
        type_in(language, code, monkeypatch)
    out, made = capsys.readouterr().out, {path.name for path in tmp_path.iterdir()}
    if name == "attention.md":
        assert out.endswith(" True\n")
        assert {"attention.html", "head.png"} <= made
    if name == "models.md":
        assert "(1, 1)\n" in out  # the function that TensorFlow traced
        assert "my-new-model" in made
    if name == "converting.md":
        assert out.endswith("42 True\nTrue\n")
    if name == "long_texts.md":
        assert out.endswith("True\n")
    if name == "mini.md":
        assert out.endswith("3 6\n")
    if name == "start.md":
        assert out.count("'label': 'LABEL_") == 2


def test_lines_for_several_hosts_are_understood() -> None:
    """Indented lines are commands that one machine cannot run; their arguments are read, as ``deberta`` would."""
    pages = [README, *((DOCS / name).read_text(encoding="utf-8") for name in GUIDES)]
    command = re.compile(r"^    .*?\b(?:deberta|deberta_tasks\.cli) ([a-z].+)$", re.MULTILINE)  # no assignment
    lines = [line for page in pages for line in command.findall(page)]
    assert lines
    for line in lines:
        words = shlex.split(line.partition(" > ")[0])  # a shell's business
        args = _parser(COMMANDS, "deberta", "", words).parse_args(words)
        assert args.command == words[0]


def test_there_are_blocks_of_both_languages_and_three_snippets_per_framework() -> None:
    languages = [language for language, _ in blocks(README)]
    assert set(languages) == {"python", "sh"}
    pages = [README, *((DOCS / name).read_text(encoding="utf-8") for name in ("start.md", "models.md"))]
    python = [code for page in pages for language, code in blocks(page) if language == "python"]
    for package in ("deberta_pt", "deberta_tf"):
        assert sum(f"from {package} import" in code for code in python) >= 3


def test_files_that_are_named_are_there() -> None:
    pages = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", *(f"docs/{n}" for n in GUIDES))}
    for name, text in pages.items():
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            assert link.startswith("https://") or ((ROOT / name).parent / link).exists(), (name, link)
        for path in re.findall(r"`((?:docs|examples|benchmarks|tests)/[\w./]*)`", text):
            assert (ROOT / path).exists(), (name, path)


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
    page = (DOCS / "versions.md").read_text(encoding="utf-8")
    heading, _, versions = page[page.index("| torch | tensorflow") :].splitlines()[:3]
    named = dict(zip(heading.strip("| ").split(" | "), versions.strip("| ").split(" | "), strict=True))
    assert named.items() <= pinned.items()
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    for text in (README, page):
        assert f"Python {required.removeprefix('>=')} or later" in text


def test_facts_of_the_readme_are_figures_of_the_report() -> None:
    """Rounded, from the tables that ``python -m benchmarks`` writes."""
    tables = (DOCS / "speed.md").read_text(encoding="utf-8")

    def cell(title: str, row: str, column: str) -> float:
        lines = tables[tables.index(f"\n{title}:") :].splitlines()
        heading = next(line for line in lines if line.startswith("|")).strip("| ").split(" | ")
        values = next(line for line in lines if line.startswith(f"| {row} |")).strip("| ").split(" | ")
        return float(values[heading.index(column)])

    facts = re.search(
        r"([\d.]+) times as fast as transformers through 2,000 texts.*short\s+text ([\d.]+) times in PyTorch and "
        r"([\d.]+) times in TensorFlow.*4,096 tokens takes ([\d,]+) MB beyond the model, where "
        r"transformers takes ([\d,]+) MB",
        README,
        re.DOTALL,
    )
    assert facts
    said = [float(text.replace(",", "")) for text in facts.groups()]
    measured = [
        cell("Many texts, PyTorch", "2000 texts", "ours"),
        cell("Inference, PyTorch", "1 x 32", "ours optimized"),
        cell("Inference, TensorFlow", "1 x 32", "ours optimized graph"),
        cell("Memory, PyTorch", "inference, 1 x 4096", "ours"),
        cell("Memory, PyTorch", "inference, 1 x 4096", "transformers"),
    ]
    assert said == pytest.approx(measured, rel=0.03)


def test_the_imports_of_the_table_for_switchers_work() -> None:
    page = (DOCS / "switching.md").read_text(encoding="utf-8")
    lines = re.findall(r"\| `(from (?!transformers)[^`]+)` \|$", page, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        exec(line, {})
