"""A model trimmed, pruned, distilled and quantised down to a share of its bytes, as far as its score allows."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deberta_core.config import AutoConfig
from deberta_core.pruning import heads_left
from deberta_tasks.cli import main
from deberta_tasks.smaller import prune, quantize, shrink
from deberta_tasks.smaller.shrinking import Measure, _cut, _unless, nbytes_in_integers, planned
from deberta_tasks.training.options import Options
from tests.conversion.helpers import listing
from tests.models.helpers import small_config
from tests.pipelines.cases import SENTENCES, make_checkpoint, named

pytest.importorskip("torch")

HEAD = "ForSequenceClassification"
LABELS = {"bad": "cat", "fair": "Paris", "good": "dog"}


def model(folder: Path, **fields: Any) -> Path:
    """With labels, layers that can go, and a vocabulary that is most of it."""
    sizes = {"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
    return make_checkpoint(folder, "v3", HEAD, **{**sizes, **named(list(LABELS)), **fields})


def train(folder: Path, count: int = 64) -> Path:
    """Sentences in which one word says the label."""
    rng, rows = random.Random(0), ["text,label"]
    others = [w.strip(".,?") for s in SENTENCES for w in s.split() if w.strip(".,?") not in LABELS.values()]
    for number in range(count):
        label = list(LABELS)[number % 3]
        words = [*rng.choices(others, k=5), LABELS[label]]
        rng.shuffle(words)
        rows.append(f"{' '.join(words)},{label}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "train.csv"


@pytest.mark.slow
def test_the_plan_is_the_largest_model_that_fits(tmp_path: Path) -> None:
    config = small_config("v3", num_hidden_layers=4, num_attention_heads=4)
    whole = nbytes_in_integers(config, HEAD)
    assert planned(config, HEAD, whole) == (None, 0.0)
    layers, share = planned(config, HEAD, whole - 1)
    assert (layers, share) != (None, 0.0)
    with pytest.raises(ValueError, match=r"the budget of 100 B cannot be met: with one layer in integers"):
        planned(config, HEAD, 100)
    assert planned(small_config("v1", talking_head=True, num_hidden_layers=3), HEAD, 10**7) == (None, 0.0)
    source = model(tmp_path / "model")
    prune(source, tmp_path / "pruned", texts=SENTENCES, layers=3, heads=0.25, intermediate=0.25)
    small = quantize(tmp_path / "pruned", tmp_path / "small", texts=SENTENCES)
    guess = nbytes_in_integers(AutoConfig.from_pretrained(tmp_path / "pruned"), HEAD)
    assert small.nbytes[1] <= guess <= 1.1 * small.nbytes[1] or small.floats


def test_the_plan_counts_the_heads_that_are_left() -> None:
    config = small_config("v3", num_hidden_layers=4, num_attention_heads=4, pruned_heads={0: [0, 1], 2: [3]})
    assert heads_left(config) == [2, 4, 3, 4]
    assert sum(heads_left(_cut(config, 4, 0.0))) == 13
    assert sum(heads_left(_cut(config, 4, 0.5))) == 13 - 6
    assert sum(heads_left(_cut(config, 2, 0.25))) == 8 - 2  # those with most may be the ones that stay
    assert nbytes_in_integers(_cut(config, 4, 0.0), HEAD) == nbytes_in_integers(config, HEAD)
    alone = small_config("v3", num_hidden_layers=2, num_attention_heads=4, pruned_heads={0: [0, 1, 2]})
    half = _cut(alone, 2, 0.5)  # one layer has its last head, so that only columns go
    assert (sum(heads_left(half)), half.intermediate_size) == (5, alone.intermediate_size // 2)


@pytest.mark.slow
def test_all_steps_in_a_row(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = model(tmp_path / "model"), tmp_path / "out"
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES[:2]), encoding="utf-8")
    given = train(tmp_path)
    text = given.read_text(encoding="utf-8")
    for number, name in enumerate(LABELS):  # as files often have them: the model says what they are called
        text = text.replace(f",{name}\n", f",{number}\n")
    given.write_text(text, encoding="utf-8")
    words = ["shrink", str(source), str(out), "--texts", str(tmp_path / "texts.txt"), "--train", str(given)]
    words += ["--budget", "0.2", "--steps", "4", "--json"]
    before = listing(source)
    assert main([*words, "--loss", "100"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert listing(source) == before
    assert [step["name"] for step in report["steps"]] == ["before", "trim", "prune", "distil", "quantise"]
    sizes = [step["nbytes"] for step in report["steps"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= report["budget"] == int(0.2 * sizes[0])
    assert report["met"]
    assert report["steps"][0]["score"] == report["steps"][1]["score"]  # the examples' words are kept
    assert AutoConfig.from_pretrained(out).num_hidden_layers < 4
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "## Made smaller" in card
    assert "    deberta " in card
    assert "| quantise |" in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out", "texts.txt", "train.csv"]
    import deberta_pt

    prepared = deberta_pt.AutoModelForSequenceClassification.from_pretrained(out, prepare=True)
    assert prepared.config.id2label == dict(enumerate(LABELS))
    # A loss that is too much ends it, at the step before; of pruning it is judged after distilling.
    real, scores = Measure.__call__, {"before": 0.9, "trim": 0.895, "prune": 0.2, "distil": 0.88}
    monkeypatch.setattr(Measure, "__call__", lambda *given: replace(real(*given), score=scores[given[1]]))
    assert main([*words[:2], str(tmp_path / "kept"), *words[3:]]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [step["kept"] for step in report["steps"]] == [True, True, True, False]
    assert report["notes"] == ["stopped: distil lost 2.0 points of accuracy, 1 were allowed"]
    assert not report["met"]
    assert AutoConfig.from_pretrained(tmp_path / "kept").num_hidden_layers == 4
    scores["trim"] = 0.8
    assert main([*words[:2], str(tmp_path / "none"), *words[3:]]) == 2
    assert "trim lost 10.0 points of accuracy, 1 were allowed; so nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_what_cannot_be(tmp_path: Path, capsys: Any) -> None:
    source, out, given = model(tmp_path / "model"), tmp_path / "out", train(tmp_path)
    for asked, why in (
        ({"budget": 0.001}, r"the budget of .* cannot be met"), ({"budget": 2}, "budget is 2, expected a share"),
        ({"loss": -1}, "loss is -1, expected a number of points"),
        ({"work": source / "steps"}, "work is .*steps, in the folder .*model of a model"),
        ({"work": out}, "work is .*out, in the folder .*out of a model"),
        ({"texts": ["吾輩は猫である。名前はまだ無い。"]}, "does not have their language"),
        ({"texts": [" "]}, "no text to shrink by"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            shrink(source, out, **{"texts": SENTENCES, "train": given, **asked})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "train.csv"]
    for texts, why in ((SENTENCES, "cannot be met"), (SENTENCES[:2], "steps of a call with another model, budget or")):
        with pytest.raises(ValueError, match=why):
            shrink(source, out, texts=texts, train=given, budget=0.001, work=tmp_path / "work")
    (tmp_path / "great.csv").write_text(given.read_text(encoding="utf-8").replace(",good", ",great"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"label is 'great', expected one of labels \(bad, fair, good\) or its number"):
        shrink(source, out, texts=SENTENCES, train=tmp_path / "great.csv")
    encoder = make_checkpoint(tmp_path / "encoder", "v3", "Model")
    with pytest.raises(ValueError, match="no task can judge a model with the head Model"):
        shrink(encoder, out, texts=SENTENCES, train=given)
    quantize(source, tmp_path / "small", texts=SENTENCES)
    with pytest.raises(ValueError, match="are integers already; shrink the model"):
        shrink(tmp_path / "small", out, texts=SENTENCES, train=given)
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert main(["shrink", str(source), str(out), "--texts", str(tmp_path / "empty.txt"), "--train", str(given)]) == 2
    assert "has no records" in capsys.readouterr().err


def test_a_step_that_was_killed_is_done_again(tmp_path: Path) -> None:
    """Its folder is there before it is whole."""
    (tmp_path / "trimmed" / ".deberta-0123456789abcdef" / "new").mkdir(parents=True)
    steps = []

    def step() -> None:
        steps.append(sorted((tmp_path / "trimmed").iterdir()))
        (tmp_path / "trimmed" / "config.json").write_text("{}")

    for _ in range(2):
        assert _unless(tmp_path / "trimmed", step) == tmp_path / "trimmed"
    assert steps == [[]], "once, with what the kill left taken away"


@pytest.mark.everything
@pytest.mark.slow
def test_what_was_learnt_is_kept(tmp_path: Path) -> None:
    from deberta_tasks.finetune.recipe import finetune
    from deberta_tasks.finetune.request import Request
    from deberta_tasks.tasks import TRAINABLE

    source, given = model(tmp_path / "model"), train(tmp_path, 240)
    how = Options(steps=120, rate=3e-3, max_length=32)
    request = Request(TRAINABLE["text-classification"], tmp_path / "run", model=str(source), train=given)
    assert finetune(request, how)["accuracy"] > 0.95
    report = shrink(
        tmp_path / "run" / "model", tmp_path / "out", texts=SENTENCES, train=given, budget=0.2, options=how,
        work=tmp_path / "work",
    )  # fmt: skip
    assert report.met
    assert report.steps[-1].score >= report.steps[0].score - 0.01
    again = shrink(  # goes on with what is there: nothing is trained again
        tmp_path / "run" / "model", tmp_path / "again", texts=SENTENCES, train=given, budget=0.2, options=how,
        work=tmp_path / "work",
    )  # fmt: skip
    assert [step.nbytes for step in again.steps] == [step.nbytes for step in report.steps]
