"""Gradients exploded as soon as a loss touched a row that sees nothing: zero states meet layer norms there.

Nothing flows back into a layer norm's row that sees nothing and whose variance is below 0.01; all else is as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.models.helpers import (
    BASES,
    assert_close,
    assert_gradients_close,
    pt_gradients,
    pt_inputs,
    pt_model,
    random_inputs,
    random_weights,
    small_config,
    tf_gradients,
    tf_inputs,
    tf_model,
)

HEADS = ["ForQuestionAnswering", "ForTokenClassification", "ForMaskedLM", "ForReplacedTokenDetection", "Model"]
FRAMEWORKS = pytest.mark.parametrize("framework", ["pt", "tf"])


def starting_weights(config: Any, head: str) -> dict[str, Any]:
    """As of a fresh model, large enough for the embeddings to vary."""
    found = random_weights(config, head, spread=0.15)
    for key, value in found.items():
        if value.ndim == 1 and "conv.conv" not in key:
            value[:] = key.endswith("LayerNorm.weight")
    return found


def batch(config: Any, head: str, *, mask: str = "tokens") -> dict[str, Any]:
    """Labels everywhere, on padding too; a mask of tokens, the same as one of pairs, or none."""
    rng, inputs = np.random.default_rng(5), random_inputs(config, head, labels=False)
    shape = inputs["input_ids"].shape
    if head == "ForQuestionAnswering":
        inputs.update({name: rng.integers(0, shape[1], shape[0]) for name in ("start_positions", "end_positions")})
    elif head != "Model":
        inputs["labels"] = rng.integers(0, 2, shape)
    seen = inputs["attention_mask"]
    if mask == "pairs":
        inputs["attention_mask"] = seen[:, :, None] * seen[:, None, :]
    elif mask == "none":
        del inputs["attention_mask"]
    return inputs


def gradients(framework: str, config: Any, head: str, inputs: dict[str, Any], **options: Any) -> dict[str, Any]:
    """By published key; the encoder alone is pooled to the mean of all rows."""
    values = starting_weights(config, head)
    wanted = np.random.default_rng(1).normal(size=(4, config.hidden_size)).astype(np.float32)
    if framework == "pt":
        import torch

        model = pt_model(config, head, values).train()
        if options.get("checkpointing"):
            model.gradient_checkpointing_enable({"use_reentrant": options["checkpointing"] == "reentrant"})
        with torch.autocast("cpu", getattr(torch, options.get("dtype", "bfloat16")), enabled="dtype" in options):
            output = model(**pt_inputs(inputs))
            loss = ((output[0].mean(1) - torch.tensor(wanted)) ** 2).mean() if head == "Model" else output.loss
        loss.backward()
        return pt_gradients(model)
    import tensorflow as tf

    model, given = tf_model(config, head, values), tf_inputs(inputs)
    if options.get("checkpointing"):
        model.gradient_checkpointing_enable()

    def run() -> tuple[Any, Any]:
        output = model(given, training=True)
        loss = tf.reduce_mean((tf.reduce_mean(output[0], 1) - wanted) ** 2) if head == "Model" else output.loss
        return loss

    if not options.get("graph"):
        with tf.GradientTape() as tape:
            loss = run()
        return tf_gradients(model, tape, loss)
    rows = model.weight_rows()

    @tf.function(jit_compile=options["graph"] == "xla")
    def compiled() -> Any:
        with tf.GradientTape() as tape:
            loss = run()
        found = tape.gradient(loss, [model.variable(row) for row in rows.values()], unconnected_gradients="zero")
        return [tf.convert_to_tensor(gradient) for gradient in found]

    found = zip(rows.items(), compiled(), strict=True)
    return {key: g.numpy().T if row.transposed and len(g.shape) > 1 else g.numpy() for (key, row), g in found}


def norm(found: dict[str, Any]) -> float:
    return float(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in found.values())))


@pytest.mark.parametrize(
    ("framework", "head", "base"),
    [("pt", h, b) for h in HEADS for b in BASES]
    + [("tf", h, b) for h, b in zip(HEADS, [*BASES, *BASES], strict=False)],
)
def test_gradients_of_deep_fresh_models_are_finite(framework, head, base):
    """They were NaN from six layers on, and 1e12 with two."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    config = small_config(base, num_hidden_layers=6)
    plain = norm(gradients(framework, config, head, batch(config, head, mask="none")))
    for mask in ("tokens", "pairs"):
        assert norm(gradients(framework, config, head, batch(config, head, mask=mask))) < 3 * plain


