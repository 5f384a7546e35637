"""Models prepared for inference give what the plain ones give."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from deberta_core.relative_position import distance_rows, even_distance
from tests.models.helpers import (
    BASES,
    assert_all_close,
    assert_close,
    flatten,
    pt_inputs,
    pt_model,
    random_batch,
    random_inputs,
    random_weights,
    small_config,
    tf_inputs,
    tf_model,
)
from tests.models.switches import SWITCHES, cases
from tests.models.test_reference import masks

torch = pytest.importorskip("torch")
deberta_pt = pytest.importorskip("deberta_pt")

HEADS = ("ForMaskedLM", "ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering",
         "ForMultipleChoice", "ForReplacedTokenDetection")  # fmt: skip


def both(config, head="Model", **options):
    model = pt_model(config, head, random_weights(config, head)).eval()
    return model, deberta_pt.optimize_for_inference(model, **options)


def same(plain, prepared, inputs, **options):
    with torch.inference_mode():
        expected = flatten(plain(**pt_inputs(inputs), **options))
        assert_all_close(flatten(prepared(**pt_inputs(inputs), **options)), expected, "prepared")


@pytest.mark.parametrize("base", BASES)
def test_tensorflow(base):
    """The other tree: all states, attentions on request, every kind of mask, a graph of any length."""
    tf = pytest.importorskip("tensorflow")
    import deberta_tf

    config = small_config(base)
    plain = tf_model(config)
    prepared = deberta_tf.optimize_for_inference(plain)
    ids = random_batch(config)["input_ids"]
    for kind in ("none", *masks(21)):
        given = {"input_ids": ids} | ({} if kind == "none" else {"attention_mask": masks(21)[kind]})
        for options in ({"output_hidden_states": True}, {"output_attentions": True}):
            expected = flatten(plain(**tf_inputs(given), **options))
            assert_all_close(flatten(prepared(**tf_inputs(given), **options)), expected, kind)
    graph = tf.function(lambda ids: prepared(ids)["last_hidden_state"])
    graph = graph.get_concrete_function(tf.TensorSpec([None, None], tf.int32))
    for length in (1, 21):
        some = tf.constant(ids[:, :length], tf.int32)
        assert_close(graph(some).numpy(), plain(some)["last_hidden_state"].numpy(), f"length {length}")
    with pytest.raises(ValueError, match="save the one it was made of"):
        prepared.save_pretrained("unused")
    with pytest.raises(TypeError, match="expected a model of deberta_tf, got a Dense"):
        deberta_tf.optimize_for_inference(tf.keras.layers.Dense(1))


@pytest.mark.parametrize("base", BASES)
def test_tensorflow_heads(base):
    """The head that decodes twice with queries of its own, and the others' shared way."""
    pytest.importorskip("tensorflow")
    import deberta_tf

    config = small_config(base, mlm_head="emd", max_position_embeddings=24)
    for head in ("ForMaskedLM", "ForSequenceClassification"):
        plain = tf_model(config, head)
        given = tf_inputs(random_inputs(config, head, labels=False))
        assert_all_close(flatten(deberta_tf.optimize_for_inference(plain)(**given)), flatten(plain(**given)), head)


@pytest.mark.parametrize(("base", "switch"), cases())
def test_every_switch(base, switch):
    """All states of all positions, hidden ones included."""
    config = small_config(base, **SWITCHES[switch][1])
    same(*both(config), random_batch(config), output_hidden_states=True)


def lengths_about_the_even_part_of_the_table(config):
    even = even_distance(distance_rows(config))
    assert 1 < even < 60
    return even, (1, 2, even, even + 1, even + 2, even + 9)


@pytest.mark.parametrize("terms", ["c2p|p2c", "c2p", "p2c"])
@pytest.mark.parametrize("base", BASES)
def test_lengths_about_the_even_part_of_the_table(base, terms):
    """Short texts read the table where it lies, if rows follow distances one by one; longer ones copy rows."""
    config = small_config(base, pos_att_type=terms)
    plain, prepared = both(config)
    for length in lengths_about_the_even_part_of_the_table(config)[1]:
        same(plain, prepared, random_batch(config, length=length))


