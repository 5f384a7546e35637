"""The time of the matrix products of a model alone, by the routine that a framework carries for them.

Nothing is added, normalised or rearranged between them, so no exact model can be faster with these routines. Those of
the positions are counted once for each row of the relative table that the length needs, as if widening them to the
pairs of tokens cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from benchmarks.settings import Shape

FLOOR = "matrix products"  # the name of this side
HIDDEN, HEADS, INNER, ROWS = 768, 12, 3072, 512
MAPS = ((HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN))


class Product(NamedTuple):
    """So many products of ``[rows, inner]`` and ``[inner, columns]``."""

    count: int
    rows: int
    inner: int
    columns: int

    def gradients(self) -> tuple[Product, Product]:
        """The products that make the gradients of both factors."""
        count, rows, inner, columns = self
        return Product(count, rows, columns, inner), Product(count, inner, rows, columns)


Prepared = TypeVar("Prepared")


def of_layer(shape: Shape) -> list[Product]:
    """Query, key and value, output and feed-forward part; ``q k``, ``p v``, and both terms of relative positions."""
    texts, length = shape
    tokens, size = texts * length, HIDDEN // HEADS
    by_row = Product(HEADS, tokens, size, min(2 * length - 1, ROWS))  # of all texts: the table is the same for each
    return [
        *(Product(1, tokens, inputs, outputs) for inputs, outputs in MAPS),
        Product(texts * HEADS, length, size, length),
        Product(texts * HEADS, length, length, size),
        by_row,
        by_row,
    ]


def by_layer(
    prepare: Callable[[Product], Prepared], shape: Shape, layers: int, training: bool = False
) -> list[list[Prepared]]:
    """The products of each layer.

    Args:
        prepare: makes what computes a product, or its factors.
        shape: texts and tokens of each.
        layers: each has weights of its own, as in a model: those of one layer would stay in the cache.
        training: also those of the gradients.
    """
    forward = of_layer(shape)
    backward = [found for product in forward for found in product.gradients()] if training else []
    shared = {product: prepare(product) for product in {*forward, *backward} if product.count > 1}
    return [[shared.get(product) or prepare(product) for product in (*forward, *backward)] for _ in range(layers)]
