"""Imports point one way: what each package may know of the others, of the frameworks, and of no one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("deberta_core", "tokenization", "conversion", "deberta_pt", "deberta_tf", "deberta_tasks")
TORCH, TENSORFLOW = {"torch"}, {"tensorflow", "tf_keras"}
FRAMEWORKS = TORCH | TENSORFLOW
TREES = {"deberta_pt", "deberta_tf"}
# What modules of a package may import at their top, and besides that inside a function: all that is named by neither
# is a wall. A framework inside a function serves callers who already hold its tensors.
TOP = {
    "deberta_core": set(),
    "tokenization": {"deberta_core"},
    "conversion": {"deberta_core"},
    "deberta_pt": {"deberta_core"} | TORCH,
    "deberta_tf": {"deberta_core"} | TENSORFLOW,
    "deberta_tasks": {"deberta_core", "tokenization", "conversion"} | TREES | FRAMEWORKS,
}
INSIDE = {
    "deberta_core": set(),
    "tokenization": FRAMEWORKS,
    "conversion": {"tokenization"} | TREES | FRAMEWORKS,
    "deberta_pt": {"accelerate"},  # spreads a model over several devices, for those who ask for it
    "deberta_tf": set(),
    "deberta_tasks": set(),
}
# Modules that still know each other, for their annotations; a pair that parted leaves this list.
KNOWN_CIRCLES: list[set[str]] = []
# Where our encoder works inside transformers: it may know that, and our tokenizers; nobody but its user knows it.
DOOR, BEHIND = "deberta_pt.transformers", {"transformers", "tokenization"}
# Who exports a model, or opens an export, has chosen a runtime: these alone may know it, inside a function.
EXPORTS, RUNTIMES = "conversion.exports", {"onnx", "onnxruntime", "openvino"}
# Engines that people choose: nothing else here may need them.
NEVER = {"transformers", "peft", "accelerate"} | RUNTIMES


class Import(NamedTuple):
    """One import of a module.

    Attributes:
        module: who imports.
        target: what, as far as it is a module of this project, else its first name.
        where: ``top``, ``function`` or ``typing``, which is read by type checkers alone.
    """

    module: str
    target: str
    where: str


def sources() -> dict[str, tuple[str, bool]]:
    """Source of each module of the packages, and whether it is a package."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = (path.read_text(encoding="utf-8"), path.name == "__init__.py")
    return found


def imports_of(name: str, source: str, is_package: bool, modules: set[str]) -> Iterator[Import]:
    """All imports of a module, those inside functions included."""

    def visit(node: ast.AST, where: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = "function"
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inside = "typing"
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(name, alias.name if alias.name in modules else alias.name.split(".")[0], where)
            elif isinstance(child, ast.ImportFrom):
                parts = name.split(".")
                base = parts[: len(parts) - child.level + is_package] if child.level else []
                start = ".".join([*base, *([child.module] if child.module else [])])
                for alias in child.names:
                    full = f"{start}.{alias.name}"
                    known = full if full in modules else start if start in modules else start.split(".")[0]
                    yield Import(name, known, where)
            yield from visit(child, inside)

    yield from visit(ast.parse(source), "top")


def all_imports(found: dict[str, tuple[str, bool]]) -> list[Import]:
    return [line for name, (source, package) in found.items() for line in imports_of(name, source, package, set(found))]


def is_face_of_tokenizers(line: Import) -> bool:
    """The faces of both trees also hand out tokenizers, lazily, so that one import line is enough for a script."""
    return line.module in TREES and line.target == "tokenization" and line.where == "typing"


def is_under(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def trespasses(imports: list[Import]) -> list[Import]:
    """Imports across a wall."""
    wrong = []
    for line in imports:
        here, there = line.module.split(".")[0], line.target.split(".")[0]
        allowed = TOP[here] | (INSIDE[here] if line.where == "function" else set())
        walled = there != here and there in {*PACKAGES, *FRAMEWORKS, *NEVER}
        if is_under(line.module, EXPORTS) and line.where == "function":
            allowed = allowed | RUNTIMES
        enters, inside = is_under(line.target, DOOR), is_under(line.module, DOOR)
        if inside:
            allowed = allowed | BEHIND
        if (enters and not inside) or (walled and there not in allowed and not is_face_of_tokenizers(line)):
            wrong.append(line)
    return wrong


def circles(imports: list[Import]) -> list[set[str]]:
    """Groups of modules that reach each other by imports of whatever kind; a package's face is not asked."""
    edges: dict[str, set[str]] = {}
    for line in imports:
        edges.setdefault(line.module, set()).add(line.target)

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in edges.get(waiting.pop(), set()) - seen:
                seen.add(target)
                waiting.append(target)
        return seen

    reach = {module: reached(module) for module in edges}
    found = [{other for other in edges if other in reach[module] and module in reach[other]} for module in edges]
    return [group for i, group in enumerate(found) if group and group not in found[:i]]


def test_no_import_crosses_a_wall():
    assert not trespasses(all_imports(sources()))


def test_no_modules_import_each_other_in_a_circle():
    assert circles(all_imports(sources())) == KNOWN_CIRCLES


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("deberta_core.config", "import torch"),
        ("deberta_core.config", "def f():\n    from tokenization import AutoTokenizer"),
        ("tokenization.auto", "from deberta_pt import AutoModel"),
        ("tokenization.auto", "import tensorflow as tf"),
        ("conversion.plan", "from deberta_pt.heads import MaskedLM"),
        ("deberta_pt.heads", "def f():\n    import tensorflow"),
        ("deberta_pt.heads", "import accelerate"),
        ("deberta_tf.heads", "def f():\n    import accelerate"),
        ("deberta_pt.heads", "from deberta_tf import heads"),
        ("deberta_tf.heads", "from tokenization import AutoTokenizer"),
        ("deberta_tasks.cli", "def f():\n    import transformers"),
        ("conversion.plan", "from transformers.models import deberta"),
        ("deberta_pt.heads", "from deberta_pt.transformers import enable"),
        ("deberta_pt.transformersish", "import transformers"),
        ("deberta_pt.transformers.parts", "import peft"),
        ("conversion.exports.runtimes", "import onnxruntime"),
        ("conversion.plan", "def f():\n    import onnxruntime"),
        ("deberta_tasks.pipelines", "def f():\n    import openvino"),
    ],
)
def test_a_wrong_import_is_seen(module, line):
    modules = {*sources(), module}
    found = trespasses(list(imports_of(module, line, False, modules)))
    assert [wrong.module for wrong in found] == [module]


