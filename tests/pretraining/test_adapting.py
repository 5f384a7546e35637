"""``deberta pretrain --continue MODEL --texts ...``: going on from a checkpoint on documents in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from deberta_core.pretraining import has_generator
from deberta_tasks.cli import main
from deberta_tasks.pretrain.request import OWN, Request
from tests.finetuning.helpers import MODULES, log
from tests.models.helpers import pt_model, small_config
from tests.pretraining.helpers import sentences, tokenizer

LENGTH = 24


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in sentences()[0][:200]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as v3 is published: a discriminator, its generator beside it in a folder of its own."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("start")
    config = small_config("v3", vocab_size=len(tokenizer()) + 3, max_position_embeddings=LENGTH)
    pt_model(config, "ForReplacedTokenDetection").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    words = folder / "words"
    pt_model(config.copy(mlm_head="emd"), "ForMaskedLM").save_pretrained(words)
    tokenizer().save_pretrained(words)
    return folder


def command(start: Path, texts: Path, output: Path, *more: str, steps: int = 3) -> list[str]:
    return [
        "pretrain", "--continue", str(start), "--texts", str(texts), "--column", "body", "--output", str(output),
        "--steps", str(steps), "--save-every", "2", "--max-length", str(LENGTH), "--batch-size", "4", *more,
    ]  # fmt: skip


def weights(folder: Path) -> dict[str, Any]:
    return dict(load_file(folder / "model.safetensors"))


WAYS = [
    ("mlm", "packed", "pt"), ("rtd", "single", "pt"),
    *(pytest.param(*way, marks=pytest.mark.slow) for way in (("mlm", "single", "tf"), ("rtd", "packed", "tf"))),
    *(pytest.param(*way, marks=pytest.mark.everything) for way in (("mlm", "joined", "tf"), ("rtd", "packed", "pt"))),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "rows", "framework"), WAYS)
def test_learns(objective: str, rows: str, framework: str, start: Path, texts: Path, tmp_path: Path) -> None:
    """In a few steps at a high rate, with each kind of rows; a run that is given again is done."""
    pytest.importorskip(MODULES[framework])
    folder = start / "words" if objective == "mlm" else start
    more = ["--objective", objective, "--framework", framework, "--rows", rows, "--rate", "3e-3", "--batch-size", "16"]
    given = command(folder, texts, tmp_path / "run", *more, "--span", "2", "--masked", "0.2", steps=14)
    assert main(given) == 0
    name = "loss" if objective == "mlm" else "mlm_loss"
    losses = [row[name] for row in log(tmp_path / "run")]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3, losses
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (settings["span"], settings["masked"], settings["column"]) == (2, 0.2, "body")
    assert main(given) == 0
    assert [row[name] for row in log(tmp_path / "run")] == losses
    assert has_generator(tmp_path / "run" / "model") == (objective == "rtd")


def test_the_head_of_the_file_goes_in_and_comes_out(start: Path, texts: Path, tmp_path: Path) -> None:
    """At a rate of 0 every tensor is what it was; at another the head has learnt, too."""
    before = weights(start / "words")
    for rate, same in (("0", True), ("1e-3", False)):
        output = tmp_path / rate
        assert main(command(start / "words", texts, output, "--objective", "mlm", "--rate", rate, steps=2)) == 0
        after = weights(output / "model")
        assert after.keys() == before.keys()
        assert any(name.startswith("lm_predictions.") for name in after)
        equal = {name: bool(np.array_equal(before[name], after[name])) for name in before}
        assert all(equal.values()) == same
        assert same or not equal["lm_predictions.lm_head.dense.weight"]


def test_the_generator_is_new_or_given(
    start: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate of 0 what is beside the discriminator is what was given."""
    rate = ["--rate", "0"]
    given = str(start / "words")
    for name, folder, more in (
        ("none", start, []), ("given", start, ["--generator", given]),
        ("new", tmp_path / "given" / "model", ["--generator", "new"]),
    ):  # fmt: skip
        assert main(command(folder, texts, tmp_path / name, *more, *rate)) == 0
        assert ("a new one starts with the discriminator's encoder" in capsys.readouterr().err) == (name != "given")
    from deberta_pt import AutoModelForMaskedLM

    layers = {}
    for name in ("none", "given", "new"):
        generator = AutoModelForMaskedLM.from_pretrained(tmp_path / name / "model", generator=True)
        layers[name] = generator.config.num_hidden_layers
        head = generator.lm_predictions.lm_head.dense.weight
        held = AutoModelForMaskedLM.from_pretrained(given).lm_predictions.lm_head.dense.weight
        assert bool((head == held).all()) == (name == "given")
    whole = AutoModelForMaskedLM.from_pretrained(given).config.num_hidden_layers
    assert layers == {"none": whole // 2, "given": whole, "new": whole // 2}
    for name in weights(start):
        np.testing.assert_allclose(weights(tmp_path / "new" / "model")[name], weights(start)[name], atol=1e-6)


def test_a_vocabulary_that_does_not_fit(
    start: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(start / "words", other)
    pt_model(small_config("v3", vocab_size=50, mlm_head="emd"), "ForMaskedLM").save_pretrained(other)
    assert main(command(other, texts, tmp_path / "run", "--objective", "mlm")) != 0
    said = capsys.readouterr().err
    assert "but config.json gives the model vocab_size=50: they do not belong together" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"rows": "packed"}, "rows is 'packed', which is for --texts"),
        ({"column": "body"}, "column is 'body', which is for --texts"),
        ({"masked": 1.5}, "masked is 1.5, expected a share of the tokens"),
        ({"span": -1}, "span is -1, expected at least 1 word"),
        ({"objective": "mlm", "generator": "other"}, "with masked tokens the one in the model's folder is trained"),
        ({"generator": "other"}, "but a model from scratch has a new one"),
    ],
)
def test_what_would_be_passed_over_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Request(**{"objective": "rtd", "text": Path("a.txt"), "output": Path("run"), **given})
    assert Request("mlm", Path("a.txt"), Path("run"), model="model", generator=OWN).masking().max_ngram == 3