@pytest.mark.parametrize("base", BASES)
def test_one_rule_for_all_ways_to_compute(base):
    """Every implementation, padding left out or not, recomputed layers, graphs, both frameworks: one gradient."""
    pytest.importorskip("torch")
    head = "ForTokenClassification"
    config = small_config(base, attn_implementation="eager")
    inputs = batch(config, head)
    wanted = gradients("pt", config, head, inputs)
    for name in ("sdpa", "blocked"):
        other = small_config(base, attn_implementation=name)
        assert_gradients_close(gradients("pt", other, head, inputs), wanted, name)
    for mode in ("reentrant", "plain"):
        assert_gradients_close(gradients("pt", config, head, inputs, checkpointing=mode), wanted, mode)
    for dtype in ("bfloat16", "float16"):
        assert norm(gradients("pt", config, head, inputs, dtype=dtype)) == pytest.approx(norm(wanted), rel=0.05)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_one_rule_in_both_frameworks(mode):
    """Eager, with padding left out in a graph, and compiled with recomputed layers."""
    pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    head = "ForTokenClassification"
    config = small_config("v2", num_hidden_layers=1, attn_implementation="eager" if mode == "eager" else "auto")
    inputs = batch(config, head)
    options = {} if mode == "eager" else {"graph": mode, "checkpointing": mode == "xla"}
    wanted, found = gradients("pt", config, head, inputs), gradients("tf", config, head, inputs, **options)
    assert_gradients_close(found, wanted, mode, tolerance=1e-4)  # sums in another order, then zero states normalised


def test_compiled_transformed_and_exported():
    torch = pytest.importorskip("torch")
    head, config = "ForTokenClassification", small_config()
    inputs, values = batch(config, head), starting_weights(config, head)
    wanted = gradients("pt", config, head, inputs)
    model, given = pt_model(config, head, values).train(), pt_inputs(inputs)
    torch._dynamo.reset()
    torch.compile(model, backend="aot_eager", fullgraph=True)(**given).loss.backward()
    assert_gradients_close(pt_gradients(model), wanted, "compiled")
    parameters = dict(model.named_parameters())

    def loss(parameters):
        return torch.func.functional_call(model, parameters, (), given).loss

    found = torch.func.grad(loss)(parameters)
    assert_gradients_close({key: found[model.own_key(key)].detach().numpy() for key in wanted}, wanted, "transformed")
    model.eval()
    graph = torch.export.export(model, (given["input_ids"], given["attention_mask"])).graph
    assert not [node for node in graph.nodes if "var" in str(node.target)], "a graph for inference pays nothing"


@FRAMEWORKS
def test_the_derivative_of_a_layer_norm(framework):
    """Only rows that see nothing and hardly vary get none; weight and bias, and all values, are as ever."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    rng = np.random.default_rng(0)
    states = rng.normal(size=(4, 8)) * np.array([[0.0], [0.05], [1.0], [0.05]])  # variances 0, 0.002, 1 and 0.002
    upstream, blind = rng.normal(size=(4, 8)), np.array([[True], [True], [True], [False]])

    def run(blind: Any) -> list[Any]:
        if framework == "pt":
            import torch

            from deberta_pt.layers import layer_norm

            layer, x = torch.nn.LayerNorm(8, eps=1e-7).double(), torch.tensor(states, requires_grad=True)
            out = layer_norm(layer, x, None if blind is None else torch.tensor(blind))
            found = torch.autograd.grad(out, (x, layer.weight, layer.bias), torch.tensor(upstream))
            return [out.detach().numpy(), *(g.numpy() for g in found)]
        import tensorflow as tf

        from deberta_tf.layers import LayerNorm

        layer, x = LayerNorm(8, 1e-7), tf.constant(states, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = layer(x, None if blind is None else tf.constant(blind))
        return [
            out.numpy(),
            *(g.numpy() for g in tape.gradient(out, (x, layer.gamma, layer.beta), tf.constant(upstream, tf.float32))),
        ]

    plain, found = run(None), run(blind)
    assert np.abs(plain[1][:2]).max() > 10
    plain[1][:2] = 0
    for got, want in zip(found, plain, strict=True):
        assert_close(got, want, "layer norm")
