"""What a ``from_pretrained`` is asked for, and which tensor of a file goes where: for both trees and conversion."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.checkpoint import NamedTensors, TensorFile, open_weights
from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.file_names import SIDE_FILE
from deberta_core.folder import WORDS, Folder
from deberta_core.general_config import build_config, refuse_unused
from deberta_core.heads import fit_head
from deberta_core.packaged import GENERATOR, is_packaged
from deberta_core.weight_names import ALIASES, POSITION_TABLE, Weight, body_weights, is_kernel, published_key
from deberta_core.wording import some

_SOME_LABELS = 1 << 14  # for a head that starts afresh
_TENSORS_OF_A_LAYER, _SOME_LAYERS = 10, 64  # that every layer has at least; whose names are made in no time
# What stands before the encoder's own names, and before ``deberta.`` in a model with a head.
_WORDS = re.compile(r"((?:.*?\.)??)(?:deberta\.|bert\.)?embeddings\.word_embeddings\.weight")

# Weights are always read one by one into the memory that they keep, and a pickle is never executed.
NO_EFFECT = (
    "low_cpu_mem_usage", "offload_state_dict", "weights_only", "_fast_init", "_from_auto", "_from_pipeline",
    "_commit_hash", "adapter_kwargs", "tf_to_pt_weight_rename",
)  # fmt: skip
QUANTISED = ("quantization_config", "load_in_8bit", "load_in_4bit")


@dataclass
class LoadReport:
    """What a load found.

    Attributes:
        sources: name in the file by key of the model.
        missing_keys: keys of the model that the file lacks.
        unexpected_keys: names in the file that the model has no use for.
        mismatched_keys: key, shape in the file, shape in the model.
        renamed_keys: name in the file and key of the model, where they differ.
        fresh: keys of the model that start afresh: heads that are missing, or of another shape and not wanted.
        where: the file, or index and first shard.
        taken_off: what stood before the names in the file, of a program that wrapped the model.
    """

    sources: dict[str, str] = field(default_factory=dict)
    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    renamed_keys: list[tuple[str, str]] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    where: str = ""
    taken_off: str = ""


def prefixes(names: Iterable[str]) -> list[str]:
    """What stands before the names of each encoder in a file, such as ``module.``; empty for plain names."""
    return list(dict.fromkeys(match[1] for name in names if (match := _WORDS.fullmatch(name))))


def two_encoders(file: TensorFile, sources: Mapping[str, str]) -> bool:
    """Whether nobody said which encoder is meant: ``module.`` goes from any name, also where another stands beside."""
    before = prefixes(file.tensors)
    taken = any(name.startswith("module.") and name != key for key, name in sources.items())
    return taken and len(before) > 1 and all(before)


def plain_names(names: Iterable[str], key_mapping: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names of PyTorch files as they would be without the program that wrapped the model: each with its own name.

    A prefix is taken off where there is one and no other: of two encoders nobody said which is meant.

    Args:
        names: as stored.
        key_mapping: patterns and what takes their place, as of ``re.sub``; of a name the first one that fits.

    Raises:
        ValueError: for two names that become one.
    """
    found: dict[str, str] = {}
    for name in names:
        fits = ((re.subn(pattern, new, name)) for pattern, new in (key_mapping or {}).items())
        plain = next((text for text, count in fits if count), name)
        if plain in found:
            raise ValueError(f"key_mapping makes {plain!r} of both {found[plain]!r} and {name!r}")
        found[plain] = name
    before = prefixes(found)
    if len(before) != 1 or not before[0]:
        return found
    shorter = {name.removeprefix(before[0]): stored for name, stored in found.items() if name.startswith(before[0])}
    return {**{name: stored for name, stored in found.items() if not name.startswith(before[0])}, **shorter}


def with_plain_names(file: TensorFile, key_mapping: Mapping[str, str] | None = None) -> TensorFile:
    """A checkpoint under the names of ``plain_names``; TensorFlow's stay as they are, unless a mapping changes them."""
    if file.naming == "tf" and not key_mapping:
        return file
    names = plain_names(file.tensors, key_mapping)
    renamed = {plain: name for plain, name in names.items() if plain != name}
    if not renamed:
        return file
    tensors = {
        plain: (replace(file.tensors[name], name=plain), partial(file.read_raw, name)) for plain, name in names.items()
    }
    found = NamedTensors(tensors, file, renamed)
    if before := next(iter(prefixes(renamed.values())), ""):
        found.notes += (f"the names are those without the prefix {before!r}",)
    return found


