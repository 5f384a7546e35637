"""The benchmark command: what it measures takes turns, what it writes has its place, and a short run writes tables."""

from __future__ import annotations

import dataclasses
import datetime
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from benchmarks.__main__ import main, names
from benchmarks.elsewhere import Elsewhere
from benchmarks.report import fill, find_table, pivot, ratios, replace_section
from benchmarks.tables import TABLES
from benchmarks.timing import WARM_UP, Record, Recorder, alternate, measure, read_records

ROOT = Path(__file__).parents[2]


def test_sides_take_turns_and_the_first_rounds_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], []

    def side(name: str, costs: float) -> None:
        calls.append(name)
        now[0] += costs if len(calls) > 2 * WARM_UP else 100.0

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("benchmarks.timing.PAUSE", 0.0)
    seconds = alternate({"a": lambda: side("a", 1.0), "b": lambda: side("b", 3.0)}, rounds=3)
    assert seconds == {"a": [1.0] * 3, "b": [3.0] * 3}
    rounds = [calls[i : i + 2] for i in range(0, len(calls), 2)]
    assert len(rounds) == WARM_UP + 3
    assert {tuple(pair) for pair in rounds} == {("a", "b"), ("b", "a")}


def test_of_short_calls_the_second_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one after another side's turn pays for cold caches."""
    now, calls = [0.0], []

    def side() -> None:
        calls.append(1)
        now[0] += 0.25 if len(calls) % 2 else 0.125

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr("benchmarks.timing.PAUSE", 0.0)
    assert alternate({"a": side}, rounds=3) == {"a": [0.125] * 3}
    assert len(calls) == 2 * (WARM_UP + 3)


def test_a_side_that_fails_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    def missing() -> None:
        raise ImportError("No module named 'peer'")

    def broken() -> None:
        raise ValueError("too long\nand more")

    path = tmp_path / "records"
    measure(Recorder(path), "1 x 2", {"peer": missing, "other": broken, "ours": lambda: None}, rounds=1)
    records = read_records(path)
    assert [record.side for record in records if record.case] == ["ours"]
    assert [record.note for record in records if record.note] == [
        "1 x 2, peer: not installed (No module named 'peer')",
        "1 x 2, other: ValueError: too long",
    ]
    assert read_records(tmp_path / "none") == []


def test_tables_and_ratios() -> None:
    records = [
        Record("1 x 2", "peer", 3.0),
        Record("1 x 2", "ours", 1.5),
        Record("1 x 4", "ours", 2.0),
        Record(note="n"),
    ]
    assert pivot(records, lambda record: f"{record.seconds}", "s") == [
        "| s | peer | ours |",
        "| --- | --- | --- |",
        "| 1 x 2 | 3.0 | 1.5 |",
        "| 1 x 4 |  | 2.0 |",
    ]
    assert ratios(records, lambda side: "peer", "faster")[2:] == ["| 1 x 2 | 2.00 |"]
    assert ratios(records, lambda side: "peer", "longer", inverse=True)[2:] == ["| 1 x 2 | 0.50 |"]
    assert pivot(records, lambda record: "", "s") == []


def test_only_its_own_section_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "RESULTS.md"
    monkeypatch.setattr("benchmarks.report.datetime.date", Date)
    for kind, commit, heading, line in (
        ("AVX2", "abc", "One", "1"), ("AVX2", "abc", "Two", "2"),
        ("AVX-512", "abc", "One", "#x"), ("AVX2", "abd", "One", "3"),
    ):  # fmt: skip
        monkeypatch.setattr("benchmarks.report.processor_kind", lambda kind=kind: kind)
        monkeypatch.setattr("benchmarks.report.commit", lambda commit=commit: commit)
        replace_section(path, heading, [line])
    written = path.read_text(encoding="utf-8")
    assert written == (
        "# Results\n\n## AVX2\n\nMeasured at commit abd, 2026-01-02.\n\n### Two\n\n2\n\n### One\n\n3\n\n"
        "## AVX-512\n\nMeasured at commit abc, 2026-01-02; older.\n\n### One\n\n#x\n"
    )
    assert list(find_kinds(written)) == ["AVX2", "AVX-512"]


