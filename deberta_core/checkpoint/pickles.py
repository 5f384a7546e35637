"""A pickle interpreter that cannot run code.

It knows the opcodes that build plain containers, and calls only functions that its owner looked up by name in a table
of its own. Python's unpickler is not used even in restricted form: its memo takes gigabytes on the word of one opcode,
and a dict key of nested tuples keeps it busy for ever.

Source: the opcode list of the standard library's ``pickletools``.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, Protocol

# A state dict takes some 45 operations and 150 bytes per tensor; these limits leave room for 20,000 tensors. A
# vocabulary of 50,000 tokens takes 900,000 operations and 4 MB.
MAX_PICKLE_BYTES = 1 << 24
MAX_OPERATIONS = 1_000_000
_LONGEST_KEY = 4  # entries of a tuple that is a key: two tokens that merge, say


class PickleError(Exception):
    """A pickle that is damaged or that asks for more than plain data."""


class ForbiddenGlobal(PickleError):
    """A pickle that names a function or class which may not be used.

    Args:
        name: dotted name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"names {name}")


@dataclass(frozen=True, eq=False)
class Opaque:
    """A value of no interest, remembered by its kind."""

    kind: str


class Stream(Protocol):
    """What the interpreter reads from; must return short rather than allocate what is not there."""

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes."""

    def readline(self) -> bytes:
        """Bytes to the next newline, included."""

    def tell(self) -> int:
        """Position."""


_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: Opaque("set"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = Opaque("mark")
_OPCODES: dict[bytes, tuple[str, Callable[[Any], Any] | None]] = {
    row.code.encode("latin-1"): (row.name, row.arg.reader if row.arg else None) for row in pickletools.opcodes
}


class PickleMachine:
    """Interpreter of one pickle.

    Args:
        find_global: module and name to one of the caller's own objects; a function among them may be called by the
            pickle with any arguments. Raises ForbiddenGlobal for what is not allowed.
        load_persistent: what the container keeps outside the pickle, by its id.
    """

    def __init__(self, find_global: Callable[[str, str], Any], load_persistent: Callable[[Any], Any]) -> None:
        self._find_global = find_global
        self._load_persistent = load_persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._left = MAX_OPERATIONS

    def run(self, stream: Stream) -> Any:
        """Interpret up to and including the STOP opcode.

        Raises:
            PickleError: damaged, too large, or more than plain data.
        """
        handlers = self._handlers()
        try:
            while code := stream.read(1):
                name, read = _OPCODES[code]
                argument = read(stream) if read else None
                self._left -= 1
                if self._left < 0:
                    raise PickleError(f"takes more than {MAX_OPERATIONS} steps")
                if name == "STOP":
                    return self._pop()
                handler = handlers.get(name)
                if handler is None:
                    raise PickleError(f"uses the opcode {name}, which builds more than plain data")
                handler(argument)
        except PickleError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, Warning) as error:
            raise PickleError(f"is damaged ({error})") from None
        raise PickleError("has no end")

    def _handlers(self) -> dict[str, Callable[[Any], Any]]:
        """What to do at each opcode, given its argument."""
        push = self._stack.append

        def pushing(make: Callable[[], Any]) -> Callable[[Any], None]:
            return lambda _: push(make())

        found: dict[str, Callable[[Any], Any]] = {"PROTO": bool, "FRAME": bool, **dict.fromkeys(_LITERALS, push)}
        found |= {name: pushing(partial(self._pop_many, size)) for name, size in _TUPLES.items()}
        found |= {name: pushing(make) for name, make in _NEW.items()}
        own = (name for name in dir(self) if name.startswith("_op_"))
        return found | {name.removeprefix("_op_").upper(): getattr(self, name) for name in own}

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise PickleError("is damaged (it takes a value that it never made)")
        return self._stack[-1]

    def _pop(self) -> Any:
        self._top()
        return self._stack.pop()

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        items = tuple(self._stack[-count:])
        if len(items) < count or _MARK in items:
            raise PickleError("is damaged (it takes values that it never made)")
        del self._stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        stack = self._stack
        start = len(stack)
        while start and stack[start - 1] is not _MARK:
            start -= 1
        if not start:
            raise PickleError("is damaged (a mark is missing)")
        items = stack[start:]
        del stack[start - 1 :]
        return items

    def _op_mark(self, _: None) -> None:
        self._stack.append(_MARK)

    def _op_pop(self, _: None) -> None:
        self._pop()

    def _op_tuple(self, _: None) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _op_list(self, _: None) -> None:
        self._stack.append(self._pop_to_mark())

    def _op_dict(self, _: None) -> None:
        items = self._pop_to_mark()
        self._stack.append({})
        self._set_items(items)

    def _op_frozenset(self, _: None) -> None:
        self._pop_to_mark()
        self._stack.append(Opaque("frozenset"))

    def _op_append(self, _: None) -> None:
        value = self._pop()
        self._extend([value])

    def _op_appends(self, _: None) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Opaque):
            raise PickleError("is damaged (it appends to what is no list)")

    def _op_additems(self, _: None) -> None:
        self._pop_to_mark()
        self._top()

    def _op_setitem(self, _: None) -> None:
        self._set_items(list(self._pop_many(2)))

    def _op_setitems(self, _: None) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise PickleError("is damaged (it sets items of what is no dict)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing nested tuples takes exponential time; such keys matter to nobody here.
            pair = isinstance(key, tuple) and len(key) <= _LONGEST_KEY and all(isinstance(part, str) for part in key)
            plain = pair or key is None or isinstance(key, str | int | float | bytes | Opaque)
            target[key if plain else Opaque(type(key).__name__)] = value

    def _op_put(self, index: int) -> None:
        self._memo[index] = self._top()

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._top()

    def _op_get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _op_binget = _op_long_binget = _op_get

    def _op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._find_global(module, name))

    def _op_stack_global(self, _: None) -> None:
        module, name = self._pop_many(2)
        self._stack.append(self._find_global(str(module), str(name)))

    def _op_reduce(self, _: None) -> None:
        function, arguments = self._pop_many(2)
        if not callable(function) or not isinstance(arguments, tuple):
            raise PickleError("is damaged (it calls what is no function)")
        # One list of the memo can be the argument of every call: going through it counts as many steps as it is long.
        self._left -= sum(len(value) for value in arguments if isinstance(value, list | tuple | dict))
        self._stack.append(function(*arguments))

    _op_newobj = _op_reduce

    def _op_build(self, _: None) -> None:
        # The state of an ordered dict (`_metadata` of a state dict) or of a parameter: attributes, never tensors.
        self._pop()
        self._top()

    def _op_binpersid(self, _: None) -> None:
        self._stack.append(self._load_persistent(self._pop()))


def plain_data(stream: Stream) -> Any:
    """The value of a pickle that holds containers, texts and numbers, and names nothing.

    Raises:
        PickleError: damaged, too large, or more than plain data.
    """

    def refuse(module: str, name: str) -> NoReturn:
        raise ForbiddenGlobal(f"{module}.{name}")

    def refuse_storage(_: Any) -> NoReturn:
        raise PickleError("keeps something outside itself, where only plain data is expected")

    return PickleMachine(refuse, refuse_storage).run(stream)
