"""The sides of the table of exports: graphs of both libraries in the same runtimes, beside our prepared model."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import deberta_pt
from benchmarks.floor import FLOOR
from benchmarks.models_pt import PEER, batch, both_models, caller, products
from benchmarks.settings import SHAPES, Settings, Shape, label
from benchmarks.timing import Recorder, Side, measure
from conversion import export

OURS, ONNX, OPENVINO = "ours", ", ONNX Runtime", ", OpenVINO"
Call = Callable[[dict[str, Tensor]], Any]


class States(nn.Module):
    """The last states of transformers' model, by the names of the inputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """``[B, L, H]``."""
        return self.model(input_ids, attention_mask=attention_mask).last_hidden_state


def peers_graph(model: nn.Module, path: Path, shape: Shape) -> None:
    """Transformers' model as a graph of ONNX for texts of one length: it computes no other one."""
    names = ["input_ids", "attention_mask"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            States(model).eval(), tuple(batch(shape).values()), str(path), input_names=names, output_names=["states"],
            dynamic_axes={name: {0: "texts"} for name in (*names, "states")}, opset_version=17, dynamo=False,
        )  # fmt: skip


def in_onnx_runtime(path: Path, threads: int) -> Call:
    """A graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]


def in_openvino(path: Path, threads: int) -> Call:
    """A graph of ONNX or OpenVINO's own in OpenVINO, in float32."""
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(str(path), "CPU", hints)
    return lambda inputs: model({name: tensor.numpy() for name, tensor in inputs.items()})[0]


def exports(settings: Settings, record: Recorder) -> None:
    """Both libraries' graphs, by shape; ours is one for all of them."""
    layers = settings.layers or 12
    models = {name: model.eval() for name, model in both_models(record, layers).items()}
    calls: dict[str, Call] = {"ours optimized, PyTorch": caller(deberta_pt.optimize_for_inference(models[OURS]))}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*has no tokenizer")
        models[OURS].save_pretrained(Path(folder) / "model")
        for to, name, opened in (("onnx", ONNX, in_onnx_runtime), ("openvino", OPENVINO, in_openvino)):
            with record.peer(OURS + name):
                export(Path(folder) / "model", Path(folder) / to, to=to)
                graph = "model.onnx" if to == "onnx" else "model.xml"
                calls[OURS + name] = opened(Path(folder) / to / graph, settings.threads)
        for shape in settings.shapes or SHAPES:
            sides: dict[str, Side] = {name: functools.partial(call, batch(shape)) for name, call in calls.items()}
            if PEER in models:
                path = Path(folder) / "peer.onnx"
                peers_graph(models[PEER], path, shape)
                for name, opened in ((ONNX, in_onnx_runtime), (OPENVINO, in_openvino)):
                    with record.peer(PEER + name):
                        sides[PEER + name] = functools.partial(opened(path, settings.threads), batch(shape))
            sides[FLOOR] = products(shape, layers)
            measure(record, label(shape), sides, settings.rounds)