@pytest.mark.parametrize("base", BASES)
def test_lengths_about_the_even_part_of_the_table_tensorflow(base):
    tf = pytest.importorskip("tensorflow")
    import deberta_tf

    config = small_config(base)
    even, lengths = lengths_about_the_even_part_of_the_table(config)
    plain = tf_model(config)
    prepared = deberta_tf.optimize_for_inference(plain)
    graph = tf.function(lambda ids: prepared(ids)["last_hidden_state"])
    compiled = tf.function(lambda ids: prepared(ids)["last_hidden_state"], jit_compile=True)
    for length in lengths:
        ids = tf_inputs(random_batch(config, length=length))["input_ids"]
        expected = plain(ids)["last_hidden_state"].numpy()
        assert_close(graph(ids).numpy(), expected, f"graph of length {length}")
        if length in (even, even + 2):
            assert_close(compiled(ids).numpy(), expected, f"compiled for length {length}")
    attention = prepared.encoder.layer[0].attention.self
    kept = sum(table.pos_key.shape[1] for table in attention.slices.values())
    assert 0 < kept <= attention.pos_key.shape[1], "slices that are kept hold no more than the tables"


def test_a_prepared_model_is_exported(tmp_path):
    """With the slices of its length, which are no variables."""
    tf = pytest.importorskip("tensorflow")
    import deberta_tf

    config = small_config("v3", num_hidden_layers=1)
    plain = tf_model(config)
    prepared = deberta_tf.optimize_for_inference(plain)
    given = tf_inputs(random_batch(config, length=2))["input_ids"]
    spec = tf.TensorSpec([None, 2], given.dtype)
    serve = tf.function(lambda ids: {"states": prepared(ids).last_hidden_state}, input_signature=[spec])
    tf.saved_model.save(prepared, str(tmp_path), signatures=serve)
    assert prepared.encoder.layer[0].attention.self.slices
    found = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](given)["states"]
    assert_close(found, plain(given).last_hidden_state, "exported")


@pytest.mark.parametrize("length", ["long", "short"])
@pytest.mark.parametrize("kind", masks(21))
@pytest.mark.parametrize("base", BASES)
def test_every_mask(base, kind, length):
    """Of texts that are long or short beside the even part of the table."""
    table = {"max_relative_positions": 32} | ({} if base == "v1" else {"position_buckets": -1})
    config = small_config(base, **(table if length == "short" else {}))
    assert (even_distance(distance_rows(config)) > 21) == (length == "short")
    plain, prepared = both(config)
    ids = random_batch(config)["input_ids"]
    for options in ({"output_hidden_states": True}, {"output_attentions": True}):
        same(plain, prepared, {"input_ids": ids, "attention_mask": masks(21)[kind]}, **options)
        same(plain, prepared, {"input_ids": ids}, **options)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("base", BASES)
def test_every_head(base, head):
    config = small_config(base)
    same(*both(config, head), random_inputs(config, head))


def test_decoding_by_absolute_positions():
    config = small_config("v3", mlm_head="emd", max_position_embeddings=24)
    same(*both(config, "ForMaskedLM"), random_inputs(config, "ForMaskedLM"))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("base", BASES)
def test_many_blocks(base, alone, monkeypatch):
    """Of several heads, or of one each."""
    import deberta_pt.fast.blocked

    monkeypatch.setattr(deberta_pt.fast.blocked, "is_alone", lambda *_: alone)
    for name, value in (("ROWS", 6), ("TILE", 4), ("SCORES", 1), ("FEWEST", 2)):
        monkeypatch.setattr(deberta_pt.fast.blocked, name, value)
    config = small_config(base)
    same(*both(config), random_batch(config, length=50), output_attentions=True)
    same(*both(config), random_batch(config, length=50), output_hidden_states=True)


def test_the_model_it_was_made_of_stays_as_it_is():
    config = small_config()
    plain, prepared = both(config)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    assert all(p.requires_grad for p in plain.parameters())
    assert not any(p.requires_grad for p in prepared.parameters())
    assert type(prepared) is type(plain)
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    words = plain.get_input_embeddings().weight, prepared.get_input_embeddings().weight
    assert words[0].data_ptr() == words[1].data_ptr()
    with pytest.raises(ValueError, match="save the one it was made of"):
        prepared.save_pretrained("unused")


def test_bfloat16_without_instructions_for_it_is_told(monkeypatch):
    import deberta_pt.fast.inference

    monkeypatch.setattr(deberta_pt.fast.inference, "computes_bfloat16", lambda: False)
    with pytest.warns(UserWarning, match="no instructions for bfloat16"):
        both(small_config(), dtype=torch.bfloat16)


