"""Training of transformers' models with our encoder: gradient checkpointing, one graph, adapters, loops by hand."""

from __future__ import annotations

import warnings

import pytest

from deberta_pt.transformers import enable
from tests.inside.helpers import (
    assert_gradients_same,
    assert_same,
    gradients,
    is_ours,
    labels_for,
    padded_on,
    some_ids,
    theirs_and_ours,
    torch,
)

HEAD, SHAPE = "ForSequenceClassification", (3, 21)


def batch(model):
    mask = padded_on("right", *SHAPE)
    return {"input_ids": some_ids(*SHAPE), "attention_mask": mask, **labels_for(HEAD, model.config, mask)}


def checkpoint_all(model, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it has another name in 5.x
        model.gradient_checkpointing_enable(**options)


@pytest.mark.parametrize(
    "options", [{}, *({"gradient_checkpointing_kwargs": {"use_reentrant": mode}} for mode in (True, False))]
)
@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_gradient_checkpointing_in_all_modes(family, options):
    """Theirs fails with v3 and ``use_reentrant=True``, the default of 4.x."""
    theirs, ours = (model.train() for model in theirs_and_ours(family, HEAD))
    inputs = batch(theirs)
    want = gradients(theirs, theirs(**inputs).loss)
    checkpoint_all(ours, options)
    assert ours.is_gradient_checkpointing
    ours.enable_input_require_grads()
    runs = []
    ours.deberta.encoder.layer[0].intermediate.register_forward_hook(lambda *_: runs.append(1))
    assert_gradients_same(gradients(ours, ours(**inputs).loss), want)
    assert len(runs) == 2  # once more in the backward pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ours.gradient_checkpointing_disable()
    assert_gradients_same(gradients(ours, ours(**inputs).loss), want)
    assert len(runs) == 3


def test_gradient_checkpointing_with_adapters():
    peft = pytest.importorskip("peft")
    runs = []
    for model in theirs_and_ours("v3", HEAD):
        torch.manual_seed(1)
        config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query_proj", "dense"], init_lora_weights=False)
        if is_ours(model):  # PEFT then lets gradients into the frozen embeddings' output
            checkpoint_all(model, {"gradient_checkpointing_kwargs": {"use_reentrant": True}})
        wrapped = peft.get_peft_model(model.train(), config)
        runs.append(gradients(wrapped, wrapped(**batch(model)).loss))
    assert_gradients_same(runs[1], runs[0])


@pytest.mark.parametrize("family", [pytest.param("v1", marks=pytest.mark.slow), "v3"])
def test_one_graph(family):
    head = "ForTokenClassification"  # theirs for sequences asks how many labels are ignored, which breaks the graph
    theirs, ours = theirs_and_ours(family, head, num_hidden_layers=1)
    torch._dynamo.reset()
    with enable():
        whole = torch.compile(ours, fullgraph=True, dynamic=True, backend="eager")
        for length in (21, 16):
            mask = padded_on("right", 3, length)
            inputs = {"input_ids": some_ids(3, length), "attention_mask": mask, **labels_for(head, ours.config, mask)}
            got, want = whole(**inputs), theirs(**inputs)
            assert_same(got, want, mask)
            assert_gradients_same(gradients(ours, got.loss), gradients(theirs, want.loss))


def test_export():
    _, ours = theirs_and_ours("v3", HEAD)
    inputs = {name: x for name, x in batch(ours).items() if name != "labels"}
    length = torch.export.Dim("length", min=3, max=64)
    with enable():
        program = torch.export.export(ours, (), inputs, dynamic_shapes={name: {1: length} for name in inputs})
    shorter = {name: x[:, :13] for name, x in inputs.items()}
    assert_same({"logits": program.module()(**shorter).logits}, {"logits": ours(**shorter).logits})


def test_dropout_is_drawn_anew():
    _, ours = theirs_and_ours("v3", HEAD, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    inputs = batch(ours)
    one, two = (ours.train()(**inputs).logits for _ in range(2))
    assert not torch.equal(one, two)
    assert torch.equal(ours.eval()(**inputs).logits, ours(**inputs).logits)


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_loop_by_hand_after_enable(family):
    theirs, ours = theirs_and_ours(family, HEAD)
    losses = []
    for model in (theirs.train(), ours.train()):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses.append([])
        for _ in range(5):
            loss = model(**batch(model)).loss
            gradients(model, loss)
            optimizer.step()
            losses[-1].append(loss.item())
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-5)
    assert losses[1][-1] < losses[1][0]
