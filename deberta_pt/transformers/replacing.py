"""Putting our encoder into a model that exists, with its very parameters.

Whole modules are moved, not parameters: a quantised layer, a LoRA layer or a layer with hooks goes on as it is. Only
the containers around them become ours. An encoder turns into ours where it stands, so whoever holds it keeps it.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from deberta_pt.encoder import Encoder
from deberta_pt.fast.inference import PreparedEncoder
from deberta_pt.layers import Dropout
from deberta_pt.transformers.parts import EMBEDDINGS, ENCODERS, InsideEncoder, PreparedInsideEncoder, build, contents
from deberta_pt.transformers.reading import check_version
from deberta_pt.transformers.switch import check_masked_rows

logger = logging.getLogger(__name__)

LEAVES = (nn.Linear, nn.Embedding, nn.Conv1d, nn.LayerNorm)
DROPOUTS = (nn.Dropout, Dropout, nn.Identity)
CONTAINERS = {cls for module in (v1, v2) for cls in vars(module).values() if isinstance(cls, type)} | {nn.ModuleList}
ACTIVATION = "intermediate_act_fn"  # a module of theirs, a function of ours
HOOKS = [name for name in vars(nn.Module()) if "hook" in name]


def replace(model: nn.Module, prepare: bool = False, *, masked_rows: str = "zero") -> list[str]:
    """Put our encoder and embeddings into every DeBERTa of transformers anywhere inside a model.

    Parameters stay the same objects: optimizers, adapters, quantised layers and hooks go on. In place.

    Args:
        model: any module that holds transformers' DeBERTa, of sentence-transformers or GLiNER, say.
        prepare: fuse and freeze as ``optimize_for_inference`` does, for inference alone: the model is put in eval mode
            and then refuses to be trained, saved or loaded into. Encoders whose heads talk, or with
            ``masked_rows="uniform"``, have nothing to prepare and stay as they are.
        masked_rows: as of ``enable``.

    Returns:
        Names of the modules that became ours, in order; also logged.

    Raises:
        ImportError: for a transformers other than 4.57 and 5.x.
        TypeError: for something that is not a module.
        ValueError: if there is no DeBERTa inside, or an encoder holds what ours has no place for; nothing is replaced
            then.
    """
    check_version()
    check_masked_rows(masked_rows)
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got a {type(model).__name__}; pass the model inside it")
    modules = dict(model.named_modules())
    encoders = {name: m for name, m in modules.items() if type(m) in ENCODERS or isinstance(m, InsideEncoder)}
    embeddings = {name: m for name, m in modules.items() if type(m) in EMBEDDINGS}
    if not encoders and not embeddings and not any(type(m) in EMBEDDINGS.values() for m in modules.values()):
        raise ValueError(f"found no DeBERTa of transformers inside a {type(model).__name__}")
    built: dict[str, tuple[type[InsideEncoder], Encoder]] = {}
    for name, encoder in encoders.items():
        try:
            found = ours_for(encoder, prepare, masked_rows)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot replace {name or 'the encoder'}: {error}") from error
        if found is not None:
            built[name] = found
    for name, (adapter, own) in built.items():
        become(modules[name], adapter, own)
    for module in embeddings.values():
        module.__class__ = EMBEDDINGS[type(module)]
    if prepare:
        model.eval()
    done = [name for name in modules if name in built or name in embeddings]
    logger.info("deberta_pt computes %s", ", ".join(name or type(model).__name__ for name in done) or "all already")
    return done


def ours_for(encoder: Any, prepare: bool, masked_rows: str) -> tuple[type[InsideEncoder], Encoder] | None:
    """The class that an encoder becomes and what it will hold; ``None`` if it is what it should be already.

    Raises:
        TypeError: if its config has a value of another type here.
        ValueError: if it holds what ours has no place for.
    """
    mine = isinstance(encoder, InsideEncoder)
    if isinstance(encoder, PreparedInsideEncoder) or (mine and not prepare):
        return None
    family, adapter, prepared = next(row for cls, row in ENCODERS.items() if isinstance(encoder, cls))
    own: Encoder = encoder if mine else taken_over(family, encoder, masked_rows)
    if not prepare or own.config.mixes_heads or own.config.masked_rows != "zero":
        return None if mine else (adapter, own)
    watched = [name for name, m in own.named_modules() if name and (m._forward_hooks or m._forward_pre_hooks)]
    if watched:
        raise ValueError(f"prepare=True leaves no place for the hooks on {watched[0]}; remove them first")
    # Preparing changes layers in place: only a copy is at stake if one of them cannot be prepared.
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in own.parameters()}
    with torch.no_grad():
        return prepared, PreparedEncoder(copy.deepcopy(own, memo))


def taken_over(family: str, encoder: Any, masked_rows: str) -> Encoder:
    """An encoder of ours that holds the layers of transformers' ``encoder``.

    Raises:
        TypeError: if its config has a value of another type here.
        ValueError: if it holds what ours has no place for.
    """
    if not len(encoder.layer):
        raise ValueError("it has no layers")
    config = encoder.layer[0].attention.config
    with torch.device("meta"):
        own = build(family, config, num_hidden_layers=len(encoder.layer), masked_rows=masked_rows)
    theirs = dict(encoder.named_modules(remove_duplicate=False))  # some share a layer
    for name, module in list(own.named_modules()):
        other = theirs.get(name)
        if other is None:
            if isinstance(module, nn.Dropout):
                continue  # of positions, in a model without relative ones
            raise ValueError(f"it has no module {name!r}, which its config asks for")
        if isinstance(module, LEAVES):
            put(own, name, norm_of(other))
        elif isinstance(module, nn.Dropout):
            if type(other) not in DROPOUTS:
                raise ValueError(f"{name} is a {type(other).__name__}, expected a Dropout")
            module.p = getattr(other, "p", 0.0)
            take_state(module, other)
        else:
            check_container(name or "it", module, other, config)
            take_state(module, other)
            for own_name in module._parameters:
                module._parameters[own_name] = other._parameters[own_name]
    return own


def check_container(name: str, module: nn.Module, other: Any, config: Any) -> None:
    """Refuse a container that computes something else than transformers' own.

    Raises:
        ValueError: if it is of another class, holds more modules, or is hooked by accelerate.
    """
    if hasattr(other, "_hf_hook"):
        raise ValueError(f"accelerate put a hook on {name}; replace the encoder before the model is dispatched")
    if type(other) not in CONTAINERS or "forward" in vars(other):
        raise ValueError(f"{name} is a {type(other).__name__} that is not as transformers made it")
    names = {child for child, held in other._modules.items() if held is not None}
    more = names - module._modules.keys() - {ACTIVATION}
    if more:
        raise ValueError(f"{name} holds {', '.join(sorted(more))}, which our encoder has no place for")
    if ACTIVATION in names and type(getattr(other, ACTIVATION)) is not type(ACT2FN[config.hidden_act]):
        raise ValueError(f"{name}.{ACTIVATION} is not the {config.hidden_act!r} of the config")


def norm_of(other: Any) -> nn.Module:
    """The module itself; of v1's norm that nobody watches, PyTorch's over the same parameters, which is faster."""
    if type(other) is not v1.DebertaLayerNorm or other._forward_hooks or other._forward_pre_hooks:
        return other
    with torch.device("meta"):
        norm = nn.LayerNorm(len(other.weight), eps=other.variance_epsilon)
    norm.weight, norm.bias = other.weight, other.bias
    take_state(norm, other)
    return norm


def take_state(module: nn.Module, other: nn.Module) -> None:
    """Mode and hooks; the very dicts, so that whoever put a hook there can remove it."""
    vars(module).update({name: vars(other)[name] for name in ("training", *HOOKS)})


def put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Set a submodule by its dotted name."""
    parent, _, leaf = name.rpartition(".")
    root.get_submodule(parent)._modules[leaf] = module


def become(encoder: nn.Module, adapter: type[InsideEncoder], own: Encoder) -> None:
    """Turn an encoder into ours where it stands; what others set on it stays."""
    held = {name: value for name, value in vars(encoder).items() if name not in ("conv", "_modules", "_parameters")}
    encoder.__class__ = adapter
    vars(encoder).clear()
    vars(encoder).update({**contents(own), **held})
