"""Which weights of a model become integers, and what is moved into them before: decided on texts.

A token whose largest state is a hundred times its others leaves those hardly a step of 8 bits. So the states of such a
product are divided by column and the weights multiplied, which changes nothing but what is rounded. How much is moved
is tried for each product on the states that texts make of it, with the kernel that will compute it; what stays
inaccurate gets a second digit or stays float, and so do more, the worst first, until the outputs of the whole model
agree, and with them its answers.

Source: Xiao et al. 2022 (arXiv 2211.10438), section 4, whose scale is that of ``_moved``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deberta_core.heads import HEADS, OF_TOKENS
from deberta_core.integers import Integers
from deberta_core.perturbation import distance_kind
from deberta_pt.fast.int8 import LOWEST, Int8Linear, in_one

MOST_OF_PRODUCT = 0.05  # error of a product, as a share of what it tells its tokens apart by
# The same of the outputs: above the first, states get a second digit, above the second, products stay float.
MOST_OF_MODEL, LIMIT, LEAST_COSINE = 0.03, 0.04, 0.9995
MOST_OF_ANSWERS = 0.002  # the share of answers that may be others, above which states get a second digit, too
SHARES = (0.0, 0.25, 0.5, 0.75)  # of the outliers that are moved, as powers
_GOOD, _BETTER = 0.012, 0.85  # an error that needs no moving; moving must leave less than this share of it
_ROWS, _ROWS_OF_BATCH, _BATCHES = 256, 64, 8  # tokens that are tried, of a batch at most; batches that are compared
_LEAST, _FEW = 1e-5, 8  # rows from which on their mean is what they have in common
_ANSWER = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")

Batch = Mapping[str, Any]
Prepare = Callable[[Any, Mapping[str, Integers]], Any]


@dataclass
class Product:
    """One product of a layer, of one weight or several that read the same states.

    Attributes:
        name: for people.
        keys: full keys of its weights.
        modules: its layers.
        lowest: what no state is below, if that is known.
        rows: some of its states, ``[T, I]`` each.
        largest: of each column of all states, ``[I]``.
        error: in integers, as a share of what it tells tokens apart by.
        moved: share of the outliers that were moved into the weights, as a power.
        why: it stays float, or nothing.
    """

    name: str
    keys: list[str]
    modules: list[nn.Linear]
    lowest: float | None = None
    rows: list[Tensor] = field(default_factory=list)
    largest: Tensor | None = None
    error: float = 0.0
    moved: float = 0.0
    digits: int = 1
    why: str = ""
    integers: list[Integers] = field(default_factory=list)

    def watch(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """A hook: keep some of the states, and the largest of each column."""
        states = inputs[0].detach().flatten(0, -2).float().cpu()
        found = states.abs().amax(0)
        self.largest = found if self.largest is None else torch.maximum(self.largest, found)
        if sum(map(len, self.rows)) < _ROWS:
            self.rows.append(states[:: -(-len(states) // _ROWS_OF_BATCH)].clone())

    def error_of(self, parts: list[Integers], weight: Tensor) -> float:
        """That of its states' product with integers in place of a weight ``[O, I]``."""
        rows, bias = torch.cat(self.rows), weight.new_zeros(len(weight))
        trial = Int8Linear(in_one(parts) or parts[0], bias, lowest=self.lowest)
        with torch.inference_mode():
            return _share_off(F.linear(rows, weight), trial.product(rows))

    def choose(self, digits: int = 1) -> None:
        """Take integers for states of so many digits, with as much of the outliers moved as serves best.

        Of two digits it is the weights that err, and what is moved makes those finer that meet large states.
        """
        arrays = [_array(module.weight) for module in self.modules]
        weight, best = torch.from_numpy(np.concatenate(arrays)), math.inf
        self.digits, self.integers = digits, []
        for share in SHARES if digits == 1 else (*SHARES, 1.0):
            moved = _moved(self.largest, weight, share)
            parts = [replace(Integers.of(array, moved), digits=digits) for array in arrays]
            error = self.error_of(parts, weight)
            if not self.integers or error < best * (_BETTER if digits == 1 else 1):
                best, self.moved, self.integers = error, share, parts
            if digits == 1 and best <= _GOOD:
                break
        self.error = best


