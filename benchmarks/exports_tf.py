"""The sides of the table of TensorFlow Lite: both libraries' graphs in the same runtime."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.models_tf import PEER, both_models, states
from benchmarks.settings import SHAPES, Settings, Shape, label
from benchmarks.timing import Recorder, Side, measure
from conversion import export

RUNTIME = ", TensorFlow Lite"
NAMES = ("input_ids", "attention_mask")


def peers_graph(model: Any, shape: Shape) -> bytes:
    """Transformers' model as a graph for one shape, with TensorFlow's own operators where it needs them."""
    specs = {name: tf.TensorSpec(shape, tf.int64, name=name) for name in NAMES}

    def serve(**given: Any) -> dict[str, Any]:
        return {"states": states(model, given)}

    with tempfile.TemporaryDirectory() as folder:
        holder = tf.Module()  # of the weights alone: Keras would trace every layer once more
        holder.weights = model.weights
        signature = tf.function(serve, autograph=False).get_concrete_function(**specs)
        tf.saved_model.save(holder, folder, signatures=signature)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        made: bytes = converter.convert()
        return made


def in_lite(graph: bytes, shape: Shape, threads: int) -> Side:
    """A graph at one shape, whose memory is laid out before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package that it will move to
        interpreter = tf.lite.Interpreter(model_content=graph, num_threads=threads)
    places = interpreter._get_full_signature_list()["serving_default"]
    for name in NAMES:
        interpreter.resize_tensor_input(places["inputs"][name], shape)
    interpreter.allocate_tensors()
    ids = np.random.default_rng(0).integers(5, 1999, shape, dtype=np.int64)

    def run() -> Any:
        for name, array in zip(NAMES, (ids, np.ones_like(ids)), strict=True):
            interpreter.set_tensor(places["inputs"][name], array)
        interpreter.invoke()
        return interpreter.get_tensor(next(iter(places["outputs"].values())))

    return run


def exports_tf(settings: Settings, record: Recorder) -> None:
    """Both libraries' graphs, and ours in integers (dynamic range), by shape; ours is one for all of them."""
    models = both_models(record, settings.layers or 4)
    graphs: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*has no tokenizer")
        models["ours"].save_pretrained(Path(folder) / "model")
        for name, dtype in (("ours" + RUNTIME, "float32"), ("ours int8" + RUNTIME, "int8")):
            report = export(Path(folder) / "model", Path(folder) / dtype, to="tflite", dtype=dtype)
            graphs[name] = (Path(folder) / dtype / "model.tflite").read_bytes()
            off = report.worst.relative
            record.note(f"{name}: {len(graphs[name]) / 1e6:.1f} MB, off by {off:.1e} of the largest state")
    for shape in settings.shapes or SHAPES:
        sides: dict[str, Side] = {name: in_lite(graph, shape, settings.threads) for name, graph in graphs.items()}
        if PEER in models:
            with record.peer(PEER + RUNTIME):
                sides[PEER + RUNTIME] = in_lite(peers_graph(models[PEER], shape), shape, settings.threads)
                mine, theirs = (sides[name + RUNTIME]() for name in ("ours", PEER))
                if not np.allclose(mine, theirs, atol=1e-3):
                    record.note(f"{label(shape)}: the graphs differ by {np.abs(np.subtract(mine, theirs)).max():.1e}")
        measure(record, label(shape), sides, settings.rounds)
