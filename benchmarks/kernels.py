"""Instructions of the Triton kernels: compiled ahead of time, without a GPU, and counted in machine code.

    python -m benchmarks.kernels

prints a row for each kernel and architecture, without dropout and with it: registers of a thread, bytes that it spills,
and for each loop the instructions of a warp and among them the loads from global memory. Ours have three loops: far
keys before, near keys, far keys after. Where the package flashdeberta is, its forward kernel stands beside ours, with
the same tile. ``--check`` prints more configurations, those that must not spill: ``some`` of them, or ``all``. Needs
the package triton, which brings the assembler and the disassembler.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ARCHITECTURES = (80, 90, 100)
KERNELS = ("forward", "backward_queries", "backward_keys")
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
SIZES = (32, 64, 128)
FLOAT32 = ("LSE", "DELTA")
INTEGERS = {"SEEN": "u8", "FIRST": "i32", "LAST": "i32", "SEED": "i64"}
OF_MASK, OF_DROPOUT = ("SEEN", "FIRST", "LAST"), ("SEED",)
MATRIX = re.compile(r"\b(HMMA|HGMMA|UTC\w*MMA|FFMA)")
INSTRUCTION = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;]*);")


class Loop(NamedTuple):
    """A loop of a kernel: instructions of one run of its body, per warp, and loads from global memory among them."""

    instructions: int
    loads: int


class Compiled(NamedTuple):
    """What a kernel became: registers of a thread, bytes of each that were spilled, loops in the order of the code."""

    registers: int
    spilled: int
    loops: list[Loop]


def compiled(
    kernel: str,
    architecture: int,
    *,
    dtype: str = "bfloat16",
    size: int = 64,
    mask: int = 1,
    dropout: bool = False,
    tile: Any = None,
) -> Compiled:
    """One of our kernels for NVIDIA's compute capability ``architecture``, in tenths.

    Args:
        kernel: name in ``deberta_pt.fast.kernels``.
        architecture: 80, 90 or 100.
        dtype: of the states.
        size: of a head.
        mask: 0 nothing is hidden, 1 keys, 2 pairs are.
        dropout: whether there is any.
        tile: ``deberta_pt.fast.triton.Tile``; default: that which the models use.
    """
    import torch

    from deberta_pt.fast import kernels
    from deberta_pt.fast.triton import tile_of

    function = getattr(kernels, kernel)
    tile = tile or tile_of(kernel, getattr(torch, dtype), size, mask == 2, dropout)
    constants: dict[str, Any] = {
        "D": size, "WIDTH": max(16, 1 << (size - 1).bit_length()), "M": tile.queries, "N": tile.keys, "HAS_C": True,
        "HAS_P": True, "MASK": mask, "DROPOUT": dropout, "PRECISION": "ieee",
    }  # fmt: skip
    constants |= {name: None for name in OF_MASK if not mask} | {name: None for name in OF_DROPOUT if not dropout}

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name.isupper():
            return "*" + (INTEGERS.get(name) or ("fp32" if name in FLOAT32 else DTYPES[dtype]))
        return "i32"

    # As where strides and the rows of tables are multiples of 16: what is said to be one when the kernel is called.
    aligned = [name for name in function.arg_names if name not in kernels.FIXED and name not in constants]
    signature = {name: kind(name) for name in function.arg_names}
    return assembled(function, signature, constants, aligned, architecture, tile)


def assembled(
    function: Any,
    signature: dict[str, str],
    constants: dict[str, Any],
    aligned: list[str],
    architecture: int,
    tile: Any,
) -> Compiled:
    """Any Triton kernel, its arguments' kinds, the values of constants, and which others are multiples of 16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    places = {name: i for i, name in enumerate(function.arg_names)}
    values = {(places[name],): value for name, value in constants.items()}
    hints = {(places[name],): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(function, signature, values, hints)
    found = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=tile.options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(found.asm["cubin"])
        file.flush()
        usage, code = (_disassemble(how, file.name) for how in ("-res-usage", "-sass"))
    registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage).groups()  # type: ignore[union-attr]
    spills = sum(name.startswith(("LDL", "STL")) for _, name, _ in instructions(code))
    return Compiled(int(registers), max(int(stack), 4 * spills), list(loops(code)))