@pytest.mark.filterwarnings("ignore:this processor has no instructions")
def test_bfloat16_is_near():
    config = small_config()
    plain, prepared = both(config, dtype=torch.bfloat16)
    inputs = pt_inputs(random_batch(config))
    found, expected = (m(**inputs).last_hidden_state.float().detach().numpy() for m in (prepared, plain))
    assert prepared.dtype == torch.bfloat16
    assert np.abs(found - expected).max() < 0.06 * np.abs(expected).max()


@pytest.fixture
def onednn():
    """The module that chooses a library, where there are two."""
    import deberta_pt.fast.linear

    if not deberta_pt.fast.linear.has_onednn():
        pytest.skip("this PyTorch was built without oneDNN")
    return deberta_pt.fast.linear


def test_onednn_gives_the_same(onednn, monkeypatch):
    """Whichever library wins the race on this machine, the other one is right, too."""
    config = small_config()
    plain, prepared = both(config)
    batch = random_batch(config)
    with torch.no_grad():
        expected = plain(**pt_inputs(batch)).last_hidden_state
    for faster in (True, False):
        monkeypatch.setattr(onednn, "onednn_is_faster", lambda rows, faster=faster: faster)
        for reordered in (False, True):
            monkeypatch.setattr(onednn, "reordered_is_faster", lambda rows, reordered=reordered: reordered)
            same(plain, prepared, batch, output_hidden_states=True)
        with torch.no_grad():
            assert_close(plain(**pt_inputs(batch)).last_hidden_state, expected, "states")


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_many_rows_read_weights_in_another_order_where_that_is_faster(onednn, monkeypatch, tmp_path, gain):
    """Few always do; for many there is a race, which is not that of weights as they are."""
    monkeypatch.setenv("DEBERTA_ROUTES", str(tmp_path / "routes.json"))
    monkeypatch.setattr(onednn, "race", lambda runs: [run() for both in runs for run in both] and gain)
    monkeypatch.setattr(onednn, "onednn_is_faster", lambda rows: False)
    layer = onednn.FrozenLinear(torch.randn(5, 8), torch.randn(5))
    for rows in (onednn.FEW, onednn.FEW + 1):
        layer._reordered, states = None, torch.randn(rows, 8)
        onednn._wins_reordered.cache_clear()
        expected = torch.nn.functional.linear(states, layer.weight, layer.bias)
        assert_close(layer(states), expected, "states")
        assert (layer._reordered is not None) == (rows == onednn.FEW or gain > 1)
    onednn._wins_reordered.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_onednn_takes_weights_in_any_order(onednn, dtype):
    """Also with gaps between the rows or the columns, which it would multiply without its fast kernels."""
    if dtype == torch.bfloat16 and not onednn.computes_bfloat16():
        pytest.skip("this processor has no instructions for bfloat16")
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    states, weight = torch.randn(7, 16, dtype=dtype), torch.randn(40, 48, dtype=dtype)
    for one in (weight[:, :16], weight[:16].t(), weight[::2, 16:32], weight[:, ::3], weight[:16, :16].contiguous()):
        expected = torch.nn.functional.linear(states.float(), one.float())
        assert_close(onednn.by_onednn(states, one).float(), expected, "states", tolerance=tolerance)


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("recorded", range(1, 8))
def test_onednn_has_the_same_gradients(onednn, monkeypatch, recorded, sums):
    """Of whatever asks for one, and the gradients' own gradients."""
    monkeypatch.setattr(onednn, "onednn_trains_faster", lambda rows: True)
    monkeypatch.setattr(onednn, "onednn_sums_faster", lambda: sums)
    values = torch.randn(2, 7, 24), torch.randn(5, 24), torch.randn(5), torch.randn(2, 7, 5)

    def run(linear):
        inputs = [x.clone().requires_grad_(bool(recorded >> i & 1)) for i, x in enumerate(values[:3])]
        asked = [x for x in inputs if x.requires_grad]
        found = linear(*inputs)
        first = torch.autograd.grad((found.tanh() * values[3]).sum(), asked, create_graph=True)
        second = torch.autograd.grad(sum((x * x).sum() for x in first), asked)
        return type(found.grad_fn).__name__, (found, *first, *second)

    (name, found), (_, expected) = run(onednn.linear), run(torch.nn.functional.linear)
    assert name == "OneDnnLinearBackward"
    for one, other in zip(found, expected, strict=True):
        assert_close(one.detach(), other.detach(), "gradients")


