"""Our encoder in models that exist: the same parameters, adapters, hooks, quantised layers; and prepared ones."""

from __future__ import annotations

import copy
import logging

import pytest
from torch import nn
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from deberta_pt.transformers import enable, replace
from tests.inside.helpers import (
    FAMILIES,
    assert_gradients_same,
    assert_same,
    gradients,
    is_ours,
    labels_for,
    padded_on,
    randomise,
    some_ids,
    their_class,
    their_config,
    torch,
)

BATCH, LENGTH = 3, 21


def made(family="v3", head="ForSequenceClassification", **changes):
    model = their_class(family, head)(their_config(family, **changes))
    randomise(model)
    return model.eval()


def batch(model, head="ForSequenceClassification"):
    mask = padded_on("right", BATCH, LENGTH)
    return {"input_ids": some_ids(BATCH, LENGTH), "attention_mask": mask, **labels_for(head, model.config, mask)}


def state(model):
    return {name: (id(p), p.requires_grad) for name, p in model.named_parameters(remove_duplicate=False)}


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_stay_the_same_objects(family):
    model = made(family)
    model.deberta.encoder.layer[0].requires_grad_(False)
    model.train()
    model.deberta.encoder.layer[1].attention.eval()
    inputs, before = batch(model), state(model)
    modes = {name: module.training for name, module in model.named_modules()}
    want = model(**inputs, output_hidden_states=True)
    want_grads = gradients(model, want.loss)
    encoder = model.deberta.encoder
    assert replace(model) == ["deberta.embeddings", "deberta.encoder"]
    assert is_ours(model)
    assert model.deberta.encoder is encoder
    assert isinstance(encoder, v2.DebertaV2Encoder) or family.startswith("v1")
    assert state(model) == before
    assert list(state(model)) == list(before)
    after = {name: module.training for name, module in model.named_modules()}
    assert all(after[name] == modes[name] for name in after if name in modes)
    got = model(**inputs, output_hidden_states=True)
    assert_same(got, want, inputs["attention_mask"])
    assert_gradients_same(gradients(model, got.loss), want_grads)
    assert replace(model) == []


def test_an_optimizer_goes_on():
    runs = []
    for replaced in (False, True):
        model = made()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(4):
            if step == 2 and replaced:
                replace(model)
            gradients(model, model(**batch(model)).loss)
            optimizer.step()
        runs.append(model)
    one, two = (dict(model.named_parameters()) for model in runs)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_saved_by_ours_and_loaded_by_theirs(tmp_path):
    model = made("v2", "ForTokenClassification")
    replace(model)
    model.save_pretrained(tmp_path)
    theirs = type(model).from_pretrained(tmp_path)
    assert not is_ours(theirs)
    one, two = model.state_dict(), theirs.state_dict()
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert theirs.config.architectures == ["DebertaV2ForTokenClassification"]


def test_anywhere_inside_and_said(caplog):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.towers = nn.ModuleList([made(head="Model"), made("v1", "Model")])
            self.again = self.towers[0]

    model = Wrapper()
    with caplog.at_level(logging.INFO, "deberta_pt.transformers"):
        names = replace(model)
    assert names == ["towers.0.embeddings", "towers.0.encoder", "towers.1.embeddings", "towers.1.encoder"]
    assert "towers.1.encoder" in caplog.text
    assert is_ours(model)
    assert is_ours(model.again)
    alone = made().deberta.encoder
    assert replace(alone) == [""]
    assert is_ours(alone)