def with_side_file(file: TensorFile, folder: Path, wanted: Collection[str]) -> TensorFile:
    """A checkpoint together with the tensors that a conversion kept beside it, for those that a model has a place for.

    Args:
        file: open checkpoint.
        folder: where it is.
        wanted: full keys of a model with a user's layers, whose kernels no conversion can tell from other tensors.
    """
    if not (folder / SIDE_FILE).is_file():
        return file
    found: dict[str, Any] = {name: (info, partial(file.read_raw, name)) for name, info in file.tensors.items()}
    with open_weights(folder / SIDE_FILE) as side:  # arrays stay valid when it is closed
        for name in side.tensors.keys() & set(wanted) - found.keys():
            array = side.read_raw(name)
            found[name] = (side.tensors[name], lambda array=array: array)
    return NamedTensors(found, file, file.renamed)


def match_names(
    names: Iterable[str], wanted: Collection[str], *, naming: str = "pt", family: str = "", tied: bool = True
) -> LoadReport:
    """Find each wanted key among the names of a file.

    Args:
        names: names as stored.
        wanted: full keys of the model (``deberta.`` included).
        naming: ``pt`` or ``tf``.
        family: ``model_type`` of the config.
        tied: whether the decoder of a masked-LM head is the word table; else it is a weight of its own.
    """
    report = LoadReport()
    by_key: dict[str, str] = {}
    for name in names:
        key = name if name in wanted else published_key(name, naming=naming, family=family)
        if key is not None and (key not in by_key or name == key):
            by_key[key] = name
    for alias, key in ALIASES.items():  # absorb what tying makes a second name of
        same = tied or alias.endswith(".bias") or key not in by_key
        if alias in by_key and alias not in wanted and same:
            by_key.setdefault(key, by_key.pop(alias))
    for key, name in by_key.items():
        if key in wanted:
            report.sources[key] = name
            if name not in (key, key.removeprefix("deberta.")):
                report.renamed_keys.append((name, key))
        else:
            report.unexpected_keys.append(name)
    report.missing_keys = [key for key in wanted if key not in report.sources]
    return report


def match_file(file: TensorFile, wanted: Mapping[str, Weight], config: BaseConfig) -> LoadReport:
    """Find each weight of a model in a file, and those whose stored shape does not fit.

    Args:
        file: open checkpoint.
        wanted: weights of the model by full key.
        config: of the model.
    """
    report = match_names(
        file.tensors, wanted, naming=file.naming, family=config.model_type, tied=config.tie_word_embeddings
    )
    report.where = " + ".join(str(path) for path in file.paths[:2])
    stored_names = {key: file.renamed.get(name, name) for key, name in report.sources.items()}
    report.renamed_keys = [(n, k) for k, n in stored_names.items() if n not in (k, k.removeprefix("deberta."))]
    report.taken_off = next(iter(prefixes(file.renamed.values())), "")
    for key, name in report.sources.items():
        stored = file.tensors[name].shape
        if file.naming == "tf" and is_kernel(name):
            stored = stored[::-1]
        if stored != wanted[key].shape:
            report.mismatched_keys.append((key, stored, wanted[key].shape))
    return report


def take_keywords(path: Any, options: MutableMapping[str, Any], *, quantises: bool = False) -> Any:
    """Take out what has no effect here, read a config that is given by its path, and find the first argument's name.

    Args:
        path: as given by place.
        options: all keywords of a ``from_pretrained``.
        quantises: whether the caller can have other libraries quantise a model; their keywords stay then.

    Returns:
        The folder, file or name to load from.

    Raises:
        NotImplementedError: for quantised loading in TensorFlow.
    """
    for name in NO_EFFECT:
        options.pop(name, None)
    for name in QUANTISED if not quantises else ():
        if options.pop(name, None):
            raise NotImplementedError(
                f"{name} is not built for TensorFlow: load the model as it is, or a folder that deberta quantize wrote"
            )
    if options.get("subfolder", "") is None:
        del options["subfolder"]
    if isinstance(options.get("config"), (str, os.PathLike)):
        options["config"] = AutoConfig.from_pretrained(options["config"])
    return options.pop("pretrained_model_name_or_path", path)


