"""Every weight of the zoo, once: its published PyTorch key, its TF file name, its axes and its shape.

A row names a module by its published PyTorch path; the kind says which tensors it holds, how they are called in each
world and how their axes are ordered. Shapes are written in letters: ``V`` vocabulary, ``E`` embedding size, ``H``
hidden size, ``3H``, ``I`` intermediate size, ``P`` absolute positions, ``T`` token types, ``R`` rows of the relative
table, ``N`` heads, ``Y`` labels, ``G`` hidden size per convolution group, ``W`` kernel width, ``A`` width of the kept
heads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deberta_core.config import BaseConfig


@dataclass(frozen=True)
class Leaf:
    """One tensor of a module: PyTorch's name, TF's name, and how many trailing letters of the row's shape it has."""

    pt: str
    tf: str
    letters: int


# PyTorch stores kernels [out, in] and [out, in, width], TF [in, out] and [width, in, out]: the axes are reversed.
KINDS: dict[str, tuple[Leaf, ...]] = {
    "linear": (Leaf("weight", "kernel", 2), Leaf("bias", "bias", 1)),
    "matrix": (Leaf("weight", "kernel", 2),),
    "conv": (Leaf("weight", "kernel", 3), Leaf("bias", "bias", 1)),
    "norm": (Leaf("weight", "gamma", 1), Leaf("bias", "beta", 1)),
    "table": (Leaf("weight", "embeddings", 2),),
    "vector": (Leaf("", "", 1),),
}
REVERSED = ("kernel",)


@dataclass(frozen=True)
class Row:
    """A module with weights.

    Attributes:
        path: published PyTorch path; ``{i}`` is the layer number.
        kind: key of ``KINDS``.
        shape: letters of the first leaf's PyTorch shape; a one-dimensional leaf has the first of them.
        when: switches (see ``_switches``) that a config must have on, all of them; none: every config has it.
        tf: TF path where it is not the PyTorch path with ``/`` for ``.``.
        tf_leaf: TF name of the tensor where it is not that of the kind.
    """

    path: str
    kind: str
    shape: str
    when: str = ""
    tf: str = ""
    tf_leaf: str = ""


_EMBEDDINGS = "deberta.embeddings"
_LAYER = "deberta.encoder.layer.{i}"
_SELF = "deberta.encoder.layer.{i}.attention.self"

POSITION_TABLE = Row(f"{_EMBEDDINGS}.position_embeddings", "table", "P E", "positions")

BODY: tuple[Row, ...] = (
    Row(f"{_EMBEDDINGS}.word_embeddings", "table", "V E", tf_leaf="weight"),
    POSITION_TABLE,
    Row(f"{_EMBEDDINGS}.token_type_embeddings", "table", "T E", "types"),
    Row(f"{_EMBEDDINGS}.embed_proj", "matrix", "H E", "narrow"),
    Row(f"{_EMBEDDINGS}.LayerNorm", "norm", "H"),
    Row("deberta.encoder.rel_embeddings", "table", "R H", "relative",
        tf="deberta/encoder", tf_leaf="rel_embeddings.weight"),
    Row("deberta.encoder.LayerNorm", "norm", "H", "normalised"),
    Row("deberta.encoder.conv.conv", "conv", "H G W", "convolution"),
    Row("deberta.encoder.conv.LayerNorm", "norm", "H", "convolution"),
)  # fmt: skip

LAYER: tuple[Row, ...] = (
    Row(f"{_SELF}.in_proj", "matrix", "3A H", "v1"),
    Row(f"{_SELF}.q_bias", "vector", "A", "v1"),
    Row(f"{_SELF}.v_bias", "vector", "A", "v1"),
    Row(f"{_SELF}.head_logits_proj", "matrix", "N N", "talking"),
    Row(f"{_SELF}.head_weights_proj", "matrix", "N N", "talking"),
    Row(f"{_SELF}.pos_proj", "matrix", "A H", "v1 c2p"),
    Row(f"{_SELF}.pos_q_proj", "linear", "A H", "v1 p2c"),
    Row(f"{_SELF}.query_proj", "linear", "A H", "v2"),
    Row(f"{_SELF}.key_proj", "linear", "A H", "v2"),
    Row(f"{_SELF}.value_proj", "linear", "A H", "v2"),
    # TF files of v2 use v1's names here.
    Row(f"{_SELF}.pos_key_proj", "linear", "A H", "v2 unshared c2p",
        tf="deberta/encoder/layer_._{i}/attention/self/pos_proj"),
    Row(f"{_SELF}.pos_query_proj", "linear", "A H", "v2 unshared p2c",
        tf="deberta/encoder/layer_._{i}/attention/self/pos_q_proj"),
    Row(f"{_LAYER}.attention.output.dense", "linear", "H A"),
    Row(f"{_LAYER}.attention.output.LayerNorm", "norm", "H"),
    Row(f"{_LAYER}.intermediate.dense", "linear", "I H"),
    Row(f"{_LAYER}.output.dense", "linear", "H I"),
    Row(f"{_LAYER}.output.LayerNorm", "norm", "H"),
)  # fmt: skip

