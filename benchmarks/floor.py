"""The time of the matrix products of a model alone, by the fastest float32 routine that PyTorch carries.

Per layer: the fused projection of query, key and value, the output, both maps of the feed-forward part, ``q k``,
``p v``, and the products of queries and keys with the rows of the relative table that the length needs. Nothing is
added, normalised or rearranged between them, so no exact model can be faster with these routines.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.settings import Shape
from deberta_pt.linear import by_onednn, has_onednn, reordered

HIDDEN, HEADS, INNER, ROWS = 768, 12, 3072, 512
MAPS = ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN))


def faster_linear(states: Tensor, weight: Tensor) -> Callable[[], Tensor]:
    """The product by ``F.linear`` or by oneDNN's operator with weights in either order, whichever wins a race."""
    routines: list[Callable[[], Tensor]] = [lambda: F.linear(states, weight)]
    if has_onednn():
        other = reordered(weight)
        routines += [lambda: by_onednn(states, weight), lambda: by_onednn(states, other)]

    def best(run: Callable[[], Tensor]) -> float:
        times = []
        for _ in range(4):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        return min(times[1:])

    return min(routines, key=best)


@torch.inference_mode()
def products(shape: Shape, layers: int) -> Callable[[], None]:
    """A function that computes the products of all layers.

    Each layer has weights of its own, as in a model: those of one layer would stay in the cache.
    """
    texts, length = shape
    rows, size = min(2 * length - 1, ROWS), HIDDEN // HEADS
    heads = torch.randn(texts * HEADS, length, size)
    probabilities = torch.randn(texts * HEADS, length, length)
    # one product a head for all texts: the table is the same for each
    queries, table = torch.randn(HEADS, texts * length, size), torch.randn(HEADS, size, rows)
    runs: list[Callable[[], Tensor]] = []
    for _ in range(layers):
        for inputs, outputs in MAPS:
            runs.append(faster_linear(torch.randn(texts * length, inputs), torch.randn(outputs, inputs)))
        runs.append(lambda: torch.bmm(heads, heads.transpose(1, 2)))
        runs.append(lambda: torch.bmm(probabilities, heads))
        runs += [lambda: torch.bmm(queries, table)] * 2

    @torch.inference_mode()
    def run() -> None:
        for product in runs:
            product()

    return run
