"""Models whose layers another library quantises while they are loaded: bitsandbytes, to 8 or 4 bits, and torchao.

Heads stay as they are, and so do tables and norms. The projections of relative positions are linear layers as those of
tokens, often the same ones, and are treated alike. Weights stay small and frozen: adapters are trained on top.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from deberta_core.wording import near

PACKAGES = ("bitsandbytes", "torchao")  # whose extras have their names
STORED = "a model with layers of {} cannot be saved: save its adapters, or the model it was loaded from"


@dataclass
class BitsAndBytesConfig:
    """How bitsandbytes is to quantise a model, by the names that scripts use.

    Attributes:
        load_in_8bit: weights of 8 bits, by row; products in 8 bits but for outliers.
        load_in_4bit: weights of 4 bits, by blocks.
        llm_int8_threshold: states from which on columns are outliers, computed in floats.
        llm_int8_skip_modules: names of modules that stay as they are.
        llm_int8_enable_fp32_cpu_offload: of scripts for several devices; without effect.
        llm_int8_has_fp16_weight: keep the weights in half precision, too, to train them.
        bnb_4bit_compute_dtype: of the products, default float32.
        bnb_4bit_quant_type: ``fp4`` or ``nf4``.
        bnb_4bit_use_double_quant: quantise the scales of the blocks, too.
        bnb_4bit_quant_storage: dtype that holds the 4 bits, default uint8.

    Raises:
        ValueError: both widths are asked for, or an unknown type of 4 bits.
    """

    load_in_8bit: bool = False
    load_in_4bit: bool = False
    llm_int8_threshold: float = 6.0
    llm_int8_skip_modules: list[str] | None = None
    llm_int8_enable_fp32_cpu_offload: bool = False
    llm_int8_has_fp16_weight: bool = False
    bnb_4bit_compute_dtype: Any = None
    bnb_4bit_quant_type: str = "fp4"
    bnb_4bit_use_double_quant: bool = False
    bnb_4bit_quant_storage: Any = None

    def __post_init__(self) -> None:
        if self.load_in_8bit and self.load_in_4bit:
            raise ValueError("load_in_8bit and load_in_4bit are both set; expected one of them")
        if self.bnb_4bit_quant_type not in ("fp4", "nf4"):
            raise ValueError(f"bnb_4bit_quant_type is {self.bnb_4bit_quant_type!r}, expected 'fp4' or 'nf4'")

    @classmethod
    def of(cls, given: Any) -> BitsAndBytesConfig:
        """That of a dict, or of another library's object, which is read by its attributes."""
        names = [field.name for field in fields(cls)]
        by_name = isinstance(given, Mapping)
        for name in given if by_name else ():
            if name not in (*names, "quant_method") and not name.startswith("_"):  # such as theirs of its own
                warnings.warn(f"quantization_config has {name!r}, which is not read{near(name, names)}", stacklevel=4)
        found = {name: given.get(name) if by_name else getattr(given, name, None) for name in names}
        return cls(**{name: value for name, value in found.items() if value is not None})


def quantised_by_others(model: Any, asked: Mapping[str, Any], device_map: Any) -> Any:
    """The model with its encoder's linear layers quantised, on one device.

    Args:
        model: just loaded, on the CPU.
        asked: ``quantization_config``, ``load_in_8bit`` or ``load_in_4bit`` of ``from_pretrained``.
        device_map: a device, or ``None`` or ``"auto"`` for a GPU where there is one.

    Raises:
        ImportError: the library is not installed.
        ValueError: for a config of another kind, a width beside a config, or several devices.
    """
    if model.integers:
        raise ValueError("the folder holds 8-bit integers already: load it as it is, or the one it was made of")
    given = asked.get("quantization_config")
    widths: dict[str, Any] = {name: True for name in ("load_in_8bit", "load_in_4bit") if asked.get(name)}
    if given is not None and widths:
        raise ValueError(f"{next(iter(widths))} and quantization_config are both given; say it in the config")
    device = _one_device(device_map)
    method = "bitsandbytes" if given is None else _method(given)
    if method == "torchao":
        _by_torchao(model, given, device)
    else:
        config = BitsAndBytesConfig(**widths) if given is None else BitsAndBytesConfig.of(given)
        if not (config.load_in_8bit or config.load_in_4bit):
            raise ValueError("quantization_config asks for no width; set load_in_8bit=True or load_in_4bit=True")
        _by_bitsandbytes(model, config, device)
        model.is_loaded_in_8bit, model.is_loaded_in_4bit = config.load_in_8bit, config.load_in_4bit
    model.quantization_method = method
    return model.to(device)


