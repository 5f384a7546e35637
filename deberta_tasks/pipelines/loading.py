"""From a folder or a model object to a runner and its tokenizer, with errors that say what a task needs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deberta_core.config import AutoConfig
from deberta_core.heads import HEADS
from deberta_core.hub.fetching import HubOptions
from deberta_core.weight_names import head_weights
from deberta_tasks.tasks.base import Task
from deberta_tasks.tasks.options import check_choice

FRAMEWORKS = {"pt": "torch", "tf": "tensorflow"}
CLASSES = {"pt": ("deberta_pt", ""), "tf": ("deberta_tf", "TF")}
RUNNERS = {"pt": ("runner_pt", "TorchRunner"), "tf": ("runner_tf", "TFRunner")}
DEVICES = {"pt": ("cuda", "cpu"), "tf": ("GPU", "CPU")}
HUB = (*HubOptions.__dataclass_fields__, "subfolder")  # how to fetch by name


def choose_framework(framework: str | None, model: Any) -> str:
    """``pt`` or ``tf``: as asked, else that of the model, else the first that is installed.

    Raises:
        ImportError: if none is installed, or not the one asked for.
        ValueError: for another name, or a model of the other framework.
    """
    if framework is not None:
        check_choice("framework", framework, tuple(FRAMEWORKS))
    own = _framework_of(model)
    if own is not None and framework not in (None, own):
        raise ValueError(f"framework is {framework!r}, but the model is one of {own!r}; leave framework out")
    for name in [own or framework] if own or framework else list(FRAMEWORKS):
        if name is not None and importlib.util.find_spec(FRAMEWORKS[name]):
            return name
    wanted = f"{FRAMEWORKS[framework]} is not" if framework else "neither torch nor tensorflow is"
    raise ImportError(f"{wanted} installed (pip install 'deberta-zoo[{framework or 'pt'}]')")


def _framework_of(model: Any) -> str | None:
    """The framework of a model object; ``None`` for a path or name."""
    if isinstance(model, (str, os.PathLike)):
        return None
    if "torch" in sys.modules and isinstance(model, sys.modules["torch"].nn.Module):
        return "pt"
    if "tf_keras" in sys.modules and isinstance(model, sys.modules["tf_keras"].Model):
        return "tf"
    raise TypeError(f"model is {type(model).__name__}, expected a folder, a name, or a model of this library")


def load_runner(
    task: Task,
    model: Any,
    framework: str | None,
    *,
    device: str | int | None,
    prepare: bool | None = None,
    options: Mapping[str, Any],
) -> Any:
    """The model of a task on its device: ``TorchRunner`` or ``TFRunner``, or ``ExportRunner`` for an export.

    Args:
        task: whose head is needed.
        model: folder, name, or model.
        framework: ``pt``, ``tf`` or ``None``.
        device: as the framework calls it, or the number of a GPU, or -1 for the CPU.
        prepare: as ``pipeline``.
        options: keywords of ``from_pretrained``.

    Raises:
        ImportError: if the framework is not installed.
        ValueError: if the model has no head for the task.
    """
    if (manifest := export_of(model, options)) is not None:
        return _load_export(task, model, manifest, {**options, "framework": framework, "device": device})
    framework = choose_framework(framework, model)
    fresh = isinstance(model, (str, os.PathLike))
    found = _load(task, model, framework, options) if fresh else _fit(task, model)
    module, name = RUNNERS[framework]
    cls = getattr(importlib.import_module(f"deberta_tasks.pipelines.{module}"), name)
    if device is not None and str(device).lstrip("-").isdigit():
        gpu, cpu = DEVICES[framework]
        device = f"{gpu}:{device}" if int(device) >= 0 else cpu
    return cls(found, device, fresh=fresh, prepare=prepare)


def export_of(model: Any, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the folder of an export says of itself; ``None`` for any other model.

    Args:
        model: folder, name, or model.
        options: keywords of ``from_pretrained``.

    Raises:
        ValueError: if the export is damaged.
    """
    if not isinstance(model, (str, os.PathLike)) or options.get("subfolder"):
        return None
    from conversion.exports.runtimes import read_manifest

    return read_manifest(model)


