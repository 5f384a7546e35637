"""The figures of docs/several_hosts.md follow from the published sizes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deberta_core.heads import parameter_count
from deberta_core.presets import PRESETS, preset

TEXT = (Path(__file__).parents[2] / "docs" / "several_hosts.md").read_text(encoding="utf-8")
DEVICES = 8


@pytest.mark.parametrize("name", PRESETS)
def test_memory_and_communication(name: str) -> None:
    row = re.search(rf"^\| `{name}` \|(.*)\|$", TEXT, re.MULTILINE)
    assert row, name
    shown = [float(cell) for cell in row[1].split("|")]
    config = preset(name)
    whole = parameter_count(config, "ForSequenceClassification")
    layer = parameter_count(config) - parameter_count(config.copy(num_hidden_layers=config.num_hidden_layers - 1))
    rest = whole - layer * config.num_hidden_layers
    others = (DEVICES - 1) / DEVICES
    wanted = [
        whole / 1e6,
        16 * whole / 1e9,
        (16 * whole / DEVICES + 8 * rest + 16 * layer) / 1e9,
        others * 8 * whole / 1e9,
        others * 4 * (3 * whole - rest) / 1e9,
    ]
    assert shown == pytest.approx(wanted, abs=0.051)
    assert shown[1:] == pytest.approx(wanted[1:], abs=0.0051)
