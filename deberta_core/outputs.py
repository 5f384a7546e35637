"""What models return, in both frameworks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

from deberta_core.beside import Beside

T = TypeVar("T")  # the framework's tensor
_OfTensors = Literal[0, "loss", "logits", "start_logits", "end_logits", "last_hidden_state"]
_OfLayers = Literal["hidden_states", "attentions"]

if TYPE_CHECKING:

    class Entries(dict[Any, Any], Generic[T]):
        """A dict of tensors as type checkers see it. They cannot tell a call with ``return_dict=False`` from others, so
        what a call gives unpacks to anything.
        """

else:
    Entries = dict


class ModelOutput(Beside, Entries[T]):
    """A dict whose entries are also attributes and, in order, items by number.

    Absent entries are not stored: ``out.loss`` is then ``None`` and ``out[0]`` the first entry that is there. It
    rebuilds from ``type(out)(mapping)``, which is what nested-structure tools of both frameworks do. Attributes are
    annotated with what they are where they are asked for: nobody wants to be told that the loss may be absent where
    labels were given.
    """

    names: ClassVar[tuple[str, ...]] = ()
    hidden_states: tuple[T, ...]
    attentions: tuple[T, ...]
    taken_for = ("transformers.utils.generic", "ModelOutput")

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), **entries: Any) -> None:
        given = {**dict(values), **entries}
        super().__init__({k: given[k] for k in (*self.names, *given) if k in given and given[k] is not None})

    if not TYPE_CHECKING:  # which know the entries of each class

        def __getattr__(self, name: str) -> Any:
            if name in type(self).names:
                return self.get(name)
            names = ", ".join(self.names)
            raise AttributeError(f"{type(self).__name__} has no entry {name!r}, expected one of {names}")

    def __setattr__(self, name: str, value: Any) -> None:
        """An entry stays one and the same by all its names; ``None`` takes it out."""
        if name not in type(self).names:
            return super().__setattr__(name, value)
        entries = type(self)({**self, name: value})
        self.clear()
        self.update(entries)

    @overload
    def __getitem__(self, key: _OfTensors, /) -> T: ...
    @overload
    def __getitem__(self, key: _OfLayers, /) -> tuple[T, ...]: ...
    @overload
    def __getitem__(self, key: slice, /) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: Any, /) -> Any: ...
    def __getitem__(self, key: Any, /) -> Any:
        if isinstance(key, (int, slice)):
            return self.to_tuple()[key]
        return super().__getitem__(key)

    def to_tuple(self) -> tuple[Any, ...]:
        """The entries that are there, in order."""
        return tuple(self.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class BaseModelOutput(ModelOutput[T]):
    """``last_hidden_state`` ``[B, L, H]``, and on request ``hidden_states`` (layers + 1) and ``attentions``
    (layers).
    """

    names = ("last_hidden_state", "hidden_states", "attentions")
    last_hidden_state: T


class MaskedLMOutput(ModelOutput[T]):
    """Scalar ``loss`` and ``logits`` ``[B, L, V]``."""

    names = ("loss", "logits", "hidden_states", "attentions")
    loss: T
    logits: T


class SequenceClassifierOutput(ModelOutput[T]):
    """Scalar ``loss`` and ``logits`` ``[B, Y]``."""

    names = ("loss", "logits", "hidden_states", "attentions")
    loss: T
    logits: T


class TokenClassifierOutput(ModelOutput[T]):
    """Scalar ``loss`` and ``logits`` ``[B, L, Y]``."""

    names = ("loss", "logits", "hidden_states", "attentions")
    loss: T
    logits: T


class QuestionAnsweringModelOutput(ModelOutput[T]):
    """Scalar ``loss``, ``start_logits`` and ``end_logits`` ``[B, L]``."""

    names = ("loss", "start_logits", "end_logits", "hidden_states", "attentions")
    loss: T
    start_logits: T
    end_logits: T


class MultipleChoiceModelOutput(ModelOutput[T]):
    """Scalar ``loss`` and ``logits`` ``[B, C]``."""

    names = ("loss", "logits", "hidden_states", "attentions")
    loss: T
    logits: T


class ReplacedTokenOutput(ModelOutput[T]):
    """Scalar ``loss`` and ``logits`` ``[B, L]``."""

    names = ("loss", "logits", "hidden_states", "attentions")
    loss: T
    logits: T


OUTPUTS = (
    BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput, TokenClassifierOutput, QuestionAnsweringModelOutput,
    MultipleChoiceModelOutput, ReplacedTokenOutput,
)  # fmt: skip
