"""Graphs made of PyTorch's models: for ONNX Runtime, OpenVINO and PyTorch itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conversion.exports.runtimes import Arrays
from conversion.frameworks import load_torch
from conversion.source import Source

_OPSET = 23  # the first with an operator for attention
_MOST_IN_ONE = 1_900_000_000  # bytes of weights in a file of ONNX, whose format ends at 2 GiB


class PyTorchModel:
    """The model of an open checkpoint.

    Args:
        source: the checkpoint.
        head: class to build, a key of ``deberta_core.heads.HEADS``.
    """

    def __init__(self, source: Source, head: str) -> None:
        self.model = load_torch(source, head, "float32").requires_grad_(False)

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str]) -> Arrays:
        """What the model itself gives, float32."""
        import torch

        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of padding on the left
            found = self.model(**{name: torch.from_numpy(array.copy()) for name, array in inputs.items()})
        return {name: found[name].numpy() for name in outputs}

    def names(self, example: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
        """Those of the outputs that the model has."""
        import torch

        with torch.inference_mode():
            found = self.model(**{name: torch.from_numpy(array.copy()) for name, array in example.items()})
        return [name for name in wanted if name in found]

    def write(
        self, to: str, path: Path, dtype: str, names: Sequence[str], example: Arrays, longest: int | None
    ) -> None:
        """Write the graph.

        Args:
            to: a row of ``FORMATS``.
            path: of the graph, an empty file.
            dtype: of its numbers.
            names: of its outputs.
            example: inputs to make it of.
            longest: most tokens that the model takes, if there is a limit.
        """
        import torch

        import deberta_pt
        from deberta_pt.graphs import export_program

        prepared = deberta_pt.optimize_for_inference(self.model, dtype=getattr(torch, dtype))
        products = [module for module in prepared.modules() if hasattr(module, "for_onnx")]
        if dtype == "int8" and not products:
            raise ValueError(
                "dtype is 'int8', but no product of this model is computed with integers (its card says why, or it has "
                "talking heads); leave dtype out"
            )
        for product in products:
            if to == "onnx":
                product.for_onnx()
            elif to == "openvino":
                product.for_openvino()
        with _quietly():
            program = export_program(prepared, names, example, longest)
            _WRITERS[to](program, path, names, dtype)


def _onnx(program: Any, path: Path, names: Sequence[str], dtype: str) -> None:
    import onnx
    import torch

    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    made: Any = torch.onnx.export(program, dynamo=True, output_names=list(names), verbose=False, opset_version=_OPSET)
    made.save(str(path), external_data=nbytes > _MOST_IN_ONE)
    onnx.checker.check_model(str(path))


def _openvino(program: Any, path: Path, names: Sequence[str], dtype: str) -> None:
    import openvino

    model = openvino.convert_model(program)
    for output, name in zip(model.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    openvino.save_model(model, str(path), compress_to_fp16=dtype == "float16")


def _torch(program: Any, path: Path, names: Sequence[str], dtype: str) -> None:
    import torch

    torch.export.save(program, str(path))


def _aot(program: Any, path: Path, names: Sequence[str], dtype: str) -> None:
    import torch

    torch._inductor.aoti_compile_and_package(program, package_path=str(path))


_WRITERS = {"onnx": _onnx, "openvino": _openvino, "torch": _torch, "aot": _aot}


@contextmanager
def _quietly() -> Any:
    """Without what exporters say of themselves; their errors stay errors."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
