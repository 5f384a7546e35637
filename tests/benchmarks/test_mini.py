"""The table of what starting from the packaged model buys, with a hundredth of the steps."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from benchmarks import mini
from deberta_core.packaged import GENERATOR


@pytest.mark.filterwarnings("ignore:.*newly initialised")
def test_the_table_is_made_of_runs_that_are_kept(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- starts -->\n<!-- /starts -->\n", encoding="utf-8")
    words = ["--work", str(tmp_path / "work"), "--write", str(page), "--tasks", "text-classification", "--steps", "2"]
    mini.main(words)
    made = page.read_text(encoding="utf-8")
    heading, _, row = made.split("<!-- starts -->")[1].split("<!-- /starts -->")[0].strip().splitlines()
    assert heading == f"| task | score | from scratch | s | from `{GENERATOR}` | s |"
    results = [
        json.loads((tmp_path / "work" / start / "text-classification" / mini.RESULT).read_text())
        for start in ("scratch", "mini")
    ]
    cells = [f"{each['scores']['accuracy']:.3f} | {each['seconds']:.0f}" for each in results]
    assert row == f"| `text-classification` | accuracy | {cells[0]} | {cells[1]} |"
    config = json.loads((tmp_path / "work" / "mini" / "text-classification" / "model" / "config.json").read_text())
    assert config["hidden_size"] == 192

    def learn_again(*_, **__):
        raise AssertionError("a run that ended was made again")

    monkeypatch.setattr(mini, "finetune", learn_again)
    mini.main(words)
    assert page.read_text(encoding="utf-8") == made

    with pytest.raises(ValueError, match="scratch/text-classification holds a result of other options; give another"):
        mini.main([*words[:-1], "3"])


@pytest.mark.parametrize(("broken", "shown"), [(False, "0"), (True, "-")])
def test_a_run_that_went_on_has_no_seconds(broken, shown, tmp_path, monkeypatch):
    if broken:
        for start in ("scratch", "mini"):
            (tmp_path / start / "nli").mkdir(parents=True)

    def learn(request, options, **_):
        request.output.mkdir(parents=True, exist_ok=True)
        return {"accuracy": 0.5}

    monkeypatch.setattr(mini, "finetune", learn)
    assert mini.table(["nli"], tmp_path, 1)[-1] == f"| `nli` | accuracy | 0.500 | {shown} | 0.500 | {shown} |"
