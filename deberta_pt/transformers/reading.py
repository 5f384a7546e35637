"""What the encoder needs of transformers' settings, and whether this is a transformers that it knows."""

from __future__ import annotations

from typing import Any

from deberta_core.config import CONFIGS, BaseConfig

# The fields that an encoder computes with. Labels, poolers and the like are the business of transformers' heads, and
# its _attn_implementation says "eager" for every DeBERTa.
FIELDS = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "layer_norm_eps",
    "relative_attention", "max_relative_positions", "pos_att_type",
)  # fmt: skip
FAMILY_FIELDS = {
    "deberta": ("talking_head",),
    "deberta-v2": (
        "share_att_key", "position_buckets", "attention_head_size", "norm_rel_ebd", "conv_kernel_size", "conv_act",
        "conv_groups",
    ),
}  # fmt: skip


def check_version() -> None:
    """Refuse a transformers whose parts may be made otherwise.

    Raises:
        ImportError: for a version other than 4.57 and 5.x.
    """
    import transformers  # now: on its way in, it puts another object in its place

    major, minor = transformers.__version__.split(".")[:2]
    if major != "5" and (major, minor) != ("4", "57"):
        raise ImportError(
            f"deberta_pt.transformers works with transformers 4.57 and 5.x, found {transformers.__version__}; "
            "install one of these"
        )


def own_config(family: str, config: Any, **changes: Any) -> BaseConfig:
    """The config of an encoder that computes what transformers' would.

    Args:
        family: ``deberta`` or ``deberta-v2``.
        config: of transformers, or alike.
        **changes: fields that it does not say.

    Raises:
        TypeError: if a value has another type here, such as a function as ``hidden_act``.
        ValueError: if a value is out of range here.
    """
    found = {name: getattr(config, name, None) for name in (*FIELDS, *FAMILY_FIELDS[family])}
    return CONFIGS[family](**{**{name: value for name, value in found.items() if value is not None}, **changes})
