"""Inputs that show whether two models are the same: padded on both sides, short and long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deberta_core.config import BaseConfig
from deberta_core.heads import HEADS, mlm_head

_LONGEST = 640  # tokens; beyond it a check takes minutes and sees nothing new


@dataclass(frozen=True)
class Batch:
    """Inputs of one call.

    Attributes:
        label: what it is, in words.
        inputs: int64 arrays by name of the argument, ``[B, L]``, for multiple choice ``[B, C, L]``.
    """

    label: str
    inputs: dict[str, np.ndarray[Any, Any]]


def make_batches(config: BaseConfig, head: str, seed: int = 0) -> list[Batch]:
    """Random ids at several lengths, below and above the number of log buckets and the largest distance.

    Each batch has a row without padding, one padded on the right and one on the left; the shortest also has a row of
    nothing but padding.

    Args:
        config: of the model; it names the masked-LM head that the checkpoint has.
        head: key of ``deberta_core.heads.HEADS``.
        seed: of the random ids.
    """
    rng = np.random.default_rng(seed)
    return [_batch(config, head, length, rng, number == 0) for number, length in enumerate(_lengths(config, head))]


def _lengths(config: BaseConfig, head: str) -> list[int]:
    # Where a mistake shows: within the exact buckets, beyond them, and beyond the distance from which all are alike.
    pivot = config.buckets or config.max_distance
    wanted = {pivot // 2 + 1, pivot + 9, 2 * pivot + 3, config.max_distance + 9}
    late = head == "ForMaskedLM" and mlm_head(config) == "emd"
    limit = min(_LONGEST, config.max_position_embeddings if config.position_biased_input or late else _LONGEST)
    return sorted({max(2, min(length, limit)) for length in wanted})


def _batch(config: BaseConfig, head: str, length: int, rng: np.random.Generator, empty_row: bool) -> Batch:
    rows = 4 if empty_row else 3
    mask = np.ones((rows, length), np.int64)
    pad = max(1, length // 3)
    mask[1, -pad:] = 0
    mask[2, :pad] = 0
    mask[3:] = 0
    ids = rng.integers(0, config.vocab_size, (rows, length))
    inputs = {"input_ids": np.where(mask == 1, ids, config.pad_token_id or 0), "attention_mask": mask}
    if config.type_vocab_size > 0:
        inputs["token_type_ids"] = rng.integers(0, config.type_vocab_size, (rows, length))
    if HEADS[head].by_choice:
        inputs = {name: np.stack([value, value[::-1]], 1) for name, value in inputs.items()}  # [B, C, L]
    return Batch(f"{rows} x {length}", inputs)