POOLER = Row("pooler.dense", "linear", "H H")
LEGACY_MLM = (
    Row("cls.predictions", "vector", "V", tf_leaf="bias"),
    Row("cls.predictions.transform.dense", "linear", "E H"),
    Row("cls.predictions.transform.LayerNorm", "norm", "E"),
)
PUBLISHED_MLM = (
    Row("lm_predictions.lm_head", "vector", "V", tf_leaf="bias"),
    Row("lm_predictions.lm_head.dense", "linear", "E H"),
    Row("lm_predictions.lm_head.LayerNorm", "norm", "E"),
)
UNTIED_DECODER = Row("cls.predictions.decoder", "matrix", "V E")
CLASSIFIER = Row("classifier", "linear", "Y H")
CHOICE_CLASSIFIER = Row("classifier", "linear", "1 H")
QA_OUTPUTS = Row("qa_outputs", "linear", "2 H")
REPLACED_TOKEN = (
    Row("mask_predictions.dense", "linear", "H H"),
    Row("mask_predictions.LayerNorm", "norm", "H"),
    Row("mask_predictions.classifier", "linear", "1 H"),
)
HEAD_ROWS: tuple[Row, ...] = (
    POOLER, *LEGACY_MLM, *PUBLISHED_MLM, UNTIED_DECODER, CLASSIFIER, QA_OUTPUTS, *REPLACED_TOKEN,
)  # fmt: skip


@dataclass(frozen=True)
class Weight:
    """One tensor: PyTorch key, PyTorch shape, TF name (without class name), and the TF attribute path."""

    key: str
    shape: tuple[int, ...]
    tf_name: str
    tf_attribute: str

    @property
    def is_body(self) -> bool:
        """Whether it belongs to the encoder and not to a head."""
        return self.key.startswith("deberta.")

    @property
    def transposed(self) -> bool:
        """Whether TF stores its axes in reverse order."""
        return is_kernel(self.tf_name)


def _switches(config: BaseConfig) -> dict[str, bool]:
    """What decides which modules a model has."""
    v1 = config.model_type == "deberta"
    return {
        "v1": v1, "v2": not v1, "talking": config.mixes_heads, "unshared": not config.shares_projections,
        "positions": config.position_biased_input, "types": config.type_vocab_size > 0,
        "narrow": config.embedding_width != config.hidden_size, "convolution": config.convolution_width > 0,
        "relative": config.relative_attention, "normalised": config.normalises_relative,
        "c2p": config.c2p, "p2c": config.p2c,
    }  # fmt: skip


def _sizes(config: BaseConfig) -> dict[str, int]:
    """What the letters stand for, but for those of the heads, which a layer may have lost some of."""
    return {
        "V": config.vocab_size, "E": config.embedding_width, "H": config.hidden_size, "I": config.intermediate_size,
        "P": config.max_position_embeddings, "T": config.type_vocab_size, "R": 2 * config.span, "Y": config.num_labels,
        "G": config.hidden_size // config.convolution_groups, "W": config.convolution_width, "1": 1, "2": 2,
    }  # fmt: skip


def _weights(row: Row, sizes: Mapping[str, int], layer: int | None = None) -> list[Weight]:
    path = row.path.format(i=layer)
    tf_path = (row.tf or row.path.replace(".", "/").replace("layer/{i}", "layer_._{i}")).format(i=layer)
    shape = tuple(sizes[letter] for letter in row.shape.split())
    found = []
    for leaf in KINDS[row.kind]:
        if row.kind == "vector" and row.tf_leaf:  # a bias that belongs to no layer
            key, tf_name = f"{path}.{row.tf_leaf}", f"{tf_path}/{row.tf_leaf}:0"
            attribute = key
        else:
            name = row.tf_leaf or leaf.tf
            key = f"{path}.{leaf.pt}" if leaf.pt else path
            tf_name = f"{tf_path}/{name}:0" if name else f"{tf_path}:0"
            attribute = f"{path}.{leaf.tf}" if leaf.tf else path
        attribute = attribute.replace(".output.", ".output_layer.")  # Keras layers have an ``output`` of their own
        found.append(Weight(key, shape[: leaf.letters], tf_name, attribute))
    return found


