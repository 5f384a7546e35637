"""Being taken for transformers' own where transformers is loaded beside us."""

from __future__ import annotations

import copyreg
import functools
import sys
from typing import Any, ClassVar


class Beside:
    """Mixed into models and tokenizers: ``isinstance(x, PreTrainedModel)`` of transformers is true of them.

    Its Trainer, pipelines and collators ask that, and treat what is none as a bare module: no ``config.json`` in a
    checkpoint, no tokenizer in a pipeline. ``isinstance`` looks at ``type(x)`` and then at ``x.__class__``, which
    answers with a class that extends both as soon as transformers' module is loaded. Nothing is imported for it, and
    none of their methods is reached from a model: attributes are looked up in ``type(x)``.
    """

    taken_for: ClassVar[tuple[str, str]]  # module and name of their class

    def _seen_class(self) -> type:
        own: Any = type(self)
        module, name = own.taken_for
        theirs = getattr(sys.modules.get(module), name, None)
        return own if theirs is None else _both(own, theirs)

    def _change_class(self, cls: type) -> None:
        object.__dict__["__class__"].__set__(self, cls)

    __class__ = property(_seen_class, _change_class)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As ever, but for the name of the function that makes an empty object: pickle compares ``__class__`` with the
        class that ``copyreg.__newobj__`` is called with.
        """
        reduced = super().__reduce_ex__(max(int(protocol), 2))  # ``__class__`` is another here
        return (_empty, *reduced[1:]) if reduced[0] is copyreg.__newobj__ else reduced  # type: ignore[attr-defined]


def _empty(cls: type, *args: Any) -> Any:
    return cls.__new__(cls, *args)


# Of a class itself and not of what it can do; the last four are the names that Keras and TensorFlow export it by.
_OWN = {
    "__dict__",
    "__weakref__",
    "__slots__",
    "__class__",
    "__abstractmethods__",
    "_abc_impl",
    "__init_subclass__",
    "__annotations__",
    "_keras_api_names",
    "_keras_api_names_v1",
    "_tf_api_names",
    "_tf_api_names_v1",
}


def is_face(cls: type) -> bool:
    """Whether a class is what ``__class__`` answers beside transformers, and has no instance."""
    return bool(cls.__dict__.get("_is_face"))


@functools.cache
def _both(own: type, theirs: type) -> type:
    """A class that extends both, of which there is no instance: calling it makes one of ``own``.

    It holds all that ``own`` inherits, so that whoever looks something up in it, as torch's compiler does, meets theirs
    only where ours has no such name.
    """
    made = {
        name: value for base in reversed(own.__mro__[:-1]) for name, value in vars(base).items() if name not in _OWN
    }
    made["_is_face"] = True
    made["__new__"] = lambda cls, *args, **named: own(*args, **named)
    return type(own)(own.__name__, (own, theirs), made)
