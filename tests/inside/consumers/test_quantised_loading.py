"""Our own classes with layers that bitsandbytes and torchao quantise on loading, and adapters on top."""

from __future__ import annotations

import copy

import pytest

import deberta_pt
from tests.inside.consumers.conftest import needs
from tests.inside.helpers import padded_on, some_ids, torch, transformers

INPUTS = {"input_ids": some_ids(4, 21), "attention_mask": padded_on("right", 4, 21)}
SEQUENCES = deberta_pt.AutoModelForSequenceClassification
UNSHARED = {"share_att_key": False}
SIZES = {"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 80, "num_labels": 3}


def cosine(one, other):
    return float(torch.nn.functional.cosine_similarity(one.flatten().double(), other.flatten().double(), 0))


def kinds(model):
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name: type(module).__name__ for name, module in layers.items()}


def widened(model, plain):
    """A plain model with the floats that 4 bits stand for."""
    from bitsandbytes.functional import dequantize_4bit

    for name, module in model.named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain.get_submodule(name).weight.data.copy_(weight.view_as(plain.get_submodule(name).weight))
    return plain


def theirs(**options):
    """transformers' own object, which asks for bitsandbytes as it is made: not before the test runs."""
    return lambda: transformers.BitsAndBytesConfig(**options)


@needs("bitsandbytes")
@pytest.mark.parametrize(
    ("asked", "kind", "least"),
    [
        ({"load_in_8bit": True}, "Linear8bitLt", 0.999), ({"load_in_4bit": True}, "Linear4bit", 0.9999),
        ({"quantization_config": {"load_in_8bit": True}}, "Linear8bitLt", 0.999),
        ({"quantization_config": deberta_pt.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")},
         "Linear4bit", 0.9999),
        ({"quantization_config": theirs(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype="float32")}, "Linear4bit", 0.9999),
        ({"quantization_config": theirs(
            load_in_8bit=True, llm_int8_skip_modules=["intermediate"])}, "Linear8bitLt", 0.999),
    ],
    ids=["8bit", "4bit", "dict", "ours", "theirs", "skipped"],
)  # fmt: skip
@pytest.mark.parametrize(("family", "fields"), [("v1", {}), ("v2", UNSHARED), ("v3", {})])
def test_layers_are_quantised_on_loading(checkpoint, asked, kind, least, family, fields):
    path = checkpoint(family=family, **SIZES, **fields)
    asked = {name: given() if callable(given) else given for name, given in asked.items()}
    with torch.no_grad():
        wanted = SEQUENCES.from_pretrained(path)(**INPUTS).logits
        model = SEQUENCES.from_pretrained(path, **asked)
        found = model(**INPUTS).logits
        if kind == "Linear4bit":  # exactly what the rounded weights say
            wanted = widened(model, SEQUENCES.from_pretrained(path))(**INPUTS).logits
    assert cosine(found, wanted) > least
    assert not torch.equal(found, SEQUENCES.from_pretrained(path)(**INPUTS).logits)
    skips = "llm_int8_skip_modules=['intermediate']" in str(asked) or '"intermediate"' in str(asked)
    for name, got in kinds(model).items():
        stays = ".encoder." not in name or (skips and "intermediate" in name)
        assert got == ("Linear" if stays else kind), name
    assert any("pos_" in name for name in kinds(model)) == (family != "v3")
    assert (model.is_loaded_in_8bit, model.is_loaded_in_4bit) == (kind == "Linear8bitLt", kind == "Linear4bit")
    with pytest.raises(ValueError, match="layers of bitsandbytes cannot be saved"):
        model.save_pretrained(path + "-new")
    with pytest.raises(ValueError, match="linear"):
        deberta_pt.optimize_for_inference(model)


@needs("torchao")
def test_torchao_quantises_on_loading(checkpoint):
    from torchao.quantization import Int8WeightOnlyConfig

    path = checkpoint(family="v3", **SIZES)
    with torch.no_grad():
        wanted = SEQUENCES.from_pretrained(path)(**INPUTS).logits
        for asked in (Int8WeightOnlyConfig(), transformers.TorchAoConfig(Int8WeightOnlyConfig())):
            model = SEQUENCES.from_pretrained(path, quantization_config=asked)
            layer = model.deberta.encoder.layer[0]
            assert type(layer.intermediate.dense.weight).__name__ != "Parameter"
            assert type(model.classifier.weight).__name__ == "Parameter"
            found = model(**INPUTS).logits
            assert cosine(found, wanted) > 0.999
            assert not torch.equal(found, wanted)
    assert model.quantization_method == "torchao"


@needs("bitsandbytes", "peft")
@pytest.mark.parametrize("width", ["load_in_8bit", "load_in_4bit"])
def test_adapters_are_trained_on_top(checkpoint, width, tmp_path):
    import peft

    path = checkpoint(family="v3", **SIZES)
    base = SEQUENCES.from_pretrained(path, quantization_config=deberta_pt.BitsAndBytesConfig(**{width: True}))
    model = peft.prepare_model_for_kbit_training(base)
    frozen = copy.deepcopy(base.deberta.encoder.layer[0].output.dense.weight.data)
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, target_modules=["query_proj", "key_proj", "dense"], modules_to_save=["classifier"]
    )
    torch.manual_seed(0)
    model = peft.get_peft_model(model, settings)
    assert "bnb" in type(model.base_model.model.deberta.encoder.layer[0].attention.self.key_proj).__module__
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        loss = model(**INPUTS, labels=torch.tensor([0, 1, 2, 1])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert torch.equal(base.deberta.encoder.layer[0].output.dense.base_layer.weight.data, frozen)
    model.eval().save_pretrained(tmp_path)
    again = SEQUENCES.from_pretrained(path, **{width: True})
    again = peft.PeftModel.from_pretrained(again, tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(again(**INPUTS).logits, model(**INPUTS).logits, atol=1e-5)
