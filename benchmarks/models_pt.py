"""The sides of the PyTorch tables: inference and training."""

from __future__ import annotations

import functools
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import deberta_pt
from benchmarks.floor import FLOOR, Product, by_layer
from benchmarks.settings import (
    PIECES,
    PRETRAINING_SHAPES,
    SHAPES,
    TRAINING_SHAPES,
    WAYS,
    WHOLE,
    Settings,
    Shape,
    filled,
    hidden_words,
    label,
    model_values,
    uneven,
)
from benchmarks.timing import Recorder, Side, measure
from deberta_pt.fast.linear import by_onednn, computes_bfloat16, has_onednn, reordered

PEER = "transformers"
WITH_STEP = " + AdamW"


def peer_model(layers: int, **values: Any) -> Any:
    """The peer with random weights."""
    from transformers import DebertaV2Config, DebertaV2Model

    torch.manual_seed(0)
    return DebertaV2Model(DebertaV2Config(**model_values(layers), **values))


def our_model(layers: int, **values: Any) -> deberta_pt.DebertaV2Model:
    """Ours with random weights."""
    torch.manual_seed(0)
    return deberta_pt.DebertaV2Model(deberta_pt.DebertaV2Config(**{**model_values(layers), **values}))


def both_models(record: Recorder, layers: int) -> dict[str, Any]:
    """Ours and, where it is installed, transformers' with the same weights."""
    models: dict[str, Any] = {}
    with record.peer(PEER), tempfile.TemporaryDirectory() as folder:
        models[PEER] = peer_model(layers)
        models[PEER].save_pretrained(folder)
        models["ours"] = deberta_pt.DebertaV2Model.from_pretrained(folder)
    models.setdefault("ours", our_model(layers))
    return models


def batch(shape: Shape, lengths: list[int] | None = None) -> dict[str, Tensor]:
    """Random tokens; without ``lengths`` of the texts, none is padding."""
    ids = torch.randint(5, 1999, shape, generator=torch.Generator().manual_seed(0))
    visible = torch.arange(shape[1]) < torch.tensor(lengths or [shape[1]])[:, None]
    return {"input_ids": ids, "attention_mask": visible.expand(shape).long()}


def caller(model: Any) -> Callable[[dict[str, Tensor]], Any]:
    """The last states of a model of either library, under ``torch.inference_mode()``."""

    @torch.inference_mode()
    def call(inputs: dict[str, Tensor]) -> Any:
        return model(**inputs).last_hidden_state

    return call


def exported(model: nn.Module, threads: int) -> Callable[[dict[str, Tensor]], Any]:
    """The model exported to ONNX with free axes, in ONNX Runtime."""
    import onnxruntime

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return self.model(input_ids, attention_mask=attention_mask).last_hidden_state

    axes = {0: "texts", 1: "tokens"}
    names = ["input_ids", "attention_mask"]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            States().eval(),
            tuple(batch((2, 17)).values()),
            path,
            input_names=names,
            output_names=["states"],
            dynamic_axes=dict.fromkeys((*names, "states"), axes),
            opset_version=17,
            dynamo=False,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]


def fastest(routines: list[Side]) -> Side:
    """The one that wins a race."""

    def best(run: Side) -> float:
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        return min(times[1:])

    return min(routines, key=best)


def routine(product: Product, training: bool) -> Side:
    """What computes a product: PyTorch's own function, or oneDNN's, whose weights may be reordered in inference."""
    count, rows, inner, columns = product
    if count > 1:
        many, others = torch.randn(count, rows, inner), torch.randn(count, columns, inner)
        routines: list[Side] = [lambda: torch.bmm(many, others.transpose(1, 2))]
        if has_onednn():
            routines.append(lambda: [by_onednn(one, other) for one, other in zip(many, others, strict=True)])
        return fastest(routines)
    states, weight = torch.randn(rows, inner), torch.randn(columns, inner)
    routines = [lambda: F.linear(states, weight)]
    if has_onednn():
        routines.append(lambda: by_onednn(states, weight))
        if not training:
            other = reordered(weight)
            routines.append(lambda: by_onednn(states, other))
    return fastest(routines)


def products(shape: Shape, layers: int, training: bool = False) -> Side:
    """The matrix products alone, one after the other."""
    prepared = by_layer(functools.partial(routine, training=training), shape, layers, training)

    @torch.inference_mode()
    def run() -> None:
        for layer in prepared:
            for product in layer:
                product()

    return run


def inference(settings: Settings, record: Recorder) -> None:
    """All sides of inference under ``torch.inference_mode()``, and the matrix products alone."""
    layers = settings.layers or 12
    models = {name: model.eval() for name, model in both_models(record, layers).items()}
    models["ours optimized"] = deberta_pt.optimize_for_inference(models["ours"])
    if computes_bfloat16():
        models["ours optimized bf16"] = deberta_pt.optimize_for_inference(models["ours"], dtype=torch.bfloat16)
    else:
        record.note("bf16: not measured, this processor has no instructions for it")

    calls = {name: caller(model) for name, model in models.items()}
    if PEER in models:
        with record.peer("ONNX Runtime"):
            calls["ONNX Runtime"] = exported(models[PEER], settings.threads)
        compare(record, calls)
    for shape in settings.shapes or SHAPES:
        sides: dict[str, Side] = {name: functools.partial(call, batch(shape)) for name, call in calls.items()}
        sides[FLOOR] = products(shape, layers)
        measure(record, label(shape), sides, settings.rounds)