def _load_export(
    task: Task, path: str | os.PathLike[str], manifest: Mapping[str, Any], given: Mapping[str, Any]
) -> Any:
    from deberta_tasks.pipelines.runner_export import ExportRunner

    asked = [name for name in ("framework", "dtype", "device", "generator") if given.get(name) not in (None, "cpu", -1)]
    if asked:
        raise ValueError(
            f"{os.fspath(path)} is an export ({manifest['to']}, {manifest['dtype']}), which runs as it is on the CPU; "
            f"leave {', '.join(asked)} out"
        )
    if manifest["head"] != task.head:
        raise ValueError(
            f"{os.fspath(path)} is an export of {manifest['head']}, which has no head for {task.name}; export the "
            f"model with --task {task.name}"
        )
    return ExportRunner(path, manifest)


def _fit(task: Task, model: Any) -> Any:
    """A model object as the task needs it: the encoder inside for features, else with the task's head."""
    own = getattr(model, "head", task.head)
    if task.head == "Model":
        return getattr(model, "deberta", model)
    if own != task.head:
        raise ValueError(f"a {type(model).__name__} has no head for {task.name}; {_wanted(task)}")
    return model


def _load(task: Task, path: str | os.PathLike[str], framework: str, options: Mapping[str, Any]) -> Any:
    package, prefix = CLASSES[framework]
    cls = getattr(importlib.import_module(package), f"{prefix}AutoModel{task.head.removeprefix('Model')}")
    fetch = {name: options[name] for name in HUB if name in options}
    config = AutoConfig.from_pretrained(path, **fetch)
    named = str((config.extra.get("architectures") or [""])[0])
    keys = {name: head_weights(config, head.rows(config)).keys() for name, head in HEADS.items()}
    # Of some heads the weights have the same names: which of them a file has, its weights alone do not tell.
    if any(named.endswith(name) and name != task.head and keys[name] & keys[task.head] for name in HEADS):
        raise ValueError(f"{os.fspath(path)} is a {named}, which has no head for {task.name}; {_wanted(task)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*newly initialised", category=UserWarning)
        model, info = cls.from_pretrained(path, output_loading_info=True, **options)
    lacking = (info["missing_keys"] + [key for key, *_ in info["mismatched_keys"]])[:4]
    # A classifier of whole texts has a pooler: that of tokens would take its matrix and find nothing missing.
    over = [key for key in info["unexpected_keys"] if "pooler" in key]
    token_wise = "classifier.weight" in keys[task.head] and "pooler.dense.weight" not in keys[task.head]
    if lacking or (token_wise and over):
        reason = f"it lacks {', '.join(lacking)}" if lacking else f"its classifier is one of whole texts ({over[0]})"
        raise ValueError(f"{os.fspath(path)} has no head for {task.name}: {reason}; {_wanted(task)}")
    return model


def _wanted(task: Task) -> str:
    return f"{task.name} needs a checkpoint of a class ending in {task.head}, such as fine-tuning for it writes"


def load_tokenizer(tokenizer: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """The tokenizer that was given or named, else the one beside the model.

    Args:
        tokenizer: a tokenizer, its folder or name, or ``None``.
        model: folder or name of the model, or a model.
        options: keywords of ``from_pretrained``.

    Raises:
        ValueError: if there is none.
    """
    if tokenizer is not None and not isinstance(tokenizer, (str, os.PathLike)):
        return tokenizer
    given = model if tokenizer is None else tokenizer
    if not isinstance(given, (str, os.PathLike)):
        raise ValueError("the model was given as an object, so its tokenizer cannot be found; give tokenizer as well")
    from tokenization import AutoTokenizer

    source = os.fspath(given)
    try:
        return AutoTokenizer.from_pretrained(source, **(options if tokenizer is None else {}))
    except (FileNotFoundError, ValueError) as error:
        if tokenizer is None and Path(source).is_dir() and not _has_vocabulary(Path(source), options):
            raise ValueError(
                f"{source} has no tokenizer (no spm.model, merges.txt or tokenizer.json); copy the "
                "tokenizer's files into it, or name their folder with tokenizer (--tokenizer)"
            ) from error
        raise


def _has_vocabulary(folder: Path, options: Mapping[str, Any]) -> bool:
    inside = folder / str(options.get("subfolder") or "")
    names = ("spm.model", "merges.txt", "bpe_encoder.bin", "vocab.txt", "tokenizer.json")
    return any((inside / name).is_file() for name in names)
