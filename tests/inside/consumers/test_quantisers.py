"""bitsandbytes and torchao: quantised layers stay what they are, and err no more than inside transformers' encoder."""

from __future__ import annotations

import pytest

from deberta_pt.transformers import replace
from tests.inside.consumers.conftest import needs
from tests.inside.helpers import is_ours, padded_on, some_ids, torch, transformers


def by_bitsandbytes(path):
    options = transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.AutoModelForSequenceClassification.from_pretrained(path, quantization_config=options)


def by_torchao_on_loading(path):
    from torchao.quantization import Int8WeightOnlyConfig

    options = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    return transformers.AutoModelForSequenceClassification.from_pretrained(path, quantization_config=options)


def by_torchao_afterwards(path):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
    quantize_(model, Int8WeightOnlyConfig())
    return model


@pytest.mark.parametrize(
    "quantised",
    [
        pytest.param(by_bitsandbytes, marks=needs("bitsandbytes")),
        pytest.param(by_torchao_on_loading, marks=needs("torchao")),
        pytest.param(by_torchao_afterwards, marks=needs("torchao")),
    ],
)
def test_quantised_layers(checkpoint, both, quantised):
    path = checkpoint(num_labels=3)
    inputs = {"input_ids": some_ids(3, 21), "attention_mask": padded_on("right", 3, 21)}
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()

    def kind(model):
        layer = model.deberta.encoder.layer[0].intermediate.dense
        return type(layer), type(layer.weight), layer.weight.dtype

    def run():
        model = quantised(path).eval()
        return model, kind(model)

    (theirs, of_theirs), (ours, of_ours) = both(run)
    assert is_ours(ours)
    assert of_ours == of_theirs != kind(plain)
    with torch.no_grad():
        exact = plain(**inputs).logits
        wrong = [float((model(**inputs).logits - exact).abs().max()) for model in (theirs, ours)]
        replace(theirs)
        assert kind(theirs) == of_theirs
        wrong.append(float((theirs(**inputs).logits - exact).abs().max()))
    assert 0 < max(wrong[1:]) < 1.5 * wrong[0]
