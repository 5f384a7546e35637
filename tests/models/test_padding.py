"""Padding that is left out changes no number, in outputs and gradients, and its products are not computed."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from tests.models.helpers import (
    BASES,
    assert_all_close,
    assert_close,
    assert_gradients_close,
    random_batch,
    small_config,
)
from tests.models.test_attention import FRAMEWORKS, call, masks_and_none, model_of, pt_results, tf_gradients

NEVER, ALWAYS = 0, 1 << 20  # for SAVED: of so many tokens one must be hidden
MASKS = {
    "right": [[1, 1, 1, 0], [1, 0, 0, 0]],
    "left": [[0, 0, 1, 1], [0, 1, 1, 1]],
    "apart": [[1, 0, 1, 0], [0, 1, 0, 1]],
    "a text without tokens": [[0, 0, 0, 0], [1, 1, 1, 1]],
    "nothing": [[0, 0, 0, 0], [0, 0, 0, 0]],
}


def padding(framework):
    """The module of a tree."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    return importlib.import_module(f"deberta_{framework}.fast.padding")


@FRAMEWORKS
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_there_and_back(framework, mask):
    """The rows are the visible tokens in their order and one more, and come back to where they were."""
    module, mask = padding(framework), np.array(mask, bool)
    states = np.random.default_rng(0).normal(size=(2, 4, 3)) * mask[..., None]
    if framework == "pt":
        import torch

        tensor = torch.tensor
    else:
        import tensorflow as tf

        tensor = tf.constant
    places = module.places_of(tensor(mask))
    packed = module.pack(tensor(states), places)
    np.testing.assert_array_equal(np.asarray(packed)[0], [*states[mask], np.zeros(3)])
    np.testing.assert_array_equal(np.asarray(module.unpack(packed, places)), states)


def computed_rows(framework, model, run):
    """The shape of what each layer's second half is given."""
    shapes = []
    for layer in model.base_model.encoder.layer:
        part = layer.intermediate
        if framework == "pt":
            part.register_forward_pre_hook(lambda _, given: shapes.append(tuple(map(int, given[0].shape))))
        else:
            before = part.call
            part.call = lambda x, before=before: (shapes.append(tuple(x.shape)), before(x))[1]
    run()
    return set(shapes)


@FRAMEWORKS
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_only_visible_tokens_are_computed(framework, base, prepared):
    """By plain and by prepared models, with attentions and without; the reference computes all."""
    config = small_config(base)
    given = random_batch(config)
    rows = int(given["attention_mask"].sum()) + 1
    for attention, attentions, expected in (("auto", False, rows), ("auto", True, rows), ("eager", False, 84)):
        if prepared and attention == "eager" and framework == "pt":
            continue  # prepared layers have their own attention, whatever the config says
        model = model_of(framework, small_config(base, attn_implementation=attention))
        if prepared:
            model = importlib.import_module(f"deberta_{framework}").optimize_for_inference(model)
        found = computed_rows(
            framework, model, lambda m=model, a=attentions: call(framework, m, given, output_attentions=a)
        )
        assert {int(np.prod(shape[:-1])) for shape in found} == {expected}


@pytest.mark.parametrize("saved", [NEVER, ALWAYS])
@pytest.mark.parametrize("attention", ["sdpa", "blocked"])
@pytest.mark.parametrize("base", BASES)
def test_pytorch_gives_the_numbers_of_the_reference(base, attention, saved, monkeypatch):
    """All states and gradients, for every kind of mask, with padding left out and without."""
    monkeypatch.setattr(padding("pt"), "SAVED", saved)
    for mask in masks_and_none().values():
        results = []
        for name in ("eager", attention):
            config = small_config(base, attn_implementation=name)
            given = {
                "input_ids": random_batch(config)["input_ids"],
                **({} if mask is None else {"attention_mask": mask}),
            }
            results.append(pt_results(config, given))
        assert_all_close(results[1][0], results[0][0], "states")
        assert_gradients_close(results[1][1], results[0][1], "gradient")


@pytest.mark.parametrize("saved", [NEVER, ALWAYS])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_tensorflow_gives_the_numbers_of_the_reference(base, unknown, saved, monkeypatch):
    """States and gradients of a graph, of known shapes or not, with padding left out and without."""
    monkeypatch.setattr(padding("tf"), "SAVED", saved)
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None], tf.int32)] * 2 if unknown else None
    expected = tf_gradients(base, 21, "eager")
    states, found = tf_gradients(base, 21, "blocked", signature)
    assert_close(states, expected[0], "states")
    assert_gradients_close(found, expected[1], "gradient")


@pytest.mark.parametrize("base", BASES)
def test_a_graph_leaves_out_what_each_batch_hides(base):
    """One trace serves batches with padding and without."""
    tf = pytest.importorskip("tensorflow")
    config = small_config(base)
    model, reference = (model_of("tf", small_config(base, attn_implementation=name)) for name in ("auto", "eager"))
    given = random_batch(config)
    ids = tf.constant(given["input_ids"], tf.int32)
    graph = tf.function(lambda ids, mask: model({"input_ids": ids, "attention_mask": mask})["last_hidden_state"])
    some = given["attention_mask"]
    for mask in (some, np.ones_like(some), np.zeros_like(some), some[::-1]):
        mask = tf.constant(mask, tf.int32)
        expected = reference({"input_ids": ids, "attention_mask": mask})["last_hidden_state"]
        assert_close(graph(ids, mask).numpy(), expected.numpy(), "states")
    assert graph.experimental_get_tracing_count() == 1


def test_compilers_compute_padding():
    """Shapes that depend on values are not theirs: PyTorch's traced models, TensorFlow under XLA."""
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    given = random_batch(small_config())
    ids, mask = (torch.tensor(given[name]) for name in ("input_ids", "attention_mask"))
    model, graphs = model_of("pt", small_config()).requires_grad_(False), []

    def trace():
        graphs.append(
            torch.jit.trace(lambda ids, mask: model(ids, mask).last_hidden_state, (ids, mask), check_trace=False)
        )

    assert computed_rows("pt", model, trace) == {(4, 21, 24)}
    other = mask.flip(0)
    assert_close(graphs[0](ids, other).numpy(), model(ids, other).last_hidden_state.numpy(), "traced")

    model = model_of("tf", small_config())
    inputs = {
        name: tf.constant(value.numpy(), tf.int32) for name, value in (("input_ids", ids), ("attention_mask", mask))
    }
    plain = model(inputs)["last_hidden_state"]
    compiled = tf.function(lambda x: model(x)["last_hidden_state"], jit_compile=True)
    states = []
    assert computed_rows("tf", model, lambda: states.append(compiled(inputs))) == {(4, 21, 24)}
    assert_close(states[0].numpy(), plain.numpy(), "compiled")
