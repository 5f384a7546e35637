"""Exported graphs, opened by their runtimes: the one place that knows these, imported when one is asked for."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conversion.exports.formats import FORMATS, check_runtime
from deberta_core.file_names import EXPORT
from deberta_core.files import read_together

Arrays = dict[str, np.ndarray[Any, Any]]
Graph = Callable[[Mapping[str, np.ndarray[Any, Any]]], Arrays]


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What the folder of an export says of it: ``to``, ``graph``, ``dtype``, ``head``, ``inputs`` and ``outputs``.

    Returns:
        Its entries; ``None`` for a folder of something else.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / EXPORT
    if not os.path.isdir(folder):
        return None
    # Named, so that an export that was being put in place has all its files there afterwards.
    content = read_together(path.parent, lambda files: files.read(EXPORT), names=[EXPORT])
    if content is None:
        return None
    try:
        found = json.loads(content.decode("utf-8"))
        whole = found["to"] in _OPEN and isinstance(found["graph"], str) and isinstance(found["head"], str)
        if not whole or not all(isinstance(name, str) for name in [*found["inputs"], *found["outputs"]]):
            raise ValueError("unknown entries")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); export the model again") from None
    return dict(found)


def open_graph(path: Path, manifest: Mapping[str, Any]) -> Graph:
    """The graph as a function of int64 arrays by name; it returns float32 arrays by name.

    Args:
        path: where the graph is.
        manifest: what ``read_manifest`` gives.

    Raises:
        FileNotFoundError: it is not there.
        ImportError: its runtime is not installed, or too old.
        ValueError: its runtime cannot read it.
    """
    check_runtime(FORMATS[manifest["to"]])
    if not path.exists():
        raise FileNotFoundError(f"there is no {path.name} in {path.parent}; export the model again")
    if path.suffix == ".pt2" and not zipfile.is_zipfile(path):  # of which PyTorch logs a traceback
        raise ValueError(f"{path} is damaged (it is no zip archive); export the model again")
    try:
        run = _OPEN[manifest["to"]](path)
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # each runtime has errors of its own
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {said}); export the model again") from error
    names = list(manifest["outputs"])

    def compute(inputs: Mapping[str, np.ndarray[Any, Any]]) -> Arrays:
        given = {name: np.ascontiguousarray(inputs[name], np.int64) for name in manifest["inputs"] if name in inputs}
        if "attention_mask" not in given:
            given["attention_mask"] = np.ones_like(given["input_ids"])
        if "token_type_ids" in manifest["inputs"] and "token_type_ids" not in given:
            given["token_type_ids"] = np.zeros_like(given["input_ids"])
        found = run(given, names)
        return {name: np.asarray(array, np.float32) for name, array in zip(names, found, strict=True)}

    return compute


def _onnx(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda given, names: session.run(names, given)


def _openvino(path: Path) -> Any:
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda given, names: [array.copy() for array in model(given).values()]


def _numpy(found: Any) -> list[Any]:
    return [tensor.detach().float().numpy() for tensor in (found if isinstance(found, tuple | list) else (found,))]


def _torch(path: Path) -> Any:
    import torch

    program = torch.export.load(str(path)).module()

    def run(given: Arrays, names: list[str]) -> list[Any]:
        with torch.inference_mode():
            return _numpy(program(**{name: torch.from_numpy(array) for name, array in given.items()}))

    return run


def _aot(path: Path) -> Any:
    import torch

    package = torch._inductor.aoti_load_package(str(path))

    def run(given: Arrays, names: list[str]) -> list[Any]:
        with torch.inference_mode():
            return _numpy(package(**{name: torch.from_numpy(array) for name, array in given.items()}))

    return run


def _saved_model(path: Path) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def run(given: Arrays, names: list[str]) -> list[Any]:
        # The variables live as long as what was loaded.
        found = serve(**{name: tf.constant(array) for name, array in given.items()}) if loaded else {}
        return [tf.cast(found[name], tf.float32).numpy() for name in names]

    return run


def _tflite(path: Path) -> Any:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package that it will move to
        interpreter = tf.lite.Interpreter(model_path=str(path))
    signature = interpreter.get_signature_list()["serving_default"]
    runner = interpreter._get_full_signature_list()["serving_default"]
    places, outputs = runner["inputs"], runner["outputs"]

    def run(given: Arrays, names: list[str]) -> list[Any]:
        for name in signature["inputs"]:
            interpreter.resize_tensor_input(places[name], given[name].shape)
        interpreter.allocate_tensors()
        for name in signature["inputs"]:
            interpreter.set_tensor(places[name], given[name])
        interpreter.invoke()
        return [interpreter.get_tensor(outputs[name]) for name in names]

    return run


_OPEN: dict[str, Callable[[Path], Any]] = {
    "onnx": _onnx, "openvino": _openvino, "torch": _torch, "aot": _aot, "savedmodel": _saved_model, "tflite": _tflite,
}  # fmt: skip