class Date(datetime.date):
    @classmethod
    def today(cls) -> Date:
        return cls(2026, 1, 2)


def find_kinds(text: str) -> list[str]:
    return [line[3:] for line in text.splitlines() if line.startswith("## ")]


def test_the_kept_results_are_in_that_form() -> None:
    text = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert set(find_kinds(text)) >= {"AVX-512 and AMX", "AVX-512", "AVX2"}
    for part in text.split("\n## ")[1:]:
        assert re.match(r"[\w -]+\n\nMeasured at commit \w+\+?, \d{4}-\d\d-\d\d(; older)?\.\n\n### ", part)
    assert find_table(text, "Inference, PyTorch", "milliseconds")


def test_a_table_is_found_by_section_and_corner() -> None:
    table = "| x | y |\n| - | - |\n\n| s | t |\n| 1 | 2 |\n"
    text = f"# R\n\n## K\n\n### A\n\n{table}\n### B\n\n| x | z |\n\n## L\n\n### B\n\n| s |\n"
    assert find_table(text, "A", "s") == ["| s | t |", "| 1 | 2 |"]
    assert find_table(text, "B", "x") == ["| x | z |"]
    assert find_table(text, "B", "s") == []


def test_a_side_elsewhere_answers_and_says_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "side.py"
    program.write_text(
        "import json, sys\nprint('ready', flush=True)\n"
        "for line in sys.stdin:\n    print('done' if json.loads(line)['compiled'] else 'too long', flush=True)\n"
    )
    monkeypatch.setattr("benchmarks.elsewhere.environment", lambda folder, packages: sys.executable)
    with Elsewhere("peer", [], [str(program)], {}) as other:
        other.side((1, 2), True)()
        with pytest.raises(RuntimeError, match="too long"):
            other.side((1, 2), False)()
    with pytest.raises(RuntimeError, match="has ended"):
        other.side((1, 2), True)()
    program.write_text("raise SystemExit(1)")
    with pytest.raises(ImportError, match="does not start"):
        Elsewhere("peer", [], [str(program)], {})


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n", encoding="utf-8")
    fill(path, "speed", ["new"])
    assert path.read_text(encoding="utf-8") == "before\n<!-- speed -->\n\nnew\n\n<!-- /speed -->\nafter\n"
    with pytest.raises(ValueError, match="expected the lines <!-- memory --> and <!-- /memory -->"):
        fill(path, "memory", ["new"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "inference"], "there is no table 'inference'"),
        (["--shapes", "8by128"], "'8by128' names no shapes"),
        (["--rounds", "0"], "'0' is no positive number"),
        (["--readme", "README.md"], "give both"),
        (["--write", "R.md", "--readme", "nowhere/README.md"], "cannot fill nowhere/README.md"),
        (["--write", "nowhere/RESULTS.md"], "there is no folder"),
    ],
)
def test_bad_words_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert message in capsys.readouterr().err


def test_a_table_with_a_limit_ends_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert TABLES["gpu"].seconds is not None
    assert TABLES["gpu"].seconds < 8 * 60
    monkeypatch.setitem(TABLES, "gpu", dataclasses.replace(TABLES["gpu"], seconds=0.02))
    assert main(["--only", "gpu"]) == 0
    assert "- ended after 0 seconds" in capsys.readouterr().out


def test_the_exports_are_two_tables() -> None:
    pytest.importorskip("tensorflow")
    assert names("exports,gpu") == ("exports", "exports-tf", "gpu")
    assert names("exports-tf") == ("exports-tf",)


