"""What the files of a checkpoint are called, and which of them a job needs, given the names that there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Sequence

Choose = Callable[[Collection[str]], list[str]]

CONFIG = "config.json"
CARD = "README.md"
EXPORT = "export.json"  # what an exported graph says of itself
# Formats of weights, best first, with the name of a single file.
WEIGHTS = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin", "h5": "tf_model.h5"}
SIDE_FILE = "unused_weights.safetensors"  # what a conversion keeps beside weights that have no place for it
INDEX = ".index.json"  # behind the name of the weights file that shards stand in for
TOKENIZER_FILES = (
    "spm.model", "vocab.json", "merges.txt", "bpe_encoder.bin", "vocab.txt", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
VOCABULARIES = TOKENIZER_FILES[:6]
GENERATOR_CONFIG = "generator_config.json"
# A discriminator's folder may hold the generator that it was trained with.
GENERATOR_WEIGHTS = ("model.generator.safetensors", "pytorch_model.generator.bin")
# What describes a model beside its config, weights and tokenizer.
BESIDE = ("generation_config.json", CARD, "LICENSE")
_OTHER_WEIGHTS = re.compile(
    r"flax_model.*\.msgpack | rust_model\.ot | .*\.weights\.h5 | checkpoint | .*\.data-\d{5}-of-\d{5} | .*\.index", re.X
)


def weights_name(format: str) -> str:
    """Usual name of a single weights file of a format.

    Raises:
        ValueError: another format.
    """
    if format not in WEIGHTS:
        raise ValueError(f"unknown weights format {format!r}; expected one of {', '.join(WEIGHTS)}")
    return WEIGHTS[format]


def with_variant(file_name: str, variant: str | None) -> str:
    """Name of a file's variant: ``model.fp16.safetensors`` of ``model.safetensors``."""
    stem, dot, suffix = file_name.rpartition(".")
    return f"{stem}.{variant}{dot}{suffix}" if variant else file_name


def index_name(file_name: str) -> str:
    """Name of the index of a weights file's shards; that of a variant has it behind ``index``."""
    for single in WEIGHTS.values():
        stem, dot, suffix = single.rpartition(".")
        if file_name.startswith(stem + ".") and file_name.endswith(dot + suffix) and file_name != single:
            return with_variant(single + INDEX, file_name[len(stem) + 1 : -len(dot + suffix)])
    return file_name + INDEX


def is_index(file_name: str) -> bool:
    """Whether a file is the index of shards, of a variant or not."""
    return re.search(r"\.index(\.[^.]+)?\.json$", file_name) is not None


def shard_name(file_name: str, number: int, count: int) -> str:
    """Name of a shard, such as ``model-00001-of-00003.safetensors``; numbers begin at 1."""
    stem, _, suffix = file_name.rpartition(".")
    return f"{stem}-{number:05d}-of-{count:05d}.{suffix}"


def is_shard_of(name: str, file_name: str) -> bool:
    """Whether a file name is that of a shard of ``file_name``."""
    stem, _, suffix = file_name.rpartition(".")
    return re.fullmatch(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.{re.escape(suffix)}", name) is not None


def belongs_to(name: str, file_name: str) -> bool:
    """Whether a file is weights file ``file_name``, one of its shards, or their index."""
    return name in (file_name, index_name(file_name)) or is_shard_of(name, file_name)


def weights_files(prefer: Sequence[str], variant: str | None = None) -> dict[str, str]:
    """Names under which weights may stand, best first: of each format the single file, then the index of its shards.

    Args:
        prefer: formats, best first; others are not taken.
        variant: as ``with_variant``.

    Returns:
        The single file by each name.

    Raises:
        ValueError: a format that there is not.
    """
    singles = [with_variant(weights_name(format), variant) for format in prefer]
    return {name: single for single in singles for name in (single, index_name(single))}


def generator_files(names: Container[str]) -> list[str]:
    """Config and weights of the generator beside a discriminator; nothing where one of them is not there."""
    found = [name for name in (GENERATOR_CONFIG, *GENERATOR_WEIGHTS) if name in names]
    return found[:2] if len(found) > 1 and found[0] == GENERATOR_CONFIG else []


def is_weights_name(name: str) -> bool:
    """Whether a file is, by its name, a model's weights in some format, or part of them."""
    ours = any(belongs_to(name, file_name) for file_name in WEIGHTS.values())
    return ours or _OTHER_WEIGHTS.fullmatch(name) is not None


def config_files(names: Collection[str]) -> list[str]:
    """The config."""
    return [CONFIG] if CONFIG in names else []


def tokenizer_files(names: Collection[str]) -> list[str]:
    """What a tokenizer is made of, and the config, which says how many ids the model knows; nothing without words."""
    if not any(name in names for name in VOCABULARIES):
        return []
    return config_files(names) + [name for name in TOKENIZER_FILES if name in names]


def model_files(
    prefer: Sequence[str] = tuple(WEIGHTS), *, generator: bool = False, variant: str | None = None
) -> Choose:
    """The config and the weights of the best format that is there, in one file or in shards.

    Args:
        prefer: formats, best first; others are not taken.
        generator: those of the generator beside a discriminator instead.
        variant: as ``with_variant``.
    """

    def choose(names: Collection[str]) -> list[str]:
        for found, single in weights_files(prefer, variant).items():
            if found in names:
                shards = sorted(name for name in names if is_shard_of(name, single)) if found != single else []
                return [*config_files(names), found, *shards]
        return []

    return generator_files if generator else choose


def checkpoint_files(names: Collection[str]) -> list[str]:
    """All that a conversion carries: config, weights in the best format, tokenizer, and what describes the model."""
    found = model_files()(names)
    beside = [*tokenizer_files(names), *(name for name in BESIDE if name in names)]
    return list(dict.fromkeys(found + beside)) if found else []
