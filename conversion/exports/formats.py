"""One row per runtime: what a graph for it is called, which types it computes, what has to be installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

# Largest difference that passes, relative to the largest value of an output of the float32 model.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1, "int8": 1e-1}


@dataclass(frozen=True)
class Format:
    """What a model is exported to.

    Attributes:
        name: as ``--to`` takes it.
        runtime: what computes it, for people.
        graph: file or folder of the graph.
        framework: whose model the graph is made of, ``pt`` or ``tf``.
        dtypes: types that the runtime computes, the default first.
        needs: modules that make and run it, with the oldest version that does.
        extra: the extra of this project that installs them.
        module: the one of them that runs it.
        compiles: whether a C++ compiler is needed.
        rounds: whether it makes integers of floats itself.
    """

    name: str
    runtime: str
    graph: str
    framework: str
    dtypes: tuple[str, ...]
    needs: tuple[tuple[str, str], ...]
    extra: str
    module: str
    compiles: bool = False
    rounds: bool = False


FORMATS = {
    row.name: row
    for row in (
        Format(
            "onnx", "ONNX Runtime", "model.onnx", "pt", ("float32", "float16", "int8"),
            (("torch", "2.9"), ("onnx", "1.18"), ("onnxscript", "0.6"), ("onnxruntime", "1.23")), "onnx", "onnxruntime",
        ),
        Format(
            "openvino", "OpenVINO", "model.xml", "pt", ("float32", "float16", "int8"),
            (("torch", "2.6"), ("openvino", "2025.1")), "openvino", "openvino",
        ),
        Format(
            "torch", "PyTorch", "model.pt2", "pt", ("float32", "float16", "bfloat16"),
            (("torch", "2.6"),), "pt", "torch",
        ),
        Format(
            "aot", "PyTorch", "model.pt2", "pt", ("float32", "bfloat16"),
            (("torch", "2.6"),), "pt", "torch", compiles=True,
        ),
        Format(
            "savedmodel", "TensorFlow", "saved_model", "tf", ("float32", "bfloat16"),
            (("tensorflow", "2.18"), ("tf_keras", "2.18")), "tf", "tensorflow",
        ),
        Format(
            "tflite", "TensorFlow Lite", "model.tflite", "tf", ("float32", "float16", "int8"),
            (("tensorflow", "2.18"), ("tf_keras", "2.18")), "tf", "tensorflow", rounds=True,
        ),
    )
}  # fmt: skip


def choose_format(to: str, dtype: str | None) -> tuple[Format, str]:
    """The row of a format and the type of its numbers.

    Raises:
        ValueError: for a format that is unknown, or a type that it lacks.
    """
    if to not in FORMATS:
        raise ValueError(f"to is {to!r}, expected one of {', '.join(FORMATS)}")
    row = FORMATS[to]
    chosen = dtype or row.dtypes[0]
    if chosen not in row.dtypes:
        raise ValueError(f"dtype is {chosen!r}, but {row.runtime} ({to}) computes {' or '.join(row.dtypes)}")
    return row, chosen


def check_installed(row: Format) -> None:
    """Refuse to begin what could not be finished.

    Raises:
        ImportError: a package or a compiler is missing, or too old; the text has the line that installs it.
    """
    _check(row, row.needs, f"--to {row.name}")
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name]
    if row.compiles and not any(map(shutil.which, compilers)):
        raise ImportError(
            f"there is no C++ compiler ({', '.join(compilers)}), and --to {row.name} needs one: apt install g++"
        )


def check_runtime(row: Format) -> None:
    """Refuse to open a graph that the runtime here does not know.

    Raises:
        ImportError: it is missing or too old; the text has the line that installs it.
    """
    _check(row, [(module, oldest) for module, oldest in row.needs if module == row.module], row.graph)


def _check(row: Format, needs: Iterable[tuple[str, str]], what: str) -> None:
    line = f"pip install --upgrade 'deberta-zoo[{row.extra}]'"
    for module, oldest in needs:
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"{module} is not installed, and {what} needs it: {line}")
        found = importlib.metadata.version(module.replace("_", "-"))
        if _numbers(found) < _numbers(oldest):
            raise ImportError(f"{module} is {found}, and {what} needs {oldest} or later: {line}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