def test_a_model_trains_the_same_by_onednn(onednn, monkeypatch):
    config = small_config()
    inputs = pt_inputs(random_batch(config))
    found, calls, product = [], [], onednn.by_onednn
    monkeypatch.setattr(onednn, "by_onednn", lambda *x: calls.append(x) or product(*x))
    for faster in (False, True):
        monkeypatch.setattr(onednn, "onednn_trains_faster", lambda rows, faster=faster: faster)
        model = pt_model(config, "ForSequenceClassification", random_weights(config, "ForSequenceClassification"))
        model(**inputs).logits.square().sum().backward()
        found.append({name: x.grad for name, x in model.named_parameters()})
        assert bool(calls) == faster
    for name, expected in found[0].items():
        assert_close(found[1][name], expected, name)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_the_faster_one_trains(monkeypatch, tmp_path, gain):
    import deberta_pt.fast.linear

    monkeypatch.setenv("DEBERTA_ROUTES", str(tmp_path / "routes.json"))
    monkeypatch.setattr(deberta_pt.fast.linear, "_race", lambda operands: gain)
    monkeypatch.setattr(deberta_pt.fast.linear, "has_onednn", lambda: True)
    races = deberta_pt.fast.linear._wins_training, deberta_pt.fast.linear._wins_sums
    for held in races:
        held.cache_clear()
    try:
        assert deberta_pt.fast.linear.onednn_trains_faster(1024) is (gain > 1)
        assert deberta_pt.fast.linear.onednn_sums_faster() is (gain > 1)
        assert not deberta_pt.fast.linear.onednn_trains_faster(8)
        torch.use_deterministic_algorithms(True)
        assert not deberta_pt.fast.linear.onednn_trains_faster(1024)
        assert not deberta_pt.fast.linear.onednn_sums_faster()
    finally:
        torch.use_deterministic_algorithms(False)
        for held in races:
            held.cache_clear()


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_products_of_a_head_filled_the_memory(monkeypatch, tmp_path, gain):
    """Each length is a shape of its own there, for which oneDNN keeps code: it has to win at them, too."""
    import deberta_pt.fast.blocked
    import deberta_pt.fast.linear as module

    monkeypatch.setenv("DEBERTA_ROUTES", str(tmp_path / "routes.json"))
    monkeypatch.setattr(module, "_race", lambda operands: gain)
    monkeypatch.setattr(module, "has_onednn", lambda: True)
    monkeypatch.setattr(module, "_wins", lambda rows: True)
    calls, (states, others) = [], (torch.randn(1, 5, 4), torch.randn(1, 7, 4))
    monkeypatch.setattr(module, "by_onednn", lambda *x: calls.append(x) or torch.nn.functional.linear(*x))
    module._wins_alone.cache_clear()
    try:
        found = deberta_pt.fast.blocked.product(states, others)
    finally:
        module._wins_alone.cache_clear()
    assert_close(found, states @ others.transpose(1, 2), "product")
    assert bool(calls) is (gain > 1)


def test_no_race_decides_where_results_are_to_be_the_same_in_each_process(monkeypatch):
    import deberta_pt.fast.linear

    monkeypatch.setattr(deberta_pt.fast.linear, "_wins", lambda rows: True)
    monkeypatch.setattr(deberta_pt.fast.linear, "has_onednn", lambda: True)
    assert deberta_pt.fast.linear.onednn_is_faster(8)
    assert not deberta_pt.fast.linear.onednn_is_faster(0)
    torch.use_deterministic_algorithms(True)
    try:
        assert not deberta_pt.fast.linear.onednn_is_faster(8)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_linear_layer_that_is_watched_is_called(monkeypatch):
    """Hooks and replaced forwards see every call, whatever computes the rest."""
    import deberta_pt.fast.linear

    monkeypatch.setattr(deberta_pt.fast.linear, "onednn_is_faster", lambda rows: True)
    layer, states, seen = torch.nn.Linear(4, 3), torch.randn(2, 4), []
    handle = layer.register_forward_hook(lambda *_: seen.append("hook"))
    with torch.no_grad():
        expected = deberta_pt.fast.linear.apply(layer, states)
    handle.remove()
    handle = layer.register_full_backward_hook(lambda *_: seen.append("backward"))
    deberta_pt.fast.linear.apply(layer, states.clone().requires_grad_()).sum().backward()
    handle.remove()
    with torch.no_grad():
        assert torch.allclose(deberta_pt.fast.linear.apply(layer, states), expected, atol=1e-6)
        layer.forward = lambda x: seen.append("forward")
        deberta_pt.fast.linear.apply(layer, states)
    assert seen == ["hook", "backward", "forward"]


