"""The two trees read as translations of each other: same files, classes, methods, arguments, in the same order.

What may differ: the ``TF`` prefix, base classes, ``forward`` and ``call``, the arguments ``training`` and ``name``,
and the helpers listed below with their reasons.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = (
    "embeddings.py", "fast/padding.py", "attention.py", "encoder.py", "mask_decoder.py", "heads.py", "losses.py",
    "perturbation.py",
)  # fmt: skip
TF_ONLY_ARGUMENTS = {"training", "name", "tape"}  # slopes are of what a tape has recorded
PT_ONLY_ARGUMENTS = {"device"}  # TensorFlow places its own tensors
# The documented classes have labels before the options in PyTorch, after them in TensorFlow.
LABELS = ("labels", "start_positions", "end_positions")
# name -> why only one tree has it
ONLY_TF = {
    "DisentangledSelfAttention.choose": "tf has two implementations, torch four that suit a length and a device",
    "FusedSelfAttention.split_fused": "tf has no unflatten, so v1's split is two reshapes",
    "by_table": "torch has F.linear; tf's matmul wants the axes flattened and the dtype cast",
    "Encoder.set_checkpointing": "tf.recompute_grad has no options",
    "Places.pays": "a graph asks each batch when it runs",
    "_assign": "inside a strategy's run tf lets the replicas assign together alone",
    "Convolution.taps": "tf's convolution has no groups on the CPU; both of its forms read the same taps",
}
ONLY_PT = {
    "DisentangledSelfAttention.choose": "see above",
    "Encoder.set_checkpointing": "takes the options of torch.utils.checkpoint",
    "sdpa": "tf has no fused attention that takes a bias",
    "Mask.of": "torch's prepared layers take one text at a time",
    "Mask.known": "a graph of tf's asks the device how many tokens there are",
    "_warn": "of what kernels for GPUs cannot do",
    "Relative.mirrored": "tf asks in its graphs how many rows there are",
    "skew_any": "likewise",
    "can_flex": "tf has no flex_attention",
    "Mask.blocks": "likewise",
    "Encoder.blocks": "likewise",
    "can_triton": "tf has XLA",
    "_capability": "likewise",
    "Encoder.rows_on": "tf places constants of a graph by itself",
}


def plain(name: str) -> str:
    """A class name without prefix, ``call`` as ``forward``."""
    return {"call": "forward"}.get(name, name.removeprefix("TF"))


def arguments(function: ast.FunctionDef) -> list[str]:
    """Arguments as they are written: order, stars, defaults."""
    given, found = function.args, []
    positional = given.posonlyargs + given.args
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    for argument, default in zip(positional, defaults, strict=True):
        found.append((argument.arg, default))
    if given.vararg:
        found.append(("*" + given.vararg.arg, None))
    elif given.kwonlyargs:
        found.append(("*", None))
    found += list(zip((a.arg for a in given.kwonlyargs), given.kw_defaults, strict=True))
    if given.kwarg:
        found.append(("**" + given.kwarg.arg, None))
    found = sorted(found, key=lambda argument: argument[0] in LABELS and argument[1] is not None)
    return [
        name if default is None else f"{name}={ast.unparse(default)}"
        for name, default in found
        if name not in TF_ONLY_ARGUMENTS | PT_ONLY_ARGUMENTS
    ]


def outline(source: str) -> list[str]:
    """Every class, method and function of a module in order, with its arguments."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found.append(f"{plain(node.name)}({', '.join(arguments(node))})")
        elif isinstance(node, ast.ClassDef):
            owner = plain(node.name)
            found.append(f"class {owner}")
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    found.append(f"{owner}.{plain(part.name)}({', '.join(arguments(part))})")
                elif isinstance(part, ast.AnnAssign):
                    found.append(f"{owner}.{ast.unparse(part.target)}")
    return found


def without(lines: list[str], names: dict[str, str]) -> list[str]:
    """The lines but those of the listed helpers."""
    return [line for line in lines if line.split("(")[0] not in names]


def difference(first: str, second: str) -> list[str]:
    """Lines of two outlines that are not the same, marked with the tree that has them."""
    pt, tf = without(outline(first), ONLY_PT), without(outline(second), ONLY_TF)
    only = [f"pt: {line}" for line in pt if line not in tf] + [f"tf: {line}" for line in tf if line not in pt]
    if only or pt == tf:
        return only
    return [f"order: pt has {a}, tf has {b}" for a, b in zip(pt, tf, strict=True) if a != b]


def sources(name: str) -> tuple[str, str]:
    return tuple((ROOT / tree / name).read_text(encoding="utf-8") for tree in ("deberta_pt", "deberta_tf"))


@pytest.mark.parametrize("name", FILES)
def test_twins(name):
    assert not difference(*sources(name))


def test_every_listed_exception_is_there():
    """An exception that is no longer needed goes."""
    for tree, names in (("deberta_pt", ONLY_PT), ("deberta_tf", ONLY_TF)):
        lines = [line.split("(")[0] for f in FILES for line in outline((ROOT / tree / f).read_text(encoding="utf-8"))]
        assert not set(names) - set(lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("query_states: Tensor | None = None", "queries: Tensor | None = None"),  # an argument renamed
        ("output_attentions: bool = False", "output_attentions: bool = True"),  # a default changed
        ("def split_heads(self, states", "def split_into_heads(self, states"),  # a method renamed
        ("class SeparateSelfAttention(", "class OtherSelfAttention("),  # a class renamed
        ("hidden: Tensor, query_states: Tensor", "query_states: Tensor, hidden: Tensor"),  # an order changed
        ("def skew(wide: Tensor, width: int)", "def skew(wide: Tensor, *, width: int)"),  # a kind changed
    ],
)
def test_the_comparison_sees(old, new):
    pt, tf = sources("attention.py")
    assert old in pt
    assert difference(pt.replace(old, new, 1), tf)


def test_the_comparison_sees_a_moved_function():
    assert difference("def a(): pass\ndef b(): pass", "def b(): pass\ndef a(): pass")


def test_the_line_count_of_twins_is_close():
    """A twin twice as long as the other is a sign of two designs."""
    for name in FILES:
        pt, tf = (len(source.splitlines()) for source in sources(name))
        assert max(pt, tf) < 1.5 * min(pt, tf), name
