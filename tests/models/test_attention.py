"""The implementations of attention agree; masks of every shape and dtype mean the same; packed texts stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.helpers import (
    BASES,
    assert_all_close,
    assert_close,
    assert_gradients_close,
    flatten,
    pt_gradients,
    pt_inputs,
    pt_model,
    random_batch,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
)
from tests.models.test_reference import masks

FRAMEWORKS = pytest.mark.parametrize("framework", ["pt", "tf"])


def model_of(framework, config, values=None, dtype="float32"):
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    build = pt_model if framework == "pt" else tf_model
    return build(config, "Model", random_weights(config) if values is None else values, dtype=dtype)


def call(framework, model, inputs, **options):
    """Outputs as arrays by name."""
    given = pt_inputs(inputs) if framework == "pt" else tf_inputs(inputs)
    return flatten(model(**given, **options))


def config_of(base, **changes):
    """A small config of a family, or of v3 with other position terms."""
    if base not in BASES:
        base, changes = "v3", {"pos_att_type": None if base == "without terms" else base, **changes}
    return small_config(base, **changes)


def direction_of(shape):
    """What to multiply states with, so that their sum has a gradient."""
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def pt_results(config, inputs):
    """All states and gradients of a PyTorch model."""
    import torch

    model = model_of("pt", config)
    output = model(**pt_inputs(inputs), output_hidden_states=True)
    states = output.last_hidden_state
    (states * torch.from_numpy(direction_of(states.shape))).sum().backward()
    return flatten(output), pt_gradients(model)


def masks_and_none():
    return {**masks(21), "none": None}


@pytest.fixture
def all_kinds(monkeypatch):
    """Blocks and tiles so small that short texts fill several, and flex_attention in its plain form."""
    pytest.importorskip("torch")
    import deberta_pt.attention
    import deberta_pt.fast.blocked

    for name, value in (("ROWS", 6), ("TILE", 4), ("SCORES", 1), ("FEWEST", 2)):
        monkeypatch.setattr(deberta_pt.fast.blocked, name, value)
    monkeypatch.setattr(deberta_pt.attention, "can_flex", lambda *_: True)


def heads_alone(monkeypatch, alone):
    """Blocks of one head each, computed by oneDNN where there is any, or of several; whatever a race would say."""
    import deberta_pt.fast.blocked
    import deberta_pt.fast.linear

    monkeypatch.setattr(deberta_pt.fast.blocked, "is_alone", lambda *_: alone)
    faster = alone and deberta_pt.fast.linear.has_onednn()
    monkeypatch.setattr(deberta_pt.fast.linear, "onednn_is_faster", lambda rows: faster)
    monkeypatch.setattr(deberta_pt.fast.blocked, "onednn_wins_alone", lambda: faster)


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize("rows", ["zero", "uniform"])
@pytest.mark.parametrize("kind", masks_and_none())
@pytest.mark.parametrize("base", [*BASES, "without terms", "c2p", "p2c"])
def test_fused_attention_equals_eager(base, kind, rows, monkeypatch):
    """States and all gradients, for every kind of mask and both meanings of a row that sees nothing."""
    torch = pytest.importorskip("torch")
    import deberta_pt.fast.blocked

    results = {}
    fused = {"sdpa": 0, "blocked": 512, "blocked again": 0, "blocked alone": 0}  # keys that keep probabilities
    for name, kept in {"eager": 0, **fused}.items():
        monkeypatch.setattr(deberta_pt.fast.blocked, "KEPT", kept)
        heads_alone(monkeypatch, name.endswith("alone"))
        config = config_of(base, masked_rows=rows, attn_implementation=name.split()[0])
        inputs = random_batch(config)
        mask = masks_and_none()[kind]
        inputs = {"input_ids": inputs["input_ids"], **({} if mask is None else {"attention_mask": mask})}
        results[name] = pt_results(config, inputs)
    for name in fused:
        assert_all_close(results[name][0], results["eager"][0], name)
        assert_gradients_close(results[name][1], results["eager"][1], f"{name} gradient")
    model = model_of("pt", config_of(base, masked_rows=rows, attn_implementation="flex"))
    with torch.inference_mode():  # it has no backward pass on a CPU
        output = model(**pt_inputs(inputs), output_hidden_states=True)
    assert_all_close(flatten(output), results["eager"][0], "flex")


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize("kind", masks_and_none())
def test_flex_attention_compiles_with_every_mask(kind, monkeypatch):
    torch = pytest.importorskip("torch")
    import deberta_pt.encoder

    made = []
    block_mask = deberta_pt.encoder.block_mask
    monkeypatch.setattr(deberta_pt.encoder, "block_mask", lambda *given: made.append(1) or block_mask(*given))
    mask = masks_and_none()[kind]
    inputs = {"input_ids": random_batch(config_of("v3"))["input_ids"], "attention_mask": mask}
    inputs = {name: x for name, x in inputs.items() if x is not None}
    want = model_of("pt", config_of("v3", attn_implementation="eager"))(**pt_inputs(inputs))
    model = model_of("pt", config_of("v3", attn_implementation="flex"))
    with torch.inference_mode():
        assert_all_close(flatten(model(**pt_inputs(inputs))), flatten(want), "eager")
        assert len(made) == (mask is not None and not np.all(mask))  # once for all layers
        got = torch.compile(model, backend="aot_eager", fullgraph=True)(**pt_inputs(inputs))
    assert_all_close(flatten(got), flatten(want), "compiled")


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize(("kept", "alone"), [(0, False), (0, True), (512, False)])
@pytest.mark.parametrize("base", [*BASES, "c2p", "p2c"])
def test_far_keys_share_a_row(base, kept, alone, monkeypatch):
    """Texts several times as long as the reach of the positions, padded and packed: states and all gradients."""
    import deberta_pt.fast.blocked

    monkeypatch.setattr(deberta_pt.fast.blocked, "KEPT", kept)
    heads_alone(monkeypatch, alone)
    length = 60
    padded = np.arange(length) < np.array([[length], [40], [3], [17]])
    pairs = np.repeat((np.arange(length) // 45)[None, :, None] == (np.arange(length) // 45)[None, None], 4, 0)
    far = []
    parts_of = deberta_pt.fast.blocked._parts
    monkeypatch.setattr(deberta_pt.fast.blocked, "_parts", lambda *x: (far.append(p.far) or p for p in parts_of(*x)))
    for mask in (padded, padded[:, ::-1], pairs):
        results = {}
        for name in ("eager", "blocked"):
            config = config_of(base, attn_implementation=name)
            inputs = random_batch(config, length=length)
            inputs = {"input_ids": inputs["input_ids"], "attention_mask": np.ascontiguousarray(mask, np.int64)}
            results[name] = pt_results(config, inputs)
        assert_all_close(results["blocked"][0], results["eager"][0], "states")
        assert_gradients_close(results["blocked"][1], results["eager"][1], "gradient")
    assert {True, False} == set(far)


def tf_gradients(base, length, name, signature=None, **options):
    """States and gradients of a TensorFlow model in a graph; those of the reference, to compare with, step by step."""
    tf = pytest.importorskip("tensorflow")
    config = config_of(base, attn_implementation=name)
    model = model_of("tf", config)
    given = random_batch(config, length=length)
    direction = direction_of((4, length, 24))

    def run(ids, mask):
        with tf.GradientTape() as tape:
            states = model({"input_ids": ids, "attention_mask": mask}, training=True)["last_hidden_state"]
            loss = tf.reduce_sum(states * direction)
        found = zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True)
        return states, {v.name: tf.convert_to_tensor(g) for v, g in found if g is not None}

    graph = run if name == "eager" else tf.function(run, input_signature=signature, **options)
    states, found = graph(*(tf.constant(given[k], tf.int32) for k in ("input_ids", "attention_mask")))
    return states.numpy(), {k: v.numpy() for k, v in found.items()}


@pytest.fixture
def small_tf_blocks(monkeypatch):
    pytest.importorskip("tensorflow")
    import deberta_tf.fast.blocked

    sizes = {"FEWEST": 6, "MOST": 6, "ROWS": 6, "TILE": 4, "SCORES": 1000, "PIECE": 3, "WHOLE": 0}
    for name, value in sizes.items():
        monkeypatch.setattr(deberta_tf.fast.blocked, name, value)
    return lambda unrolled: monkeypatch.setattr(deberta_tf.fast.blocked, "UNROLLED", unrolled)


# Some are several times the reach of the positions.
TRACED = [(base, length) for base in BASES for length in (1, 21) if (base, length) != ("v2", 21)]
TRACED += [("v1", 60), ("c2p", 60)]


@pytest.mark.parametrize(
    ("base", "length", "unrolled"),
    [("v2", 21, 21), ("p2c", 60, 21)]  # the others take as long, and are slow tests
    + [pytest.param(base, length, 21, marks=pytest.mark.slow) for base, length in TRACED]
    + [pytest.param("v3", 60, 60, marks=pytest.mark.slow)],
)
def test_blocks_in_tensorflow(base, length, unrolled, small_tf_blocks):
    """Blocks one by one, and in a loop for unknown lengths: states and gradients of the plain form."""
    import tensorflow as tf

    small_tf_blocks(unrolled)
    expected = tf_gradients(base, length, "eager")
    for signature in (None, [tf.TensorSpec([None, None], tf.int32)] * 2):
        states, found = tf_gradients(base, length, "blocked", signature)
        assert_close(states, expected[0], "states")
        assert_gradients_close(found, expected[1], "gradient")


@pytest.mark.parametrize("compiled", [False, True])
def test_layers_that_are_alike_are_traced_once(compiled, monkeypatch):
    """Twice for an unknown length, at once and in a loop; under XLA, which is slow where it meets functions, each."""
    tf = pytest.importorskip("tensorflow")
    import deberta_tf.fast.blocked as module

    seen, plain = [], module.probabilities
    monkeypatch.setattr(module, "probabilities", lambda *given: seen.append(given) or plain(*given))
    config = small_config(num_hidden_layers=3, attn_implementation="blocked")
    model, inputs = model_of("tf", config), tf_inputs(random_batch(config))
    signature = [{name: tf.TensorSpec([None, None], x.dtype) for name, x in inputs.items()}]

    @tf.function(jit_compile=compiled, input_signature=signature)
    def step(given):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(given, training=True).last_hidden_state ** 2)
        return tape.gradient(loss, model.trainable_variables[-1])

    step.get_concrete_function()
    assert (len(seen) >= 3) if compiled else (len(seen) == 2)


@pytest.mark.slow
@pytest.mark.parametrize("length", [21, 60])
@pytest.mark.parametrize("base", BASES)
def test_a_loop_of_blocks_under_xla(base, length, small_tf_blocks):
    small_tf_blocks(0)
    expected = tf_gradients(base, length, "eager")
    states, found = tf_gradients(base, length, "blocked", jit_compile=True)
    assert_close(states, expected[0], "states")
    assert_gradients_close(found, expected[1], "gradient")


def test_the_choice_of_the_implementation():
    """Asked for what only one can give, the model takes that one; the rest of the output stays the same."""
    torch = pytest.importorskip("torch")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")

    def attention(base="v3", **changes):
        return model_of("pt", small_config(base, **changes)).encoder.layer[0].attention.self

    for name in ("sdpa", "eager", "blocked"):
        assert attention(attn_implementation=name).choose(False, 8, cpu) == name
        assert attention(attn_implementation=name).choose(True, 8, cpu) == "eager"
    found = [attention().choose(False, keys, device) for device in (cpu, gpu) for keys in (64, 128, 4096)]
    assert found == ["sdpa", "blocked", "blocked", "sdpa", "sdpa", "blocked"]
    for base, change in (("v1", {"talking_head": True}), ("v3", {"masked_rows": "uniform"})):
        assert attention(base, attn_implementation="sdpa", **change).choose(False, 8, cpu) == "eager"


def test_flex_falls_back_with_its_reason():
    torch = pytest.importorskip("torch")
    import deberta_pt.attention

    deberta_pt.attention._warn.cache_clear()
    config = small_config(attn_implementation="flex", attention_probs_dropout_prob=0.1)
    module = model_of("pt", config).train().encoder.layer[0].attention.self
    with pytest.warns(UserWarning, match="needs a CUDA device, the model is on 'cpu'"):
        assert module.choose(False, 128, torch.device("cpu")) == "blocked"
    with pytest.warns(UserWarning, match="no dropout of attention probabilities"):
        assert module.choose(False, 8, torch.device("cuda")) == "sdpa"
    assert module.eval().choose(False, 8, torch.device("cuda")) == "flex"


@pytest.mark.usefixtures("all_kinds")
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("keep", "alone"), [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("queries", [1, 7, 13])
@pytest.mark.parametrize("reach", [2, 13])
def test_gradients_of_blocks_are_those_of_finite_differences(reach, queries, keep, alone, dropout):
    """In float64, with one text padded and one packed, and the same elements dropped in both directions."""
    torch = pytest.importorskip("torch")
    from deberta_pt.fast.blocked import BlockedAttention

    generator = torch.Generator().manual_seed(3)
    keys = 13

    def tensor(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    inputs = [tensor(2, 2, n, 3) for n in (queries, keys, keys)] + [tensor(2, queries + keys - 1, 3) for _ in range(2)]
    mask = torch.ones(2, queries, keys, dtype=torch.bool)
    mask[0, :, :4] = False
    mask[1, : queries // 2, : keys // 2] = False
    mask[1, queries // 2 :, keys // 2 :] = False

    def attend(query, key, value, *tables):
        sizes = queries - 1, keys - 1, reach
        return BlockedAttention.apply(query, key, value, mask, None, *tables, *sizes, dropout, 5, keep, alone)

    assert torch.autograd.gradcheck(attend, inputs, fast_mode=queries > 7)


def test_blocks_cost_what_their_tokens_cost():
    """Padded and packed texts meet about as many keys as they see; what sees nothing meets none."""
    torch = pytest.importorskip("torch")
    from deberta_pt.fast.blocked import blocks

    query = torch.empty(2, 8, 1024, 64)  # blocks of 128 queries
    segments = torch.arange(1024) // 128
    packed = (segments[:, None] == segments[None])[None].repeat(2, 1, 1)
    packed[1] = False
    packed[1, :100, :100] = True

    def pairs(*masks, **options):
        met = blocks(query, 1024, *masks, **options)
        return sum((b.rows.stop - b.rows.start) * (b.keys.stop - b.keys.start) for b in met)

    assert pairs(None) == 2 * 1024**2
    assert pairs(packed) <= 8 * 128**2 + 128**2
    padded = torch.arange(1024)[None] >= torch.tensor([[900], [1024]])
    assert pairs(padded[:, None], ~padded) == 124**2
    assert [b.heads for b in blocks(query, 8192, None)][:3] == [slice(0, 4), slice(4, 8), slice(0, 4)]
    assert all(block.mask is None for block in blocks(query, 1024, packed) if block.text == 0)
    assert pairs(padded[:, None], ~padded, alone=True) == 8 * 124**2
    each = [(b.heads, b.rows) for b in blocks(query, 1024, None, alone=True)]
    assert each[7:9] == [(slice(7, 8), slice(0, 512)), (slice(0, 1), slice(512, 1024))]


@pytest.mark.parametrize("faster", [False, True])
def test_heads_are_alone_where_a_linear_map_is_faster(faster, monkeypatch):
    torch = pytest.importorskip("torch")
    import deberta_pt.fast.blocked
    import deberta_pt.fast.linear

    monkeypatch.setattr(deberta_pt.fast.linear, "onednn_is_faster", lambda rows: True)
    monkeypatch.setattr(deberta_pt.fast.blocked, "_alone_wins", lambda: faster)
    monkeypatch.setattr(deberta_pt.fast.linear, "computes_bfloat16", lambda: faster)
    for dtype in (torch.float32, torch.bfloat16):
        query = torch.empty(1, 2, 300, 64, dtype=dtype)
        assert deberta_pt.fast.blocked.is_alone(query, 300, None) == faster
        assert deberta_pt.fast.blocked.is_alone(query, 300, torch.ones(1, 1, 300) > 0) == faster
        assert not deberta_pt.fast.blocked.is_alone(query, 300, torch.ones(1, 300, 300) > 0)
        assert not deberta_pt.fast.blocked.is_alone(query, 255, None)
    monkeypatch.setattr(deberta_pt.fast.linear, "onednn_is_faster", lambda rows: False)
    assert not deberta_pt.fast.blocked.is_alone(torch.empty(1, 2, 300, 64), 300, None)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_attention_itself_is_raced_for_heads_alone(gain, monkeypatch, tmp_path):
    """Both ways are run, and give the same; the answer is kept."""
    torch = pytest.importorskip("torch")
    import deberta_pt.fast.blocked as module

    def race(runs):
        ((several, alone),) = runs
        torch.testing.assert_close(several(), alone())
        return gain

    monkeypatch.setenv("DEBERTA_ROUTES", str(tmp_path / "routes.json"))
    monkeypatch.setattr(module, "race", race)
    for _ in range(2):
        module._alone_wins.cache_clear()
        assert module._alone_wins() is (gain > 1)
        monkeypatch.setattr(module, "race", lambda runs: pytest.fail("a race was held again"))
    module._alone_wins.cache_clear()


def test_blocks_are_the_same_in_both_directions(monkeypatch):
    """Also where the rule would say something else when gradients are computed, as autocast or a switch may do."""
    torch = pytest.importorskip("torch")

    config = small_config(attn_implementation="blocked", attention_probs_dropout_prob=0.3)
    inputs, results = pt_inputs(random_batch(config)), []
    for changes in (False, True):
        heads_alone(monkeypatch, True)
        model = model_of("pt", config).train()
        torch.manual_seed(0)
        loss = model(**inputs).last_hidden_state.square().sum()
        heads_alone(monkeypatch, not changes)
        loss.backward()
        results.append(pt_gradients(model))
    assert_gradients_close(results[1], results[0], "gradient")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_dropout_in_tensorflow_keeps_the_mean(rate, compiled):
    """Of an odd number of entries, and its gradient is that of what is kept."""
    tf = pytest.importorskip("tensorflow")
    from deberta_tf.fast.dropout import drop

    @tf.function(jit_compile=compiled)
    def run(x, seed):
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = drop(x, rate, seed)
        return found, tape.gradient(found, x)

    found, gradient = (x.numpy() for x in run(tf.ones((301, 1001)), tf.constant([3, 5])))
    dropped = (found == 0).mean(dtype=np.float64)
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / found.size) ** 0.5 + 2**-16
    assert found.max() == pytest.approx(1 / (1 - rate), rel=2**-16 / (1 - rate))
    assert abs(found.mean(dtype=np.float64) - 1) < 5 * (rate / (1 - rate) / found.size) ** 0.5
    assert np.array_equal(gradient, found)
    again, other = (run(tf.ones((301, 1001)), tf.constant(seed))[0].numpy() for seed in ([3, 5], [3, 6]))
    assert np.array_equal(again, found)
    assert not np.array_equal(other, found)
    assert abs(np.corrcoef(found.ravel() > 0, other.ravel() > 0)[0, 1]) < 5 / found.size**0.5


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_dropout_keeps_the_mean(rate):
    torch = pytest.importorskip("torch")
    from deberta_pt.layers import Dropout, keep_factors

    torch.manual_seed(0)
    factors = keep_factors(torch.empty(301, 1001), rate)
    dropped = (factors == 0).double().mean()
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / factors.numel()) ** 0.5 + 2**-16
    assert factors.max() == pytest.approx(1 / (1 - rate), rel=2**-16 / (1 - rate))
    assert abs(factors.double().mean() - 1) < 5 * (rate / (1 - rate) / factors.numel()) ** 0.5
    lanes = factors.flatten()[:301300].view(-1, 4) == 0  # four decisions of one draw are independent
    assert np.corrcoef(lanes.T.numpy()) == pytest.approx(np.eye(4), abs=0.02)
    layer, states = Dropout(rate), torch.ones(1000, requires_grad=True)
    torch.manual_seed(1)
    once = layer(states)
    torch.manual_seed(1)
    assert torch.equal(layer(states), once)
    once.sum().backward()
    assert torch.equal(states.grad, once.detach())
    assert torch.equal(layer.eval()(states), states)


@FRAMEWORKS
def test_attentions_on_request(framework):
    for name in ("auto", "eager", "sdpa"):
        config = small_config(attn_implementation=name)
        model, inputs = model_of(framework, config), random_batch(config)
        plain = call(framework, model, inputs)
        assert list(plain) == ["last_hidden_state"]
        full = call(framework, model, inputs, output_attentions=True)
        assert [k for k in full if k != "last_hidden_state"] == ["attentions_0", "attentions_1"]
        assert_close(full["last_hidden_state"], plain["last_hidden_state"], name)
        probs, mask = full["attentions_1"], inputs["attention_mask"] != 0
        assert probs.shape == (4, 3, 21, 21)
        sums = probs.sum(-1)  # [B, N, Q]
        assert_close(sums, np.broadcast_to(mask[:, None], sums.shape), "rows add up to one, or to zero where hidden")


@FRAMEWORKS
def test_hidden_states_only_on_request(framework):
    config = small_config("v2")
    model, inputs = model_of(framework, config), random_batch(config)
    assert len(model(**(pt_inputs if framework == "pt" else tf_inputs)(inputs))) == 1
    full = call(framework, model, inputs, output_hidden_states=True)
    states = [full[f"hidden_states_{i}"] for i in range(3)]
    assert "hidden_states_3" not in full
    assert (states[2] == full["last_hidden_state"]).all()
    config.output_hidden_states = config.output_attentions = True
    assert set(call(framework, model, inputs)) == set(full) | {"attentions_0", "attentions_1"}
    config.return_dict = False
    output = model(**(pt_inputs if framework == "pt" else tf_inputs)(inputs))
    assert isinstance(output, tuple)
    assert [len(part) if isinstance(part, tuple) else 0 for part in output] == [0, 3, 2]


def test_states_of_inner_layers_are_freed():
    """Without a request nothing holds them when the next layer runs."""
    pytest.importorskip("torch")
    import gc
    import weakref

    import torch

    config = small_config(num_hidden_layers=4)
    model, alive, seen = model_of("pt", config), [], []

    def remember(_module, _inputs, output):
        gc.collect()
        seen.append(sum(ref() is not None for ref in alive))
        alive.append(weakref.ref(output[0]))

    for layer in model.encoder.layer:
        layer.register_forward_hook(remember)
    with torch.no_grad():
        model(**pt_inputs(random_batch(config)))
    assert max(seen) <= 1, "only the input of the running layer"


DTYPES = ("bool", "int64", "int32", "uint8", "float32", "float16")


@FRAMEWORKS
@pytest.mark.parametrize("base", ["v2", "v1"])
def test_mask_dtypes(framework, base):
    """Non-zero is visible, whatever the dtype and the value."""
    config = small_config(base)
    model, inputs = model_of(framework, config), random_batch(config)
    for kind, mask in masks(21).items():
        want = call(framework, model, {**inputs, "attention_mask": mask})
        for dtype in DTYPES:
            got = call(framework, model, {**inputs, "attention_mask": mask.astype(dtype)})
            assert_all_close(got, want, f"{kind} {dtype}", tolerance=0)
        got = call(framework, model, {**inputs, "attention_mask": mask.astype(np.float32) * 0.5})
        assert_all_close(got, want, f"{kind} of halves", tolerance=0)
        got = call(framework, model, {**inputs, "attention_mask": mask * 7})
        assert_all_close(got, want, f"{kind} of sevens", tolerance=0)


@FRAMEWORKS
@pytest.mark.parametrize("base", BASES)
def test_a_row_that_sees_nothing(framework, base):
    """Zero context and probabilities; nothing that is padded changes what is not."""
    config = small_config(base)
    model, inputs = model_of(framework, config), random_batch(config)
    full = call(framework, model, inputs, output_attentions=True)
    assert not full["attentions_0"][3].any()
    assert np.isfinite(full["last_hidden_state"]).all()
    other = inputs["input_ids"].copy()
    other[inputs["attention_mask"] == 0] = 9
    again = call(framework, model, {**inputs, "input_ids": other}, output_attentions=True)
    assert_all_close(again, full, "other tokens under the padding", tolerance=0)


@FRAMEWORKS
@pytest.mark.parametrize("base", BASES)
def test_padding_changes_nothing(framework, base):
    """A text alone, and padded on either side."""
    config = small_config(base)
    model, ids = model_of(framework, config, dtype="float64"), random_batch(config)["input_ids"][:1, :13]
    alone = call(framework, model, {"input_ids": ids})["last_hidden_state"]
    for left, right in ((0, 8), (8, 0), (3, 5)):
        sides = ((0, 0), (left, right))
        inputs = {"input_ids": np.pad(ids, sides), "attention_mask": np.pad(np.ones_like(ids), sides)}
        got = call(framework, model, inputs)["last_hidden_state"][:, left : left + 13]
        assert_close(got, alone, f"{left} left, {right} right", tolerance=1e-9)


@FRAMEWORKS
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_packed_texts(framework, base, absolute):
    """Several texts in one row, a mask of blocks and positions of their own, equal separate runs: nothing leaks."""
    more = {"position_biased_input": True} if absolute else {}
    config = small_config(base, conv_kernel_size=5, **more) if base == "v2" else small_config(base, **more)
    model, rng = model_of(framework, config, dtype="float64"), np.random.default_rng(8)
    lengths = [1, 5, 9, 3]
    texts = [rng.integers(1, 53, (1, n)) for n in lengths]
    alone = [call(framework, model, {"input_ids": ids})["last_hidden_state"] for ids in texts]
    segment = np.repeat(np.arange(1, 5), lengths)
    segment = np.pad(segment, (0, 3))[None]  # and three tokens of padding
    packed = {
        "input_ids": np.pad(np.concatenate(texts, 1), ((0, 0), (0, 3))),
        "attention_mask": (segment[:, :, None] == segment[:, None]) & (segment[:, None] > 0),
        "position_ids": np.pad(np.concatenate([np.arange(n) for n in lengths]), (0, 3))[None],
    }
    got = call(framework, model, packed)["last_hidden_state"]
    assert_close(got[:, : sum(lengths)], np.concatenate(alone, 1), "packed", tolerance=1e-9)
    four = {**packed, "attention_mask": packed["attention_mask"][:, None]}
    assert_close(call(framework, model, four)["last_hidden_state"], got, "with an axis of heads", tolerance=0)


@FRAMEWORKS
def test_embeds_equal_ids(framework):
    config = small_config("v2", embedding_size=10)
    values = random_weights(config)
    model, inputs = model_of(framework, config, values), random_batch(config)
    want = call(framework, model, inputs)
    rows = values["deberta.embeddings.word_embeddings.weight"].astype(np.float32)[inputs.pop("input_ids")]
    assert_all_close(call(framework, model, {**inputs, "inputs_embeds": rows}), want, "embeds", tolerance=0)


@FRAMEWORKS
def test_types_without_a_table_are_ignored(framework):
    config = small_config("v1")
    model, inputs = model_of(framework, config), random_batch(config)
    types = np.ones_like(inputs["input_ids"])
    want = call(framework, model, inputs)
    assert_all_close(call(framework, model, {**inputs, "token_type_ids": types}), want, "types", tolerance=0)


@FRAMEWORKS
@pytest.mark.parametrize("base", BASES)
def test_products_that_leave_half_precision_stay_finite(framework, base):
    """Unscaled, the products of queries and relative keys exceed 65504; scaled first, they fit float16."""
    config = small_config(base, num_attention_heads=1, hidden_size=64, layer_norm_eps=1e-7)
    values = random_weights(config)
    for key in values:
        if "attention.self" in key and key.endswith("weight"):
            values[key] = np.abs(values[key]) * 14 / np.sqrt(64) * 8
        elif "rel_embeddings" in key or key == "deberta.encoder.LayerNorm.weight":
            values[key] = np.abs(values[key]) + 1
    inputs = random_batch(config)
    wide = call(framework, model_of(framework, config, values), inputs, output_hidden_states=True)
    assert np.isfinite(wide["last_hidden_state"]).all()
    half = call(framework, model_of(framework, config, values, dtype="float16"), inputs)
    assert np.isfinite(half["last_hidden_state"]).all()


@FRAMEWORKS
@pytest.mark.parametrize(("dtype", "limit"), [("bfloat16", 0.06), ("float16", 0.01)])
@pytest.mark.parametrize("base", BASES)
def test_half_precision_is_near(framework, base, dtype, limit):
    """8 bits of mantissa leave 2 to 3 percent after two layers of random weights, 11 bits half a percent."""
    config = small_config(base)
    values, inputs = random_weights(config, spread=0.1), random_batch(config)
    want = call(framework, model_of(framework, config, values), inputs)["last_hidden_state"]
    model = model_of(framework, config, values, dtype=dtype)
    output = model(**(pt_inputs if framework == "pt" else tf_inputs)(inputs)).last_hidden_state
    assert dtype in str(output.dtype)
    got = output.float().detach().numpy() if framework == "pt" else output.numpy().astype(np.float32)
    assert_close(got, want, dtype, tolerance=limit)


def test_autocast():
    torch = pytest.importorskip("torch")
    for base in BASES:
        for name in ("eager", "sdpa"):
            config = small_config(base, attn_implementation=name)
            model, inputs = model_of("pt", config), random_batch(config)
            want = call("pt", model, inputs)["last_hidden_state"]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(**pt_inputs(inputs)).last_hidden_state
            output.sum().backward()
            assert_close(output.detach().float(), want, f"{base} {name}", tolerance=0.06)  # bfloat16, as above


@pytest.mark.parametrize("base", BASES)
def test_a_traced_length_is_not_baked_in(base):
    """TensorFlow graphs of unknown batch and length, the same numbers as eager, one token included."""
    tf = pytest.importorskip("tensorflow")
    config = small_config(base)
    model = model_of("tf", config)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int64)] * 2, autograph=False)
    def graph(ids, mask):
        traces.append(1)
        return model(ids, attention_mask=mask, output_attentions=True, output_hidden_states=True)

    for length in (1, 2, 9, 40):
        inputs = random_batch(config, length=length)
        got = flatten(graph(inputs["input_ids"], inputs["attention_mask"]))
        want = call("tf", model, inputs, output_attentions=True, output_hidden_states=True)
        assert_all_close(got, want, f"length {length}")
    assert len(traces) == 1


@pytest.mark.parametrize("base", BASES)
def test_xla(base):
    tf = pytest.importorskip("tensorflow")
    config = small_config(base)
    model, inputs = model_of("tf", config), random_batch(config)
    compiled = tf.function(lambda given: model(given, output_attentions=True), jit_compile=True, autograph=False)
    want = call("tf", model, inputs, output_attentions=True)
    assert_all_close(flatten(compiled(tf_inputs(inputs))), want, "xla")
