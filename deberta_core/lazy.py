"""Names of a package that are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


def lazy(package: str, homes: Mapping[str, Collection[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names live in modules that take long to import.

    Importing the package then costs next to nothing, and a name costs only the modules behind it: a tree's face can
    hand out tokenizers, and the core its configs, to somebody who wants neither.

    Args:
        package: its ``__name__``.
        homes: names by the module that defines them.

    Returns:
        Both functions, to be assigned in the package's ``__init__.py``.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *home_of})
