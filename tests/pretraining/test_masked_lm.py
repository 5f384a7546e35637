"""Masked-LM heads as files and configs ask for them: what is refused, what is warned of, what costs less memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.models.helpers import pt_inputs, pt_model, small_config, tf_inputs, tf_model
from tests.pretraining.pairs import DISCRIMINATOR, GENERATOR, IGNORED, batch_of, numpy, pair

MODULES = {"pt": "torch", "tf": "tensorflow"}


@pytest.fixture(params=["pt", "tf"])
def framework(request):
    pytest.importorskip(MODULES[request.param])
    return request.param


def make(framework, config, head=GENERATOR):
    return (pt_model if framework == "pt" else tf_model)(config, head)


def load(framework, path, **options):
    if framework == "pt":
        from deberta_pt import AutoModelForMaskedLM as Auto
    else:
        from deberta_tf import TFAutoModelForMaskedLM as Auto
    return Auto.from_pretrained(path, **options)


def tensors(framework, arrays):
    return (pt_inputs if framework == "pt" else tf_inputs)(arrays)


@pytest.mark.parametrize("head", ["emd", "plain", "legacy"])
def test_the_head_of_the_file_is_taken(framework, head, tmp_path):
    """No flag: the config that is written names no head of its own once ``mlm_head`` is taken out."""
    config = small_config("v3", mlm_head=head)
    model = make(framework, config)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    written.pop("mlm_head", None)
    (tmp_path / "config.json").write_text(json.dumps(written))
    again = load(framework, tmp_path)
    assert again.kind == head
    arrays = {k: v for k, v in batch_of(config).items() if k in ("input_ids", "attention_mask")}
    got, want = (numpy(m(**tensors(framework, arrays)).logits) for m in (again, model))
    assert (got == want).all()


def test_decoder_without_a_position_table(framework, tmp_path):
    make(framework, small_config("v3", mlm_head="plain")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"position_embeddings.*no enhanced mask decoder: use mlm_head='plain'"):
        load(framework, tmp_path, mlm_head="emd")


def test_decoder_where_positions_enter_at_the_input(framework):
    config = small_config("v3", mlm_head="emd", position_biased_input=True)
    with pytest.raises(ValueError, match="already enter at the input; use mlm_head='plain'"):
        make(framework, config)


def test_discriminator_asked_for_words(framework, tmp_path):
    """It warns twice: of the body that does not predict words, and of the head that starts afresh."""
    make(framework, small_config("v3"), DISCRIMINATOR).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="holds a discriminator") as caught:
        load(framework, tmp_path, mlm_head="plain")
    texts = " | ".join(str(w.message) for w in caught)
    assert "holds a discriminator (mask_predictions)" in texts
    assert "generator=True" in texts
    assert "newly initialised" in texts
    with pytest.raises(FileNotFoundError, match=r"no generator in .*generator_config\.json"):
        load(framework, tmp_path, generator=True)


def test_only_the_targets_are_decoded_in_graphs_too(framework):
    """The same loss from ``[targets, V]`` instead of ``[B, L, V]``, padded batch included."""
    config = small_config("v3", mlm_head="emd")
    model = make(framework, config)
    arrays = {k: v for k, v in batch_of(config).items() if k != "noise"}
    inputs = tensors(framework, arrays)
    whole = model(**inputs)
    if framework == "tf":
        import tensorflow as tf

        few = tf.function(lambda batch: dict(model(batch, only_masked=True)))(inputs)
    else:
        few = model(**inputs, only_masked=True)
    hidden = arrays["labels"] != IGNORED
    assert numpy(few["logits"]).shape == (hidden.sum(), config.vocab_size)
    assert np.abs(numpy(few["logits"]) - numpy(whole.logits)[hidden]).max() <= 1e-5
    assert float(numpy(few["loss"])) == pytest.approx(float(numpy(whole.loss)), rel=1e-6)
    with pytest.raises(ValueError, match="labels"):
        model(**{**inputs, "labels": inputs["labels"][:, 1:]}, only_masked=True)


def test_half_precision_pairs():
    """Both tables in bfloat16: the sum too, and the losses in float32."""
    torch = pytest.importorskip("torch")
    model = pair("pt").to(torch.bfloat16)
    output = model(**pt_inputs(batch_of(model.discriminator.config)))
    assert model.discriminator.deberta.embeddings.word_embeddings.weight.dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert bool(torch.isfinite(output.loss))