def body_weights(config: BaseConfig) -> dict[str, Weight]:
    """The encoder's weights by PyTorch key (``deberta.`` included), in the order of the forward pass."""
    on, sizes, head_size = _switches(config), _sizes(config), config.head_size
    body, of_layer = ([row for row in rows if all(on[one] for one in row.when.split())] for rows in (BODY, LAYER))
    found = [w for row in body for w in _weights(row, sizes)]
    for layer in range(config.num_hidden_layers):
        heads = config.num_attention_heads - len(config.pruned_heads.get(layer, ()))
        own = {**sizes, "N": heads, "A": heads * head_size, "3A": 3 * heads * head_size}
        found += [w for row in of_layer for w in _weights(row, own, layer)]
    return {w.key: w for w in found}


def head_weights(config: BaseConfig, rows: Iterable[Row]) -> dict[str, Weight]:
    """The weights of a head by PyTorch key."""
    sizes = _sizes(config)
    return {w.key: w for row in rows for w in _weights(row, sizes)}


_TF_SPECIAL = re.compile(r"^(?P<module>.*)/(?P<leaf>kernel|gamma|beta|embeddings|bias|weight)$")


def tf_name_of(key: str, config: BaseConfig) -> tuple[str, bool]:
    """TF name of a tensor that belongs to no model of the moment, and whether its axes are reversed there.

    Args:
        key: published PyTorch key; a head of the zoo gets the name it has there, anything else a name by rule.
        config: of the checkpoint.
    """
    for weight in head_weights(config, (POSITION_TABLE, *HEAD_ROWS)).values():
        if weight.key == key:
            return weight.tf_name, weight.transposed
    return key.replace(".", "/") + ":0", False


def to_pt(tf_name: str, *, family: str) -> str:
    """PyTorch key of a TF variable, known or foreign.

    Args:
        tf_name: file name without the class name, such as ``deberta/embeddings/LayerNorm/gamma:0``.
        family: ``model_type`` of the config; v2 calls two projections differently in the two worlds.

    Source: the general rule of the published TF files, and their exceptions.
    """
    name = tf_name.removesuffix(":0")
    match = _TF_SPECIAL.match(name)
    if match:
        leaf = {"kernel": "weight", "gamma": "weight", "beta": "bias", "embeddings": "weight"}.get(
            match["leaf"], match["leaf"]
        )
        name = f"{match['module']}/{leaf}"
    key = name.replace("layer_._", "layer.").replace("/", ".")
    if family == "deberta-v2":
        key = re.sub(r"(attention\.self)\.pos_proj\.", r"\1.pos_key_proj.", key)
        key = re.sub(r"(attention\.self)\.pos_q_proj\.", r"\1.pos_query_proj.", key)
    return key


def is_kernel(tf_name: str) -> bool:
    """Whether a TF variable, known or foreign, has its axes in reverse order."""
    return tf_name.removesuffix(":0").rsplit("/", 1)[-1] in REVERSED


# Tensors that a tied model does not hold under this name: the key that holds them.
ALIASES = {
    "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
    "lm_predictions.lm_head.decoder.weight": "deberta.embeddings.word_embeddings.weight",
    "lm_predictions.lm_head.decoder.bias": "lm_predictions.lm_head.bias",
}
HEAD_MODULES = frozenset(row.path.split(".")[0] for row in HEAD_ROWS)
_BODY_STARTS = ("embeddings.", "encoder.")


def published_key(name: str, *, naming: str, family: str) -> str | None:
    """The published PyTorch key of a name in a file, ``None`` if it is nothing a model holds.

    Adds the prefix of a base model's file, turns the original code's ``bert.`` and old norms' ``gamma``/``beta`` into
    today's names, and drops position indices that old files carry.

    Args:
        name: as stored.
        naming: ``pt`` or ``tf``.
        family: ``model_type`` of the config.
    """
    key = to_pt(name, family=family) if naming == "tf" else name
    key = key.removeprefix("module.")  # saved from inside DataParallel
    if key.startswith("bert."):
        key = "deberta." + key.removeprefix("bert.")
    elif key.startswith(_BODY_STARTS):
        key = "deberta." + key
    if key.endswith(("LayerNorm.gamma", "LayerNorm.beta")):
        key = key.removesuffix("gamma").removesuffix("beta") + ("weight" if key.endswith("gamma") else "bias")
    return None if key.endswith(".position_ids") else key
