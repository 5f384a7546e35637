"""What each idea buys: a hundredth of the budget, kept results, and the table of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks import ideas
from deberta_core.config import DebertaV2Config
from deberta_tasks.training.options import Options
from tests.pretraining.helpers import sentences

TINY = ideas.Budget(
    vocab_size=500, hidden_size=16, layers=2, every=1, tasks={"text-classification": Options(steps=2, max_length=16)},
    options=replace(ideas.Budget().options, steps=4, batch_size=4, max_length=16, evaluate_every=2, save_every=1),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Texts as the command that makes the small model leaves them."""
    for name, lines in zip(("learn.txt", "held_back.txt"), sentences(), strict=True):
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ideas.VARIANTS)
def test_a_variant_has_one_idea_more(name):
    """Each config can be, and differs from the one before in what the title says."""
    variants = list(ideas.VARIANTS)
    config = ideas.Budget().config(ideas.VARIANTS[name], 4000)
    assert isinstance(config, DebertaV2Config)
    place = variants.index(name)
    before = ideas.Budget().config(ideas.VARIANTS[variants[place - 1]], 4000) if 0 < place < 5 else config
    changed = {key for key, value in config.to_dict().items() if before.to_dict().get(key) != value}
    expected = {
        "c2p": {"relative_attention", "position_biased_input", "pos_att_type"}, "p2c": {"pos_att_type"},
        "emd": {"mlm_head"}, "convolution": {"conv_kernel_size", "conv_act"},
    }  # fmt: skip
    assert changed <= expected.get(name, set())
    assert place == 0 or place > 4 or changed


def test_each_run_once():
    """Three seeds of each in PyTorch, one in TensorFlow of the last two, and those two step by step in both."""
    jobs = list(ideas.wanted())
    assert len(jobs) == len(set(jobs)) == 3 * 8 + 2 * 2
    for kind in ("tf", ideas.ALIKE):
        assert [job for job in jobs if job[1] == kind] == [("rtd-es", kind, 0), ("rtd-gdes", kind, 0)]
    assert [seed for _, _, seed in jobs] == 12 * [0] + 8 * [1] + 8 * [2]  # whoever stops early has some of each