def test_changes_that_people_make():
    """Layers cut off or shared, dropout set to zero in the modules, gradient checkpointing on."""
    model = made(num_hidden_layers=4, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    encoder = model.deberta.encoder
    encoder.layer = encoder.layer[:3]
    encoder.layer[2] = encoder.layer[1]
    encoder.layer[0].output.dropout.p = 0.5
    encoder.layer[1].attention.self.dropout = nn.Identity()
    encoder.remark = "kept"
    inputs = batch(model)
    want = model(**inputs)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    names = list(model.state_dict())
    replace(model)
    assert list(model.state_dict()) == names
    assert encoder.remark == "kept"
    assert len(encoder.layer) == 3
    assert [layer.output.dropout.p for layer in encoder.layer] == [0.5, 0.3, 0.3]
    assert [layer.attention.self.dropout.p for layer in encoder.layer] == [0.2, 0.0, 0.0]
    assert encoder.checkpointing is not None
    assert model.is_gradient_checkpointing
    assert_same(model(**inputs), want)


def test_hooks_survive_and_see_whole_states():
    model = made()
    seen, layer = [], model.deberta.encoder.layer[1]
    dense = layer.attention.output.dense
    handles = [
        dense.register_forward_hook(lambda module, inputs, output: seen.append(("dense", output.shape))),
        layer.register_forward_hook(lambda module, inputs, output: seen.append(("layer", output[0].shape))),
        model.deberta.encoder.register_forward_hook(lambda *all: seen.append(("encoder", all[2][0].shape))),
        model.deberta.embeddings.register_forward_hook(lambda *all: seen.append(("embeddings", all[2].shape))),
    ]
    replace(model)
    inputs = batch(model)
    model(**inputs)
    whole = torch.Size([BATCH, LENGTH, 24])
    assert seen == [(name, whole) for name in ("embeddings", "dense", "layer", "encoder")]
    for handle in handles:
        handle.remove()
    model(**inputs)
    assert len(seen) == 4


def test_lora_layers_survive():
    peft = pytest.importorskip("peft")
    runs = []
    for replaced in (False, True):
        torch.manual_seed(0)
        config = peft.LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", init_lora_weights=False)
        model = peft.get_peft_model(made(), config).eval()
        if replaced:
            assert replace(model) == ["base_model.model.deberta.embeddings", "base_model.model.deberta.encoder"]
            assert is_ours(model)
            with pytest.raises(ValueError, match="merge adapters first"):
                replace(model, prepare=True)
        loss = model(**batch(model)).loss
        runs.append((gradients(model, loss), loss, model))
    assert_gradients_same(runs[1][0], runs[0][0])
    merged = [model.merge_and_unload() for _, _, model in runs]
    inputs = batch(merged[0])
    want = merged[0](**inputs)
    assert_same(merged[1](**inputs), want)
    replace(merged[1], prepare=True)
    assert_same(merged[1](**inputs), want)


def test_quantised_layers_survive():
    model = made()
    inputs = batch(model)
    exact = model(**inputs).logits
    with pytest.warns(DeprecationWarning, match="torchao"):
        theirs = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    ours = copy.deepcopy(theirs)
    replace(ours)
    kind = type(theirs.deberta.encoder.layer[0].intermediate.dense)
    assert type(ours.deberta.encoder.layer[0].intermediate.dense) is kind is not nn.Linear
    wrong = [float((model(**inputs).logits - exact).detach().abs().max()) for model in (theirs, ours)]
    assert 0 < wrong[1] < 2 * wrong[0]
    with pytest.raises(ValueError, match="cannot prepare"):
        replace(ours, prepare=True)


def odd(change):
    model = made()
    change(model.deberta.encoder)
    return model


def set_forward(encoder):
    encoder.layer[0].forward = encoder.layer[0].forward


def set_hook(encoder):
    accelerate = pytest.importorskip("accelerate")
    accelerate.hooks.add_hook_to_module(encoder.layer[1], accelerate.hooks.ModelHook())


class Mine(v2.DebertaV2Layer):
    pass


def set_class(encoder):
    encoder.layer[0].__class__ = Mine


def set_more(encoder):
    encoder.layer[1].output.adapter = nn.Linear(24, 24)


def set_dropout(encoder):
    encoder.layer[1].output.dropout = nn.AlphaDropout(0.1)


def set_activation(encoder):
    encoder.layer[0].intermediate.intermediate_act_fn = nn.ReLU()


def drop_layers(encoder):
    encoder.layer = encoder.layer[:0]


def drop_table(encoder):
    del encoder.rel_embeddings


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (set_forward, "layer.0 is a DebertaV2Layer that is not as transformers made it"),
        (set_hook, "accelerate put a hook on layer.1"),
        (set_class, "layer.0 is a Mine"),
        (set_more, "layer.1.output holds adapter, which our encoder has no place for"),
        (set_dropout, "layer.1.output.dropout is a AlphaDropout"),
        (set_activation, "layer.0.intermediate.intermediate_act_fn is not the 'gelu'"),
        (drop_layers, "it has no layers"),
        (drop_table, "it has no module 'rel_embeddings'"),
    ],
)
def test_what_has_no_place_is_refused_and_nothing_is_replaced(change, what):
    both = nn.ModuleList([made(), odd(change)])
    with pytest.raises(ValueError, match=what) as error:
        replace(both)
    assert "\n" not in str(error.value)
    assert "cannot replace 1.deberta.encoder" in str(error.value)
    assert not is_ours(both)


def test_bad_input():
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module, got a dict"):
        replace({})
    with pytest.raises(ValueError, match="found no DeBERTa of transformers inside a Linear"):
        replace(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="masked_rows is 'one'"):
        replace(made(), masked_rows="one")


# Prepared for inference.


@pytest.mark.parametrize("built_on", [False, True])
@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_prepared(family, built_on):
    theirs = made(family)
    with enable() if built_on else torch.no_grad():
        model = made(family)
    replace(model, prepare=True)
    assert is_ours(model)
    assert "Prepared" in type(model.deberta.encoder).__name__
    assert not model.training
    inputs = batch(model)
    with torch.no_grad():
        for wanted in ({}, {"output_attentions": True, "output_hidden_states": True}):
            assert_same(model(**inputs, **wanted), theirs(**inputs, **wanted), inputs["attention_mask"])
    assert replace(model, prepare=True) == replace(model) == []


def test_prepared_models_are_neither_trained_nor_saved(tmp_path):
    model = made()
    replace(model, prepare=True)
    again = "load it again without prepare=True"
    refused = [
        (model.train, "trained"),
        (lambda: model.save_pretrained(tmp_path), "saved"),
        (model.state_dict, "saved"),
        (lambda: model.load_state_dict(made().state_dict()), "loaded into"),
    ]
    for call, what in refused:
        with pytest.raises(RuntimeError, match=f"prepared for inference and cannot be {what}; {again}"):
            call()
    assert not list(tmp_path.glob("*.safetensors"))
    model.eval()
    copy.deepcopy(model)


def test_what_cannot_be_prepared():
    talking = made("v1 talking")
    inputs = batch(talking)
    want = talking(**inputs)
    replace(talking, prepare=True)
    assert "Prepared" not in type(talking.deberta.encoder).__name__
    assert_same(talking(**inputs), want)
    hooked = made()
    hooked.deberta.encoder.layer[1].output.dense.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"no place for the hooks on layer\.1\.output\.dense"):
        replace(hooked, prepare=True)
    assert not is_ours(hooked)
