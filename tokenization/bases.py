"""The base classes of the public documentation, to annotate and ask ``isinstance`` with, and to load any tokenizer."""

from __future__ import annotations

from typing import Any

from .auto import AutoTokenizer
from .tokenizer import Tokenizer


class _Kind(type):
    """A class whose instances are all tokenizers, or the fast or the slow ones: a fast class extends its slow one."""

    fast: bool | None

    def __instancecheck__(cls, instance: Any) -> bool:
        return issubclass(type(instance), cls)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, Tokenizer) and cls.fast in (None, getattr(subclass, "is_fast", None))


class PreTrainedTokenizerBase(metaclass=_Kind):
    """Any tokenizer."""

    fast: bool | None = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **settings: Any) -> Tokenizer:
        """The tokenizer in a folder, as ``AutoTokenizer`` loads it."""
        fast = settings.pop("use_fast", True) if cls.fast is None else cls.fast
        return AutoTokenizer.from_pretrained(pretrained_model_name_or_path, use_fast=fast, **settings)


class PreTrainedTokenizer(PreTrainedTokenizerBase):
    """A slow tokenizer."""

    fast = False


class PreTrainedTokenizerFast(PreTrainedTokenizerBase):
    """A tokenizer with ``backend_tokenizer``."""

    fast = True