@pytest.mark.slow
def test_runs_are_kept_and_go_on(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    names = ("convolution", "rtd-gdes")
    results, work = tmp_path / "results", tmp_path / "work"
    train, calls = ideas.train, []

    def breaks_off(learner, run, stream, options, evaluation):
        calls.append(run.folder.name)
        train(learner, run, stream, replace(options, steps=3) if len(calls) == 1 else options, evaluation)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ideas, "train", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        ideas.make_one((names[0], "pt", 0), folder, work, results, TINY)
    assert not list(results.glob("*-0.json"))
    for name in names:
        ideas.make_one((name, "pt", 0), folder, work, results, TINY)
    assert "resuming after step 3" in capsys.readouterr().out
    for name in names:
        kept = json.loads((results / f"{name}-pt-0.json").read_text(encoding="utf-8"))
        assert [line["step"] for line in kept["curve"]][-1] == 4
        assert ("held_rtd_loss" in kept["curve"][0]) == (name != "convolution")
        assert 0 <= kept["finetuned"]["text-classification"] <= 1
    assert len(ideas.table(results)) == 2 + len(names)

    monkeypatch.setattr(ideas, "wanted", lambda: [(name, "pt", 0) for name in names])
    assert ideas.make_all(folder, work, results, TINY) == []  # none is made again
    with pytest.raises(ValueError, match=r"convolution-pt-0\.json has other budget than asked for now"):
        ideas.make_all(folder, work, results, replace(TINY, layers=1))
    with (folder / "held_back.txt").open("a", encoding="utf-8") as file:
        file.write("\none more\n")
    with pytest.raises(ValueError, match=r"convolution-pt-0\.json has other texts than asked for now"):
        ideas.make_all(folder, work, results, TINY)


@pytest.mark.slow
def test_a_run_that_breaks_off_stops_no_other(folder, tmp_path, monkeypatch):
    """Each is a process of its own; the one that is taken out here cannot make the folder that its run is to be in."""
    pytest.importorskip("torch")
    results, work = tmp_path / "results", tmp_path / "work"
    jobs = [(name, "pt", 0) for name in ("absolute", "c2p")]
    monkeypatch.setattr(ideas, "wanted", lambda: jobs)
    place = ideas.place_of(work, ideas.digest(folder), TINY)
    place.mkdir(parents=True)
    (place / "absolute-pt-0").write_text("in the way", encoding="utf-8")
    assert ideas.make_all(folder, work, results, TINY, at_once=2) == jobs[:1]
    assert [path.name for path in results.iterdir()] == ["c2p-pt-0.json"]


@pytest.mark.slow
@pytest.mark.everything
def test_scores_are_alike_in_both_frameworks(folder, tmp_path):
    """Of one pair before it learns, in both; then five steps from the same weights, with the same tokens put in."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    variant, work = ideas.VARIANTS["rtd-gdes"], tmp_path / "work"
    texts = ideas.Texts.read(folder, work, TINY)
    found = ideas.alike("rtd-gdes", texts, TINY, work, 5)
    assert found["largest_difference"] < 1e-5
    config = TINY.config(variant, len(texts.tokenizer))
    judged = []
    for framework in ("pt", "tf"):
        learner = ideas.new_learner(variant, framework, TINY.options, config, work / "rtd-gdes-start")
        judged.append(ideas.scores(ideas.caller(learner, framework), texts.held[:3], pair=True))
    assert judged[0] == pytest.approx(judged[1], rel=1e-5)
    assert judged[0].keys() == {"held_mlm_loss", "in_first_five", "held_rtd_loss"}


def test_tables(tmp_path):
    """Means over the seeds, and how far the farthest is, of what has run; bold is what no seed contradicts."""

    def keep(name: str, seed: int, nli: float, **scores: float) -> None:
        line = {"step": 4, **scores}
        result = {"variant": name, "framework": "pt", "curve": [line], "finetuned": {"nli": nli}}
        (tmp_path / f"{name}-pt-{seed}.json").write_text(json.dumps(result), encoding="utf-8")

    for seed, loss in enumerate((2.0, 2.5)):
        keep("emd", seed, 0.25, held_mlm_loss=loss, in_first_five=0.5)
    row = "| + enhanced mask decoder | 2 | 2.250 ± 0.250 | 0.500 ± 0.000 | - | - | 0.250 ± 0.000 |"
    assert ideas.table(tmp_path)[2:] == [row]
    for seed, loss in enumerate((2.25, 2.75)):
        keep("convolution", seed, 0.5, held_mlm_loss=loss, in_first_five=0.25)
    keep("rtd-none", 0, 0.75, held_mlm_loss=3.0, in_first_five=0.125, held_rtd_loss=0.5)
    assert ideas.bought(tmp_path)[2:] == [
        "| + convolution (v2) | + enhanced mask decoder | +0.250 | **-0.250** | - | - | **+0.250** |",
        "| replaced tokens (v3), tables apart | + enhanced mask decoder | - | - | - | - | +0.500 |",
    ]
    assert len(ideas.table(tmp_path)) == 2 + 3
    assert ideas.agreement(tmp_path)[2:] == []


def test_what_cannot_be_is_said_in_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ideas, "terminate_cleanly", lambda: None)
    monkeypatch.setattr(ideas.os, "environ", {})
    for words, said in (
        (["--threads", "0"], "--threads is 0, expected at least 1"),
        (["--texts", str(tmp_path)], f"error: no learn.txt in {tmp_path}; python -m deberta_tasks.pretrain.mini --"),
    ):
        with pytest.raises(SystemExit, match="2"):
            ideas.main(words)
        assert said in capsys.readouterr().err
