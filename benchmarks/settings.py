"""What a run of the benchmarks measures: sizes, shapes, rounds, and the words of the command line."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int]  # texts and tokens of each
SHAPES: tuple[Shape, ...] = ((1, 32), (1, 128), (8, 128), (1, 512), (4, 512))
TRAINING_SHAPES: tuple[Shape, ...] = ((8, 128), (4, 512))
PRETRAINING_SHAPES: tuple[Shape, ...] = ((32, 128),)
PIECES, HIDDEN = 32_000, 0.15  # tokens of the vocabulary of pretraining, and which share of a text is hidden
PLAIN = "plain"
WAYS: dict[str, dict[str, float]] = {
    PLAIN: {}, "R-Drop": {"r_drop": 1.0}, "FGM": {"fgm": 1.0}, "AWP": {"awp": 1e-3}, "SiFT": {"sift": 1.0},
}  # fmt: skip
# How glibc gives memory to every side alike. By default it decides by what was freed before, and page faults of large
# arrays can double a side's time in one process and not in another.
ALLOCATORS = {
    "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 26)},
    "returned": {"MALLOC_MMAP_THRESHOLD_": str(1 << 17), "MALLOC_TRIM_THRESHOLD_": str(1 << 17)},
    "default": {},
}
WHOLE = ", no padding"  # of a side that is given as many tokens as there are places


@dataclass(frozen=True)
class Settings:
    """One run. ``layers`` and ``shapes`` replace those of every table where they are given."""

    rounds: int = 7
    threads: int = 1
    layers: int | None = None
    shapes: tuple[Shape, ...] | None = None
    quick: bool = False
    allocator: str = "kept"

    @property
    def longest(self) -> int:
        """Tokens at the end of the table of growth."""
        return 128 if self.quick else 8192

    @property
    def largest(self) -> int:
        """Texts at the end of the table of growth."""
        return 2 if self.quick else 64

    @property
    def long(self) -> int:
        """Tokens of the longest text whose memory is measured."""
        return 256 if self.quick else 16384

    def to_json(self) -> str:
        """For the process of a table."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of ``to_json``."""
        values = json.loads(text)
        shapes = values.pop("shapes")
        return cls(**values, shapes=shapes and tuple((texts, length) for texts, length in shapes))


def model_values(layers: int) -> dict[str, Any]:
    """Fields of a config of the sizes of v3-base, with few words so that little memory is needed."""
    return {
        "vocab_size": 2000,
        "hidden_size": 768,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "max_position_embeddings": 512,
        "max_relative_positions": -1,
        "position_buckets": 256,
        "relative_attention": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "pad_token_id": 0,
    }


def hidden_words(shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random ids with [MASK] where a word is hidden, and labels, -100 at all other places."""
    rng = np.random.default_rng(0)
    ids, hidden = rng.integers(5, PIECES - 1, shape), rng.random(shape) < HIDDEN
    return np.where(hidden, PIECES - 1, ids), np.where(hidden, ids, -100)


def uneven(shape: Shape) -> list[int]:
    """Tokens of each text of a padded batch: from an eighth of the longest on, in even steps."""
    texts, longest = shape
    first = max(longest // 8, 1)
    return [first + (longest - first) * i // max(texts - 1, 1) for i in range(texts)]


def filled(shape: Shape) -> str:
    """A remark on how much of such a batch is no padding."""
    return f"{label(shape)}: {sum(uneven(shape)) / math.prod(shape):.0%} of the places are tokens"


def label(shape: Shape) -> str:
    """``1 x 32``."""
    return f"{shape[0]} x {shape[1]}"
