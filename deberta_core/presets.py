"""The published sizes by name."""

from __future__ import annotations

from typing import Any

from deberta_core.config import DebertaConfig, DebertaV2Config

_PUBLISHED = {"relative_attention": True, "position_biased_input": False}
_V1 = {**_PUBLISHED, "pos_att_type": "c2p|p2c"}
_V2 = {
    **_PUBLISHED, "pos_att_type": "p2c|c2p", "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key":
    True,
}  # fmt: skip
_CONV = {**_V2, "conv_kernel_size": 3, "conv_act": "gelu", "attention_head_size": 64}


def _size(hidden: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": 4 * hidden, **more,
    }  # fmt: skip


# name -> (config class, fields that differ from its defaults)
PRESETS: dict[str, tuple[type[DebertaConfig] | type[DebertaV2Config], dict[str, Any]]] = {
    "deberta-base": (DebertaConfig, {**_V1, **_size(768, 12, 12)}),
    "deberta-large": (DebertaConfig, {**_V1, **_size(1024, 24, 16)}),
    "deberta-xlarge": (DebertaConfig, {**_V1, **_size(1024, 48, 16)}),
    "deberta-v2-xlarge": (DebertaV2Config, {**_CONV, **_size(1536, 24, 24)}),
    "deberta-v2-xxlarge": (DebertaV2Config, {**_CONV, **_size(1536, 48, 24)}),
    "deberta-v3-xsmall": (DebertaV2Config, {**_V2, **_size(384, 12, 6)}),
    "deberta-v3-small": (DebertaV2Config, {**_V2, **_size(768, 6, 12)}),
    "deberta-v3-base": (DebertaV2Config, {**_V2, **_size(768, 12, 12)}),
    "deberta-v3-large": (DebertaV2Config, {**_V2, **_size(1024, 24, 16)}),
    "mdeberta-v3-base": (DebertaV2Config, {**_V2, **_size(768, 12, 12, vocab_size=251000)}),
}


def preset(name: str, **overrides: Any) -> DebertaConfig | DebertaV2Config:
    """The config of a published model.

    Args:
        name: ``deberta-v3-base`` and the like, with or without ``microsoft/``.
        **overrides: fields to change.

    Raises:
        KeyError: for an unknown name; the text lists the known ones.
    """
    key = name.removeprefix("microsoft/")
    if key not in PRESETS:
        raise KeyError(f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}")
    cls, fields = PRESETS[key]
    config: DebertaConfig | DebertaV2Config = cls.from_dict(fields, **overrides)  # which works out the head size
    return config
