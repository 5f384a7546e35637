"""Turning our encoder on for all DeBERTa models of transformers that are built from then on, and off again.

Nothing is renamed: ``__init__`` of transformers' four part classes lets an object of exactly that class become ours.
So models built by Auto classes, by names imported before or after, and by subclasses get it, and a user's subclass of a
part is left alone. (A wrapped ``__new__`` would not do: taken off again, it leaves a class that takes no arguments.)
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from deberta_pt.transformers.parts import EMBEDDINGS, ENCODERS, InsideEncoder, attributes, build, contents
from deberta_pt.transformers.published import CHANGES, reads_published_head
from deberta_pt.transformers.reading import check_version

MASKED_ROWS = ("zero", "uniform")
MODELS: tuple[Any, ...] = (v1.DebertaModel, v2.DebertaV2Model)
MASKED_LM: tuple[Any, ...] = (v1.DebertaForMaskedLM, v2.DebertaV2ForMaskedLM)


class Settings(NamedTuple):
    """What ``enable`` was asked for."""

    masked_rows: str
    published_mlm_head: bool
    tokenizers: bool


_now: Settings | None = None
_patches: list[tuple[Any, str, Any, Any]] = []  # owner, name, what the owner held before (None: inherited), ours


class Enabled:
    """What ``enable`` returns: leaving its ``with`` block brings back what was before."""

    def __init__(self, before: Settings | None) -> None:
        self._before = before

    def __enter__(self) -> None:
        """It is on already."""

    def __exit__(self, *_: object) -> None:
        _switch(self._before)


def enable(*, masked_rows: str = "zero", published_mlm_head: bool = False, tokenizers: bool = False) -> Enabled:
    """Give our encoder and embeddings to every DeBERTa model that transformers builds from now on.

    Args:
        masked_rows: ``zero``: states of hidden tokens are those of this package, which leaves padding out;
            ``uniform``: those of transformers, more slowly. Visible tokens have the same states either way.
        published_mlm_head: let ``DebertaForMaskedLM`` and ``DebertaV2ForMaskedLM`` read ``lm_predictions.*``, which
            published files carry, instead of starting a head afresh; sets ``legacy`` and ``tie_word_embeddings``
            to ``False`` in the config.
        tokenizers: let transformers' fast DeBERTa tokenizers encode by ours, with the ids of SentencePiece itself.

    Returns:
        For ``with enable(): ...``, after which all is as before. Models built inside go on with our encoder.

    Raises:
        ImportError: for a transformers other than 4.57 and 5.x.
        ValueError: for unknown ``masked_rows``.
    """
    check_version()
    check_masked_rows(masked_rows)
    before = _now
    _switch(Settings(masked_rows, published_mlm_head, tokenizers))
    return Enabled(before)


def check_masked_rows(masked_rows: str) -> None:
    """Refuse what ``masked_rows`` cannot be.

    Raises:
        ValueError: for an unknown word.
    """
    if masked_rows not in MASKED_ROWS:
        raise ValueError(f"masked_rows is {masked_rows!r}, expected one of {', '.join(MASKED_ROWS)}")


def disable() -> None:
    """Undo ``enable``. Models built meanwhile go on with our encoder; call it any number of times."""
    _switch(None)


def _switch(to: Settings | None) -> None:
    global _now
    _now = to
    while to is None and _patches:
        owner, name, before, ours = _patches.pop()
        if vars(owner).get(name) is not ours:
            continue  # somebody wrapped it again; while off, ours does nothing
        delattr(owner, name) if before is None else setattr(owner, name, before)
    if to is not None and not _patches:
        for cls in ENCODERS:
            _patch(cls, "__init__", _become_encoder(cls))
        for cls in EMBEDDINGS:
            _patch(cls, "__init__", _become_embeddings(cls))
        for cls in MODELS:
            _patch(cls, "forward", _ask_for_less(cls.forward))
        for cls in MASKED_LM:
            _patch(cls, "from_pretrained", _read_published(cls))
    if to is not None and to.tokenizers and not any(owner in _tokenizers() for owner, *_ in _patches):
        for cls in _tokenizers():
            _patch(cls, "from_pretrained", _encode_by_ours(cls))


def _patch(owner: Any, name: str, ours: Any) -> None:
    _patches.append((owner, name, vars(owner).get(name), ours))
    setattr(owner, name, ours)


def _become_encoder(cls: type[nn.Module]) -> Callable[..., None]:
    theirs: Any = cls.__init__
    family, adapter, _ = ENCODERS[cls]

    @functools.wraps(theirs)
    def start(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        if _now is not None and type(self) is cls:
            try:
                built = build(family, config, masked_rows=_now.masked_rows)
            except (TypeError, ValueError) as error:
                warnings.warn(f"transformers' encoder stays, ours cannot be built: {error}", stacklevel=2)
            else:
                self.__class__ = adapter
                vars(self).update({**attributes(built), **contents(built)})
                return
        theirs(self, config, *args, **kwargs)

    return start


def _become_embeddings(cls: type[nn.Module]) -> Callable[..., None]:
    theirs: Any = cls.__init__

    @functools.wraps(theirs)
    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        theirs(self, *args, **kwargs)
        if _now is not None and type(self) is cls:
            self.__class__ = EMBEDDINGS[cls]

    return start


def _ask_for_less(theirs: Callable[..., Any]) -> Callable[..., Any]:
    """A model's ``forward`` that asks our encoder for all states only if its caller does.

    Theirs always does, which puts padding back after each layer and keeps the states of all layers.
    """

    @functools.wraps(theirs)  # Trainer reads the signature
    def forward(
        self: Any,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> Any:
        config = self.config
        if not isinstance(self.encoder, InsideEncoder) or self.z_steps > 1:
            return theirs(
                self, input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, output_attentions,
                output_hidden_states, return_dict, **others,
            )  # fmt: skip
        if (input_ids is None) == (inputs_embeds is None):
            given = "neither" if input_ids is None else "both"
            raise ValueError(f"got {given} input_ids and inputs_embeds, expected one of them")
        if input_ids is not None:
            self.warn_if_padding_and_no_attention_mask(input_ids, attention_mask)
        wants_states = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        wants_probs = config.output_attentions if output_attentions is None else output_attentions
        states = self.embeddings(input_ids, token_type_ids, position_ids, attention_mask, inputs_embeds)
        found = self.encoder(states, attention_mask, bool(wants_states), bool(wants_probs))
        if return_dict is None:  # not use_return_dict: in 5.x it logs, which no whole graph allows
            return_dict = config.return_dict and not getattr(config, "torchscript", False)
        return found if return_dict else found.to_tuple()

    return forward


def _tokenizers() -> dict[Any, Any]:
    """Transformers' fast tokenizers and ours of them; a program that wants none needs no tokenization."""
    from deberta_pt.transformers.tokenizers import INSIDE

    return INSIDE


