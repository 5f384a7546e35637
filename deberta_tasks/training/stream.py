"""Batches of examples: an endless stream in an order that can be taken up anywhere, and all of them once to judge by.

The stream is a function of its seed and of the number of the step, so a run that resumes needs no more than that
number, on as many processes as it likes. Shapes: ``B`` batch, ``C`` choices, ``L`` tokens.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.batching import pad_batch, run_by_length
from deberta_core.checks import IGNORED
from deberta_tasks.tasks import Feature

Batch = dict[str, NDArray[Any]]
CHUNK = 32  # batches whose examples are sorted by length together: the order stays random, padding gets rare


@dataclass(frozen=True)
class Collator:
    """Features to a batch of one length.

    Attributes:
        pad_id: token that fills up.
        multiple: the length is rounded up to a multiple of this, tokens.
    """

    pad_id: int
    multiple: int = 8

    def __call__(self, features: Sequence[Feature]) -> Batch:
        """Arrays ``[B, L]`` (``[B, C, L]``) with ``attention_mask``, and the labels."""
        inputs = [{**feature.inputs, **feature.labels} for feature in features]
        return pad_batch(inputs, fill={"input_ids": self.pad_id, "labels": IGNORED}, multiple=self.multiple)


class Stream:
    """Batches without end: each pass over the features in a new order, batches always full.

    Args:
        features: what examples became; ``len`` of one is its tokens.
        collate: makes a batch of some of them.
        batch_size: examples of a step, over all processes.
        seed: of the order.
        by_length: let the examples of a batch have similar lengths.

    Raises:
        ValueError: for no features.
    """

    def __init__(
        self, features: Sequence[Any], collate: Callable[[Sequence[Any]], Any], batch_size: int, *, seed: int = 0,
        by_length: bool = True,
    ) -> None:  # fmt: skip
        if not features or batch_size < 1:
            raise ValueError(f"got {len(features)} rows and batch_size {batch_size}, expected at least one of each")
        self.features, self.collate = features, collate
        self.batch_size, self.seed, self.by_length = batch_size, seed, by_length
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every example was seen."""
        return math.ceil(len(self.features) / self.batch_size)

    def batch(self, step: int) -> Any:
        """The batch of a step, counted from 1."""
        return self.collate(self.drawn((step - 1) * self.batch_size))

    def drawn(self, first: int) -> list[Any]:
        """The features of a batch, of which the first is the ``first``-th of all that are ever drawn, from 0."""
        return [self.features[self._place(number)] for number in range(first, first + self.batch_size)]

    def batches(self, done: int = 0) -> Iterator[Any]:
        """All batches after the first ``done``, without end."""
        step = done
        while True:
            step += 1
            yield self.batch(step)

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on beside the number of the step; fits into JSON."""
        return {"seed": self.seed, "rows": len(self.features)}  # names that stand in the files of earlier runs

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Check that the order is the one that was saved.

        Raises:
            ValueError: if it is not.
        """
        if dict(state) != self.state_dict():
            raise ValueError(
                f"the saved run had {state.get('rows')} rows and seed {state.get('seed')}, now there are "
                f"{len(self.features)} and {self.seed}; give it the same data, or start in a new folder"
            )

    def length_of(self, number: int) -> int:
        """Tokens of a feature."""
        return len(self.features[number])

    def _place(self, number: int) -> int:
        """Which feature is the ``number``-th of all that are ever drawn."""
        epoch, place = divmod(number, len(self.features))
        if self._epoch != epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return int(self._order[place])

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        # Seeded by the epoch, not by what was drawn before: any step can be asked for, and none but its epoch counts.
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.features))
        if not self.by_length:
            return order
        batches = []
        for start in range(0, len(order), CHUNK * self.batch_size):
            chunk = order[start : start + CHUNK * self.batch_size]
            chunk = chunk[np.argsort([self.length_of(i) for i in chunk], kind="stable")]
            groups = [chunk[i : i + self.batch_size] for i in range(0, len(chunk), self.batch_size)]
            # A group that is not full stays last: in front of others it would shift the borders of their batches.
            full, rest = (groups, []) if len(groups[-1]) == self.batch_size else (groups[:-1], groups[-1:])
            batches += [full[i] for i in rng.permutation(len(full))] + rest
        return np.concatenate(batches)


def shares(batch: Mapping[str, Any], parts: int) -> NDArray[np.float32]:
    """What part each of ``parts`` equal parts of a batch has in the labels that count, ``[parts]``.

    The mean loss of a batch is the sum of the parts' mean losses, each times its share. Equal weights would not do:
    each part's loss is a mean over its own labels, and parts of token labels have different numbers of them.

    Raises:
        ValueError: if the batch cannot be cut into so many.
    """
    size = len(batch["input_ids"])
    if size % parts:
        raise ValueError(f"batch_size {size} cannot be cut into {parts} equal parts")
    labels = batch.get("labels")  # answers have positions instead, one of each for an example
    every = labels is None or np.asarray(labels).dtype.kind == "f"  # -100 may be a number to learn
    counted = np.ones(size) if every else np.reshape(np.asarray(labels) != IGNORED, (size, -1))
    weights = np.asarray(counted, np.float64).reshape(parts, -1).sum(1)
    return np.asarray(weights / max(weights.sum(), 1), np.float32)


def predictions(
    predict: Callable[[Batch], Mapping[str, NDArray[Any]]], features: Sequence[Feature], collate: Collator,
    batch_size: int, parts: int = 1,
) -> list[dict[str, NDArray[Any]]]:  # fmt: skip
    """What a model says to each feature, in their order; batches are made longest first.

    Args:
        predict: takes a batch without labels; gives arrays ``[B, ...]`` by name.
        features: of the examples to judge by.
        collate: makes batches of them.
        batch_size: features in a batch.
        parts: a batch is a multiple of this, which processes ask for: the last feature is repeated.
    """

    def run(chosen: list[Feature]) -> list[dict[str, NDArray[Any]]]:
        batch = collate([*chosen, *chosen[-1:] * (-len(chosen) % parts)])
        outputs = predict({name: array for name, array in batch.items() if name not in chosen[0].labels})
        return [{name: values[i] for name, values in outputs.items()} for i in range(len(chosen))]

    longest = max(map(len, features), default=1)
    return list(run_by_length(features, run, length=len, max_tokens=batch_size * longest, max_rows=batch_size,
                              read_ahead=sys.maxsize))  # fmt: skip