@dataclass
class QuantizationReport:
    """What became integers.

    Attributes:
        products: name, error, share of the outliers moved (a power), digits of its states, and why it stays float, if
            it does.
        error: of the model's outputs on the calibration, as a share of what they tell examples apart by.
        cosine: of these outputs with those of the float model.
        nbytes: of the weights, before and after.
        batches: of the calibration.
    """

    products: list[tuple[str, float, float, int, str]]
    error: float
    cosine: float
    nbytes: tuple[int, int]
    batches: int

    @property
    def floats(self) -> list[str]:
        """Names of the products that stay float."""
        return [name for name, *_, why in self.products if why]


def quantised(
    model: Any, calibration: Iterable[Batch], prepare: Prepare
) -> tuple[dict[str, Integers], QuantizationReport]:
    """Integers of a model's weights by full key, and what was found.

    Args:
        model: plain, without adapters, float32 on the CPU.
        calibration: batches of its inputs.
        prepare: makes the model that is run of a model and its integers.

    Raises:
        ValueError: there is no batch.
    """
    products: list[Product] = _products(model)
    batches: list[dict[str, Any]] = []
    handles = [product.modules[-1].register_forward_pre_hook(product.watch) for product in products]
    count, outputs = 0, []
    try:
        for batch in calibration:
            inputs = _inputs(batch)
            output = _run(model, inputs)
            count += 1
            if len(batches) < _BATCHES:
                batches.append(inputs)
                outputs.append(output)
    finally:
        for handle in handles:
            handle.remove()
    if any(not sum(map(len, product.rows)) for product in products):
        raise ValueError("calibration holds no tokens; expected batches as a tokenizer makes them")
    alone, wanted = _weights_alone(model), torch.cat(outputs)
    for product in products:
        product.choose()
        if not product.error <= MOST_OF_PRODUCT:
            product.choose(2)
        if not product.error <= MOST_OF_PRODUCT:
            product.why = f"its error stays above {MOST_OF_PRODUCT}"
    kind = distance_kind(model.config, model.head)
    while True:
        integers = dict(alone)
        for product in products:
            if not product.why:
                integers |= dict(zip(product.keys, product.integers, strict=True))
        found = torch.cat([_run(prepare(model, integers), inputs) for inputs in batches])
        error = _share_off(wanted, found)
        cosine = float(F.cosine_similarity(wanted.flatten().double(), found.flatten().double(), 0))
        left = [product for product in products if not product.why]
        narrow, fits = [p for p in left if p.digits == 1], error <= LIMIT and cosine >= LEAST_COSINE
        answers = _others(wanted, found, kind) if model.head in _ANSWER else 0.0
        if not integers or (fits and ((error <= MOST_OF_MODEL and answers <= MOST_OF_ANSWERS) or not narrow)):
            break
        if narrow:
            for product in _worst(narrow, len(products) // 4):
                product.choose(2)
        elif left:
            for product in _worst(left, len(products) // 8):
                product.why = f"the outputs were {error:.3f} off"
        else:  # what is rounded without states
            alone = {}
    sizes = {key: row.shape for key, row in model.weight_rows().items()}
    before = 4 * sum(int(np.prod(shape)) for shape in sizes.values())
    saved = sum(4 * i.values.size - sum(t.nbytes for t in i.tensors("x.weight").values()) for i in integers.values())
    rows = [(product.name, product.error, product.moved, product.digits, product.why) for product in products]
    return integers, QuantizationReport(rows, error, cosine, (before, before - saved), count)


def _worst(products: list[Product], count: int) -> list[Product]:
    return sorted(products, key=lambda product: -product.error)[: max(count, 1)]


def _products(model: Any) -> list[Product]:
    found = []
    for i, layer in enumerate(model.base_model.encoder.layer):
        own, key = layer.attention.self, f"deberta.encoder.layer.{i}"
        names = [name for name in ("in_proj", "query_proj", "key_proj", "value_proj") if hasattr(own, name)]
        lowest = LOWEST.get(layer.intermediate.activation)
        found += [
            Product(f"layer {i}, query, key and value", [f"{key}.attention.self.{name}.weight" for name in names],
                    [getattr(own, name) for name in names]),
            Product(f"layer {i}, attention output", [f"{key}.attention.output.dense.weight"],
                    [layer.attention.output.dense]),
            Product(f"layer {i}, intermediate", [f"{key}.intermediate.dense.weight"], [layer.intermediate.dense]),
            Product(f"layer {i}, output", [f"{key}.output.dense.weight"], [layer.output.dense], lowest),
        ]  # fmt: skip
    return found


def _weights_alone(model: Any) -> dict[str, Integers]:
    """What no rounded state meets: the word table, what projects relative positions, the convolution."""
    ends = (".pos_proj.weight", ".pos_q_proj.weight", ".pos_key_proj.weight", ".pos_query_proj.weight",
            "encoder.conv.conv.weight", "embeddings.word_embeddings.weight")  # fmt: skip
    keys = [key for key in model.weight_rows() if key.startswith("deberta.") and key.endswith(ends)]
    return {key: Integers.of(_array(model.get_parameter(model.own_key(key)))) for key in keys}


def _array(weight: Tensor) -> Any:
    return weight.detach().float().cpu().numpy()


def _moved(largest: Tensor | None, weight: Tensor, share: float) -> Any:
    """What states are divided by and weights multiplied with, ``[I]``; ``None`` for nothing."""
    if largest is None or not share:
        return None
    states, weights = largest.clamp_min(_LEAST), weight.abs().amax(0).clamp_min(_LEAST)
    found = states**share / weights ** (1 - share)
    return (found / found.log().mean().exp()).numpy()


def _share_off(wanted: Tensor, found: Tensor) -> float:
    """How far outputs ``[T, ...]`` are off, as a share of what tells tokens apart: what all have in common says
    nothing, and would hide what is lost.
    """
    own = wanted - wanted.mean(0) if len(wanted) >= _FEW else wanted
    return float((found - wanted).norm() / own.norm().clamp_min(1e-12))


def _others(wanted: Tensor, found: Tensor, kind: str) -> float:
    """The share of answers that may be others: the largest of rows ``[T, C]`` for ``softmax``, signs for ``sigmoid``.

    A calibration has too few rows to count those that changed; so each counts by how likely what it was off, were it
    normally distributed as in all rows, is to close the gap between the two answers. The closest one is left out: of
    few rows a single tie would decide, and more digits do not part it.
    """
    if kind == "sigmoid":
        gaps, off = wanted.double().flatten(), found.double().flatten()
        gaps, off = gaps.abs(), off * gaps.sign()
    elif kind == "squared" or wanted.shape[-1] < 2:
        return 0.0
    else:
        values, columns = wanted.double().topk(2)
        both = found.double().gather(1, columns)
        gaps, off = values[:, 0] - values[:, 1], both[:, 0] - both[:, 1]
    noise = (off - gaps).square().mean().sqrt().clamp_min(1e-12)
    shares = torch.special.ndtr(-gaps / noise)
    return float((shares.sum() - shares.max()) / len(shares))


def _inputs(batch: Any) -> dict[str, Any]:
    """What of a batch is no label."""
    if not isinstance(batch, Mapping):
        raise TypeError(f"calibration holds a {type(batch).__name__}, expected dicts of the model's inputs")
    labels = {name for head in HEADS.values() for name in head.labels}
    return {name: value for name, value in batch.items() if name not in labels and value is not None}


def _run(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """A row of outputs for each example, or for some of the visible tokens where each token has its own."""
    with torch.inference_mode():
        found = model(**inputs, return_dict=True)[0]
    if found.ndim < 3 and model.head not in OF_TOKENS:
        return found.flatten(1)
    rows = found.reshape(-1, 1 if model.head in OF_TOKENS else found.shape[-1])
    mask = inputs.get("attention_mask")
    if mask is not None and np.asarray(mask).size == len(rows):
        rows = rows[torch.from_numpy(np.asarray(mask).reshape(-1) != 0)]
    return rows[:: -(-len(rows) // _ROWS)].clone() if len(rows) else rows
