"""The maps as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from deberta_core.files import write_text
from deberta_tasks.attention.maps import PARTS, AttentionMaps

TEMPLATE = Path(__file__).with_name("page.html")
STEPS = 32767  # values are written as 16-bit fractions of the largest of their layer


def write_page(maps: AttentionMaps, path: Path) -> None:
    """Write the maps as a page with an overview of all heads and a large map of the chosen one.

    Args:
        maps: what to show.
        path: of the file, whole or as it was.

    Raises:
        OSError: the file cannot be written.
    """
    data = json.dumps(page_data(maps), ensure_ascii=True).replace("<", "\\u003c")  # a token must not end the script
    write_text(path, TEMPLATE.read_text(encoding="utf-8").replace("/*DATA*/ null", data))


def page_data(maps: AttentionMaps) -> dict[str, Any]:
    """What the page's script reads: values as base64 of little-endian int16, layer by layer, head after head."""
    parts = []
    for name, title in PARTS.items():
        layers = maps.parts.get(name)
        if layers is None:
            continue
        scales = [float(np.abs(layer).max(initial=0)) or 1.0 for layer in layers]
        steps = [np.rint(x / scale * STEPS).astype("<i2").tobytes() for x, scale in zip(layers, scales, strict=True)]
        values = [base64.b64encode(layer).decode("ascii") for layer in steps]
        parts.append({"name": name, "title": title, "scales": scales, "values": values})
    return {"tokens": maps.tokens, "layers": maps.layers, "heads": maps.heads, "parts": parts, "steps": STEPS}
