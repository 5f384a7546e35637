"""``deberta run`` and ``deberta info``: what is typed, what is read, what is written, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from deberta_tasks.cli import main
from deberta_tasks.info_command import PACKAGES
from deberta_tasks.pipelines import TASKS, pipeline
from tests.pipelines.cases import CASES, TEXTS, assert_same

Make = Callable[..., Path]
Run = Callable[..., tuple[int, list[Any], str]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Input:
    """Standard input of bytes."""

    def __init__(self, content: str, *, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content.encode())
        self.isatty = lambda: terminal


@pytest.fixture
def deberta(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs ``deberta run``: exit code, objects written to standard output, text written to standard error."""

    def run(*arguments: Any, stdin: str = "", terminal: bool = False) -> tuple[int, list[Any], str]:
        monkeypatch.setattr(sys, "stdin", Input(stdin, terminal=terminal))
        code = main(["run", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def flags(options: Any) -> list[str]:
    """Options as they are typed."""
    found: list[str] = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [] if value is True else ["all" if value is None else value]
        found += ["--" + name.replace("_", "-"), *map(str, values)]
    return found


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_pipeline(task: str, checkpoint: Make, tmp_path: Path, deberta: Run) -> None:
    case, folder = CASES[task], checkpoint(task)
    pipe = pipeline(task, folder, "pt", **case.options)
    records = [dict(pipe.read(item)) for item in case.inputs]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    arguments = ["--task", task, "--model", folder, "--input", tmp_path / "in.jsonl", *flags(case.options)]
    code, lines, err = deberta(*arguments)
    assert (code, err) == (0, "")
    assert [{k: v for k, v in line.items() if k != "result"} for line in lines] == records
    for line, want in zip(lines, pipe(case.inputs), strict=True):
        assert_same(line["result"], want.tolist() if hasattr(want, "tolist") else want)
    assert deberta(*arguments, "--output", tmp_path / "out.jsonl") == (0, [], "")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == lines


def test_standard_input_in_both_frameworks(checkpoint: Make, deberta: Run) -> None:
    pytest.importorskip("tensorflow")
    arguments = ["--task", "fill-mask", "--model", checkpoint("fill-mask")]
    text = "The capital of [MASK] is Paris."
    code, lines, _ = deberta(*arguments, stdin=text + "\n")
    assert code == 0
    assert lines[0]["text"] == text
    assert len(lines[0]["result"]) == 5
    code, others, _ = deberta(*arguments, "--framework", "tf", stdin=text)
    assert code == 0
    assert_same(others, lines)


def test_objects_on_standard_input_need_no_format(checkpoint: Make, deberta: Run) -> None:
    record = {"text": "my dog", "text_pair": "my cat"}
    arguments = ["--task", "text-classification", "--model", checkpoint("text-classification")]
    code, lines, _ = deberta(*arguments, stdin=json.dumps(record) + "\n" + '{"text": "{}"}\n')
    assert (code, {**lines[0], "result": None}) == (0, {**record, "result": None})
    assert lines[0]["result"] != deberta(*arguments, stdin="my dog\n")[1][0]["result"]
    assert deberta(*arguments, stdin="{my} dog\n{")[1][1]["text"] == "{"


def test_csv_with_other_columns(checkpoint: Make, tmp_path: Path, deberta: Run) -> None:
    (tmp_path / "a.csv").write_text('id,review\n7,"my dog, my cat"\n8,my\n')
    code, lines, _ = deberta(
        "--task", "text-classification", "--model", checkpoint("text-classification"),
        "--input", tmp_path / "a.csv", "--column", "text=review",
    )  # fmt: skip
    assert code == 0
    assert [(line["id"], line["text"]) for line in lines] == [("7", "my dog, my cat"), ("8", "my")]
    (tmp_path / "b.csv").write_text("prompt,choice0,choice1,choice2\ndog,cat,my dog,\n")
    code, lines, _ = deberta(
        "--task", "multiple-choice", "--model", checkpoint("multiple-choice"), "--input", tmp_path / "b.csv"
    )
    assert code == 0
    assert len(lines[0]["result"]["scores"]) == 2


def test_fields_on_the_command_line(checkpoint: Make, deberta: Run) -> None:
    rank = ["--task", "text-ranking", "--model", checkpoint("text-ranking"), "--query", "my dog"]
    code, lines, _ = deberta(*rank, stdin="cat\ndog\n")
    assert code == 0
    assert [line["document"] for line in lines] == ["cat", "dog"]
    code, (line,), _ = deberta(*rank, "--documents", "cat", "dog")
    assert code == 0
    assert sorted(row["score"] for row in line["result"]) == pytest.approx(sorted(o["result"]["score"] for o in lines))
    answer = ["--task", "question-answering", "--model", checkpoint("question-answering"), "--question", "Where?"]
    code, lines, _ = deberta(*answer, stdin="I live in Paris.\n")
    assert (code, lines[0]["context"]) == (0, "I live in Paris.")
    assert deberta(*answer, "--context", "I live in Paris.")[1][0]["result"] == lines[0]["result"]


def test_a_terminal_gets_lines_to_read(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Input("my dog\nmy cat\n", terminal=True))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["run", "--task", "text-classification", "--model", str(checkpoint("text-classification"))]) == 0
    shown = sys.stdout.getvalue()  # type: ignore[attr-defined]
    assert [line.split("\t")[1] for line in shown.splitlines()] == ["my dog", "my cat"]
    assert "a line each; end with Ctrl-D" in capsys.readouterr().err


BAD: list[tuple[str, list[str], str, str, int]] = [
    ("text-classification", [], "", "standard input has no records", 0),
    ("text-classification", [], "my dog\n\nmy cat\n", "standard input, line 2 is empty", 1),
    ("text-classification", ["--format", "csv"], "texts\nmy dog\n", "line 2 has no column 'text'; it has texts", 0),
    ("text-classification", ["--format", "csv"], "text\nmy\n \n", "standard input, line 3: text is empty", 1),
    ("text-classification", ["--format", "csv", "--column", "text=review"], "text\na\n", "no column 'review'", 0),
    ("text-classification", ["--column", "review"], "a\n", "expected FIELD=NAME with a field of text, text_pair", 0),
    ("text-classification", ["--format", "jsonl"], '{"text": "my"}\n{"text": 3}\n', "line 2: text is int", 1),
    ("text-classification", ["--format", "jsonl"], '{"text": "my"}\n{\n', "standard input, line 2 is not JSON", 1),
    ("text-classification", ["--format", "jsonl"], '{"text": "a", "result": 1}\n', "has a column 'result'", 0),
    ("text-classification", [], "my dog\n" + "dog " * 700, "line 2: the text has 70", 1),
    ("fill-mask", ["--stride", "8"], "a\n", "unknown option 'stride'", 0),
    ("text-classification", ["--query", "a"], "a\n", "text-classification has no field 'query'; it has text", 0),
    ("text-classification", ["--text", "a", "--input", "b"], "", "so there is nothing to read from b", 0),
    ("text-classification", ["--input", "nowhere.csv"], "", "nowhere.csv: No such file", 0),
    ("text-classification", ["--output", "no/where.jsonl"], "a\n", "no/where.jsonl: No such file", 0),
    ("text-classification", ["--device", "cuda:9"], "a\n", "device 'cuda:9' cannot be used", 0),
    ("token-classification", ["--ignore-labels", "B-PRE"], "a\n", "ignore_labels has 'B-PRE'; did you mean", 0),
    ("zero-shot-classification", [], "a\n", "give candidate_labels (--candidate-labels)", 0),
    ("question-answering", [], "a\n", "reads question and context, and a line of text is only one of them", 0),
    ("fill-mask", [], "my [MASK]\nmy dog\n", "line 2: there is no [MASK]; write it where", 1),
]  # fmt: skip


@pytest.mark.parametrize(("task", "arguments", "stdin", "message", "finished"), BAD)
def test_bad_input(
    task: str, arguments: list[str], stdin: str, message: str, finished: int, checkpoint: Make, deberta: Run
) -> None:
    code, lines, err = deberta("--task", task, "--model", checkpoint(task), *arguments, stdin=stdin)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(lines) == finished


def test_bad_models(checkpoint: Make, tmp_path: Path, deberta: Run) -> None:
    folder = checkpoint("text-classification")
    for arguments, message in [
        (["--task", "fill-mask", "--model", folder], "has no head for fill-mask"),
        (["--task", "filmask", "--model", folder], "did you mean 'fill-mask'"),
        (["--task", "text-ranking", "--model", folder, "--query", "a"], "or the label that says that a document fits"),
        (["--task", "fill-mask", "--model", tmp_path / "nowhere"], "nowhere"),
        (["--task", "fill-mask", "--model", tmp_path], ""),
    ]:
        code, lines, err = deberta(*arguments, stdin="a [MASK]\n")
        assert (code, lines) == (2, [])
        assert message in err
        assert err.count("\n") == 1


def test_the_input_is_not_overwritten(checkpoint: Make, tmp_path: Path, deberta: Run) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n')
    model = checkpoint("text-classification")
    code, _, err = deberta("--task", "text-classification", "--model", model, "--input", path, "--output", path)
    assert code == 2
    assert "is the file that is read" in err
    assert path.read_text() == '{"text": "a"}\n'


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_finished_lines_are_kept_when_interrupted(number: int, checkpoint: Make, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [
        sys.executable, "-m", "deberta_tasks.cli", "run", "--task", "text-classification", "--max-tokens", "16",
        "--model", str(checkpoint("text-classification")), "--output", str(out),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    assert process.stdin is not None
    process.stdin.write("\n".join(TEXTS * 40).encode() + b"\n")
    process.stdin.flush()  # and stays open: there is more to come
    for _ in range(3000):
        if out.is_file() and out.read_bytes().count(b"\n") >= 30:
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.decode().strip().splitlines()[-1] == "interrupted"
    assert b"Traceback" not in err
    lines = out.read_text().splitlines()
    assert len(lines) >= 30
    assert [json.loads(line)["text"] for line in lines] == (TEXTS * 40)[: len(lines)]


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["system"]["Python"] == sys.version.split()[0]
    assert found["packages"]["torch"]
    assert found["devices"]["PyTorch"][0].startswith("cpu")
    assert main(["info"]) == 0
    assert "torch" in capsys.readouterr().out


def test_info_names_every_package_that_is_used() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["pt"], *extras["tf"], *extras["hub"]]
    names = {line.split(">")[0].split("=")[0] for line in wanted}
    assert set(PACKAGES) == {project["name"], *names}


@pytest.mark.parametrize("package", ["torch", "tensorflow"])
def test_info_of_a_broken_installation(package: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert main(["info", "--json"]) == 0
    device = json.loads(capsys.readouterr().out)["devices"][{"torch": "PyTorch", "tensorflow": "TensorFlow"}[package]]
    assert device[0].startswith("cannot be imported: ")
