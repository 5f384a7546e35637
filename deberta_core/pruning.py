"""What of a model can go: which heads, layers and columns matter least, whatever the framework that measured it.

Shapes: ``N`` heads of a layer, ``I`` intermediate size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.config import BaseConfig, check_pruning
from deberta_core.heads import HEADS

Array = NDArray[np.float64]
WAYS = ("gradient", "loss")
GONE = "pruned_layers"  # in config.json: layers that were cut out, counted as in the uncut model
OF_EXAMPLES = ("ForSequenceClassification", "ForMultipleChoice")  # whose logits have no axis of tokens
_MULTIPLE = 64  # of the columns that stay, where there are many: kernels read, and quantisers pack, so many at once


@dataclass(frozen=True, eq=False)
class Importance:
    """How much the parts of a model matter to its outputs on some texts.

    Attributes:
        heads: of each layer ``[N]``: those that it still has.
        columns: of each layer ``[I]``: of the states between the two halves of the feed-forward part.
        layers: ``[layers]``: how far a layer turns the states of tokens, as one minus their cosine.
    """

    heads: list[Array]
    columns: list[Array]
    layers: Array


class Sums:
    """Squares of derivatives by one factor for each example, summed; and how far layers turn states.

    The factor of a head scales its part of the context; its derivative says, to first order, what the outputs would
    change by if the head went.

    Source: of the factors, Michel et al. 2019 (arXiv 1905.10650), section 4.1; of the layers, Men et al. 2024 (arXiv
    2403.03853), equation 1.
    """

    def __init__(self) -> None:
        self.heads: list[Array] = []
        self.columns: list[Array] = []
        self.layers: Array = np.zeros(0)
        self.examples = self.tokens = 0

    def add(self, heads: Sequence[Any], columns: Sequence[Any]) -> None:
        """Derivatives of a batch, of each layer ``[B, N]`` and ``[B, I]``."""
        for name, given in (("heads", heads), ("columns", columns)):
            squares = [np.square(np.asarray(one, np.float64)).sum(0) for one in given]
            before = getattr(self, name) or [0.0] * len(squares)
            setattr(self, name, [a + b for a, b in zip(before, squares, strict=True)])
        self.examples += len(heads[0])

    def add_states(self, states: Sequence[Any], seen: NDArray[np.bool_]) -> None:
        """States before, between and after the layers, ``[B, L, H]`` each, of which the tokens ``seen`` ``[B, L]``
        count.
        """
        rows = [np.asarray(one, np.float64)[seen] for one in states]
        norms = [np.maximum(np.linalg.norm(one, axis=-1), 1e-12) for one in rows]
        pairs = zip(rows[:-1], rows[1:], norms[:-1], norms[1:], strict=True)
        turned = np.array([float((1 - (a * b).sum(-1) / (m * n)).sum()) for a, b, m, n in pairs])
        self.layers = turned if not self.tokens else self.layers + turned
        self.tokens += len(rows[0])

    def found(self) -> Importance:
        """What was measured.

        Raises:
            ValueError: there was no token.
        """
        if not self.tokens:
            raise ValueError("there are no tokens to measure by; expected batches as a tokenizer makes them")
        means = [[np.sqrt(one / self.examples) for one in given] for given in (self.heads, self.columns)]
        return Importance(means[0], means[1], self.layers / self.tokens)


def signs_of(shape: Sequence[int], batch: int) -> NDArray[np.float32]:
    """One or minus one for each output of a batch, the same in both frameworks: the mean square of a derivative of
    the outputs' sum with these signs is the sum of the squares of all outputs' derivatives.
    """
    return np.random.default_rng([batch, *shape]).choice(np.array([-1.0, 1.0], np.float32), tuple(shape))


def seen_in(inputs: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which tokens of a batch are no padding, ``[B, L]``; choices count as examples."""
    ids = np.asarray(inputs["input_ids"])
    given = inputs.get("attention_mask")
    mask = np.ones(ids.shape) if given is None else np.asarray(given)
    if mask.ndim != ids.ndim:
        raise ValueError(f"attention_mask has shape {list(mask.shape)}, expected that of input_ids, {list(ids.shape)}")
    return np.asarray(mask != 0).reshape(-1, ids.shape[-1])


def label_names(inputs: Mapping[str, Any]) -> list[str]:
    """The labels that a batch has."""
    known = {name for head in HEADS.values() for name in head.labels}
    return [name for name in inputs if name in known and inputs[name] is not None]


