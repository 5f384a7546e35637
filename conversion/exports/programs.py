"""What stands beside a graph: a program that runs it by its runtime alone, and a model card."""

from __future__ import annotations

from conversion.exports.formats import Format
from conversion.exports.report import ExportReport
from deberta_core.config import BaseConfig

PROGRAM = "run.py"

_TORCH = (
    "given = lambda inputs: {{name: torch.from_numpy(value) for name, value in inputs.items()}}\n"
    "compute = lambda inputs: [found.float().detach().numpy() for found in program(**given(inputs))]"
)
# By format: what is imported, and what makes ``compute``, which takes int64 arrays by name and gives arrays in order.
_OPEN = {
    "onnx": (
        "import onnxruntime",
        'session = onnxruntime.InferenceSession(str(FOLDER / "{graph}"), providers=["CPUExecutionProvider"])\n'
        "compute = lambda inputs: session.run(OUTPUTS, inputs)",
    ),
    "openvino": (
        "import openvino",
        'HINTS = {{"INFERENCE_PRECISION_HINT": "f32"}}  # without it, processors with bfloat16 compute in that\n'
        'model = openvino.Core().compile_model(str(FOLDER / "{graph}"), "CPU", HINTS)\n'
        "compute = lambda inputs: list(model(inputs).values())",
    ),
    "torch": (
        "import torch",
        'program = torch.export.load(str(FOLDER / "{graph}")).module()\n'
        + _TORCH,
    ),
    "aot": (
        "import torch",
        'program = torch._inductor.aoti_load_package(str(FOLDER / "{graph}"))\n'
        + _TORCH,
    ),
    "savedmodel": (
        "import tensorflow as tf",
        'loaded = tf.saved_model.load(str(FOLDER / "{graph}"))\n'
        'serve = loaded.signatures["serving_default"]\n\n\n'
        "def compute(inputs):\n"
        "    found = serve(**{{name: tf.constant(value) for name, value in inputs.items()}})\n"
        "    return [tf.cast(found[name], tf.float32).numpy() for name in OUTPUTS]\n",
    ),
    "tflite": (
        "import tensorflow as tf",
        'lite = tf.lite.Interpreter(model_path=str(FOLDER / "{graph}"))\n\n\n'
        "def compute(inputs):\n"
        '    places = lite._get_full_signature_list()["serving_default"]\n'
        "    for name, value in inputs.items():\n"
        '        lite.resize_tensor_input(places["inputs"][name], value.shape)\n'
        "    lite.allocate_tensors()\n"
        "    for name, value in inputs.items():\n"
        '        lite.set_tensor(places["inputs"][name], value)\n'
        "    lite.invoke()\n"
        '    return [lite.get_tensor(places["outputs"][name]) for name in OUTPUTS]\n',
    ),
}

_TEMPLATE = '''"""Runs {graph} by {runtime}.

    python run.py 1 273 1784 2      token ids
    python run.py "A text."         with the package `deberta-zoo` installed, for its tokenizer
"""

import sys
from pathlib import Path

import numpy as np
{imports}

FOLDER = Path(__file__).resolve().parent
INPUTS, OUTPUTS = {inputs}, {outputs}
VOCAB_SIZE = {vocab_size}

{open}


def read(words):
    """Token ids of what was given: numbers are taken for ids, all else for one text."""
    if not words:
        sys.exit(__doc__.strip())
    if all(word.isdigit() for word in words):
        if unknown := [word for word in words if int(word) >= VOCAB_SIZE]:
            sys.exit(f"error: token ids go from 0 to {{VOCAB_SIZE - 1}}; got {{', '.join(unknown)}}")
        return [int(word) for word in words]
    from tokenization import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(FOLDER))(" ".join(words))["input_ids"]


if __name__ == "__main__":
    ids = np.array({batch}, np.int64)
    inputs = {{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}}
    for name, value in zip(OUTPUTS, compute({{name: inputs[name] for name in INPUTS}})):
        print(name, value.shape, value.tolist(), sep="\\t")
'''


def program(row: Format, inputs: list[str], outputs: list[str], *, by_choice: bool, vocab_size: int) -> str:
    """A short program that runs the graph of an export."""
    imports, opened = _OPEN[row.name]
    return _TEMPLATE.format(
        graph=row.graph, runtime=row.runtime, imports=imports, open=opened.format(graph=row.graph).strip("\n"),
        inputs=inputs, outputs=outputs, vocab_size=vocab_size,
        batch="[[read(sys.argv[1:])]]" if by_choice else "[read(sys.argv[1:])]",
    )  # fmt: skip


def card(row: Format, report: ExportReport, config: BaseConfig, name: str) -> str:
    """The README.md of an export: what it is, what it takes and gives, how near it is to the model."""
    worst = report.worst
    labels = ", ".join(f"`{label}`" for _, label in sorted((config.id2label or {}).items())[:30])
    axes = "[batch, choices, length]" if len(worst.size) == 3 else "[batch, length]"
    rows = {
        "graph": f"`{row.graph}`, {report.dtype}, for {row.runtime}",
        "inputs": f"{', '.join(f'`{name}`' for name in report.inputs)}: int64 `{axes}`, any size from 1",
        "outputs": ", ".join(f"`{name}`" for name in report.outputs),
        "layers": config.num_hidden_layers,
        "hidden size": config.hidden_size,
        **({"labels": labels} if "Classification" in report.head else {}),
        "checked": f"largest difference to the model {worst.relative:.1e} of the largest value, at "
        f"{' x '.join(map(str, worst.size))}",
    }
    table = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    head = ["---", f"tags: [{config.model_type}, deberta, {row.name}]", "---", "", f"# {name}", ""]
    return "\n".join([*head, *table, "", "```sh", f'python {PROGRAM} "A text."', "```", ""])