def test_a_circle_is_seen():
    one = Import("conversion.plan", "conversion.source", "top")
    two = Import("conversion.source", "conversion.plan", "typing")
    assert circles([one, two]) == [{"conversion.plan", "conversion.source"}]
    assert not circles([one])


def test_relative_imports_are_followed():
    modules = {"conversion", "conversion.plan", "conversion.source", "conversion.export", "conversion.export.onnx"}
    assert list(imports_of("conversion.plan", "from .source import Source", False, modules)) == [
        Import("conversion.plan", "conversion.source", "top")
    ]
    assert list(imports_of("conversion.export", "from . import onnx", True, modules)) == [
        Import("conversion.export", "conversion.export.onnx", "top")
    ]
    assert list(imports_of("conversion.export.onnx", "from ..source import Source", False, modules)) == [
        Import("conversion.export.onnx", "conversion.source", "top")
    ]


@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        ("deberta_core, deberta_core.heads, tokenization.auto, conversion, deberta_tasks.cli", FRAMEWORKS),
        ("deberta_core, tokenization, deberta_tasks.cli, conversion", {"numpy"}),
        # The compiler takes a second, and after TensorFlow brings a second LLVM into the process.
        ("deberta_pt", TENSORFLOW | {"sentencepiece", "torch._dynamo", "torch._inductor", "triton", "sympy"}),
        ("deberta_tf", TORCH | {"sentencepiece"}),
    ],
)
def test_importing_a_package_brings_only_what_it_is_about(names, unwanted):
    for framework in set(names.replace(",", "").split()) & TREES:
        pytest.importorskip({"deberta_pt": "torch", "deberta_tf": "tensorflow"}[framework])
    program = f"import sys, {names}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    assert not unwanted & set(run.stdout.split())


@pytest.mark.parametrize("tree", ["pt", "tf"])
def test_one_import_line_is_enough(tree):
    package = pytest.importorskip(f"deberta_{tree}", exc_type=ImportError)
    import deberta_core
    import tokenization

    for name in ("AutoConfig", "DebertaConfig", "DebertaV2Config"):
        assert getattr(package, name) is getattr(deberta_core, name)
    for name in ("AutoTokenizer", "DebertaV2Tokenizer", "DebertaV2TokenizerFast", "DebertaTokenizerFast"):
        assert getattr(package, name) is getattr(tokenization, name)
        assert name in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'DebertaV3Model'"):
        package.DebertaV3Model  # noqa: B018 - asking is the test


@pytest.mark.parametrize("package", ["deberta_core", "tokenization", "deberta_tasks"])
def test_a_face_hands_out_all_its_names(package):
    face = __import__(package)
    assert set(face.__all__) <= set(dir(face))
    for name in face.__all__:
        assert getattr(face, name).__name__ == name