def _loading(cls: Any) -> Callable[[Any], Any]:
    """What ``from_pretrained`` of a class, or of a subclass of it, is without us."""
    before = vars(cls).get("from_pretrained")
    return lambda owner: super(cls, owner).from_pretrained if before is None else before.__get__(None, owner)


def _encode_by_ours(cls: Any) -> Any:
    """A ``from_pretrained`` whose tokenizer encodes by ours."""
    load = _loading(cls)

    @functools.wraps(inspect.getattr_static(cls, "from_pretrained").__func__)
    def from_pretrained(owner: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        from deberta_pt.transformers.tokenizers import attach

        found = load(owner)(path, *args, **kwargs)
        if _now is not None and _now.tokenizers and type(found) in (cls, _tokenizers()[cls]):
            attach(found, path, kwargs)
        return found

    return classmethod(from_pretrained)


def _read_published(cls: Any) -> Any:
    """A ``from_pretrained`` that chooses the masked-LM head by the keys of the file."""
    loading = _loading(cls)

    @functools.wraps(inspect.getattr_static(cls, "from_pretrained").__func__)
    def from_pretrained(owner: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        load = loading(owner)
        if _now is None or not _now.published_mlm_head or not reads_published_head(path, kwargs):
            return load(path, *args, **kwargs)
        config = kwargs.get("config")
        if config is None or isinstance(config, str):
            return load(path, *args, **{**kwargs, **CHANGES})
        again = type(config).from_dict({**config.to_dict(), **CHANGES})
        return load(path, *args, **{**kwargs, "config": again})

    return classmethod(from_pretrained)
