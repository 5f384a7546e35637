"""Models as graphs: every format, family and head, in the runtimes that are installed; what is refused, and how."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

import conversion
from conversion.command_line import COMMANDS, ERROR, run
from conversion.exports import exporting, formats
from conversion.exports.pytorch import PyTorchModel
from conversion.exports.runtimes import open_graph, read_manifest
from conversion.source import open_source
from tests.conversion.helpers import left_half_way, write_checkpoint
from tests.models.helpers import BASES, HEADS, small_config

ROOT = Path(__file__).parents[2]


def missing(name):
    return [module for module, _ in formats.FORMATS[name].needs if importlib.util.find_spec(module) is None]


def needs(name):
    return pytest.mark.skipif(bool(missing(name)), reason=f"needs {', '.join(missing(name))}: make test-slow")


def checkpoint(folder, base, head, **changes):
    changes = {"max_position_embeddings": 40, **({"type_vocab_size": 2} if base == "v1" else {}), **changes}
    write_checkpoint(folder, small_config(base, **changes), head)
    return folder


MATRIX = [(name, base, head) for name in formats.FORMATS for base in BASES for head in HEADS]
# The part that is run often: each format once per family, each head once per framework.
OFTEN = [
    (name, base, [*HEADS][(number + shift) % len(HEADS)])
    for names in (("onnx", "openvino", "torch", "aot"), ("savedmodel", "tflite"))
    for number, (name, base) in enumerate((name, base) for name in names for base in BASES)
    for shift in (0, *([6] if (name, base) == ("savedmodel", "v1") else []))
]


def test_what_is_run_often():
    frameworks = {name: row.framework for name, row in formats.FORMATS.items()}
    assert {(name, base) for name, base, _ in OFTEN} == {(name, base) for name, base, _ in MATRIX}
    assert {(frameworks[name], head) for name, _, head in OFTEN} == {(f, head) for f in ("pt", "tf") for head in HEADS}


@pytest.mark.parametrize(
    ("name", "base", "head"),
    [
        pytest.param(*row, marks=[needs(row[0]), *([] if row[:2] == ("torch", "v1") else [pytest.mark.slow])])
        for row in OFTEN
    ],
)
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
def test_often(tmp_path, name, base, head):
    check_export(tmp_path, name, base, head, num_hidden_layers=1)


@pytest.mark.parametrize(("name", "base", "head"), [pytest.param(*row, marks=needs(row[0])) for row in MATRIX])
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
@pytest.mark.everything
def test_matrix(tmp_path, name, base, head):
    check_export(tmp_path, name, base, head)


def check_export(tmp_path, name, base, head, **changes):
    """Made of two texts of five tokens, right at all sizes that an export is checked at."""
    source = checkpoint(tmp_path / "source", base, head, **changes)
    report = conversion.export(source, tmp_path / "out", to=name)
    check_folder(tmp_path / "out", report, name, head, with_types=base == "v1")
    sizes = {(check.size[0], check.size[-1]) for check in report.checks}
    assert sizes == {(1, 1), (1, 7), (3, 33), (2, 512), (1, 600)}
    most: dict[str, float] = {}
    for check in report.checks:
        most[check.output] = max(check.largest, most.get(check.output, 0.0))
    for check in report.checks:  # the three logits of a size may all be near nought, which those of another are not
        assert check.difference <= 1e-5 * max(check.largest, 0.1 * most[check.output]), check


def check_folder(folder, report, name, head, *, with_types=False):
    """What a reader of the folder relies on."""
    row, manifest = formats.FORMATS[name], read_manifest(folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(report.files)
    assert {row.graph, "config.json", "export.json", "run.py", "README.md"} <= set(report.files)
    assert manifest["inputs"] == ["input_ids", "attention_mask", *(["token_type_ids"] if with_types else [])]
    own = {"Model": ["last_hidden_state"], "ForQuestionAnswering": ["start_logits", "end_logits"]}
    assert manifest["outputs"] == own.get(head, ["logits"])
    assert json.loads((folder / "config.json").read_text())["architectures"][0].endswith(head)
    rank = 3 if head == "ForMultipleChoice" else 2
    found = open_graph(folder / row.graph, manifest)({"input_ids": np.full((1,) * (rank - 1) + (4,), 7)})
    assert list(found) == manifest["outputs"]
    assert all(np.isfinite(array).all() for array in found.values())


HALVES = [(n, d) for n, row in formats.FORMATS.items() for d in row.dtypes if d in ("float16", "bfloat16")]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(*half, marks=[needs(half[0]), *([] if half[0] in ("onnx", "torch") else [pytest.mark.everything])])
        for half in HALVES
    ],
)
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
def test_halves(tmp_path, name, dtype):
    """Near the model, and finite where scores that are not scaled before the product would overflow."""
    source = checkpoint(tmp_path / "source", "v2", "ForTokenClassification", num_hidden_layers=1)
    report = conversion.export(source, tmp_path / "out", to=name, dtype=dtype)
    assert (report.dtype, report.tolerance) == (dtype, formats.TOLERANCES[dtype])
    assert 1e-7 < report.worst.relative <= 2e-2, "of one layer, whose scores stay in range; bfloat16 of many has more"


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in ("torch", "onnx")])
def test_scores_beyond_half_precision(tmp_path, name):
    """Products that are not scaled first would be infinite in float16, and what comes of them no number."""
    with open_source(checkpoint(tmp_path / "source", "v3", "Model", num_hidden_layers=1)) as source:
        config, model = source.config, PyTorchModel(source, "Model")
    attention, products = model.model.encoder.layer[0].attention.self, {}
    inputs = exporting._inputs(config, "Model", 2, 33)

    def largest():
        hooks = [
            projection.register_forward_hook(
                lambda _, __, found, name=name: products.setdefault(name, []).append(found)
            )
            for name, projection in (("query", attention.query_proj), ("key", attention.key_proj))
        ]
        products.clear()
        model.run(inputs, ["last_hidden_state"])
        for hook in hooks:
            hook.remove()
        query, key = (attention.split_heads(products[name][0]) for name in ("query", "key"))  # of states, not positions
        return float((query @ key.transpose(-1, -2)).abs().max())

    most = float(np.finfo(np.float16).max)
    factor = (1.2 * most / largest()) ** 0.5
    for projection in (attention.query_proj, attention.key_proj):
        projection.weight.mul_(factor)
        projection.bias.mul_(factor)
    assert largest() > most > 3 * largest() * attention.scale, "each of three terms is in range"
    path = tmp_path / formats.FORMATS[name].graph
    model.write(name, path, "float16", ["last_hidden_state"], inputs, None)
    manifest = {"to": name, "inputs": list(inputs), "outputs": ["last_hidden_state"]}
    assert np.isfinite(open_graph(path, manifest)(inputs)["last_hidden_state"]).all()


def scaled_by_row(path: Path) -> Counter[bool]:
    """How many weights of integers products have, by whether a scale of each row is all that is applied to them: those
    OpenVINO multiplies as integers where the processor does.
    """
    import openvino

    found: Counter[bool] = Counter()
    for product in openvino.Core().read_model(path).get_ops():
        if product.get_type_name() == "MatMul":
            weight, applied = product.input_value(1).get_node(), []
            while weight.get_input_size():
                applied += [weight] if weight.get_type_name() != "Convert" else []
                weight = weight.input_value(0).get_node()
            if weight.get_element_type() == openvino.Type.i8:
                shapes = [tuple(operator.input_value(1).get_shape()) for operator in applied]
                found[shapes == [(weight.get_output_shape(0)[0], 1)] and applied[0].get_type_name() == "Multiply"] += 1
    return found


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        pytest.param("onnx", 2, marks=needs("onnx")),
        *(pytest.param("openvino", digits, marks=[needs("openvino"), pytest.mark.everything]) for digits in (1, 2)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
def test_integers_of_a_quantised_folder(tmp_path, monkeypatch, name, digits):
    """OpenVINO has no products of two digits; such a weight is there in floats."""
    import deberta_pt
    from deberta_pt.fast import quantising

    for limit in ("MOST_OF_PRODUCT", "LIMIT", *(("MOST_OF_MODEL",) if digits == 1 else ())):  # no product stays float
        monkeypatch.setattr(quantising, limit, 1.0)
    monkeypatch.setattr(quantising, "LEAST_COSINE", 0.0)
    source = checkpoint(tmp_path / "source", "v3", "ForSequenceClassification", hidden_size=96, intermediate_size=192)
    with pytest.raises(ValueError, match=r"dtype is 'int8', but the weights in .*source are floats: deberta quantize"):
        conversion.export(source, tmp_path / "out", to=name, dtype="int8")
    model = deberta_pt.AutoModelForSequenceClassification.from_pretrained(source)
    ids = np.random.default_rng(0).integers(1, 53, (4, 16))
    small = deberta_pt.quantize(model, [{"input_ids": ids}])
    assert {found for *_, found, why in small.quantization.products if not why} == {digits}
    assert not small.quantization.floats
    small.save_pretrained(tmp_path / "small")
    report = conversion.export(tmp_path / "small", tmp_path / "int8", to=name, dtype="int8")
    assert report.worst.relative < (1e-4 if (name, digits) == ("openvino", 2) else 0.05)
    held = sum(p.numel() for p in model.deberta.encoder.layer.parameters() if p.ndim > 1)
    if name == "openvino":
        floats = conversion.export(tmp_path / "small", tmp_path / "float32", to=name)
        rows = {True: 6 * model.config.num_hidden_layers} if digits == 1 else {}
        assert scaled_by_row(tmp_path / "int8" / "model.xml") == rows
        if digits == 1:
            assert floats.nbytes - report.nbytes > 0.6 * 4 * held  # three of four bytes, less what operators take
        return
    import onnx

    graph = onnx.load(tmp_path / "int8" / "model.onnx").graph
    products = sum(node.op_type == "MatMulInteger" for node in graph.node)
    assert products == sum(digits for *_, digits, _ in small.quantization.products) >= 8
    integers = [one for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    assert sum(int(np.prod(one.dims)) for one in integers) == held + model.config.vocab_size * 96  # once


@needs("onnx")
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
def test_integers_of_a_new_model(tmp_path):
    """Its padding is zeros, of whose rounding a norm makes numbers as large as others: nobody reads them."""
    import torch

    import deberta_pt

    config = small_config("v3", hidden_size=96, intermediate_size=192)
    torch.manual_seed(0)
    model = deberta_pt.AutoModel.from_config(config).eval()
    ids = np.random.default_rng(0).integers(1, config.vocab_size, (4, 16))
    deberta_pt.quantize(model, [{"input_ids": ids}]).save_pretrained(tmp_path / "small")
    report = conversion.export(tmp_path / "small", tmp_path / "int8", to="onnx", dtype="int8")
    assert 1e-4 < report.worst.relative < 0.05


@needs("tflite")
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
@pytest.mark.everything
def test_integers_of_tensorflow_lite(tmp_path):
    """Of a folder of floats: a third of their bytes; the runtime rounds states as well: off by more than floats are."""
    source = checkpoint(tmp_path / "source", "v3", "ForSequenceClassification", hidden_size=96, intermediate_size=192)
    report = conversion.export(source, tmp_path / "int8", to="tflite", dtype="int8")
    conversion.export(source, tmp_path / "float32", to="tflite")
    sizes = {dtype: (tmp_path / dtype / "model.tflite").stat().st_size for dtype in ("int8", "float32")}
    assert sizes["int8"] < 0.5 * sizes["float32"]
    assert 1e-4 < report.worst.relative <= formats.TOLERANCES["int8"]


@needs("onnx")
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
def test_a_graph_of_onnx(tmp_path):
    """One file, that checks out; relative keys come in ready, and nothing is looked up by pairs of tokens."""
    import onnx

    source = checkpoint(tmp_path / "source", "v3", "ForSequenceClassification")
    conversion.export(source, tmp_path / "out", to="onnx")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model)
    kinds = [node.op_type for node in model.graph.node]
    assert not {"GatherElements", "Einsum", "Loop", "If"} & set(kinds)
    assert [output.name for output in model.graph.output] == ["logits"]
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.INT64 for value in model.graph.input)
    tables = {tuple(weight.dims) for weight in model.graph.initializer}
    config = small_config("v3")
    assert (2 * config.span, config.hidden_size) not in tables, "the table itself is not there, but what is made of it"


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in ("onnx", "torch")])
@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
@pytest.mark.slow
def test_the_program_beside_it(tmp_path, name):
    source = checkpoint(tmp_path / "source", "v1", "ForSequenceClassification")
    conversion.export(source, tmp_path / "out", to=name)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(tmp_path / "out" / "run.py"), "5", "7", "2"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    label, shape, values = done.stdout.strip().split("\t")
    graph = open_graph(tmp_path / "out" / formats.FORMATS[name].graph, read_manifest(tmp_path / "out"))
    wanted = graph({"input_ids": np.array([[5, 7, 2]])})["logits"]
    assert (label, shape) == ("logits", "(1, 3)")
    np.testing.assert_allclose(json.loads(values), wanted, rtol=1e-4)
    for words, said in (([], "token ids\n"), (["5", "9999"], "error: token ids go from 0 to 52; got 9999")):
        done = subprocess.run([*command[:2], *words], cwd="/", capture_output=True, text=True, timeout=300)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_task_names_a_head(tmp_path):
    source = checkpoint(tmp_path / "source", "v3", "ForTokenClassification")
    with pytest.warns(UserWarning, match="has no tokenizer"):
        report = conversion.export(source, tmp_path / "out", to="torch", task="feature-extraction")
    assert (report.head, report.outputs) == ("Model", ["last_hidden_state"])
    assert report.notes == ["without a tokenizer: there is none beside the model"]
    assert report.to_dict()["checks"][0]["size"] == (1, 1)


def test_lengths_that_positions_allow(tmp_path):
    source = checkpoint(tmp_path / "source", "v1", "Model", position_biased_input=True)
    with pytest.warns(UserWarning, match="has no tokenizer"):
        report = conversion.export(source, tmp_path / "out", to="torch")
    assert [check.size for check in report.checks] == [(1, 1), (1, 7), (3, 33), (2, 40), (1, 40)]


REFUSED = {
    "format": (["--to", "coreml"], "to is 'coreml', expected one of onnx"),
    "int8": (["--to", "torch", "--dtype", "int8"], r"PyTorch \(torch\) computes float32 or float16 or bfloat16"),
    "dtype": (["--to", "onnx", "--dtype", "bfloat16"], r"ONNX Runtime \(onnx\) computes float32 or float16 or int8"),
    "task": (["--to", "torch", "--task", "summarization"], "task is 'summarization', expected one of"),
    "head": (["--to", "torch", "--task", "question-answering"], "needs a checkpoint with the head ForQ"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_a_sentence(tmp_path, capsys, case):
    arguments, text = REFUSED[case]
    source = checkpoint(tmp_path / "source", "v3", "ForTokenClassification")
    assert run(COMMANDS, "deberta", "", ["export", str(source), str(tmp_path / "out"), "--quiet", *arguments]) == ERROR
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert pytest.RaisesExc(ValueError, match=text).matches(ValueError(error))
    assert os.listdir(tmp_path) == ["source"]


def test_a_place_that_cannot_be_written(tmp_path):
    source = checkpoint(tmp_path / "source", "v3", "Model")
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="there is something at"):
        conversion.export(source, tmp_path / "out", to="torch")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        conversion.export(source, tmp_path / "file" / "out", to="torch")
    (source / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="weights"):
        conversion.export(source, tmp_path / "new", to="torch")
    assert sorted(os.listdir(tmp_path)) == ["file", "out", "source"]
    assert not os.listdir(tmp_path / "out")


def test_a_full_disk_is_called_that(tmp_path, monkeypatch):
    """Writers of graphs say "unexpected pos 64 vs 0" and the like."""
    source = checkpoint(tmp_path / "source", "v3", "Model", num_hidden_layers=1)

    def write(*arguments):
        raise RuntimeError("unexpected pos 64 vs 0")

    monkeypatch.setattr("conversion.exports.exporting._write", write)
    with pytest.raises(RuntimeError, match="unexpected pos"):
        conversion.export(source, tmp_path / "out", to="torch")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(OSError, match="no space"):
        conversion.export(source, tmp_path / "out", to="torch")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:.*has no tokenizer")
def test_what_a_kill_left_is_no_export(tmp_path):
    source = checkpoint(tmp_path / "source", "v3", "Model", num_hidden_layers=1)
    (tmp_path / "out" / ".deberta-0123456789abcdef" / "new").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="none"):
        conversion.export(tmp_path / "none", tmp_path / "out", to="torch")
    assert not (tmp_path / "out").exists(), "an empty folder, which the next export would be refused for"
    conversion.export(source, tmp_path / "out", to="torch")
    names = sorted(os.listdir(tmp_path / "out"))
    assert "model.pt2" in names
    assert not [name for name in names if name.startswith(".")]
    left_half_way(tmp_path / "out", names[::2])
    assert read_manifest(tmp_path / "out")["to"] == "torch", "a reader has the new state"
    assert sorted(os.listdir(tmp_path / "out")) == names
    left_half_way(tmp_path / "out", names[::2])
    with pytest.raises(FileExistsError, match="there is something at"):
        conversion.export(source, tmp_path / "out", to="torch")
    assert sorted(os.listdir(tmp_path / "out")) == names, "and no other is needed"


def test_a_graph_that_differs_is_not_put_in_place(tmp_path, monkeypatch):
    source = checkpoint(tmp_path / "source", "v3", "Model")
    real = exporting.open_graph

    def off(path, manifest):
        graph = real(path, manifest)
        return lambda inputs: {name: array + 1e-2 * abs(array).max() for name, array in graph(inputs).items()}

    monkeypatch.setattr(exporting, "open_graph", off)
    with pytest.raises(ValueError, match=r"differs from the model: last_hidden_state of .* nothing was written"):
        conversion.export(source, tmp_path / "out", to="torch")
    monkeypatch.setattr(exporting, "open_graph", lambda *_: lambda inputs: {"last_hidden_state": np.array(np.nan)})
    with pytest.raises(ValueError, match="by inf of its largest value"):
        conversion.export(source, tmp_path / "out", to="torch")
    assert os.listdir(tmp_path) == ["source"]


def test_what_is_missing_is_said_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "open_source", None)  # work
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else True)
    monkeypatch.setattr(formats.importlib.metadata, "version", lambda name: "99.0")
    with pytest.raises(ImportError, match=r"onnxruntime is not installed.*pip install --upgrade 'deberta-zoo\[onnx\]'"):
        conversion.export("model", tmp_path / "out", to="onnx")
    monkeypatch.setattr(formats.importlib.metadata, "version", lambda name: "1.2.3")
    with pytest.raises(ImportError, match=r"torch is 1.2.3, and --to torch needs 2\.6 or later: pip install"):
        conversion.export("model", tmp_path / "out", to="torch")
    monkeypatch.setattr(formats.importlib.metadata, "version", lambda name: "99.0")
    monkeypatch.setattr(formats.shutil, "which", lambda name: None)
    with pytest.raises(ImportError, match=r"no C\+\+ compiler .*apt install g\+\+"):
        conversion.export("model", tmp_path / "out", to="aot")


def test_a_runtime_that_is_too_old_for_a_graph(tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"")
    manifest = {"to": "onnx", "inputs": ["input_ids"], "outputs": ["logits"]}
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(formats.importlib.metadata, "version", lambda name: "1.22.1")
    with pytest.raises(ImportError, match=r"onnxruntime is 1.22.1, and model.onnx needs 1\.23 or later: pip install"):
        open_graph(tmp_path / "model.onnx", manifest)


def test_a_damaged_export(tmp_path):
    assert read_manifest(tmp_path) is None
    for text in ("{", "[]", "{}", '{"to": "coreml", "graph": "x", "head": "Model", "inputs": [], "outputs": []}'):
        (tmp_path / "export.json").write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            read_manifest(tmp_path)
    (tmp_path / "model.pt2").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"model\.pt2 is damaged \(it is no zip archive\); export the model again"):
        open_graph(tmp_path / "model.pt2", {"to": "torch", "inputs": [], "outputs": []})
    with ZipFile(tmp_path / "model.pt2", "w") as file:
        file.writestr("model/data.pkl", b"nothing")
    with pytest.raises(ValueError, match=r"model\.pt2 is damaged \(.*\); export the model again"):
        open_graph(tmp_path / "model.pt2", {"to": "torch", "inputs": [], "outputs": []})
    with pytest.raises(FileNotFoundError, match="it is an exported graph; give the model that it was made of"):
        conversion.export(tmp_path, tmp_path / "again", to="torch")
