"""Which tensor of a file goes where: shared by loading in both trees and by conversion."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.checkpoint import TensorFile
from deberta_core.config import BaseConfig
from deberta_core.heads import mlm_head_of
from deberta_core.weight_names import Weight, canonical, flip_axes, is_kernel, to_pt

# Tensors that a tied model does not hold under this name: the key that holds them.
ALIASES = {
    "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_predictions.lm_head.decoder.weight": "deberta.embeddings.word_embeddings.weight",
    "lm_predictions.lm_head.decoder.bias": "lm_predictions.lm_head.bias",
}


@dataclass
class LoadReport:
    """What a load found.

    Attributes:
        sources: name in the file by key of the model.
        missing_keys: keys of the model that the file lacks.
        unexpected_keys: names in the file that the model has no use for.
        mismatched_keys: key, shape in the file, shape in the model.
        renamed_keys: name in the file and key of the model, where they differ.
    """

    sources: dict[str, str] = field(default_factory=dict)
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    renamed_keys: list[tuple[str, str]] = field(default_factory=list)


def published_key(name: str, *, naming: str, family: str) -> str | None:
    """The published PyTorch key of a name in a file, ``None`` if it is nothing a model holds.

    Args:
        name: as stored.
        naming: ``pt`` or ``tf``.
        family: ``model_type`` of the config.
    """
    return canonical(to_pt(name, family=family) if naming == "tf" else name)


def match_names(names: Iterable[str], wanted: Collection[str], *, naming: str = "pt", family: str = "") -> LoadReport:
    """Find each wanted key among the names of a file.

    Args:
        names: names as stored.
        wanted: full keys of the model (``deberta.`` included).
        naming: ``pt`` or ``tf``.
        family: ``model_type`` of the config.
    """
    report = LoadReport()
    by_key: dict[str, str] = {}
    for name in names:
        key = published_key(name, naming=naming, family=family)
        if key is not None and (key not in by_key or name == key):
            by_key[key] = name
    for alias, key in ALIASES.items():  # absorb what tying makes a second name of
        if alias in by_key and alias not in wanted:
            name = by_key.pop(alias)
            if key in wanted:
                by_key.setdefault(key, name)
    for key, name in by_key.items():
        if key in wanted:
            report.sources[key] = name
            if name not in (key, key.removeprefix("deberta.")):
                report.renamed_keys.append((name, key))
        else:
            report.unexpected_keys.append(name)
    report.missing_keys = [key for key in wanted if key not in report.sources]
    return report


def fit_head(config: BaseConfig, head: str, file: TensorFile) -> BaseConfig:
    """The config with the masked-LM head that the file has, for a masked-LM model; else as it is.

    Args:
        config: of the checkpoint.
        head: key of ``HEADS``.
        file: open checkpoint.
    """
    if head != "ForMaskedLM":
        return config
    keys = {published_key(name, naming=file.naming, family=config.model_type) for name in file.tensors}
    known = {key for key in keys if key is not None}
    if any(key.startswith("mask_predictions.") for key in known):
        warnings.warn(
            f"{file.paths[0]} holds a discriminator (mask_predictions): its encoder was not trained to predict words; "
            "load the generator for fill-mask: from_pretrained(..., generator=True)",
            stacklevel=4,
        )
    found = mlm_head_of(config, known)
    return config if found == config.mlm_head else config.copy(mlm_head=found)


def formats(known: Sequence[str], use_safetensors: bool | None) -> tuple[str, ...]:
    """Formats to look for, best first: only safetensors, all but safetensors, or (``None``) all that are known."""
    return tuple(f for f in known if use_safetensors is None or (f == "safetensors") == use_safetensors)


def generator_paths(path: str | os.PathLike[str], subfolder: str) -> tuple[Path, Path]:
    """Config and weights of the generator that a discriminator's folder holds.

    Raises:
        FileNotFoundError: if there is none; the text says what was looked for.
    """
    folder = Path(path) / subfolder
    config, names = folder / "generator_config.json", ("model.generator.safetensors", "pytorch_model.generator.bin")
    for name in names:
        if (folder / name).is_file() and config.is_file():
            return config, folder / name
    raise FileNotFoundError(f"no generator in {folder}: looked for {config.name} and {' or '.join(names)}")


def check_shapes(
    report: LoadReport, shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Weight], naming: str
) -> None:
    """List in ``report.mismatched_keys`` the tensors whose stored shape does not fit.

    Args:
        report: of ``match_names``.
        shapes: shape by name in the file.
        wanted: weights of the model by key.
        naming: ``pt`` or ``tf``.
    """
    for key, name in report.sources.items():
        stored = shapes[name]
        if naming == "tf" and is_kernel(name):
            stored = stored[::-1]
        if stored != wanted[key].shape:
            report.mismatched_keys.append((key, stored, wanted[key].shape))


def unused_tensors(file: TensorFile, report: LoadReport, family: str) -> dict[str, NDArray[np.generic]]:
    """Tensors that a model has no use for, by published key, to be written back when it is saved.

    A published file holds the heads of pretraining and a table of positions that most models do not use; saving a
    model is no reason to lose them. Differences to a generator's tables (``._weight``) stay behind: the tables
    already contain them.

    Args:
        file: open checkpoint; the arrays stay valid when it is closed.
        report: of ``match_names``.
        family: ``model_type`` of the config.
    """
    found = {}
    for name in report.unexpected_keys:
        key = published_key(name, naming=file.naming, family=family)
        if key is not None and not key.endswith("._weight"):
            found[key] = in_pytorch_axes(file.read(name), name, file.naming)
    return found


def without_words(tensors: Mapping[str, NDArray[Any]], words: int) -> dict[str, NDArray[Any]]:
    """Unused tensors but for heads that predict ``words`` words, which fit no longer once the vocabulary is resized."""
    gone = {key.split(".")[0] for key, array in tensors.items() if array.shape[:1] == (words,)}
    return {key: array for key, array in tensors.items() if key.split(".")[0] not in gone}


def in_pytorch_axes(array: NDArray[np.generic], name: str, naming: str) -> NDArray[np.generic]:
    """A stored tensor with the axes of its PyTorch key."""
    return flip_axes(array) if naming == "tf" and is_kernel(name) else array


def refuse_incomplete(report: LoadReport, where: str, config: BaseConfig, *, ignore_mismatched: bool) -> list[str]:
    """Decide what a load may do with what it did not find.

    Args:
        report: with ``mismatched_keys`` filled in.
        where: the file, for the message.
        config: the model's config.
        ignore_mismatched: start heads afresh where the shape differs, instead of an error.

    Returns:
        Keys that start afresh.

    Raises:
        ValueError: if the body lacks a weight, or a shape differs; the text names them.
    """
    body = [key for key in report.missing_keys if key.startswith("deberta.")]
    if body:
        hint = ""
        if any(name.endswith("._weight") for name in report.unexpected_keys):
            hint = "; it holds the difference to a generator's table (._weight): merge it with the generator first"
        if body == ["deberta.embeddings.position_embeddings.weight"] and not config.position_biased_input:
            hint = "; without its table of absolute positions there is no enhanced mask decoder: use mlm_head='plain'"
        raise ValueError(
            f"{where} lacks {len(body)} weights of the encoder that the config asks for: {_some(body)}{hint}. "
            "Does config.json belong to it?"
        )
    wrong = [m for m in report.mismatched_keys if m[0].startswith("deberta.") or not ignore_mismatched]
    if wrong:
        rows = "; ".join(
            f"{key} is {list(stored)}, the config asks for {list(shape)}" for key, stored, shape in wrong[:4]
        )
        head = all(not key.startswith("deberta.") for key, _, _ in wrong)
        advice = (
            "Pass num_labels of the file, or ignore_mismatched_sizes=True to start a new head"
            if head
            else "Does config.json belong to it?"
        )
        raise ValueError(f"{where} does not fit (num_labels is {config.num_labels}): {rows}. {advice}")
    return report.missing_keys + [key for key, _, _ in report.mismatched_keys]


def fresh_head_warning(cls_name: str, where: str, fresh: Collection[str]) -> str:
    """What to tell the user of weights that start afresh."""
    found = f"not found in {where} (or not in this shape)"
    return f"{cls_name}: {_some(fresh)} {found} and newly initialised; train the model before using it"


def _some(keys: Collection[str], most: int = 8) -> str:
    first = ", ".join(list(keys)[:most])
    return first + (f" and {len(keys) - most} more" if len(keys) > most else "")


def loading_info(report: LoadReport) -> dict[str, list[Any]]:
    """A report as the dict of lists that ``output_loading_info=True`` returns."""
    return {
        "missing_keys": report.missing_keys,
        "unexpected_keys": report.unexpected_keys,
        "mismatched_keys": report.mismatched_keys,
        "renamed_keys": report.renamed_keys,
        "error_msgs": [],
    }
