"""Much text in parts: how files are cut, what is kept when it is started again, and the engine that spreads them."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from typing import Any

import pytest

pytest.importorskip("torch")

from deberta_tasks import parts
from deberta_tasks.cli import main
from deberta_tasks.parts import begin, plan

TEXTS = [f"A day of {word}." for word in ("sun", "rain", "wind and snow", "mist", "ice", "cloud", "storm")]
NEEDS_RAY = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="needs ray: pip install 'deberta-zoo[ray]'")


@pytest.mark.parametrize("size", [1, 7, 20, 33, 1000])
def test_every_line_is_in_one_part(tmp_path, monkeypatch, size):
    monkeypatch.setattr(parts, "PART_BYTES", size)
    lines = [b"one\n", b"\xc3\xa4\n", b"a long line, over several parts\n", b"\n", b"last"]
    (tmp_path / "a.txt").write_bytes(b"".join(lines))
    found = plan(str(tmp_path / "a.txt"), None)
    assert [line for part in found for line in part.lines()] == lines
    assert len(found) == (1 if size == 1000 else -(-len(b"".join(lines)) // size))


def test_which_files(tmp_path):
    for name in ("b.csv", "a.jsonl", "_SUCCESS", "c.tsv"):
        (tmp_path / name).write_text("{}\n")
    assert [part.format for part in plan(str(tmp_path), None)] == ["jsonl", "csv", "tsv"]
    assert [part.format for part in plan(str(tmp_path / "*.csv"), "text")] == ["text"]
    with pytest.raises(FileNotFoundError, match=r"there is no file .*x\*; give a file, a folder"):
        plan(str(tmp_path / "x*"), None)


def test_parquet_by_its_groups(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'deberta-zoo[ray]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": TEXTS, "tags": [["a", "b"]] * len(TEXTS)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    found = plan(str(tmp_path / "*.parquet"), None)
    assert [part.first for part in found] == [0, 1, 2]
    rows = [json.loads(line) for part in found for line in part.lines()]
    assert rows == [{"text": text, "tags": ["a", "b"]} for text in TEXTS]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"b.parquet cannot be read as Parquet"):
        plan(str(tmp_path), None)


def test_going_on(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx\n")
    (tmp_path / "b.csv").write_text("text\nx\n")
    asked, out = argparse.Namespace(task="fill-mask", model="m"), str(tmp_path / "out")
    found = plan(str(tmp_path / "*.csv"), None)
    (tmp_path / "out" / ".deberta-0123456789abcdef").mkdir(parents=True)  # killed before it had written anything
    assert begin(out, asked, found) == [0, 1]
    (tmp_path / "out" / "part-00000.jsonl").write_text("")
    assert begin(out, asked, found) == [1]
    with pytest.raises(ValueError, match="answers of another run: asked differ"):
        begin(out, argparse.Namespace(task="fill-mask", model="n"), found)
    (tmp_path / "a.csv").write_text("text\nxy\n")
    with pytest.raises(ValueError, match=r"parts differ from .*run.json; give another --output"):
        begin(out, asked, plan(str(tmp_path / "*.csv"), None))
    with pytest.raises(ValueError, match="holds something else"):
        begin(str(tmp_path), asked, found)


REFUSED: dict[str, tuple[list[str], str]] = {
    "workers": (["--workers", "2", "--input", "a.txt"], "are for --engine ray"),
    "parquet": (["--format", "parquet", "--input", "a"], "are for --engine ray"),
    "output": (["--engine", "ray", "--input", "a.txt"], "writes --output (a folder); give both"),
    "none": (["--engine", "ray", "--workers", "0", "--input", "a", "--output", "b"], "--workers is 0, expected 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, capsys, case):
    arguments, text = REFUSED[case]
    assert main(["run", "--task", "text-classification", "--model", str(tmp_path), *arguments]) != 0
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.skipif(bool(importlib.util.find_spec("ray")), reason="ray is installed")
def test_without_ray(tmp_path, capsys):
    arguments = ["--engine", "ray", "--input", "a", "--output", str(tmp_path / "out")]
    assert main(["run", "--task", "text-classification", "--model", str(tmp_path), *arguments]) != 0
    assert "pip install 'deberta-zoo[ray]'" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@NEEDS_RAY
@pytest.mark.slow
def test_on_ray(tmp_path, capsys, checkpoint):
    """The answers of one process, in order; finished parts stay, and a bad one stops no other."""
    import pyarrow
    import pyarrow.parquet

    model, data, out = str(checkpoint("text-classification")), tmp_path / "data", tmp_path / "out"
    data.mkdir()
    (data / "a.txt").write_text("\n".join(TEXTS[:3]))
    (data / "b.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in TEXTS[3:5]))
    (data / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:2]))
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS}), data / "d.parquet", row_group_size=4)
    (data / "e.jsonl").write_text('{"text": "fine"}\n{"txet": "not"}\n')

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["run", "--task", "text-classification", "--model", model, *arguments])
        return code, capsys.readouterr().err

    spread = ("--engine", "ray", "--workers", "2", "--input", str(data), "--output", str(out))
    code, error = run(*spread)
    assert code != 0
    assert "e.jsonl, line 2 has no column 'text'" in error
    assert "the other parts are answered" in error
    files = sorted(path.name for path in out.iterdir())
    assert files == [*(f"part-{number:05}.jsonl" for number in range(5)), "run.json"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("part*")}
    code, error = run(*spread)
    assert code != 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("part*")} == before

    def read(path: Any) -> list[Any]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    (tmp_path / "all.txt").write_text("\n".join(TEXTS))
    assert run("--input", str(tmp_path / "all.txt"), "--output", str(tmp_path / "one.jsonl"))[0] == 0
    wanted = {answer["text"]: answer["result"] for answer in read(tmp_path / "one.jsonl")}
    found = [read(out / f"part-{number:05}.jsonl") for number in range(5)]
    assert [[answer["text"] for answer in part] for part in found] == [
        TEXTS[:3], TEXTS[3:5], TEXTS[:2], TEXTS[:4], TEXTS[4:],
    ]  # fmt: skip
    for answer in (answer for part in found for answer in part):
        assert answer["result"]["label"] == wanted[answer["text"]]["label"]
        assert answer["result"]["score"] == pytest.approx(wanted[answer["text"]]["score"], abs=1e-5)


def test_what_is_asked_can_be_written_down(monkeypatch, tmp_path):
    """Whatever the command line adds to the arguments: the folder of answers holds them as JSON."""
    found = []
    monkeypatch.setattr("deberta_tasks.ray_engine.run_on_ray", lambda asked, *_: found.append(asked) or "done")
    words = ["run", "--task", "text-classification", "--model", "m", "--engine", "ray"]
    assert main([*words, "--input", "a.txt", "--output", str(tmp_path / "out")]) == 0
    assert json.loads(json.dumps(vars(found[0])))["input"] == "a.txt"