def check_way(by: str) -> None:
    """Refuse an unknown way to measure.

    Raises:
        ValueError: it is none of ``WAYS``.
    """
    if by not in WAYS:
        raise ValueError(f"importance by {by!r} is unknown, expected {' or '.join(WAYS)}")


def by_loss(config: BaseConfig, losses: Callable[[int, int], float]) -> list[Array]:
    """Importance of heads by what the loss is without each, less what it is with all.

    Args:
        config: of the model.
        losses: mean loss without a head, by numbers of layer and head; of layer -1 with all.
    """
    whole = losses(-1, 0)
    return [np.array([losses(i, h) - whole for h in range(n)]) for i, n in enumerate(heads_left(config))]


def heads_to_cut(config: BaseConfig, heads: Sequence[Array], share: float) -> dict[int, list[int]]:
    """The heads that matter least, by layer, counted as in the uncut model; each layer keeps its best one.

    Args:
        config: of the model.
        heads: importance, of each layer ``[N]``.
        share: of all its heads.

    Raises:
        ValueError: if so many cannot go, or for a share of all or none, or of less than one.
    """
    count = _heads_of(share, sum(map(len, heads)))
    candidates = [
        (float(value), layer, place)
        for layer, values in enumerate(heads)
        for place, value in enumerate(values)
        if place != int(np.argmax(values))
    ]
    if count > len(candidates):
        most = len(candidates) / sum(map(len, heads))
        raise ValueError(f"heads is {share}: one head of each layer has to stay, so that at most {most:.2f} can go")
    cut: dict[int, list[int]] = {}
    for _, layer, place in sorted(candidates)[:count]:
        gone = set(config.pruned_heads.get(layer, ()))
        there = [head for head in range(config.num_attention_heads) if head not in gone]
        cut.setdefault(layer, []).append(there[place])
    check_pruning(config, cut)
    return {layer: sorted(places) for layer, places in sorted(cut.items())}


def columns_to_cut(config: BaseConfig, columns: Sequence[Array], share: float) -> dict[int, list[int]]:
    """The columns of each layer that matter least: as many in all, so that the config has one number for them.

    Args:
        config: of the model.
        columns: importance, of each layer ``[I]``.
        share: of them.

    Raises:
        ValueError: for a share of all or none, or of less than one.
    """
    kept = _check_columns(config, share)
    return {i: sorted(np.argsort(-one, kind="stable")[kept:].tolist()) for i, one in enumerate(columns)}


def kept_columns(config: BaseConfig, share: float) -> int:
    """How many columns stay if a share goes."""
    kept = max(round(config.intermediate_size * (1 - _share("intermediate", share))), 1)
    return kept // _MULTIPLE * _MULTIPLE if kept >= 8 * _MULTIPLE else kept


def layers_to_cut(config: BaseConfig, layers: Array, kept: int) -> list[int]:
    """The layers that turn the states of tokens least.

    Args:
        config: of the model.
        layers: importance, ``[layers]``.
        kept: how many stay.

    Raises:
        ValueError: for as many as there are, or none.
    """
    check_layers(config, kept)
    # What the convolution of v2 adds is made for the first layer's output, and it is added behind whichever is first.
    last = [0] if config.convolution_width else []
    order = sorted((i for i in range(len(layers)) if i not in last), key=lambda i: float(layers[i]))
    return sorted([*order, *last][: len(layers) - kept])


def evenly_to_cut(config: BaseConfig, kept: int) -> list[int]:
    """Layers to cut so that those that stay are spread evenly, the first and the last among them.

    Source: Sanh et al. 2019 (arXiv 1910.01108), section 3, which takes one layer out of two.
    """
    check_layers(config, kept)
    count = config.num_hidden_layers
    stay = {round(place) for place in np.linspace(0, count - 1, kept)} if kept > 1 else {0}
    return [i for i in range(count) if i not in stay]


def check_layers(config: BaseConfig, kept: int) -> None:
    """Refuse a number of layers that is none to keep.

    Raises:
        ValueError: for a number below 1, or not below the model's.
    """
    if not 1 <= kept < config.num_hidden_layers:
        raise ValueError(
            f"layers is {kept}, expected at least 1 and fewer than the {config.num_hidden_layers} that there are"
        )