def read_config(cls: Any, folder: Folder, options: MutableMapping[str, Any]) -> BaseConfig:
    """The config that a model is to have.

    Args:
        cls: class of the model.
        folder: open checkpoint.
        options: ``config``, which replaces the folder's where it is not None, and fields to change.

    Raises:
        TypeError: for an unknown keyword or a value of the wrong type.
        ValueError: for a value out of range.
    """
    given = options.pop("config", None)
    if given is None:
        check_sizes(folder.config, folder.config_file, folder.weights)
        build = cls.config_class.from_dict
        config, unused = build_config(build, folder.config, folder.config_file, return_unused_kwargs=True, **options)
        config.remember(folder.given, folder.path)
    else:
        config, unused = cls.config_class.of(given, cls.__name__), {}
        if cls.head == WORDS and is_packaged(folder.given):
            layers = AutoConfig.from_pretrained(folder.path).num_hidden_layers
            if config.num_hidden_layers != layers:
                raise ValueError(
                    f"the config given has {config.num_hidden_layers} layers, but of {folder.given} the generator "
                    f"predicts words, which has {layers}; give the config of {GENERATOR}"
                )
        if options:
            config, unused = config.copy(return_unused_kwargs=True, **options)
    if unused:
        refuse_unused(unused, cls, signature(cls.from_pretrained).parameters)
    return _fit_words(config, folder.weights) if cls.head == WORDS else config