def _disassemble(how: str, file: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return subprocess.run([tool, how, file], check=True, capture_output=True, text=True).stdout


def instructions(code: str) -> list[tuple[int, str, str]]:
    """Address, name and operands of each instruction."""
    return [(int(at, 16), name, rest) for at, name, rest in INSTRUCTION.findall(code)]


def loops(code: str) -> Iterator[Loop]:
    """The loops of a kernel that multiply matrices: from where a branch leads back to, up to the branch."""
    listing = instructions(code)
    for at, name, rest in listing:
        target = re.search(r"0x([0-9a-f]+)", rest)
        if name.startswith("BRA") and target and int(target[1], 16) < at:
            body = [one for place, one, _ in listing if int(target[1], 16) <= place <= at]
            if any(MATRIX.match(one) for one in body):
                yield Loop(len(body), sum(one.startswith(("LDG", "UTMALDG")) for one in body))


def peer(architecture: int, tile: Any) -> Compiled:
    """FlashDeBERTa's forward kernel, without a mask of causes, for heads of 64 in bfloat16."""
    from flashdeberta.ops.flash_attention import _fwd_kernel_deberta_disentangled_attention as function

    constants = {
        "BLOCK_M": tile.queries, "BLOCK_N": tile.keys, "BLOCK_DMODEL": 64, "IS_CAUSAL": False, "LARGER_M": False,
        "HAS_C2P": True, "HAS_P2C": True,
    }  # fmt: skip
    kinds = dict.fromkeys(("Q", "K", "V", "K_POS", "Q_POS", "O"), "*bf16") | {"L": "*fp32", "sm_scale": "fp32"}
    kinds |= dict.fromkeys(("POS_LUT", "SEQ_LENGTHS"), "*i32") | dict.fromkeys(constants, "constexpr")
    # The last stride of every tensor is one, which a caller of the kernel makes a constant.
    constants |= dict.fromkeys(("stride_qk", "stride_kk", "stride_vk", "stride_ok", "stride_pk3", "stride_pq3"), 1)
    kinds |= dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "i32") for name in function.arg_names}
    other = {*constants, "sm_scale", "Z", "H", "P_SEQ"}
    aligned = [name for name in function.arg_names if name not in other]
    return assembled(function, signature, constants, aligned, architecture, tile)


def configurations(which: str) -> Iterator[dict[str, Any]]:
    """What ``compiled`` takes: of some, every kernel, kind of mask and dropout, head size, dtype and architecture."""
    names = ("kernel", "architecture", "dtype", "size", "mask", "dropout")
    if which == "all":
        for each in itertools.product(KERNELS, ARCHITECTURES, DTYPES, SIZES, (0, 1, 2), (False, True)):
            yield dict(zip(names, each, strict=True))
        return
    ways = (("bfloat16", 64, 1, False), ("float16", 128, 2, True), ("float32", 32, 2, True), ("bfloat16", 64, 2, True))
    for (k, kernel), (i, way) in itertools.product(enumerate(KERNELS), enumerate(ways)):
        yield dict(zip(names, (kernel, ARCHITECTURES[(i + k) % 3], *way), strict=True))


def line(name: str, architecture: int, found: Compiled, *more: Any) -> str:
    """A row of the table."""
    counts = ",".join(f"{loop.instructions}({loop.loads})" for loop in found.loops)
    words = [f"{name:16}", f"sm_{architecture:<3}", *map(str, more), f"registers={found.registers}", f"loops={counts}"]
    return " ".join([*words, f"spilled={found.spilled}"])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Instructions of the Triton kernels")
    parser.add_argument("--check", choices=("some", "all"), help="configurations that must not spill")
    check = parser.parse_args().check
    if check:
        for one in configurations(check):
            found = compiled(**one)
            print(line(one.pop("kernel"), one.pop("architecture"), found, *one.values()), flush=True)
        return
    from deberta_pt.fast.triton import Tile

    for architecture, kernel, dropout in itertools.product((80, 90), KERNELS, (False, True)):
        found = compiled(kernel, architecture, dropout=dropout)
        print(line(kernel, architecture, found, "dropout" if dropout else "-"), flush=True)
    if importlib.util.find_spec("flashdeberta"):
        for architecture in (80, 90):
            print(line("FlashDeBERTa", architecture, peer(architecture, Tile(64, 64, stages=1)), "-"), flush=True)


if __name__ == "__main__":
    main()
