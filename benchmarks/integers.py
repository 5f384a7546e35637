"""The sides of the table of 8-bit integers: ours beside our floats and what others make of transformers' model."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cosine_similarity

import deberta_pt
from benchmarks.exports import Call, in_onnx_runtime, peers_graph
from benchmarks.models_pt import PEER, batch, both_models, caller
from benchmarks.settings import SHAPES, Settings, Shape, label
from benchmarks.timing import Recorder, Side, measure
from conversion import export

FLOATS, INTEGERS, ONNX = "ours optimized", "ours int8", ", ONNX Runtime"
BY_RUNTIME = f"{PEER} int8{ONNX}"


def in_integers(path: Path) -> Path:
    """A graph of ONNX with its weights in 8 bits and states rounded at run time, by ONNX Runtime's own tool."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = path.with_suffix(".int8.onnx")
    quantize_dynamic(str(path), str(small), weight_type=QuantType.QInt8, per_channel=True)
    return small


def integers(settings: Settings, record: Recorder) -> None:
    """All sides, by shape, and what ours weighs and errs."""
    layers = settings.layers or 12
    models = {name: model.eval() for name, model in both_models(record, layers).items()}
    ours: Any = models["ours"]
    some: list[Shape] = [(4, 64)] * (2 if settings.quick else 8)
    small = deberta_pt.quantize(ours, [batch(shape) for shape in some])
    found = small.quantization
    record.note(
        f"{INTEGERS}: {found.nbytes[1] / found.nbytes[0]:.3f} of the bytes of float32; error of the states "
        f"{found.error:.4f}, cosine {found.cosine:.5f}; {len(found.floats)} products stay float"
    )
    calls: dict[str, Call] = {
        FLOATS: caller(deberta_pt.optimize_for_inference(ours)),
        INTEGERS: caller(deberta_pt.optimize_for_inference(small)),
    }
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of a missing tokenizer, and of PyTorch's quantiser that it is to go
        if PEER in models:
            with record.peer(f"{PEER}, quantize_dynamic"):
                theirs = torch.ao.quantization.quantize_dynamic(models[PEER], {nn.Linear}, dtype=torch.qint8)
                calls[f"{PEER}, quantize_dynamic"] = caller(theirs)
        with record.peer(INTEGERS + ONNX):
            small.save_pretrained(Path(folder) / "model")
            export(Path(folder) / "model", Path(folder) / "onnx", to="onnx", dtype="int8")
            calls[INTEGERS + ONNX] = in_onnx_runtime(Path(folder) / "onnx" / "model.onnx", settings.threads)
        for shape in settings.shapes or SHAPES:
            sides: dict[str, Side] = {name: functools.partial(call, batch(shape)) for name, call in calls.items()}
            if PEER in models:
                with record.peer(BY_RUNTIME):
                    path = Path(folder) / "peer.onnx"
                    peers_graph(models[PEER], path, shape)
                    call = in_onnx_runtime(in_integers(path), settings.threads)
                    sides[BY_RUNTIME] = functools.partial(call, batch(shape))
            measure(record, label(shape), sides, settings.rounds)
        wanted, *found = (torch.as_tensor(side()).flatten().double() for side in sides.values())
        close = (f"{n} {cosine_similarity(wanted, x, 0):.5f}" for n, x in zip([*sides][1:], found, strict=True))
        record.note(f"cosine of the states with those of {FLOATS}, {label(shape)}: {', '.join(close)}")
