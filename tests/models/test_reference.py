"""Both frameworks against the formulas, computed anew in NumPy: states, probabilities, separate queries."""

from __future__ import annotations

import numpy as np
import pytest

from deberta_core.config import ACTIVATIONS
from tests.models.helpers import (
    BASES,
    assert_all_close,
    assert_close,
    flatten,
    pt_inputs,
    pt_model,
    random_batch,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
)
from tests.models.reference import ACTIVATIONS as FORMULAS
from tests.models.reference import Reference
from tests.models.switches import SWITCHES, cases

EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
EXACT = 1e-9  # float64 on both sides


def masks(length: int, batch: int = 4) -> dict[str, np.ndarray]:
    """A mask of each shape a caller may give; "holes" hides tokens within texts, "pairs" lets one see nothing."""
    tokens = random_batch(small_config(), batch=batch, length=length)["attention_mask"]
    holes = tokens * (np.arange(length) % 5 != 3)
    pairs = (np.random.default_rng(3).random((batch, length, length)) < 0.6).astype(np.int64)
    pairs[0, 4] = 0
    return {
        "tokens": tokens,
        "holes": holes,
        "keys": tokens[:, None, None],
        "pairs": pairs,
        "pairs of all heads": pairs[:, None],
    }


def run(framework, config, values, inputs):
    """Outputs in float64, by name."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    if framework == "pt":
        return flatten(pt_model(config, "Model", values, dtype="float64")(**pt_inputs(inputs), **EVERYTHING))
    return flatten(tf_model(config, "Model", values, dtype="float64")(tf_inputs(inputs), **EVERYTHING))


@pytest.mark.parametrize(("base", "switch"), cases())
def test_switch_in_pytorch(base, switch):
    """TensorFlow follows by the parity of the two; here it is compared on the plain configs."""
    config = small_config(base, **SWITCHES[switch][1])
    values, inputs = random_weights(config), random_batch(config)
    assert_all_close(run("pt", config, values, inputs), Reference(config, values)(inputs), "pt", tolerance=EXACT)


@pytest.mark.parametrize("base", BASES)
def test_plain_in_tensorflow(base):
    config = small_config(base)
    values, inputs = random_weights(config), random_batch(config)
    assert_all_close(run("tf", config, values, inputs), Reference(config, values)(inputs), "tf", tolerance=EXACT)


@pytest.mark.parametrize("kind", masks(21))
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_mask(framework, base, kind):
    config = small_config(base, conv_kernel_size=5) if base == "v2" else small_config(base)
    values, inputs = random_weights(config), {**random_batch(config), "attention_mask": masks(21)[kind]}
    assert_all_close(
        run(framework, config, values, inputs), Reference(config, values)(inputs), framework, tolerance=EXACT
    )


@pytest.mark.parametrize("framework", ["pt", "tf"])
@pytest.mark.parametrize(
    "kind", ["no mask", "inputs_embeds", "narrow inputs_embeds", "position_ids", "one row of position_ids", "one token"]
)
def test_other_inputs(framework, kind):
    changes = {"position_biased_input": True} if "position" in kind else {}
    config = small_config("v2", type_vocab_size=2, **changes, embedding_size=10 if "narrow" in kind else None)
    values, rng = random_weights(config), np.random.default_rng(4)
    inputs = random_batch(config, length=1 if "one token" in kind else 14)
    batch, length = inputs["input_ids"].shape
    if kind == "no mask":
        del inputs["attention_mask"], inputs["token_type_ids"]
    if "embeds" in kind:
        inputs["inputs_embeds"] = rng.normal(size=(batch, length, config.embedding_width))
        del inputs["input_ids"]
    if "position" in kind:
        rows = 1 if "one" in kind else batch
        inputs["position_ids"] = rng.integers(0, config.max_position_embeddings, (rows, length))
    assert_all_close(
        run(framework, config, values, inputs), Reference(config, values)(inputs), framework, tolerance=EXACT
    )


@pytest.mark.parametrize(("queries", "keys"), [(1, 21), (21, 1), (3, 21), (21, 3)])
@pytest.mark.parametrize("terms", ["c2p", "p2c", "c2p|p2c"])
@pytest.mark.parametrize("base", ["v1", "v3"])
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_separate_queries(framework, base, terms, queries, keys):
    """A layer whose queries come from other states, in other number, than its keys: one index serves both terms."""
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    config, rng = small_config(base, pos_att_type=terms), np.random.default_rng(6)
    values = random_weights(config)
    states, other = rng.normal(size=(2, keys, 24)), rng.normal(size=(2, queries, 24))
    mask = rng.random((2, queries, keys)) < 0.7
    mask[0, -1] = False
    want, want_probs = Reference(config, values).layer(1, states, mask, other)
    if framework == "pt":
        import torch

        from deberta_pt.attention import Mask

        encoder = pt_model(config, "Model", values, dtype="float64").encoder
        relative = encoder.relative(queries, keys, torch.device("cpu"))
        hidden, seen, query = map(torch.from_numpy, (states, mask[:, None], other))
        seen = Mask(seen, ~seen.any(-1, True))
        got, probs = (x.detach().numpy() for x in encoder.layer[1](hidden, seen, relative, query, True))
    else:
        import tensorflow as tf

        from deberta_tf.attention import Mask

        encoder = tf_model(config, "Model", values, dtype="float64").encoder
        relative = encoder.relative(queries, keys)
        hidden, seen, query = map(tf.constant, (states, mask[:, None], other))
        seen = Mask(seen, ~tf.reduce_any(seen, -1, True))
        got, probs = (x.numpy() for x in encoder.layer[1](hidden, seen, relative, query, True))
    assert_close(got, want, "states", tolerance=EXACT)
    assert_close(probs, want_probs, "probabilities", tolerance=EXACT)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_activation(framework, name):
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    x = np.linspace(-12, 12, 241)
    if framework == "pt":
        import torch

        from deberta_pt.activations import ACTIVATIONS

        got = ACTIVATIONS[name](torch.from_numpy(x)).numpy()
    else:
        import tensorflow as tf

        from deberta_tf.activations import ACTIVATIONS

        got = ACTIVATIONS[name](tf.constant(x)).numpy()
    assert_close(got, FORMULAS[name](x), name, tolerance=EXACT)


def test_v1_equals_v2_with_the_same_projections():
    """A v1 model is a v2 model with its own position projections, once its fused matrix is cut into three."""
    pytest.importorskip("torch")
    old, new = small_config("v1"), small_config("v3", share_att_key=False, position_buckets=-1, norm_rel_ebd="none")
    values = random_weights(old)
    converted = dict(values)
    for i in range(old.num_hidden_layers):
        at = f"deberta.encoder.layer.{i}.attention.self"
        fused = converted.pop(f"{at}.in_proj.weight").reshape(3, 3, 8, 24)  # heads, q k v, size, hidden
        for part, name in enumerate(("query", "key", "value")):
            converted[f"{at}.{name}_proj.weight"] = fused[:, part].reshape(24, 24)
        converted[f"{at}.query_proj.bias"] = converted.pop(f"{at}.q_bias")
        converted[f"{at}.value_proj.bias"] = converted.pop(f"{at}.v_bias")
        converted[f"{at}.key_proj.bias"] = converted[f"{at}.pos_key_proj.bias"] = np.zeros(24)
        converted[f"{at}.pos_key_proj.weight"] = converted.pop(f"{at}.pos_proj.weight")
        converted[f"{at}.pos_query_proj.weight"] = converted.pop(f"{at}.pos_q_proj.weight")
        converted[f"{at}.pos_query_proj.bias"] = converted.pop(f"{at}.pos_q_proj.bias")
    inputs = random_batch(old)
    assert_all_close(run("pt", new, converted, inputs), run("pt", old, values, inputs), "v2", tolerance=EXACT)
