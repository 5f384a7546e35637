"""``export``: a checkpoint becomes a graph for a runtime, which is run against the model before it is put in place."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conversion.differences import measure
from conversion.exports.formats import FORMATS, TOLERANCES, Format, check_installed, choose_format
from conversion.exports.programs import PROGRAM, card, program
from conversion.exports.report import Check, ExportReport
from conversion.exports.runtimes import Arrays, open_graph
from conversion.source import Source, open_source
from deberta_core.config import BaseConfig
from deberta_core.file_names import CARD, CONFIG, EXPORT, tokenizer_files
from deberta_core.files import Replacement, settle
from deberta_core.heads import HEADS, OF_TOKENS, TASK_HEADS, fit_head
from deberta_core.packaged import packaged
from deberta_core.weight_names import head_weights

# In the order in which a graph gives them; a head has its own, else the states.
OUTPUTS = ("logits", "start_logits", "end_logits")
_NEARLY_FULL = 1 << 16  # bytes
SIZES = ((1, 1), (1, 7), (3, 33), (2, 512), (1, 600))  # batch and length of the runs that an export is checked by


def export(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    to: str,
    dtype: str | None = None,
    task: str | None = None,
    progress: Callable[[str], None] | None = None,
    isolate_h5: bool = False,
) -> ExportReport:
    """Write a folder with a graph that a runtime computes without this project, of any batch and length.

    Beside the graph are the config, the tokenizer, a model card and a short program that runs it. The graph is run in
    its runtime against the model at several sizes before the folder is put in place.

    Args:
        src: folder, weights file or index of shards, of either framework.
        dst: folder to make.
        to: ``onnx``, ``openvino``, ``torch``, ``aot`` (PyTorch's compiler), ``savedmodel`` or ``tflite``.
        dtype: of the graph's numbers, ``float32``, ``float16`` or ``bfloat16``; which, depends on the runtime.
            ``int8`` keeps the integers of a quantised folder: ONNX Runtime multiplies them with states that are rounded
            by token, OpenVINO widens them while it loads. TensorFlow Lite makes its own of any folder.
        task: name of a task, for its head; default that of the checkpoint. ``feature-extraction`` needs none.
        progress: told what is being done.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.

    Raises:
        CheckpointError: the source is damaged, or not a DeBERTa.
        FileExistsError: there is something at ``dst``.
        FileNotFoundError: there is no source, or it has no weights.
        ImportError: the runtime or a compiler is missing, or too old.
        OSError: ``dst`` cannot be written.
        ValueError: an unknown format or type, int8 for a folder of floats, a head that the task does not fit, or a
            graph that differs.
    """
    started, tell = time.monotonic(), progress or (lambda text: None)
    row, dtype = choose_format(to, dtype)
    if task is not None and task not in TASK_HEADS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASK_HEADS)}")
    check_installed(row)
    # What a kill left counts as nothing, and goes: the same command is to succeed when it is given again.
    if os.path.isdir(dst) and os.listdir(dst) and not settle(Path(dst)):
        with contextlib.suppress(OSError):  # as long as another export is being written there
            os.rmdir(dst)
    elif os.path.lexists(dst):
        raise FileExistsError(f"there is something at {os.fspath(dst)}; give the name of a folder that is to be made")
    made_here = packaged(src, words=task is not None and TASK_HEADS[task] == "ForMaskedLM")
    with open_source(made_here or src, isolate_h5=isolate_h5) as source:
        head = choose_head(source, task)
        integers = any(info.dtype == "int8" for info in source.file.tensors.values())
        if dtype == "int8" and not row.rounds and not integers:
            raise ValueError(f"dtype is 'int8', but the weights in {source.folder} are floats: deberta quantize first")
        with Replacement(Path(os.path.realpath(dst))) as files:
            tell(f"reading the model of {os.fspath(src)}")
            try:
                report = _write(files, source, row, head, dtype, tell)
            except Exception as error:  # which says of a full disk what the runtime likes: "unexpected pos 64 vs 0"
                if isinstance(error, OSError) or shutil.disk_usage(files.folder).free > _NEARLY_FULL:
                    raise
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            report.source, report.target = os.fspath(src), os.fspath(dst)
            files.write(CARD, card(row, report, source.config, Path(dst).name))
            report.files.append(CARD)
            files.commit()
    report.seconds = time.monotonic() - started
    return report


def choose_head(source: Source, task: str | None) -> str:
    """The head to export.

    Args:
        source: the checkpoint.
        task: as ``export``.

    Raises:
        ValueError: if the checkpoint has no such head.
    """
    wanted = source.head if task is None else TASK_HEADS[task]
    if wanted in ("Model", source.head):
        return wanted
    keys = {head: set(head_weights(source.config, HEADS[head].rows(source.config))) for head in (wanted, source.head)}
    # Of some heads the weights have the same names: then the class that the config names decides, if it names one.
    other = bool(keys[wanted] & keys[source.head] and source.architectures)
    if other or not keys[wanted] <= source.shapes.keys():
        own = f"one of {source.head}" if source.head != "Model" else "an encoder without a head"
        raise ValueError(f"{task} needs a checkpoint with the head {wanted}, but {source.path} is {own}")
    return wanted


def _write(
    files: Replacement, source: Source, row: Format, head: str, dtype: str, tell: Callable[[str], None]
) -> ExportReport:
    config, notes = fit_head(source.config, head, source.shapes), []
    late = head == "ForMaskedLM" and config.mlm_head == "emd"
    longest = config.max_position_embeddings if config.position_biased_input or late else None
    model = _model(row)(source, head)
    example = _inputs(config, head, 2, min(5, longest or 5))
    names = model.names(example, OUTPUTS if head != "Model" else ("last_hidden_state",))
    path = files.create(row.graph, folder=row.name == "savedmodel")
    tell(f"making the graph for {row.runtime}")
    model.write(row.name, path, dtype, names, example, longest)
    made = _collect(files, path)
    manifest = {
        "to": row.name, "graph": row.graph, "dtype": dtype, "head": head, "inputs": list(example), "outputs": names,
        "longest": longest,
    }  # fmt: skip
    report = ExportReport("", "", row.name, dtype, head, list(example), names, TOLERANCES[dtype])
    tell(f"running it in {row.runtime}")
    report.checks = _check(model, open_graph(path, manifest), config, head, names, longest, padding=dtype != "int8")
    worst = report.worst
    if not worst.relative <= report.tolerance:
        raise ValueError(
            f"the graph differs from the model: {worst.output} of {' x '.join(map(str, worst.size))} by "
            f"{worst.relative:.2e} of its largest value, more than the tolerance of {report.tolerance:g}; nothing was "
            "written"
        )
    tokenizer = [name for name in tokenizer_files(os.listdir(source.folder)) if name != CONFIG]
    if not tokenizer:
        notes.append("without a tokenizer: there is none beside the model")
        warnings.warn(f"{source.folder} has no tokenizer, so the export has none", stacklevel=3)
    for name in tokenizer:
        files.write(name, (source.folder / name).read_bytes())
    prefix = "Deberta" if config.model_type == "deberta" else "DebertaV2"
    config = config.copy()
    config.extra.update(architectures=[prefix + head], dtype="float32" if dtype == "int8" else dtype)
    files.write(CONFIG, config.file_text())
    files.write(EXPORT, json.dumps(manifest, indent=2) + "\n")
    by_choice, vocab_size = HEADS[head].by_choice, config.vocab_size
    files.write(PROGRAM, program(row, list(example), names, by_choice=by_choice, vocab_size=vocab_size))
    report.nbytes = sum(part.stat().st_size for part in path.rglob("*") if part.is_file()) if path.is_dir() else 0
    report.nbytes += sum((path.parent / name).stat().st_size for name in made if (path.parent / name).is_file())
    report.files, report.notes = [*made, *tokenizer, CONFIG, EXPORT, PROGRAM], notes
    return report


def _model(row: Format) -> Callable[[Source, str], Any]:
    if row.framework == "tf":
        from conversion.exports.tensorflow import TensorFlowModel

        return TensorFlowModel
    from conversion.exports.pytorch import PyTorchModel

    return PyTorchModel


def _collect(files: Replacement, path: Path) -> list[str]:
    """The graph, and what its format writes beside it (weights of OpenVINO, or of a large ONNX graph)."""
    beside = [part.name for part in sorted(path.parent.iterdir()) if part != path]
    for name in beside:
        aside = files.stage / name
        os.replace(path.parent / name, aside)
        os.replace(aside, files.create(name))
    return [path.name, *beside]


def _inputs(config: BaseConfig, head: str, batch: int, length: int, seed: int = 0) -> Arrays:
    """Random ids, the last rows padded, as the graph takes them."""
    rng = np.random.default_rng(seed)
    mask = np.ones((batch, length), np.int64)
    for number in range(1, batch):
        mask[number, length - number * (length // 4) :] = 0 if length > 3 else 1
    ids = rng.integers(0, config.vocab_size, mask.shape)
    inputs = {"input_ids": np.where(mask == 1, ids, config.pad_token_id or 0), "attention_mask": mask}
    if config.type_vocab_size > 0:
        inputs["token_type_ids"] = rng.integers(0, config.type_vocab_size, mask.shape)
    if HEADS[head].by_choice:
        inputs = {name: np.stack([value, value[::-1], value], 1) for name, value in inputs.items()}  # [B, C, L]
    return inputs


def _check(
    model: Any, graph: Any, config: BaseConfig, head: str, names: list[str], longest: int | None, *, padding: bool
) -> list[Check]:
    """Outputs of the graph beside the model's, those of padding too where that is asked for.

    Without biases, as in a new model, padding is a row of zeros up to the last norm, and what rounding to integers adds
    to it is all that a norm has to enlarge.
    """
    checks = []
    for batch, length in dict.fromkeys((batch, min(length, longest or length)) for batch, length in SIZES):
        inputs = _inputs(config, head, batch, length, seed=length)
        wanted, found = model.run(inputs, names), graph(inputs)
        seen = inputs["attention_mask"] == 1
        for name in names:
            one, other = wanted[name], found[name].astype(np.float64)
            largest, difference = measure(one, other)
            by_token = one.ndim > seen.ndim or head in OF_TOKENS
            if by_token and not padding and np.isfinite(difference):
                largest, difference = measure(one[seen], other[seen])
            checks.append(Check(seen.shape, name, largest, difference))
    return checks


__all__ = ["FORMATS", "export"]
