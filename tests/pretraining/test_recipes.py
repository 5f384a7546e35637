"""The command ``deberta pretrain``: a run that is killed at any moment and started again writes what it would have."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.finetuning.helpers import MODULES, deberta, environment, finish, finish_with_copies
from tests.finetuning.helpers import log as losses
from tests.models.helpers import pt_model, small_config
from tests.pretraining.helpers import sentences, tokenizer

STEPS, EVERY = 14, 5
SIZES = {
    "mlm": ["--rate", "1e-3"],
    "rtd": ["--vocab-size", "600", "--hidden-size", "64", "--layers", "1"],
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The bundled sentences as a plain text file."""
    path = tmp_path_factory.mktemp("text") / "texts.txt"
    path.write_text("\n".join(sentences()[0]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A checkpoint with its tokenizer, dropout included, for the domain adaptation."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("start")
    config = small_config(
        "v3", vocab_size=len(tokenizer()), mlm_head="emd", max_position_embeddings=24, hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    )  # fmt: skip
    pt_model(config, "ForMaskedLM").save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def command(name, text, start, output, *, steps=STEPS):
    objective, framework = name.split("_")
    model = ["--model", str(start)] if objective == "mlm" else []
    return deberta(
        "pretrain", "--objective", objective, "--framework", framework, *model, "--text", str(text),
        "--output", str(output), "--steps", str(steps), "--save-every", str(EVERY), "--max-length", "24",
        "--batch-size", "4", "--warmup", "0.2", *SIZES[objective],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlm_pt", "rtd_pt", "mlm_tf", "rtd_tf"])
def test_killed_and_resumed(name, text, start, tmp_path):
    """The losses of the resumed run are those of the unbroken one, to the last digit, and so is the model."""
    pytest.importorskip(MODULES[name.split("_")[1]])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish_with_copies(command(name, text, start, whole), whole, {EVERY + 2: broken})
    (broken / ".checkpoint-00000099.dead").mkdir()  # as a kill in the middle of writing leaves one
    done = finish(command(name, text, start, broken))
    assert f"resuming after step {EVERY}" in done.stderr + done.stdout
    assert not (broken / ".checkpoint-00000099.dead").exists()
    want = losses(whole)
    assert [row["step"] for row in want] == list(range(1, STEPS + 1))
    assert losses(broken) == want
    assert len({row["mlm_loss" if "rtd" in name else "loss"] for row in want}) == STEPS, "losses that never change"
    files = {p.name for p in (whole / "model").iterdir() if p.suffix in (".h5", ".safetensors")}
    assert len(files) == (2 if "rtd" in name else 1)
    for file in files:
        assert (whole / "model" / file).read_bytes() == (broken / "model" / file).read_bytes(), file
    plot = broken / "losses.png"
    assert plot.read_bytes()[:4] == b"\x89PNG" if plot.exists() else "no plot: matplotlib" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("name", "generator"), [("rtd_pt", True), ("rtd_tf", False)])
def test_goes_on_from_a_folder(name, generator, text, start, tmp_path):
    """From discriminator and generator of another framework's run, and from a body alone."""
    pytest.importorskip(MODULES[name.split("_")[1]])
    folder = start
    if generator:
        other = "rtd_tf" if name == "rtd_pt" else "rtd_pt"
        pytest.importorskip(MODULES[other.split("_")[1]])
        finish([*command(other, text, start, tmp_path / "first", steps=30), "--rate", "5e-3"])
        folder = tmp_path / "first" / "model"
    output = tmp_path / "run"
    done = finish([*command(name, text, start, output, steps=2), "--model", str(folder)])
    assert ("a new one starts with the discriminator's encoder" in done.stderr) != generator
    assert len(losses(output)) == 2
    if generator:
        before = [row["mlm_loss"] for row in losses(tmp_path / "first")]
        assert before[-1] < before[0] - 0.3
        assert losses(output)[0]["mlm_loss"] < before[0] - 0.3, "it does not start where the first run ended"


@pytest.mark.slow
def test_a_run_that_is_done(text, start, tmp_path):
    """Given again it stays as it is; with another setting it is refused."""
    pytest.importorskip("torch")
    finish(command("mlm_pt", text, start, tmp_path, steps=2))
    want = losses(tmp_path)
    again = finish([*command("mlm_pt", text, start, tmp_path, steps=2), "--json"])
    assert losses(tmp_path) == want
    assert "resuming after step 2" in again.stderr
    told = json.loads(again.stdout)
    assert (told["model"], told["last"]) == (str(tmp_path / "model"), want[-1])
    other = subprocess.run(
        command("mlm_pt", text, start, tmp_path, steps=3), env=environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert other.returncode != 0
    assert "holds a run with steps 2, now it is 3; resume with the settings it was started with" in other.stderr
