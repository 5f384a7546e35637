"""What PyTorch training loops do with a model besides calling it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import deberta_pt  # noqa: E402
from tests.models.helpers import class_name, existing, pt_inputs, pt_model, random_inputs, small_config  # noqa: E402

HEADS, WHOLE = existing(deberta_pt), "ForSequenceClassification"
BASES = ["v1", "v2", "v3"]


def loss_and_gradients(model: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(3)
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize(("base", "head"), [(b, "ForSequenceClassification") for b in BASES] + [("v3", "ForMaskedLM")])
def test_gradient_checkpointing_changes_nothing(base: str, head: str, reentrant: bool) -> None:
    config = small_config(
        base, num_hidden_layers=3, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, mlm_head="emd",
        max_position_embeddings=32,
    )  # fmt: skip
    model, inputs = pt_model(config, head).train(), pt_inputs(random_inputs(config, head))
    loss, gradients = loss_and_gradients(model, inputs)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    assert model.is_gradient_checkpointing
    again, recomputed = loss_and_gradients(model, inputs)
    assert torch.equal(loss, again)
    assert gradients.keys() == recomputed.keys()
    for name, gradient in gradients.items():
        if head == "ForMaskedLM" and reentrant:  # one layer runs twice: its uses are added up in another order
            torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-6 * float(gradient.abs().max()))
        else:
            assert torch.equal(recomputed[name], gradient), name
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


def test_gradient_checkpointing_recomputes() -> None:
    config = small_config("v3")
    model = pt_model(config, "ForSequenceClassification").train()
    calls = []
    model.deberta.encoder.layer[0].register_forward_pre_hook(lambda *_: calls.append(1))
    model.gradient_checkpointing_enable()
    loss_and_gradients(model, pt_inputs(random_inputs(config, "ForSequenceClassification")))
    assert len(calls) == 2


@pytest.mark.parametrize("head", [h for h in HEADS if h != "Model"])
@pytest.mark.parametrize("base", BASES)
def test_no_weight_goes_unused(base: str, head: str) -> None:
    config = small_config(base)
    model = pt_model(config, head).train()
    _, gradients = loss_and_gradients(model, pt_inputs(random_inputs(config, head)))
    assert gradients.keys() == {n for n, _ in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("base", BASES)
def test_half_precision_trains(base: str, dtype: Any) -> None:
    config = small_config(base)
    inputs = pt_inputs(random_inputs(config, "ForTokenClassification"))
    model = pt_model(config, "ForTokenClassification").train()
    exact = model(**inputs)
    with torch.autocast("cpu", dtype=dtype):
        mixed, gradients = loss_and_gradients(model, inputs)
    pure, pure_gradients = loss_and_gradients(copy.deepcopy(model).to(dtype), inputs)
    for loss in (mixed, pure):
        assert loss.dtype == torch.float32
        assert abs(loss - exact.loss) < 0.1 * exact.loss  # 8 bits of mantissa through two layers
    assert all(torch.isfinite(g).all() for g in (*gradients.values(), *pure_gradients.values()))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("base", BASES)
def test_products_that_only_fit_when_scaled_stay_finite(base: str, implementation: str) -> None:
    """A product of 100,000 is beyond float16; divided by the scale it is not."""
    config = small_config(base, hidden_size=96, num_attention_heads=1, attn_implementation=implementation)
    model = pt_model(config)
    attention = model.encoder.layer[0].attention.self
    queries = torch.full((1, 4, 96), 33.0)
    attention.project = lambda hidden, query_states: (queries.half(), queries.half(), hidden)
    attention.project_positions = lambda rows: (rows * 0 + 33, rows * 0 + 33)
    model = model.half()
    hidden = torch.randn(1, 4, 96, dtype=torch.float16)
    relative = model.encoder.relative(4, 4, hidden.device)
    assert not torch.isfinite(queries.half() @ queries.half().mT).all()
    context, _ = attention(hidden, None, relative)
    assert torch.isfinite(context).all()


COMPILED = [  # tracing takes seconds a layer: two of the cases are tested always, one through two layers
    pytest.param(base, head, 2 if head == WHOLE else 1,
                 marks=() if (base, head) in (("v1", WHOLE), ("v2", "ForMaskedLM")) else pytest.mark.slow)
    for base in ("v1", "v2") for head in HEADS if head != "Model"
]  # fmt: skip


@pytest.mark.parametrize(("base", "head", "layers"), COMPILED)
def test_compiles_in_one_graph_for_all_lengths(base: str, head: str, layers: int) -> None:
    config = small_config(base, num_hidden_layers=layers)
    model = pt_model(config, head)
    graphs = []

    def count(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=count)
    given = {k: v for k, v in random_inputs(config, head).items() if k in ("input_ids", "attention_mask")}
    for length in (7, 12, 21, 40):
        inputs = pt_inputs(given)
        inputs = {k: v.repeat_interleave(2, -1)[..., :length] for k, v in inputs.items()}
        if head == "ForQuestionAnswering":
            labels = {"start_positions": torch.tensor([1, 2, -100, 50]), "end_positions": torch.tensor([1, 2, -100, 3])}
        elif head in ("ForMaskedLM", "ForTokenClassification", "ForReplacedTokenDetection"):
            labels = {"labels": torch.randint(0, 2, inputs["input_ids"].shape)}
        else:
            labels = {"labels": torch.tensor([0, 1, 1, 0])}
        ours, theirs = compiled(**inputs, **labels), model(**inputs, **labels)
        assert type(ours) is type(theirs)
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
    assert len(graphs) == 1


@pytest.mark.parametrize("base", BASES)
def test_pruned_heads_are_gone_for_good(base: str, tmp_path: Path) -> None:
    config = small_config(base, num_attention_heads=4)
    model = pt_model(config, "ForSequenceClassification")
    inputs = pt_inputs(random_inputs(config, "ForSequenceClassification", labels=False))
    cut = {0: [1], 1: [0, 3]}
    reference, size = copy.deepcopy(model), config.head_size
    with torch.no_grad():
        for layer, heads in cut.items():
            for head in heads:
                dense = reference.deberta.encoder.layer[layer].attention.output.dense
                dense.weight[:, head * size : (head + 1) * size] = 0
    model.prune_heads({0: [1], 1: [3]})
    model.prune_heads({1: [0]})
    wanted = reference(**inputs).logits
    torch.testing.assert_close(model(**inputs).logits, wanted, rtol=1e-5, atol=1e-5)
    assert model.deberta.encoder.layer[1].attention.output.dense.in_features == 2 * size
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config.pruned_heads == cut
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize(
    ("heads", "text"),
    [({5: [0]}, "layer 5 does not exist"), ({0: [3]}, r"heads \[3\] do not exist"), ({0: [0, 1, 2]}, "without heads")],
)
def test_pruning_what_is_not_there(heads: dict[int, list[int]], text: str) -> None:
    model = pt_model(small_config("v3"))
    with pytest.raises(ValueError, match=text):
        model.prune_heads(heads)
    assert model.config.pruned_heads == {}


def test_talking_heads_cannot_be_pruned() -> None:
    with pytest.raises(ValueError, match="talking heads"):
        pt_model(small_config("v1", talking_head=True)).prune_heads({0: [0]})


@pytest.mark.parametrize("kind", ["legacy", "plain", "emd", "untied"])
@pytest.mark.parametrize("count", [60, 40])
def test_resizing_keeps_the_logits_of_old_words(kind: str, count: int, tmp_path: Path) -> None:
    changes = {"mlm_head": "legacy", "tie_word_embeddings": False} if kind == "untied" else {"mlm_head": kind}
    config = small_config("v3", **changes)
    model = pt_model(config, "ForMaskedLM")
    inputs = {"input_ids": torch.randint(1, 40, (2, 9))}
    before = model(**inputs).logits
    table = model.resize_token_embeddings(count)
    after = model(**inputs).logits
    assert table is model.get_input_embeddings()
    assert table.num_embeddings == len(table.weight) == model.config.vocab_size == after.shape[-1] == count
    assert len(model.get_output_embeddings().weight) == count
    torch.testing.assert_close(after[..., :40], before[..., :40])
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path)(**inputs).logits, after)
    model.resize_token_embeddings(pad_to_multiple_of=64)
    assert model.config.vocab_size == 64


def test_resizing_never_cuts_the_pad_row() -> None:
    model = pt_model(small_config("v3", pad_token_id=20))
    with pytest.raises(ValueError, match="pad_token_id 20"):
        model.resize_token_embeddings(20)


def test_new_rows_can_start_around_the_mean() -> None:
    model = pt_model(small_config("v3"), "ForMaskedLM")
    mean, bias = model.get_input_embeddings().weight.mean(0), model.get_output_embeddings().bias.mean()
    table = model.resize_token_embeddings(60)
    torch.testing.assert_close(table.weight[53:], mean.expand(7, -1), rtol=0, atol=1e-4)
    assert len({tuple(row) for row in table.weight[53:].tolist()}) == 7, "not quite alike"
    torch.testing.assert_close(model.get_output_embeddings().bias[53:], bias.expand(7))
    table = model.resize_token_embeddings(67, mean_resizing=False)
    assert (table.weight[60:] - mean).abs().mean() > 1e-3


@pytest.mark.parametrize("tied", [True, False])
def test_the_matrix_that_predicts_words_is_a_linear_layer(tied: bool) -> None:
    model = pt_model(small_config("v3", mlm_head="legacy", tie_word_embeddings=tied), "ForMaskedLM")
    decoder = model.get_output_embeddings()
    assert isinstance(decoder, torch.nn.Linear)
    assert (decoder.weight is model.get_input_embeddings().weight) == tied
    names = dict(model.named_parameters())
    hidden = torch.randn(2, 5, decoder.in_features)
    if tied:
        torch.testing.assert_close(decoder(hidden), hidden @ decoder.weight.T + decoder.bias)
    assert decoder.out_features == 53
    assert dict(model.named_parameters()).keys() == names.keys(), "asking adds nothing"


@pytest.mark.parametrize("kind", ["legacy", "plain", "emd"])
def test_no_tied_double_in_the_state_dict(kind: str) -> None:
    model = pt_model(small_config("v3", mlm_head=kind), "ForMaskedLM")
    state = model.state_dict()
    assert len({t.data_ptr() for t in state.values()}) == len(state)
    fresh = type(model)(model.config)
    head = "cls.predictions.decoder" if kind == "legacy" else "lm_predictions.lm_head.decoder"
    doubled = {**state, f"{head}.weight": state["deberta.embeddings.word_embeddings.weight"]}
    fresh.load_state_dict(doubled)
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), state.values(), strict=True))


def test_parameter_groups_leave_biases_and_norms_alone() -> None:
    model = pt_model(small_config("v2"), "ForSequenceClassification")
    decayed, plain = model.parameter_groups(weight_decay=0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    assert {len(decayed["params"]) + len(plain["params"])} == {len(names)}
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    assert all(names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)] for p in plain["params"])
    assert not any(names[id(p)].endswith("bias") or "LayerNorm" in names[id(p)] for p in decayed["params"])


def test_input_gradients_for_frozen_tables() -> None:
    config = small_config("v3")
    model = pt_model(config, "ForSequenceClassification").train()
    model.requires_grad_(False)
    model.classifier.requires_grad_(True)
    seen = []
    model.deberta.encoder.layer[0].register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].requires_grad))
    inputs = pt_inputs(random_inputs(config, "ForSequenceClassification"))
    model(**inputs)
    model.enable_input_require_grads()
    model(**inputs).loss.backward()
    model.disable_input_require_grads()
    model(**inputs)
    assert seen == [False, True, False]


@pytest.mark.parametrize("base", ["v1", "v3"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_peft_lora(base: str, checkpointing: bool, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = small_config(base)
    model = pt_model(config, "ForSequenceClassification")
    inputs = pt_inputs(random_inputs(config, "ForSequenceClassification"))
    before = model(**inputs).logits
    targets = ["in_proj"] if base == "v1" else ["query_proj", "value_proj"]
    lora = peft.LoraConfig(task_type="SEQ_CLS", target_modules=targets, r=4)
    adapted = peft.get_peft_model(model, lora)
    torch.testing.assert_close(adapted(**inputs).logits, before)  # a fresh adapter changes nothing
    if checkpointing:
        adapted.gradient_checkpointing_enable()
        adapted.enable_input_require_grads()
    adapted.train()
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(4):
        loss = adapted(**inputs).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in adapted.parameters() if p.requires_grad)
        optimizer.step()
    assert losses[-1] < losses[0]
    adapted.eval().save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(pt_model(config, "ForSequenceClassification"), tmp_path).eval()
    torch.testing.assert_close(again(**inputs).logits, adapted(**inputs).logits)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["v1", "v3"])
def test_transformers_trainer(base: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = small_config(base, num_labels=2)
    model = pt_model(config, "ForSequenceClassification")
    rng = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(64):
        ids = torch.randint(1, 53, (9,), generator=rng)
        rows.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": int(ids[0] > 26)})
    arguments = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=8, per_device_train_batch_size=16, learning_rate=1e-2, report_to=[],
        gradient_checkpointing=True, use_cpu=True, save_strategy="epoch", disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    assert trainer.predict(rows).predictions.shape == (64, 2)
    last = sorted(tmp_path.glob("checkpoint-*"))[-1]
    state = trainer.model.state_dict()
    from safetensors.torch import load_file

    assert load_file(last / "model.safetensors").keys() == state.keys()


def _ddp_worker(rank: int, store: str, results: Any) -> None:
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from deberta_tasks.training.pt_parallel import Processes

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    config = small_config("v3")
    head = "ForSequenceClassification"
    inputs = pt_inputs(random_inputs(config, head))
    mine = {k: v[rank * 2 : rank * 2 + 2] for k, v in inputs.items()}
    model = pt_model(config, head).train()
    parallel = DistributedDataParallel(copy.deepcopy(model))
    for _ in range(2):  # the second step fails if a weight went unused
        parallel.zero_grad()
        parallel(**mine).loss.backward()
    sharded = copy.deepcopy(model)
    for layer in sharded.deberta.encoder.layer:
        fully_shard(layer)
    fully_shard(sharded)
    output = sharded(**mine)
    output.loss.backward()
    gradient = sharded.classifier.weight.grad.full_tensor()
    if rank == 0:
        results.put((type(output).__name__, parallel.module.classifier.weight.grad.numpy(), gradient.numpy()))
    Processes(rank, 2).stop()


@pytest.mark.slow
def test_two_processes_share_their_gradients(tmp_path: Path) -> None:
    """DDP and FSDP2: the mean of the gradients of both halves of a batch."""
    import numpy as np
    import torch.multiprocessing as mp

    context = mp.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_ddp_worker, args=(r, str(tmp_path / "store"), results)) for r in range(2)]
    for worker in workers:
        worker.start()
    name, replicated, sharded = results.get(timeout=240)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    config = small_config("v3")
    inputs = pt_inputs(random_inputs(config, "ForSequenceClassification"))
    halves = []
    for rank in range(2):
        model = pt_model(config, "ForSequenceClassification").train()
        model(**{k: v[rank * 2 : rank * 2 + 2] for k, v in inputs.items()}).loss.backward()
        halves.append(model.classifier.weight.grad.numpy())
    assert name == "SequenceClassifierOutput"
    np.testing.assert_allclose(replicated, np.mean(halves, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sharded, np.mean(halves, 0), rtol=1e-5, atol=1e-6)


def test_class_names_are_those_of_the_table() -> None:
    config = small_config("v1")
    assert [type(pt_model(config, head)).__name__ for head in HEADS] == [class_name(config, head) for head in HEADS]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("length", [6, 80])
def test_gradients_of_each_text_by_torch_func(base: str, length: int) -> None:
    """As differential privacy wants them: ``vmap`` over the texts of a batch."""
    model = pt_model(small_config(base, max_position_embeddings=80), "ForSequenceClassification")
    draw = torch.Generator().manual_seed(2)
    ids, labels = torch.randint(3, 50, (3, length), generator=draw), torch.tensor([0, 2, 1])
    mask = torch.ones_like(ids)
    mask[1, length // 2 :] = 0
    weights = dict(model.named_parameters())

    def loss_of(weights: Any, *text: Any) -> Any:
        row, seen, label = (x[None] for x in text)
        return torch.func.functional_call(model, weights, (row, seen), {"labels": label}).loss

    found = torch.func.vmap(torch.func.grad(loss_of), (None, 0, 0, 0))(weights, ids, mask, labels)
    for number in range(3):
        model.zero_grad(set_to_none=True)
        loss_of(weights, ids[number], mask[number], labels[number]).backward()
        for name, weight in model.named_parameters():
            want = torch.zeros_like(weight) if weight.grad is None else weight.grad
            torch.testing.assert_close(found[name][number], want, rtol=1e-4, atol=1e-5 * float(1 + want.abs().max()))


@pytest.mark.parametrize("base", BASES)
def test_gradients_of_gradients_of_long_texts(base: str) -> None:
    """A penalty on the gradient to the embeddings; blocks of queries have a backward pass of their own."""
    found = []
    for implementation in ("eager", "blocked"):
        config = small_config(base, attn_implementation=implementation, max_position_embeddings=80)
        model, inputs = pt_model(config, "ForSequenceClassification"), random_inputs(config, "Model", seed=3)
        ids = torch.from_numpy(inputs["input_ids"]).repeat(1, 80)[:, :80]
        mask = torch.ones_like(ids)
        mask[0, 40:] = 0
        embedded = model.get_input_embeddings()(ids)
        labels = torch.arange(len(ids)) % config.num_labels
        loss = model(inputs_embeds=embedded, attention_mask=mask, labels=labels).loss
        (first,) = torch.autograd.grad(loss, embedded, create_graph=True)
        first.square().sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, want in found[0].items():
        torch.testing.assert_close(found[1][name], want, rtol=1e-3, atol=1e-4 * float(want.abs().max()), msg=name)


def test_gradients_of_gradients_with_dropout() -> None:
    from deberta_pt.fast.blocked import BlockedAttention

    draw = torch.Generator().manual_seed(4)
    shapes = [(1, 2, 3, 2)] * 3 + [(2, 5, 2)] * 2
    tensors = [torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True) for shape in shapes]
    mask, blind = torch.tensor([[[True, True, False]]]), torch.tensor([[False, False, True]])

    def attend(*inputs: Any) -> Any:
        return BlockedAttention.apply(*inputs[:3], mask, blind, *inputs[3:], 2, 2, 8, 0.3, 7, True, False)

    assert torch.autograd.gradcheck(attend, tensors)
    assert torch.autograd.gradgradcheck(attend, tensors)


def test_dtypes_and_devices_that_are_the_default_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A race in float64 failed, one in bfloat16 was kept as float32's; fresh heads and masks went to the device."""
    from deberta_pt.fast import linear

    config = small_config("v2")
    pt_model(config, "Model").save_pretrained(tmp_path)
    monkeypatch.setenv("DEBERTA_ROUTES", str(tmp_path / "routes.json"))
    inputs = pt_inputs(random_inputs(config, "ForSequenceClassification"))
    inputs["attention_mask"][0, 2:] = 0
    cls = getattr(deberta_pt, class_name(config, "ForSequenceClassification"))
    for name in ("_WEIGHTS", "_TRIES"):
        monkeypatch.setattr(linear, name, 1)
    linear._wins.cache_clear()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with pytest.warns(UserWarning, match="newly initialised"):
            model = cls.from_pretrained(tmp_path)
        losses = [model.train()(**inputs).loss, model.eval()(**inputs).loss]
        losses[0].backward()
        prepared = deberta_pt.optimize_for_inference(model)(**inputs).loss
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
        linear._wins.cache_clear()
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", torch.float32)}
    assert {loss.device.type for loss in losses} == {"cpu"}
    torch.testing.assert_close(prepared, losses[1])
    torch.testing.assert_close(model(**inputs).loss, losses[1])
