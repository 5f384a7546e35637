"""Where a run begins: a checkpoint with its tokenizer, or a small model and a vocabulary from the training texts."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deberta_core.config import AutoConfig
from deberta_core.presets import preset
from deberta_tasks.records import Record
from deberta_tasks.tasks import TrainableTask
from deberta_tasks.training.options import Options

PIECES, OFTEN = 2000, 10


@dataclass(frozen=True)
class Size:
    """Of a model from scratch.

    Attributes:
        hidden_size: width.
        layers: encoder layers.
        heads: attention heads.
    """

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4


def start(
    task: TrainableTask, names: Sequence[str], train: Sequence[Record], folder: str | None, size: Size, options: Options
) -> tuple[Any, Any]:
    """Tokenizer and config.

    Args:
        task: whose head the model gets.
        names: labels by number.
        train: examples to learn from, the source of a new vocabulary.
        folder: checkpoint to start from, or ``None`` for a model from scratch.
        size: of a model from scratch.
        options: how it is trained.

    Raises:
        FileNotFoundError: if the folder lacks config or tokenizer.
        ValueError: if examples may be longer than the model can take.
    """
    if folder is None:
        tokenizer = new_tokenizer([text for example in train for text in task.texts(example)])
        return tokenizer, small_config(tokenizer, size, max_length=options.max_length, **task.config(names))
    from tokenization import AutoTokenizer

    config = AutoConfig.from_pretrained(folder)
    limit = config.max_position_embeddings
    if config.position_biased_input and options.max_length > limit:
        raise ValueError(
            f"max_length is {options.max_length}, but {folder} takes at most {limit} tokens "
            f"(max_position_embeddings); give --max-length {limit} or less"
        )
    if options.max_length > limit:
        warnings.warn(f"max_length {options.max_length} is more than the {limit} tokens the model knows", stacklevel=2)
    return AutoTokenizer.from_pretrained(folder), config.copy(**task.config(names))


def new_tokenizer(texts: Sequence[str]) -> Any:
    """SentencePiece pieces of the texts.

    Its trainer takes for a piece only what occurs in two different words, punctuation included; so words that come up
    often are given with a comma and a stop too.
    """
    from tokenization import train_from_iterator

    words = Counter(word.strip(",.?") for text in texts for word in text.split())
    often = [f"{word}, {word}." for word, count in words.items() if count >= OFTEN]
    return train_from_iterator([*texts, *often], PIECES, fast=False, byte_fallback=False)


def small_config(tokenizer: Any, size: Size | None = None, *, max_length: int = 128, **fields: Any) -> Any:
    """DeBERTa v3 in small: its switches, with few and narrow layers, whose starting weights grow as width shrinks.

    Args:
        tokenizer: whose ids the model takes.
        size: of the model.
        max_length: tokens of an example.
        **fields: further ones of the config.
    """
    size = size or Size()
    small = {
        "vocab_size": len(tokenizer), "hidden_size": size.hidden_size, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "intermediate_size": 4 * size.hidden_size, "position_buckets": 16,
        "max_position_embeddings": max_length, "initializer_range": 0.02 * math.sqrt(768 / size.hidden_size),
    }  # fmt: skip
    return preset("deberta-v3-small", **{**small, **fields})