def compare(record: Recorder, calls: dict[str, Callable[[dict[str, Tensor]], Any]]) -> None:
    """Note how far each side is from transformers, in the largest absolute difference of a state."""
    inputs = batch((2, 40))
    expected = calls[PEER](inputs)
    far = [
        f"{name} {(torch.as_tensor(call(inputs)).float() - expected).abs().max():.1e}"
        for name, call in calls.items()
        if name != PEER
    ]
    record.note("largest difference from transformers: " + ", ".join(far))


def training(settings: Settings, record: Recorder) -> None:
    """Forward and backward pass with dropout, alone and with a fused AdamW step, and the matrix products alone."""
    layers = settings.layers or 4
    models = {name: model.train() for name, model in both_models(record, layers).items()}
    for shape in settings.shapes or TRAINING_SHAPES:
        sides: dict[str, Side] = {}
        for name, model in models.items():
            sides[name] = functools.partial(step, model, batch(shape))
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
            sides[name + WITH_STEP] = functools.partial(step, model, batch(shape), optimizer)
        sides[FLOOR] = products(shape, layers, training=True)
        measure(record, label(shape), sides, settings.rounds)


def pretraining(settings: Settings, record: Recorder) -> None:
    """A step of masked-LM training: transformers' own model and loss, and ours."""
    fields = {**model_values(settings.layers or 4), "vocab_size": PIECES}
    models: dict[str, tuple[Any, dict[str, Any]]] = {}
    with record.peer(PEER):
        from transformers import DebertaV2Config, DebertaV2ForMaskedLM

        models[PEER] = DebertaV2ForMaskedLM(DebertaV2Config(**fields)), {}
    ours = deberta_pt.DebertaV2ForMaskedLM(deberta_pt.DebertaV2Config(**fields))
    models["ours"] = ours, {"only_masked": True}
    for shape in settings.shapes or PRETRAINING_SHAPES:
        ids, labels = (torch.from_numpy(array) for array in hidden_words(shape))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        sides: dict[str, Side] = {}
        for name, (model, asked) in models.items():
            optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-6)
            sides[name] = functools.partial(mlm_step, model, {**inputs, **asked}, optimizer)
        measure(record, label(shape), sides, settings.rounds)


def mlm_step(model: Any, inputs: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """A step on the model's own loss."""
    model.zero_grad(set_to_none=True)
    model(**inputs).loss.backward()
    optimizer.step()


def perturbation(settings: Settings, record: Recorder) -> None:
    """A step of fine-tuning against each perturbation."""
    from deberta_core.perturbation import Perturbation
    from deberta_tasks.training.options import Options
    from deberta_tasks.training.pt import TorchLearner

    fields = model_values(settings.layers or 4)
    for shape in settings.shapes or PRETRAINING_SHAPES:
        ids, _ = hidden_words(shape)
        given = {"input_ids": ids % 2000, "attention_mask": np.ones_like(ids), "labels": np.arange(shape[0]) % 2}
        sides: dict[str, Side] = {}
        for name, wanted in WAYS.items():
            model = deberta_pt.DebertaV2ForSequenceClassification(deberta_pt.DebertaV2Config(**fields))
            learner = TorchLearner(model, Options(), perturbation=Perturbation(**wanted))
            sides[name] = functools.partial(learner.step, given, 1e-6, 1)
        measure(record, label(shape), sides, settings.rounds)


def padding(settings: Settings, record: Recorder) -> None:
    """Uneven texts padded to one length, by all sides, and the same shape without padding by ours."""
    layers = settings.layers or 4
    models = both_models(record, layers)
    prepared = {"ours optimized": deberta_pt.optimize_for_inference(models["ours"])}
    calls = {name: caller(model) for name, model in {**models, **prepared}.items()}
    steps = {name: functools.partial(step, model) for name, model in models.items()}
    for shape in settings.shapes or TRAINING_SHAPES:
        padded, whole = batch(shape, uneven(shape)), batch(shape)
        for part, given, training in (("inference", calls, False), ("training", steps, True)):
            for model in models.values():
                model.train(training)
            sides: dict[str, Side] = {name: functools.partial(call, padded) for name, call in given.items()}
            sides |= {name + WHOLE: functools.partial(call, whole) for name, call in given.items() if name != PEER}
            measure(record, f"{part}, {label(shape)}", sides, settings.rounds)
        record.note(filled(shape))


def step(model: Any, inputs: dict[str, Tensor], optimizer: torch.optim.Optimizer | None = None) -> None:
    """Fresh gradients of the sum of the last states, and the optimizer's step if there is one."""
    model.zero_grad(set_to_none=True)
    model(**inputs).last_hidden_state.sum().backward()
    if optimizer:
        optimizer.step()
