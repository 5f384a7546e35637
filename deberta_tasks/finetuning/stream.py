"""Padded batches: of all rows in turn, and an endless stream in an order that can be taken up anywhere.

The stream is a function of its seed and of the number of the step, so a run that resumes needs no more than that
number, on as many processes as it likes. Shapes: ``B`` batch, ``C`` choices, ``L`` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.batching import pad_batch
from deberta_core.checks import IGNORED
from deberta_tasks.tasks import Feature, TrainableTask

Batch = dict[str, NDArray[Any]]
CHUNK = 32  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class Padder:
    """Makes rows one length.

    Attributes:
        pad_id: token that fills up.
        multiple: the length is rounded up to a multiple of this, tokens.
    """

    pad_id: int
    multiple: int = 8

    def __call__(self, features: Sequence[Feature]) -> Batch:
        """Arrays ``[B, L]`` (``[B, C, L]``) with ``attention_mask``, and the labels."""
        examples = [{**feature.inputs, **feature.labels} for feature in features]
        return pad_batch(examples, fill={"input_ids": self.pad_id, "labels": IGNORED}, multiple=self.multiple)


class Stream:
    """Batches of rows without end: each pass over the rows in a new order, batches always full.

    Args:
        task: that made the rows.
        features: the rows.
        padder: pads them.
        batch_size: rows of a step, over all processes.
        seed: of the order.
        by_length: let rows of a batch have similar lengths.

    Raises:
        ValueError: for no rows.
    """

    def __init__(
        self, task: TrainableTask, features: Sequence[Feature], padder: Padder, batch_size: int, *, seed: int = 0,
        by_length: bool = True,
    ) -> None:  # fmt: skip
        if not features or batch_size < 1:
            raise ValueError(f"got {len(features)} rows and batch_size {batch_size}, expected at least one of each")
        self.task, self.features, self.padder = task, features, padder
        self.batch_size, self.seed, self.by_length = batch_size, seed, by_length
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every row was seen."""
        return math.ceil(len(self.features) / self.batch_size)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 1."""
        return self.padder(self.rows(step))

    def rows(self, step: int) -> list[Feature]:
        """The rows of a step, counted from 1."""
        first = (step - 1) * self.batch_size
        return [self.features[self._place(number)] for number in range(first, first + self.batch_size)]

    def batches(self, done: int = 0) -> Iterator[Batch]:
        """All batches after the first ``done``, without end."""
        step = done
        while True:
            step += 1
            yield self.batch(step)

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on beside the number of the step; fits into JSON."""
        return {"seed": self.seed, "rows": len(self.features)}

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

    def shares(self, step: int, parts: int) -> NDArray[np.float32]:
        """What part each of ``parts`` equal parts of a step's batch has in the labels that count, ``[parts]``.

        The mean loss of a batch is the sum of the parts' mean losses, each times its share.

        Raises:
            ValueError: if the batch cannot be cut into so many.
        """
        if self.batch_size % parts:
            raise ValueError(f"batch_size {self.batch_size} cannot be cut into {parts} equal parts")
        weights = np.array([self.task.weight(row) for row in self.rows(step)], np.float64).reshape(parts, -1).sum(1)
        return np.asarray(weights / max(weights.sum(), 1), np.float32)

    def _place(self, number: int) -> int:
        """Which row is the ``number``-th of all that are ever drawn."""
        epoch, place = divmod(number, len(self.features))
        if self._epoch != epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return int(self._order[place])

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.features))
        if not self.by_length:
            return order
        found = []
        for start in range(0, len(order), CHUNK * self.batch_size):
            chunk = order[start : start + CHUNK * self.batch_size]
            chunk = chunk[np.argsort([len(self.features[i]) for i in chunk], kind="stable")]
            groups = [chunk[i : i + self.batch_size] for i in range(0, len(chunk), self.batch_size)]
            full, rest = (groups, []) if len(groups[-1]) == self.batch_size else (groups[:-1], groups[-1:])
            found += [full[i] for i in rng.permutation(len(full))] + rest
        return np.concatenate(found)


def padded_batches(features: Sequence[Feature], padder: Padder, batch_size: int, parts: int = 1) -> list[Any]:
    """All rows, longest first, in batches for judging.

    Args:
        features: the rows.
        padder: pads them.
        batch_size: rows in a batch.
        parts: the rows of a batch are a multiple of this: the last row is repeated.

    Returns:
        For each batch the numbers of its rows, and its arrays without labels.
    """
    order = sorted(range(len(features)), key=lambda i: -len(features[i]))
    found = []
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        filled = numbers + numbers[-1:] * (-len(numbers) % parts)
        batch = padder([features[i] for i in filled])
        found.append((numbers, {k: v for k, v in batch.items() if k not in features[0].labels}))
    return found