def _method(given: Any) -> str:
    """Whose config this is."""
    named = given.get("quant_method") if isinstance(given, Mapping) else getattr(given, "quant_method", None)
    named = getattr(named, "value", named)  # of an enumeration
    if named in PACKAGES:
        return str(named)
    if isinstance(given, Mapping) and ("load_in_8bit" in given or "load_in_4bit" in given):
        return "bitsandbytes"
    if isinstance(given, BitsAndBytesConfig):
        return "bitsandbytes"
    if any(cls.__module__.startswith("torchao.") for cls in type(given).__mro__):
        return "torchao"
    raise ValueError(
        f"quantization_config is {type(given).__name__} (quant_method {named!r}), expected BitsAndBytesConfig, a "
        "config of torchao, or a dict with load_in_8bit or load_in_4bit"
    )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = name.partition(".")[0]
        raise ImportError(f"quantised loading needs a package: pip install 'deberta-zoo[{extra}]'") from None


def _one_device(device_map: Any) -> torch.device:
    if isinstance(device_map, Mapping) and len(device_map) == 1:
        (device_map,) = device_map.values()
    if device_map is None or device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(device_map, int):
        return torch.device("cuda", device_map)
    if isinstance(device_map, (str, torch.device)) and device_map != "disk":
        try:
            return torch.device(device_map)
        except RuntimeError:
            pass
    raise ValueError(f"device_map is {device_map!r}, but quantised models go to one device, such as 'cuda' or 'cpu'")


def _linear(model: Any, skipped: list[str] | None) -> dict[str, nn.Linear]:
    """The layers to quantise by name: those of the encoder, without those that are to stay."""
    before = f"{model._encoder_name()}.encoder.".removeprefix(".")
    found = {n: m for n, m in model.named_modules() if n.startswith(before) and type(m) is nn.Linear}
    stay = [tuple(name.split(".")) for name in skipped or ()]

    def is_in(name: str) -> bool:
        parts = tuple(name.split("."))
        return any(parts[i : i + len(s)] == s for s in stay for i in range(len(parts)))

    return {name: module for name, module in found.items() if not is_in(name)}


def _by_bitsandbytes(model: Any, config: BitsAndBytesConfig, device: torch.device) -> None:
    layers = _package("bitsandbytes").nn
    for name, old in _linear(model, config.llm_int8_skip_modules).items():
        sizes: dict[str, Any] = {"bias": old.bias is not None, "device": "meta"}
        if config.load_in_8bit:
            kept = config.llm_int8_has_fp16_weight
            new = layers.Linear8bitLt(
                old.in_features, old.out_features, has_fp16_weights=kept, threshold=config.llm_int8_threshold, **sizes
            )
            new.weight = layers.Int8Params(old.weight.data, requires_grad=kept, has_fp16_weights=kept)
        else:
            kind, storage = config.bnb_4bit_quant_type, _dtype(config.bnb_4bit_quant_storage, torch.uint8)
            how: dict[str, Any] = {"compress_statistics": config.bnb_4bit_use_double_quant, "quant_type": kind}
            how["quant_storage"] = storage
            compute = _dtype(config.bnb_4bit_compute_dtype, torch.float32)
            new = layers.Linear4bit(old.in_features, old.out_features, compute_dtype=compute, **how, **sizes)
            new.weight = layers.Params4bit(old.weight.data, requires_grad=False, **how)
            # On some CPUs the library packs such weights anew at the first call without gradients, which position keys
            # make even in training; packed they pass no gradient on, and not all sizes can be packed.
            new.support_avx512bf16_for_cpu = False
        new.bias = old.bias
        new.train(old.training)
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, new.to(device))  # which is when the library rounds


def _by_torchao(model: Any, given: Any, device: torch.device) -> None:
    api = _package("torchao.quantization")
    how = getattr(given, "quant_type", given)
    if isinstance(given, Mapping) or isinstance(how, str):
        make = getattr(given, "get_apply_tensor_subclass", None)
        if make is None:
            raise ValueError("quantization_config of torchao is no object; give TorchAoConfig, or torchao's own config")
        how = make()
    model.to(device)
    chosen = set(_linear(model, getattr(given, "modules_to_not_convert", None)))
    api.quantize_(model, how, filter_fn=lambda _, name: name in chosen)
    for name in chosen:
        model.get_submodule(name).weight.requires_grad_(False)


def _dtype(given: Any, default: torch.dtype) -> Any:
    """One that a script gave, by name or as it is."""
    if isinstance(given, str):
        found = getattr(torch, given.removeprefix("torch."), None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"{given!r} is no dtype; expected one such as 'bfloat16'")
        return found
    return default if given is None else given
