"""Builds the reference from the docstrings, with README and the guides of this folder before it.

Usage: ``python docs/build.py [FOLDER]`` (``make docs``); needs the extra ``docs`` and both frameworks. Whatever cannot
be documented as written is an error: a module that does not import, an annotation that does not resolve.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("deberta_pt", "deberta_tf", "tokenization", "deberta_core", "conversion", "deberta_tasks")


def build(target: Path) -> int:
    """Write the pages.

    Args:
        target: folder; made if needed.

    Returns:
        The number of pages.

    Raises:
        UserWarning: something cannot be documented as written.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import pdoc.render
    import tensorflow  # noqa: F401  # what the frameworks warn of while they start is not about these pages
    import tf_keras  # noqa: F401
    import torch  # noqa: F401

    for package in map(importlib.import_module, PACKAGES):  # names that are imported when they are first used
        vars(package).update({name: getattr(package, name) for name in getattr(package, "__all__", ())})
    pdoc.render.configure(docformat="google", math=False, search=True, show_source=False)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        # A NamedTuple keeps its annotations as texts that do not know their module any more.
        warnings.filterwarnings("ignore", r"Error parsing type annotation ForwardRef\(.*\.__init__", UserWarning)
        pdoc.pdoc(str(write_guides(Path(folder))), *modules(), output_directory=target)
    return sum(1 for _ in target.rglob("*.html"))


def modules() -> list[str]:
    """What to document: the packages, and their modules that pdoc would pass over because ``__all__`` lacks them."""
    from pdoc.extract import walk_specs

    wanted, covered = list(PACKAGES), set(walk_specs(PACKAGES))
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if module.name not in covered and not module.name.endswith("__main__"):
                wanted.append(module.name)
                covered.update(walk_specs([module.name]))
    return wanted


def write_guides(folder: Path) -> Path:
    """A package whose modules have README and the guides as their docstrings, which is what pdoc shows."""
    package = folder / "guide"
    package.mkdir()
    for name, source in {"__init__": ROOT / "README.md", **{p.stem: p for p in sorted(ROOT.glob("docs/*.md"))}}.items():
        (package / f"{name}.py").write_text(f"__doc__ = {source.read_text(encoding='utf-8')!r}\n", encoding="utf-8")
    return package


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    print(f"{build(where)} pages in {where}")
