"""Whether the shapes of a checkpoint fit its config, and a config from the shapes where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conversion.mapping import Names
from deberta_core.checkpoint import TensorInfo
from deberta_core.config import CONFIGS, BaseConfig
from deberta_core.heads import fit_head, weights
from deberta_core.presets import PRESETS, preset
from deberta_core.weight_names import (
    CHOICE_CLASSIFIER,
    HEAD_ROWS,
    POSITION_TABLE,
    body_weights,
    head_weights,
    is_kernel,
)
from deberta_core.wording import some

_HEAD_SIZE = 64  # of every published model
Shape = tuple[int, ...]


def shapes_by_key(names: Names, tensors: Mapping[str, TensorInfo]) -> dict[str, Shape]:
    """PyTorch shape by published key.

    Args:
        names: of the checkpoint.
        tensors: its tensors by name.
    """
    found = {}
    for name, key in names.keys.items():
        shape = tensors[name].shape
        # TensorFlow stores kernels with their axes reversed, [in, out] or [width, in, out]; all else as PyTorch does.
        found[key] = shape[::-1] if names.naming == "tf" and is_kernel(name) else shape
    return found


def check_shapes(
    shapes: Mapping[str, Shape], config: BaseConfig, head: str, where: str, foreign: tuple[str, ...]
) -> None:
    """Refuse a checkpoint that is not one of its config.

    Args:
        shapes: PyTorch shape by published key.
        config: the checkpoint's.
        head: the head it has, a key of ``deberta_core.heads.HEADS``.
        where: the file, for the message.
        foreign: names that no model has a use for.

    Raises:
        ValueError: if weights of the encoder or of the head are missing, or a shape differs; the text names them.
    """
    body = {key: weight.shape for key, weight in body_weights(config).items()}
    heads = {key: weight.shape for key, weight in head_weights(config, HEAD_ROWS).items()}
    positions = {key: weight.shape for key, weight in head_weights(config, [POSITION_TABLE]).items()}
    choice = {key: weight.shape for key, weight in head_weights(config, [CHOICE_CLASSIFIER]).items()}
    # A table of positions is in files whose encoder does not read it: the enhanced mask decoder does.
    expected = {**heads, **positions, **body}
    wrong = [
        (key, shape, expected[key])
        for key, shape in shapes.items()
        if key in expected and shape not in (expected[key], choice.get(key))
    ]
    if missing := [key for key in body if key not in shapes]:
        hint = "get config.json and weights of one model"
        if any(name.endswith("._weight") for name in foreign):
            hint = "it holds differences to a generator's tables (._weight); merge it with the generator first"
        text = f"{where} lacks {len(missing)} weights of the encoder that its config asks for"
        raise ValueError(f"{text}: {some(missing, 4)}; {hint}")
    if missing := [key for key in weights(fit_head(config, head, shapes), head) if key not in shapes]:
        text = f"{where} has a part of a head ({head}) but lacks {some(missing, 4)}"
        raise ValueError(f"{text}; it is damaged, or its config.json (architectures) is that of another model")
    if wrong:
        rows = [f"{key} is {list(shape)}, its config asks for {list(other)}" for key, shape, other in wrong]
        raise ValueError(f"{where} does not fit its config: {some(rows, 4)}; get config.json and weights of one model")


def infer_config(names: Names, shapes: Mapping[str, Shape], where: str) -> BaseConfig:
    """A config whose weights have these shapes.

    The number of heads and of log buckets leave no trace in the shapes: heads are taken to be 64 wide, and the relative
    table to have one row per distance, unless a published model has these sizes.

    Args:
        names: of the checkpoint.
        shapes: PyTorch shape by published key.
        where: the file, for the message.

    Raises:
        ValueError: if the shapes are those of no model.
    """
    body = "deberta.embeddings."
    try:
        vocabulary, embedding = shapes[f"{body}word_embeddings.weight"]
        (hidden,) = shapes[f"{body}LayerNorm.weight"]
        intermediate, _ = shapes["deberta.encoder.layer.0.intermediate.dense.weight"]
        positions = shapes.get(f"{body}position_embeddings.weight", (512, 0))[0]
        types = shapes.get(f"{body}token_type_embeddings.weight", (0, 0))[0]
        span = shapes.get("deberta.encoder.rel_embeddings.weight", (0, 0))[0] // 2
        labels = shapes.get("classifier.weight", (2, 0))[0]
    except (KeyError, ValueError):
        text = "has no config.json beside it, and its weights do not show the sizes of a model"
        raise ValueError(f"{where} {text}") from None
    # position_biased_input leaves no trace: published v2 and v3 files hold the table and do not add it at the input.
    switches = _switches(names, shapes, hidden)
    config = CONFIGS[names.family](
        vocab_size=vocabulary, hidden_size=hidden, embedding_size=embedding, intermediate_size=intermediate,
        num_hidden_layers=names.layers, max_position_embeddings=positions, type_vocab_size=types, num_labels=labels,
        relative_attention=span > 0, max_relative_positions=span or -1, position_biased_input=False, **switches,
    )  # fmt: skip
    return _as_published(config)


def _switches(names: Names, shapes: Mapping[str, Shape], hidden: int) -> dict[str, Any]:
    first = "deberta.encoder.layer.0.attention.self."
    if names.family == "deberta":
        named = (("c2p", "pos_proj"), ("p2c", "pos_q_proj"))
        terms = [term for term, leaf in named if f"{first}{leaf}.weight" in shapes]
        talking = shapes.get(f"{first}head_logits_proj.weight")
        heads = talking[0] if talking else _heads(hidden)
        return {"num_attention_heads": heads, "pos_att_type": terms, "talking_head": talking is not None}
    named = (("c2p", "pos_key_proj"), ("p2c", "pos_query_proj"))
    terms = [term for term, leaf in named if f"{first}{leaf}.weight" in shapes]
    kernel = shapes.get("deberta.encoder.conv.conv.weight", (hidden, hidden, 0))
    # No projections of positions at all means that those of the content serve, as in every published v2 and v3 file.
    return {
        "num_attention_heads": _heads(hidden), "pos_att_type": terms or ["p2c", "c2p"], "share_att_key": not terms,
        "norm_rel_ebd": "layer_norm" if "deberta.encoder.LayerNorm.weight" in shapes else "none",
        "conv_kernel_size": kernel[2], "conv_groups": max(hidden // max(kernel[1], 1), 1),
    }  # fmt: skip


def _heads(hidden: int) -> int:
    return hidden // _HEAD_SIZE if hidden % _HEAD_SIZE == 0 else 1


def _as_published(config: BaseConfig) -> BaseConfig:
    name = published_name(config)
    if name is None:
        return config
    # Labels and words are the user's: a fine-tuned model has its own number of either.
    keep = {"num_labels": config.num_labels, "vocab_size": config.vocab_size}
    return preset(name, max_position_embeddings=config.max_position_embeddings, **keep)


def published_name(config: BaseConfig) -> str | None:
    """Name of the published model that has the sizes of a config, if there is one."""
    for name in PRESETS:
        if _sizes(preset(name)) == _sizes(config):
            return name
    return None


def _sizes(config: BaseConfig) -> tuple[object, ...]:
    return (
        config.model_type, config.hidden_size, config.embedding_width, config.num_hidden_layers, config.span,
        config.intermediate_size, config.vocab_size, config.type_vocab_size, config.convolution_width,
    )  # fmt: skip