def test_reordered_weights_follow_the_model():
    import deberta_pt.fast.linear

    layer = deberta_pt.fast.linear.FrozenLinear(torch.randn(3, 4), torch.randn(3))
    states = torch.randn(2, 4)
    first = layer(states)
    assert copy.deepcopy(layer)(states).equal(first)
    layer.to(torch.float64)
    assert layer(states.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(states).dtype == torch.bfloat16


def test_what_cannot_be_prepared():
    model = pt_model(small_config(), "Model", random_weights(small_config()))
    with pytest.raises(TypeError, match="expected a model of deberta_pt, got a Linear"):
        deberta_pt.optimize_for_inference(torch.nn.Linear(2, 2))
    model.encoder.layer[1].attention.self.query_proj = torch.nn.Sequential(torch.nn.Linear(24, 24))
    with pytest.raises(ValueError, match="is a Sequential: merge adapters first"):
        deberta_pt.optimize_for_inference(model)
    model = pt_model(small_config(), "Model", random_weights(small_config()))
    with pytest.raises(ValueError, match="has its heads in one matrix; prune the one it was made of"):
        deberta_pt.optimize_for_inference(model).prune_heads({0: [1]})
    model.encoder.layer[1].output.dense = torch.nn.Sequential(torch.nn.Linear(20, 24))
    with pytest.raises(ValueError, match="is a Sequential: merge adapters first"):
        deberta_pt.optimize_for_inference(model)


def test_texts_of_all_lengths_do_not_fill_the_memory(monkeypatch):
    """oneDNN keeps code for each number of rows: in the long run it meets a few of them."""
    from torch.utils._python_dispatch import TorchDispatchMode

    import deberta_pt.fast.linear

    if not deberta_pt.fast.linear.has_onednn():
        pytest.skip("this PyTorch was built without oneDNN")
    monkeypatch.setattr(deberta_pt.fast.linear, "_met", set())
    met = set()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "_linear_pointwise" in str(func):
                met.add(args[0].shape[:-1].numel())
            return func(*args, **(kwargs or {}))

    weight, bias = torch.randn(5, 3), torch.randn(5)
    with torch.no_grad(), Counting():
        for rows in [*range(1, 400), 7, 399]:
            states = torch.randn(1, rows, 3)
            found = deberta_pt.fast.linear.by_onednn(states, weight, bias)
            assert found.shape == (1, rows, 5)
            assert_close(found, torch.nn.functional.linear(states, weight, bias), str(rows))
    assert {*range(1, 65)} <= met  # the first ones as they are
    assert len(met) <= 64 + 3 * 8


def test_batches_of_all_lengths_do_not_fill_the_memory(monkeypatch):
    """Gradients of weights are sums over rows, for whose numbers oneDNN keeps code, too."""
    from torch.utils._python_dispatch import TorchDispatchMode

    import deberta_pt.fast.linear
    from deberta_pt.fast.linear import OneDnnLinear, has_onednn

    if not has_onednn():
        pytest.skip("this PyTorch was built without oneDNN")
    monkeypatch.setattr(deberta_pt.fast.linear, "onednn_sums_faster", lambda: True)
    met = set()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "_linear_pointwise" in str(func):
                met.add(args[0].shape[-1])
            return func(*args, **(kwargs or {}))

    weight, bias = torch.randn(5, 3, requires_grad=True), torch.randn(5, requires_grad=True)
    for rows in range(256, 512):
        states, upstream = torch.randn(1, rows, 3, requires_grad=True), torch.randn(1, rows, 5)
        wanted = torch.autograd.grad(torch.nn.functional.linear(states, weight, bias), (states, weight, bias), upstream)
        with Counting():
            output = OneDnnLinear.apply(states, weight, bias)
            found = torch.autograd.grad(output, (states, weight, bias), upstream)
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other, str(rows))
    assert {number for number in met if number > 5} == {256, *range(288, 513, 32)}