def check_sizes(config: Mapping[str, Any], file: Path, weights: TensorFile) -> None:
    """Refuse numbers that would fill the memory before any shape is compared with the weights.

    Args:
        config: entries of the config.
        file: where they are from.
        weights: of the checkpoint.

    Raises:
        ValueError: for more layers than tensors, or absurdly many labels.
    """
    held = [info for info in weights.tensors.values() if info.nbytes]  # an empty tensor may claim any number of rows
    largest = max((size for info in held for size in info.shape), default=0)
    limits = {"num_hidden_layers": max(len(held) // _TENSORS_OF_A_LAYER, _SOME_LAYERS)}
    limits |= {"num_labels": max(largest, _SOME_LABELS)}
    for key, limit in limits.items():
        value = config.get(key)
        if type(value) is int and value > limit:
            there = f"{weights.paths[0]} has {len(held)} tensors of at most {largest} rows"
            raise ValueError(f"{file}: {key} is {value}, but {there}; they do not belong together")


def _fit_words(config: BaseConfig, file: TensorFile) -> BaseConfig:
    """The config of a masked-LM model with the head that the file has; a discriminator's file gets a warning.

    Args:
        config: of the checkpoint.
        file: open checkpoint.
    """
    keys = {published_key(name, naming=file.naming, family=config.model_type) for name in file.tensors}
    known = {key for key in keys if key is not None}
    if any(key.startswith("mask_predictions.") for key in known):
        warnings.warn(
            f"{file.paths[0]} holds a discriminator (mask_predictions): its encoder was not trained to predict words; "
            "load the generator for fill-mask: from_pretrained(..., generator=True)",
            stacklevel=4,
        )
    return fit_head(config, "ForMaskedLM", known)


@dataclass(frozen=True, eq=False)
class UnusedTensor:
    """A tensor of a file that is read when it is wanted: until then a packed one takes no memory.

    Args:
        file: open as long as this lives.
        name: in the file.
    """

    file: TensorFile
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """With the axes of its PyTorch key."""
        shape = self.file.tensors[self.name].shape
        return shape[::-1] if self.file.naming == "tf" and is_kernel(self.name) else shape

    @property
    def dtype(self) -> str:
        """Element type; that of bfloat16 is float32, as ``read`` gives it."""
        return self.file.tensors[self.name].dtype.replace("bfloat16", "float32")

    def read(self) -> NDArray[np.generic]:
        """The tensor with the axes of its PyTorch key."""
        return read_tensor(self.file, self.name)

    def __deepcopy__(self, memo: Any) -> UnusedTensor:
        return self

    def __reduce__(self) -> Any:  # another process has no file
        return HeldTensor, (np.array(self.read()),)


@dataclass(frozen=True, eq=False)
class HeldTensor:
    """An ``UnusedTensor`` whose elements are at hand."""

    array: NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """Of the array."""
        return self.array.dtype.name

    def read(self) -> NDArray[np.generic]:
        """The array."""
        return self.array


Unused = dict[str, UnusedTensor | HeldTensor]


def unused_tensors(file: TensorFile, report: LoadReport, family: str) -> Unused:
    """Tensors that a model has no use for, by published key, to be written back when it is saved.

    A published file holds the heads of pretraining and a table of positions that most models do not use; saving a
    model is no reason to lose them. Differences to a generator's tables (``._weight``) stay behind: the tables
    already contain them.

    Args:
        file: open checkpoint, which stays open if there are such tensors.
        report: of ``match_names``.
        family: ``model_type`` of the config.
    """
    found: Unused = {}
    for name in report.unexpected_keys:
        key = published_key(name, naming=file.naming, family=family)
        if key is not None and not key.endswith("._weight"):
            found[key] = UnusedTensor(file, name)
    if found:
        file.keep_open()
    return found


def without_words(tensors: Unused, words: int) -> Unused:
    """Unused tensors but for heads that predict ``words`` words, which fit no longer once the vocabulary is resized."""
    gone = {key.split(".")[0] for key, tensor in tensors.items() if tensor.shape[:1] == (words,)}
    return {key: tensor for key, tensor in tensors.items() if key.split(".")[0] not in gone}


def read_tensor(file: TensorFile, name: str) -> NDArray[np.generic]:
    """A stored tensor with the axes of its PyTorch key; bfloat16 widened to float32."""
    array = file.read(name)
    return array.T if file.naming == "tf" and is_kernel(name) else array


def plan_load(
    file: TensorFile,
    config: BaseConfig,
    wanted: Mapping[str, Weight],
    name: str = "",
    *,
    ignore_mismatched: bool = False,
) -> LoadReport:
    """Find the weights of a model, if it can be before it is built, so that a config of another one costs nothing.

    Args:
        file: open checkpoint.
        config: the model's config.
        wanted: weights of the model by full key.
        name: of the model's class, for the warning of a head that starts afresh.
        ignore_mismatched: start heads afresh where the shape differs, instead of an error.

    Raises:
        ValueError: if the body lacks a weight or has one in another library's integers, or a shape differs; the text
            names them.
    """
    report = match_file(file, wanted, config)
    if two_encoders(file, report.sources):
        raise ValueError(f"{report.where} {_looks(file)}")
    encoder = {*body_weights(config), f"{POSITION_TABLE.path}.weight"}
    # Ours have been widened before; read as floats, those of others would be weights without their scales.
    if rounded := [key for key, n in report.sources.items() if key in encoder and "int8" in file.tensors[n].dtype]:
        raise ValueError(
            f"{report.where} holds {some(rounded, 2)} in integers of another library, whose scales are not read: "
            "take the model in floats; in PyTorch quantization_config=... lets that library quantise it on loading"
        )
    body = [key for key in report.missing_keys if key in encoder]
    if (body and len(body) == len(encoder & wanted.keys())) or not report.sources:
        raise ValueError(f"{report.where} {_looks(file)}")
    if body:
        hint = ""
        if any(name.endswith("._weight") for name in report.unexpected_keys):
            hint = "; it holds the difference to a generator's table (._weight): merge it with the generator first"
        if body == ["deberta.embeddings.position_embeddings.weight"] and not config.position_biased_input:
            hint = "; without its table of absolute positions there is no enhanced mask decoder: use mlm_head='plain'"
        raise ValueError(
            f"{report.where} lacks {len(body)} weights of the encoder that the config asks for: {some(body, 8)}{hint}. "
            "Does config.json belong to it?"
        )
    wrong = [m for m in report.mismatched_keys if m[0] in encoder or not ignore_mismatched]
    if wrong:
        rows = "; ".join(
            f"{key} is {list(stored)}, the config asks for {list(shape)}" for key, stored, shape in wrong[:4]
        )
        advice = "Pass num_labels of the file, or ignore_mismatched_sizes=True to start a new head"
        if any(key in encoder for key, _, _ in wrong):
            advice = "Does config.json belong to it?"
        raise ValueError(f"{report.where} does not fit (num_labels is {config.num_labels}): {rows}. {advice}")
    report.fresh = report.missing_keys + [key for key, _, _ in report.mismatched_keys]
    if report.fresh:
        found = f"not found in {report.where} (or not in this shape)"
        text = f"{name}: {some(report.fresh, 8)} {found} and newly initialised; train the model before using it"
        warnings.warn(text, stacklevel=4)
    return report


def _looks(file: TensorFile) -> str:
    """What is to be said of a file of which nothing fits."""
    before = [prefix for prefix in prefixes(file.tensors) if prefix]
    if len(before) > 1:
        pattern = {"^" + re.escape(before[0]): ""}
        return f"has encoders under the prefixes {some(before, 8)}: say which is meant, with key_mapping={pattern}"
    return (
        f"holds no weight of the encoder that the config asks for: its keys look like {some(list(file.tensors), 4)}; "
        "expected names such as deberta.embeddings.word_embeddings.weight, which key_mapping={pattern: replacement} "
        "can make of them"
    )


def loading_info(report: LoadReport) -> dict[str, Any]:
    """A report as the dict, of lists but for the prefix ``taken_off``, that ``output_loading_info=True`` returns."""
    return {
        "missing_keys": report.missing_keys,
        "unexpected_keys": report.unexpected_keys,
        "mismatched_keys": report.mismatched_keys,
        "renamed_keys": report.renamed_keys,
        "taken_off": report.taken_off,
        "error_msgs": [],
    }
