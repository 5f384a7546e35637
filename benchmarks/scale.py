"""What training each published size takes on several devices, from the shapes of its weights: docs/several_hosts.md.

python -m benchmarks.scale --devices 8 [--write docs/several_hosts.md]
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import fill
from deberta_core.config import BaseConfig
from deberta_core.heads import weights
from deberta_core.presets import PRESETS, preset

HEAD = "ForSequenceClassification"
NUMBER = 4  # bytes of float32: weights, gradients and both moments of Adam
HELD = 4 * NUMBER


@dataclass(frozen=True)
class Scale:
    """Of a model on several devices; parameters.

    Attributes:
        parameters: all.
        layer: those of one layer.
        rest: those of no layer: tables and head.
        devices: how many train it.
    """

    parameters: int
    layer: int
    rest: int
    devices: int

    @classmethod
    def of(cls, config: BaseConfig, devices: int, head: str = HEAD) -> Scale:
        """Of a config."""
        sizes = {key: math.prod(weight.shape) for key, weight in weights(config, head).items()}
        layer = sum(size for key, size in sizes.items() if ".encoder.layer.0." in key)
        total = sum(sizes.values())
        return cls(total, layer, total - layer * config.num_hidden_layers, devices)

    @property
    def ddp(self) -> int:
        """Bytes that a device holds with a copy of the model."""
        return HELD * self.parameters

    @property
    def fsdp_held(self) -> float:
        """Bytes that a device holds all the time with FSDP2."""
        return HELD * self.parameters / self.devices

    @property
    def fsdp(self) -> float:
        """And at most, while it computes: weights and gradients of the rest, and of two layers."""
        return self.fsdp_held + 2 * NUMBER * self.rest + 2 * 2 * NUMBER * self.layer

    @property
    def ddp_sent(self) -> float:
        """Bytes that a device sends in a step: every gradient goes around once, and its sum once."""
        return 2 * (self.devices - 1) / self.devices * NUMBER * self.parameters

    @property
    def fsdp_sent(self) -> float:
        """Weights of the forward pass, those of layers again for the backward pass, and gradients."""
        return (self.devices - 1) / self.devices * NUMBER * (3 * self.parameters - self.rest)


def table(devices: int) -> list[str]:
    """Lines in Markdown, in millions of parameters and in gigabytes (1e9 bytes)."""
    lines = [
        "| model | parameters, millions | DDP, memory | FSDP2, memory | DDP, sent a step | FSDP2, sent a step |",
        "|---|---|---|---|---|---|",
    ]
    for name in PRESETS:
        scale = Scale.of(preset(name), devices)
        numbers = (scale.ddp, scale.fsdp, scale.ddp_sent, scale.fsdp_sent)
        cells = [f"{scale.parameters / 1e6:.1f}", *(f"{number / 1e9:.2f}" for number in numbers)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--write", type=Path, help="page to fill, between the marks <!-- scale --> and <!-- /scale -->")
    args = parser.parse_args()
    if args.write:
        fill(args.write, "scale", table(args.devices))
    else:
        print("\n".join(table(args.devices)))
