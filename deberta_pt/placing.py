"""Where the weights of a loaded model go."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from deberta_core.wording import near, some

BY_ITSELF = ("auto", "balanced", "balanced_low_0", "sequential")
OFFLOADED = "disk"


def place(
    model: Any,
    device_map: Any,
    max_memory: Mapping[Any, Any] | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Move a model to a device, or its modules to several.

    Args:
        model: on the CPU.
        device_map: a device; ``"auto"``: the accelerators that there are, or one of them where it suffices;
            or devices by name of a module or a weight, ``"disk"`` among them.
        max_memory: for ``"auto"`` and its like: bytes, or texts such as ``"10GB"``, by device.
        offload_folder: where weights of modules on ``"disk"`` are kept.

    Raises:
        ImportError: for several devices without the package accelerate.
        ValueError: for what names no device, or neither a module nor a weight.
    """
    if isinstance(device_map, str) and device_map in BY_ITSELF:
        if max_memory is None and torch.accelerator.device_count() < 2:
            device_map = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
        else:
            device_map = _spread(model, device_map, max_memory)
    devices = dict(device_map) if isinstance(device_map, Mapping) else {"": device_map}
    modules = dict(model.named_modules())
    known = [*modules, *(weight for name, module in modules.items() for weight in _own_weights(name, module))]
    if unknown := [name for name in devices if name not in known]:
        _refuse(devices, f"{type(model).__name__} has no module {unknown[0]!r}{near(str(unknown[0]), known)}")
    try:
        kinds = {device if device == OFFLOADED else torch.device(device) for device in devices.values()}
        if len(kinds) != 1 or OFFLOADED in kinds:
            return _dispatch(model, devices, offload_folder) if kinds else _refuse(device_map, "it is empty")
        weights = [name for name, _ in model.named_parameters()]
        if bare := [name for name in weights if not any(not p or f"{name}.".startswith(f"{p}.") for p in devices)]:
            _refuse(devices, f"it has none for {some(bare, 2)}")
        return model.to(kinds.pop())
    except (RuntimeError, TypeError, AssertionError) as error:
        return _refuse(device_map, str(error).splitlines()[0])


def _refuse(device_map: Any, why: str) -> Any:
    raise ValueError(
        f"device_map is {device_map!r}, expected a device that there is, such as 'cuda:0', 'auto', or a dict of "
        f"devices by module: {why}"
    ) from None


def _spread(model: Any, device_map: str, max_memory: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Devices by module, none of which is filled above its limit."""
    modeling = _accelerate("utils.modeling")
    whole: dict[str, Any] = {"no_split_module_classes": model._no_split_modules, "dtype": model.dtype}
    limits = max_memory
    if device_map != "sequential":
        low = device_map == "balanced_low_0"
        limits = modeling.get_balanced_memory(model, max_memory=max_memory, low_zero=low, **whole)
    devices: dict[str, Any] = modeling.infer_auto_device_map(model, max_memory=limits, **whole)
    return devices


def _dispatch(model: Any, devices: dict[str, Any], offload_folder: Any) -> Any:
    if OFFLOADED in devices.values() and offload_folder is None:
        return _refuse(devices, "give offload_folder=... for what is on 'disk'")
    accelerators = [device for device in devices.values() if str(device) not in (OFFLOADED, "cpu")]
    main = accelerators[0] if accelerators else "cpu"
    for name in _read_from_outside(model):
        _split(model, devices, name, main)
    alone = _named_alone(model, devices, main)
    # A whole layer is loaded at a time: some weights are read beside the module that holds them.
    whole = {"offload_dir": offload_folder, "preload_module_classes": model._no_split_modules}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*do not match any submodules", category=UserWarning)
        placed = _accelerate("big_modeling").dispatch_model(model, devices, main_device=main, **whole)
    for name, device in alone.items():
        if not placed.get_parameter(name).is_meta:  # else its module is on disk, and loads it
            _accelerate("utils.modeling").set_module_tensor_to_device(placed, name, device)
    return placed


def _own_weights(name: str, module: Any) -> list[str]:
    """Whole names of the weights that a module holds by itself."""
    return [f"{name}.{weight}".removeprefix(".") for weight in dict(module.named_parameters(recurse=False))]


def _named_alone(model: Any, devices: dict[str, Any], main: Any) -> dict[str, Any]:
    """Devices of weights that are named one by one, to be moved once accelerate has placed the modules, which is all
    that it does. Weights that are all of a module, on one device, are left to it: ``devices`` names the module instead.
    Others are never on disk, from where whole modules alone are loaded.
    """
    alone: dict[str, Any] = {}
    for name, module in model.named_modules():
        own = _own_weights(name, module)
        given = {weight: devices[weight] for weight in own if weight in devices}
        if given and len(given) == len(own) and len(set(given.values())) == 1 and not any(module.children()):
            devices.setdefault(name, given[own[0]])
            for weight in given:
                del devices[weight]
        else:
            alone.update({weight: main if str(d) in (OFFLOADED, "cpu") else d for weight, d in given.items()})
    return alone


def _read_from_outside(model: Any) -> list[str]:
    """Modules whose weights others read without calling them, and which so cannot be away: the relative table and its
    norm, and where words are predicted the embeddings.
    """
    base = next((name for name, module in model.named_modules() if module is model.base_model), "")
    wanted = ["encoder.rel_embeddings", "encoder.LayerNorm"]
    if any(getattr(module, "predicts_words", False) for module in model.modules()):
        wanted.append("embeddings")
    names = {name for name, _ in model.named_modules()}
    return [name for end in wanted if (name := f"{base}.{end}".removeprefix(".")) in names]


def _split(model: Any, devices: dict[str, Any], name: str, main: Any) -> None:
    """Keep one module on the main device, giving what lies beside it in its part the device of that part."""
    parts = name.split(".")
    above = [".".join(parts[:i]) for i in range(len(parts) + 1)]
    for place in (place for place in list(devices) if place.startswith(f"{name}.")):
        devices[place] = main
    found = next((place for place in reversed(above) if place in devices), None)
    if found is None or found == name:
        devices.update({name: main} if found else {})
        return
    device = devices.pop(found)
    for place in above[above.index(found) : -1]:
        module = model.get_submodule(place)
        inside = [*dict(module.named_children()), *dict(module.named_parameters(recurse=False))]
        devices.update({f"{place}.{leaf}".removeprefix("."): device for leaf in inside})
        devices.pop(above[above.index(place) + 1])
    devices[name] = main


def _accelerate(module: str) -> Any:
    """A module of accelerate, which only those need who spread a model over several devices."""
    try:
        import accelerate.big_modeling
        import accelerate.utils.modeling
    except ImportError:
        raise ImportError("a device_map of several devices needs a package: pip install accelerate") from None
    return {"big_modeling": accelerate.big_modeling, "utils.modeling": accelerate.utils.modeling}[module]