@pytest.mark.slow
def test_a_short_run_writes_its_tables(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tf_keras")
    results, readme = tmp_path / "RESULTS.md", tmp_path / "README.md"
    readme.write_text("<!-- speed -->\n<!-- /speed -->\n", encoding="utf-8")
    tables = "inference-pt,training-pt,training-tf,padding-pt,padding-tf"
    paddings = ("Padding, PyTorch", "Padding, TensorFlow")
    words = ["--quick", "--layers", "1", "--rounds", "1", "--threads", "1", "--only", tables]
    files = ["--write", str(results), "--readme", str(readme)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = results.read_text(encoding="utf-8")
    for heading in ("Inference, PyTorch", "Training, PyTorch", "Training, TensorFlow", *paddings):
        assert text.count(f"### {heading}\n") == 1
    assert text.count("| times the matrix products |") == 3
    rows = [line for line in text.splitlines() if line.startswith("| 1 x 32 |")]
    assert len(rows) == 9
    assert all(float(cell.split(" (")[0]) > 0 for row in rows for cell in row.split("|")[2:-1])
    assert "times as fast as transformers" in readme.read_text(encoding="utf-8")


@pytest.mark.slow
def test_sides_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where all of ours take the same calls; what needs a GPU or is not installed is said."""
    torch = pytest.importorskip("torch")
    from benchmarks import models_gpu
    from benchmarks.settings import Settings

    for name in ("empty_cache", "reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **how: None)
    monkeypatch.setattr(models_gpu, "DEVICE", "cpu")
    monkeypatch.setattr(models_gpu, "COMPARED", (2, 40))
    taken: list[Record] = []
    monkeypatch.setattr(Recorder, "__call__", lambda self, record: taken.append(record))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of implementations that are for a GPU
        models_gpu.gpu(Settings(rounds=1, layers=1, shapes=((2, 32),)), Recorder())
        models_gpu.measure(
            Recorder(), {"ours": models_gpu.our_model(1)}, models_gpu.Case((4, 32), True, padded=True), rounds=1
        )
    ours = {f"ours{way}" for way in ("", " eager", " sdpa", " flex", " blocked", " triton", " compiled")}
    found = {(record.case, record.side) for record in taken if record.case}
    assert {side for case, side in found if case.startswith("forward,")} >= {*ours, "ours optimized", "plain sdpa"}
    assert {side for case, side in found if case.startswith("forward +")} >= {*ours, "plain sdpa"}
    assert found >= {("forward + backward, 4 x 32, padded", "ours")}
    notes = " ".join(record.note for record in taken)
    for name in ("sdpa", "blocked", "triton"):
        far = re.search(rf"{name}, torch.float32: (\S+) from eager in float32, gradients (\S+)", notes)
        assert far is not None
        assert max(map(float, far.groups())) < 1e-4
    assert "ours TensorFlow XLA: RuntimeError: TensorFlow finds no GPU" in notes
    assert not any(f", {side}:" in notes for side in ours), notes


def test_the_table_of_scale_is_that_of_the_shapes() -> None:
    """As the page has it; and parameters are those of a model, by layer and all."""
    torch = pytest.importorskip("torch")
    import deberta_pt
    from benchmarks.scale import Scale, table
    from tests.models.helpers import small_config

    page = (ROOT / "docs" / "several_hosts.md").read_text(encoding="utf-8")
    assert "\n".join(table(8)) in page
    config = small_config("v2", num_hidden_layers=3)  # whose convolution is in no layer
    with torch.device("meta"):
        model = deberta_pt.DebertaV2ForSequenceClassification(config)
    layer, total = (sum(p.numel() for p in part.parameters()) for part in (model.deberta.encoder.layer[0], model))
    for devices in (1, 4):
        scale = Scale.of(config, devices)
        assert (scale.layer, scale.parameters, scale.rest) == (layer, total, total - 3 * layer)
        assert scale.ddp == devices * scale.fsdp_held == 16 * total
        assert (scale.ddp_sent > 0) == (scale.fsdp_sent > scale.ddp_sent) == (devices > 1)
