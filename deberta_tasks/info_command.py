"""``deberta info``: versions, devices, what is installed; what a bug report should begin with."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

from conversion.command_line import FINE, add_report_options, print_report
from conversion.reports import Table
from deberta_tasks.quiet import start_tensorflow_quietly

PACKAGES = (
    "deberta-zoo", "torch", "tensorflow", "tf-keras", "h5py", "numpy", "regex", "safetensors", "sentencepiece",
    "tokenizers", "tqdm", "huggingface_hub",
)  # fmt: skip


@dataclass
class Info:
    """What there is to work with.

    Attributes:
        system: Python, operating system and processors.
        packages: version by package, ``None`` for one that is not installed.
        devices: devices by framework, or what is in the way of using it.
        routes: what decides which library computes a product in PyTorch on the CPU, and what was decided.
    """

    system: dict[str, str]
    packages: dict[str, str | None]
    devices: dict[str, list[str]]
    routes: dict[str, str]

    def tables(self) -> list[Table]:
        """For people."""
        packages = [(name, version or "not installed") for name, version in self.packages.items()]
        devices = [(name, ", ".join(found)) for name, found in self.devices.items()]
        return [
            Table("System", rows=list(self.system.items())),
            Table("Packages", rows=list(packages)),
            Table("Devices", rows=list(devices)),
            Table("Routes of products", rows=list(self.routes.items())),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"system": self.system, "packages": self.packages, "devices": self.devices, "routes": self.routes}


def info() -> Info:
    """What there is to work with; imports both frameworks, where they are installed."""
    system = {
        "Python": sys.version.split()[0], "system": platform.platform(), "processors": str(os.cpu_count()),
        "installed in": sys.prefix,
    }  # fmt: skip
    devices = {"PyTorch": _torch(), "TensorFlow": _tensorflow()}
    return Info(system, {name: _version(name) for name in PACKAGES}, devices, _routes(devices["PyTorch"]))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> list[str]:
    if not importlib.util.find_spec("torch"):
        return ["not installed (pip install 'deberta-zoo[pt]')"]
    try:
        import torch
    except Exception as error:  # a broken installation is what somebody who asks for this may have
        return [f"cannot be imported: {error}"]
    found = [f"cpu ({torch.get_num_threads()} threads)"]
    for number in range(torch.cuda.device_count()):
        size = torch.cuda.get_device_properties(number).total_memory / 2**30
        found.append(f"cuda:{number} ({torch.cuda.get_device_name(number)}, {size:.0f} GiB)")
    return found + ["mps"] * torch.backends.mps.is_available()


def _routes(devices: list[str]) -> dict[str, str]:
    if not devices[0].startswith("cpu"):
        return {}
    from deberta_pt.fast import routes

    if routes.is_default():
        return {"decided by": f"{routes.VARIABLE}={routes.DEFAULT}: PyTorch's own library everywhere"}
    answers = {question: "yes" if answer else "no" for question, answer in sorted(routes.known().items())}
    return {"decided by": f"races, kept in {routes.place()}", "machine": routes.machine(), **answers}


def _tensorflow() -> list[str]:
    if not importlib.util.find_spec("tensorflow"):
        return ["not installed (pip install 'deberta-zoo[tf]')"]
    try:
        start_tensorflow_quietly()
        import tensorflow as tf
    except Exception as error:  # as above
        return [f"cannot be imported: {error}"]
    if not importlib.util.find_spec("tf_keras"):
        return ["tf-keras is not installed (pip install 'deberta-zoo[tf]')"]
    found = []
    for device in tf.config.list_physical_devices():
        details = tf.config.experimental.get_device_details(device) if device.device_type == "GPU" else {}
        name = f" ({details['device_name']})" if "device_name" in details else ""
        found.append(device.name.removeprefix("/physical_device:") + name)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_report_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print what there is."""
    print_report(info(), args)
    return FINE
