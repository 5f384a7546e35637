"""The maps as a PNG."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_core.files import replacing
from deberta_tasks.attention.maps import PARTS, AttentionMaps

MOST_LABELS = 80  # tokens beside a map; more cannot be read


def write_picture(maps: AttentionMaps, path: Path) -> None:
    """Draw each part beside the others: one map with its tokens, or a mosaic of layers (rows) and heads (columns).

    Args:
        maps: what to draw; ``only`` chooses a head.
        path: of the file, whole or as it was.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    single = len(maps.layers) == 1 and len(maps.heads[0]) == 1
    names = [name for name in PARTS if name in maps.parts]
    width = 5.2 if single else 4.2
    figure = Figure(figsize=(width * len(names), 5.6), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        image = maps.parts[name][0][0] if single else mosaic(maps, name)
        most = float(np.nanmax(np.abs(image))) or 1.0
        colours = {"cmap": "Blues", "vmin": 0.0} if name == "attention" else {"cmap": "RdBu", "vmin": -most}
        drawn = axes.imshow(image, vmax=most, interpolation="nearest", **colours)
        axes.set_title(PARTS[name])
        (_label_tokens if single else _label_heads)(axes, maps)
        if single:
            figure.colorbar(drawn, ax=axes, shrink=0.7)
    number = f"layer {maps.layers[0]}, head {maps.heads[0][0]}" if single else "layers (rows) and heads (columns)"
    figure.suptitle(f"{number}; {len(maps.tokens)} tokens, rows look at columns")
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # of scripts that its font lacks: a box
        figure.savefig(temporary, format="png")


def mosaic(maps: AttentionMaps, name: str) -> NDArray[np.float32]:
    """All maps of a part in one image, each scaled by its own largest value, with gaps of NaN between them."""
    length, most = len(maps.tokens), len(maps.columns)
    gap = max(1, length // 12)
    image = np.full((len(maps.layers) * (length + gap) - gap, most * (length + gap) - gap), np.nan, np.float32)
    for row, layer in enumerate(maps.parts[name]):
        for number, one in zip(maps.heads[row], layer, strict=True):
            top, left = row * (length + gap), maps.columns.index(number) * (length + gap)
            image[top : top + length, left : left + length] = one / (np.abs(one).max() or 1.0)
    return image


def _label_tokens(axes: Any, maps: AttentionMaps) -> None:
    places = range(len(maps.tokens)) if len(maps.tokens) <= MOST_LABELS else ()
    shown = [maps.tokens[i].replace("$", r"\$") for i in places]  # a pair of dollars would start a formula
    size = max(3.0, min(9.0, 260 / len(maps.tokens)))
    axes.set_xticks(places, shown, rotation=90, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)


def _label_heads(axes: Any, maps: AttentionMaps) -> None:
    step = len(maps.tokens) + max(1, len(maps.tokens) // 12)
    middle = (len(maps.tokens) - 1) / 2
    axes.set_xticks([column * step + middle for column in range(len(maps.columns))], maps.columns, fontsize=7)
    axes.set_yticks([row * step + middle for row in range(len(maps.layers))], maps.layers, fontsize=7)