def check_cuts(
    config: BaseConfig, *, layers: int | None, heads: float | None, intermediate: float | None, by: str
) -> None:
    """Refuse what cannot be cut before anything is measured, which takes minutes.

    Args:
        config: of the model.
        layers: how many are to stay.
        heads: share that is to go.
        intermediate: share of the columns that is to go.
        by: how heads are measured.

    Raises:
        ValueError: for a number, a share or a way that cannot be, or heads of a model that mixes them.
    """
    check_way(by)
    if layers is not None:
        check_layers(config, layers)
    if heads is not None:
        check_pruning(config, {})
        most = sum(sorted(heads_left(config), reverse=True)[:layers])  # which layers stay is not known yet
        _heads_of(heads, most)
    if intermediate is not None:
        _check_columns(config, intermediate)


def heads_left(config: BaseConfig) -> list[int]:
    """How many heads each layer has."""
    gone = config.pruned_heads
    return [config.num_attention_heads - len(gone.get(layer, ())) for layer in range(config.num_hidden_layers)]


def _heads_of(share: float, count: int) -> int:
    """How many of so many heads a share is.

    Raises:
        ValueError: for a share of all or none, or of less than one head.
    """
    if found := round(_share("heads", share) * count):
        return found
    raise ValueError(f"heads is {share}: of the {count} heads that is none; one is a share of {1 / count:.2g}")


def _check_columns(config: BaseConfig, share: float) -> int:
    """How many columns stay.

    Raises:
        ValueError: for a share of all or none, or of less than one column.
    """
    count, kept = config.intermediate_size, kept_columns(config, share)
    if kept == count:
        least = 1 / count
        raise ValueError(f"intermediate is {share}: of the {count} columns that is none; one is a share of {least:.2g}")
    return kept


def _share(name: str, share: float) -> float:
    if not 0 < share < 1:
        raise ValueError(f"{name} is {share}, expected a share between 0 and 1 of what is to go")
    return share


def check_pruned_layers(config: BaseConfig, layers: Iterable[int]) -> list[int]:
    """The layers that stay once these are cut.

    Raises:
        ValueError: for a layer that does not exist, or if none would stay.
    """
    gone = set(layers)
    if wrong := sorted(i for i in gone if not 0 <= i < config.num_hidden_layers):
        raise ValueError(f"layers {wrong} do not exist, expected 0..{config.num_hidden_layers - 1}")
    kept = [i for i in range(config.num_hidden_layers) if i not in gone]
    if not kept:
        raise ValueError("no layer would be left, expected at least one to stay")
    return kept


def keep_layers(config: BaseConfig, kept: Sequence[int]) -> None:
    """Bring a config up to date with a model of which these layers stay; it says in ``GONE`` which have gone."""
    heads = {new: config.pruned_heads[old] for new, old in enumerate(kept) if old in config.pruned_heads}
    before, count = layers_left(config)
    left = {before[i] for i in kept}
    config.num_hidden_layers, config.pruned_heads = len(kept), heads
    config.extra[GONE] = [layer for layer in range(count) if layer not in left]


def layers_left(config: BaseConfig) -> tuple[list[int], int]:
    """Of the uncut model the numbers of the layers that are left, and how many layers it had."""
    given = config.extra.get(GONE) or []
    gone = {layer for layer in given if isinstance(layer, int)} if isinstance(given, list) else set()
    count = config.num_hidden_layers + len(gone)
    left = [layer for layer in range(count) if layer not in gone]
    # What a file says that does not fit is not what cutting has written.
    whole = len(left) == config.num_hidden_layers
    return (left, count) if whole else ([*range(config.num_hidden_layers)], config.num_hidden_layers)


def check_pruned_columns(config: BaseConfig, columns: Mapping[int, Iterable[int]]) -> list[list[int]]:
    """The columns of each layer that stay once these are cut.

    Raises:
        ValueError: for a column or layer that does not exist, or not as many in all layers.
    """
    size, count = config.intermediate_size, config.num_hidden_layers
    gone = {layer: set(places) for layer, places in columns.items()}
    wrong = sorted(i for i in gone if not 0 <= i < count)
    if wrong or any(not 0 <= column < size for places in gone.values() for column in places):
        raise ValueError(f"columns or layers do not exist, expected 0..{size - 1} in layers 0..{count - 1}")
    kept = [[column for column in range(size) if column not in gone.get(i, ())] for i in range(count)]
    left = sorted({len(one) for one in kept})
    if len(left) > 1 or left == [0]:
        raise ValueError(f"the layers would be left with {left} columns, expected one number above 0 for all of them")
    return kept
