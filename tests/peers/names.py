"""A script's imports changed to this zoo: each name that it takes from transformers and that is here is taken here."""

from __future__ import annotations

import ast
import importlib

PACKAGES = ("deberta_pt", "deberta_tf")


def home_of(name: str, packages: tuple[str, ...] = PACKAGES) -> str | None:
    """The package of ours whose face has a name."""
    return next((p for p in packages if name in importlib.import_module(p).__all__), None)


def changed(source: str, packages: tuple[str, ...] = PACKAGES) -> str:
    """Python text whose ``from transformers import …`` (and ``from transformers.models.deberta… import …``) take the
    names that we have from us, and the rest from where it was.
    """
    lines = source.splitlines(keepends=True)
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and node.level == 0
        and (node.module == "transformers" or (node.module or "").startswith("transformers.models.deberta"))
    ]
    for node in sorted(found, key=lambda node: -node.lineno):
        by_module: dict[str, list[str]] = {}
        for alias in node.names:
            module = home_of(alias.name, packages) or str(node.module)
            by_module.setdefault(module, []).append(ast.unparse(alias))
        indent = " " * node.col_offset
        new = [f"{indent}from {module} import {', '.join(names)}\n" for module, names in by_module.items()]
        lines[node.lineno - 1 : node.end_lineno] = new
    return "".join(lines)
