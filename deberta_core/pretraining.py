"""What replaced-token pretraining means in both frameworks: its output, its checks, the generator beside a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from deberta_core.checks import Shape, fits, spell
from deberta_core.config import BaseConfig
from deberta_core.file_names import GENERATOR_CONFIG, GENERATOR_WEIGHTS, config_files, generator_files
from deberta_core.files import Replacement
from deberta_core.folder import generator_paths, locate
from deberta_core.heads import weights
from deberta_core.outputs import ModelOutput, T
from deberta_core.packaged import NAME, is_packaged

SHARING = ("gdes", "es", "none")
READ_BY_BOTH = ("attention_mask", "token_type_ids", "position_ids")  # what generator and discriminator are given alike
TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")


class ReplacedTokenPretrainingOutput(ModelOutput[T]):
    """Scalars ``loss``, ``mlm_loss`` and ``rtd_loss``, and what led to them.

    ``corrupted_ids`` int ``[B, L]`` is what the discriminator saw, ``replaced`` int ``[B, L]`` is 1 where that is not
    the original; ``logits`` ``[B, L]`` is above 0 where the discriminator thinks so; ``generator_logits`` ``[targets,
    V]``, row by row.
    """

    names = ("loss", "mlm_loss", "rtd_loss", "corrupted_ids", "replaced", "logits", "generator_logits")
    loss: T
    mlm_loss: T
    rtd_loss: T
    corrupted_ids: T
    replaced: T
    logits: T
    generator_logits: T


def check_pair(generator: BaseConfig, discriminator: BaseConfig, sharing: str) -> None:
    """Refuse a generator and a discriminator that cannot train together.

    Args:
        generator: config of the masked-LM model.
        discriminator: config of the replaced-token model.
        sharing: ``gdes``, ``es`` or ``none``.

    Raises:
        ValueError: for another vocabulary, another width of shared tables, or an unknown kind of sharing.
    """
    if sharing not in SHARING:
        raise ValueError(f"embedding_sharing is {sharing!r}, expected one of {', '.join(SHARING)}")
    if generator.vocab_size != discriminator.vocab_size:
        raise ValueError(
            f"the generator's vocabulary has {generator.vocab_size} tokens, the discriminator's "
            f"{discriminator.vocab_size}: the discriminator reads what the generator writes; take a generator that "
            f"was trained with the same tokenizer, or make one with generator_config(discriminator.config)"
        )
    if sharing == "none":
        return
    if generator.embedding_width != discriminator.embedding_width:
        raise ValueError(
            f"the generator's embeddings have a width of {generator.embedding_width}, the discriminator's of "
            f"{discriminator.embedding_width}, and embedding_sharing={sharing!r} adds one to the other; give the "
            "generator the same embedding_size, or use embedding_sharing='none'"
        )
    for name in ("max_position_embeddings", "type_vocab_size", "pad_token_id"):
        one, other = getattr(generator, name), getattr(discriminator, name)
        if one != other:
            raise ValueError(
                f"{name} is {one} in the generator and {other} in the discriminator; embedding_sharing={sharing!r} "
                "needs tables of one shape, so make them equal or use embedding_sharing='none'"
            )


def check_training(rtd_lambda: float, temperature: float) -> None:
    """Refuse a weight or a temperature that means nothing.

    Raises:
        ValueError: for a negative weight, or a temperature that is not above 0.
    """
    if not rtd_lambda >= 0:
        raise ValueError(f"rtd_lambda is {rtd_lambda}, expected 0 or more: the weight of the discriminator's loss")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected above 0; 1 samples as the generator predicts")


def generator_config(config: BaseConfig, *, layers: int | None = None, **changes: Any) -> BaseConfig:
    """The config of a generator for a discriminator: as wide, half as deep, with the enhanced mask decoder.

    Args:
        config: the discriminator's.
        layers: its number of layers; default half of them, at least one.
        **changes: further fields.

    Source: the published pairs.
    """
    can_decode = not config.position_biased_input and config.embedding_width == config.hidden_size
    fields = {
        "num_hidden_layers": max(1, config.num_hidden_layers // 2) if layers is None else layers,
        "mlm_head": "emd" if can_decode else "plain",
        **changes,
    }
    found: BaseConfig = config.copy(**fields)
    return found


def common_keys(generator: BaseConfig, discriminator: BaseConfig) -> list[str]:
    """Keys of the encoder's weights that a new generator can take from a discriminator: same name, same shape."""
    wanted, there = weights(generator, "ForMaskedLM"), weights(discriminator, "ForReplacedTokenDetection")
    return [k for k, w in wanted.items() if w.is_body and k in there and there[k].shape == w.shape]


def has_generator(path: str | os.PathLike[str], subfolder: str = "", **options: Any) -> bool:
    """Whether a folder, or the repository of a name on the hub, holds a generator beside a discriminator.

    Args:
        path: of the discriminator.
        subfolder: folder below it.
        **options: those of ``HubOptions``.

    Raises:
        FileNotFoundError: a name's files cannot be had.
    """
    if is_packaged(path):
        return PurePath(path).as_posix() == NAME  # the names of its halves are of one model each
    # Where there is none the config is asked for instead: that a repository lacks a generator is no error.
    where = locate(path, options, lambda names: generator_files(names) or config_files(names), subfolder)
    try:
        generator_paths(where)
    except FileNotFoundError:
        return False
    return True


def save_generator(folder: Path, save: Callable[[Path], None]) -> None:
    """Put a generator beside a discriminator, where ``from_pretrained(..., generator=True)`` finds it.

    Args:
        folder: of the discriminator.
        save: writes ``model.safetensors`` and ``config.json`` into the folder it is given.
    """
    with Replacement(folder) as files:
        made = files.stage / "generator"
        save(made)
        os.replace(made / "model.safetensors", files.create(GENERATOR_WEIGHTS[0]))
        os.replace(made / "config.json", files.create(GENERATOR_CONFIG))
        files.commit()


def check_batch(shapes: Mapping[str, Shape]) -> None:
    """Refuse tensors beside ``input_ids`` that have another shape.

    Args:
        shapes: shape by name, ``input_ids`` among them.

    Raises:
        ValueError: for the first that differs.
    """
    expected = shapes["input_ids"]
    for name, shape in shapes.items():
        if not fits(shape, expected):
            raise ValueError(f"{name} has shape {spell(shape)}, expected that of input_ids, {spell(expected)}")
