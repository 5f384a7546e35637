"""The hook that keeps Triton's library apart from TensorFlow's: it gets in nobody else's way."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deberta_core.beside_tensorflow import LIBRARY, keep_triton_apart

pytestmark = pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="Linux alone has the flag")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is put before Python's own finders, twice asked for."""
    others = [finder for finder in sys.meta_path if type(finder).__module__ != keep_triton_apart.__module__]
    monkeypatch.setattr(sys, "meta_path", others.copy())
    for _ in range(2):
        keep_triton_apart()
    (first, *rest) = sys.meta_path
    assert rest == others
    return first


def test_programs_that_write_modules_find_them(hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which they do by ``importlib.invalidate_caches``, that asks everything which finds modules."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "written_just_now.py").write_text("VALUE = 3\n", encoding="utf-8")
    importlib.invalidate_caches()
    assert importlib.import_module("written_just_now").VALUE == 3
    del sys.modules["written_just_now"]


@pytest.mark.parametrize("name", ["triton", "triton._C", "tensorflow", "libtriton"])
def test_all_other_modules_are_left_alone(hook: Any, name: str) -> None:
    assert hook.find_spec(name, None) is None


def test_what_is_no_library_is_left_alone(hook: Any, tmp_path: Path) -> None:
    """A module of Python's in its place, or nothing."""
    assert hook.find_spec(LIBRARY, [str(tmp_path)]) is None
    (tmp_path / "libtriton.py").touch()
    assert hook.find_spec(LIBRARY, [str(tmp_path)]) is None


@pytest.mark.parametrize("beside", [True, False])
def test_only_beside_tensorflow_it_looks_in_itself_first(
    beside: bool, hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def load(loader: ExtensionFileLoader, spec: ModuleSpec) -> ModuleType:
        opened.append((spec.origin, "by Python"))
        return ModuleType(spec.name)

    monkeypatch.setattr(ExtensionFileLoader, "create_module", load)
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: opened.append((path, mode)))
    if beside:
        monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    else:
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    place = tmp_path / f"libtriton{EXTENSION_SUFFIXES[0]}"
    place.touch()
    spec = hook.find_spec(LIBRARY, [str(tmp_path)])
    assert spec.origin == str(place)
    spec.loader.create_module(spec)
    first = [(str(place), os.RTLD_NOW | os.RTLD_DEEPBIND)] if beside else []
    assert opened == [*first, (str(place), "by Python")]
