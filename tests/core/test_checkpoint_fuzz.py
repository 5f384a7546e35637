"""Damaged files of every kind: refused with CheckpointError, or read with what they say they hold; nothing else.

Mutations are drawn from a seed, so a failure names the number that repeats it.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from deberta_core.checkpoint import CheckpointError, H5Layout, TensorInfo, open_weights, write_weights

SECONDS = 10.0  # far more than any of these small files may take
TF_NAMES = ["deberta/embeddings/weight:0", "deberta/layer_._0/kernel:0", "cls/bias:0"]
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # in damaged texts
KINDS = ["safetensors", "bin", "legacy", "index", "h5", "h5 gzip", "h5 model"]


def sample(kind, folder):
    """Path of a small valid file; for ``index`` the index of shards beside it."""
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (4, 4), (5,))]
    naming = "tf" if kind.startswith("h5") else "pt"
    names = TF_NAMES if naming == "tf" else ["a.weight", "b.weight", "c.bias"]
    pairs = [(TensorInfo(n, a.shape, "float32"), a) for n, a in zip(names, arrays, strict=True)]
    if kind == "legacy":
        import torch

        path = folder / "pytorch_model.bin"
        state = {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
        torch.save({**state, "tied": state["b.weight"].t()}, path, _use_new_zipfile_serialization=False)
        return path
    if kind == "index":
        return write_weights(folder, pairs, max_shard_size=64)[-1]
    layout = H5Layout("tf_model", ("deberta", "cls"), {"cls": TF_NAMES[:1]})
    format = kind.split()[0]
    (path,) = write_weights(folder, pairs, format=format, naming=naming, h5=layout)
    if kind == "h5 gzip":
        pack(path, "")
    if kind == "h5 model":
        pack(path, "model_weights")
    return path


def pack(path, root):
    """Write an h5 file anew with the library: chunked and packed, or below a group as whole models are."""
    import h5py

    content = path.read_bytes()
    path.unlink()
    copy = path.with_suffix(".copy")
    copy.write_bytes(content)
    options = {} if root else {"compression": "gzip", "shuffle": True, "chunks": True}
    with h5py.File(copy) as source, h5py.File(path, "w") as target:
        top = target.create_group(root) if root else target
        top.attrs.update(source.attrs)

        def visit(name, item):
            if isinstance(item, h5py.Group):
                top.require_group(name).attrs.update(item.attrs)
            else:
                top.create_dataset(name, data=item[()], **options)

        source.visititems(visit)
    copy.unlink()


def mutate(content, seed):
    """One to four changes of bytes, numbers, length or order."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        # Headers are at either end and decide most; half of all changes go there.
        at = draw.choice(
            (draw.randrange(len(data)), draw.randrange(min(600, len(data))), -1 - draw.randrange(min(600, len(data))))
        )
        at %= len(data)
        change = draw.randrange(8)
        if change == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif change == 1:
            data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        elif change == 2:
            size = draw.choice((2, 4, 8))
            number = draw.choice((0, 1, 255, (1 << 8 * size - 1) - 1, (1 << 8 * size) - 1, draw.getrandbits(8 * size)))
            data[at : at + size] = number.to_bytes(size, "little")
        elif change == 3:
            del data[at : at + draw.choice((1, 8, 64, len(data)))]
        elif change == 4:
            data[at:at] = draw.randbytes(draw.choice((1, 8, 64)))
        elif change == 5:
            other = draw.randrange(len(data))
            data[at : at + 16] = data[other : other + 16]
        elif change == 6:
            other = data.find(b"0123456789"[draw.randrange(10)], at)
            if other >= 0:
                data[other] = draw.choice(b"0123456789-")
        else:
            del data[at:]
        if not data:
            break
    return bytes(data)


def outcome(path):
    """``refused`` or ``read``; anything else is an exception of the test."""
    started = time.process_time()
    try:
        with open_weights(path) as file:
            size = sum(part.stat().st_size for part in file.paths)
            for name, info in file.tensors.items():
                array = file.read(name)
                assert isinstance(name, str)
                assert array.shape == info.shape
                assert info.dtype == "bfloat16" or array.dtype == np.dtype(info.dtype)
                assert info.nbytes <= 1040 * size, "more data than the file can hold"
                assert array.tobytes() is not None
        result = "read"
    except CheckpointError as error:
        result = "refused" if str(path.parent) in str(error) else f"an error without the file: {error}"
    assert time.process_time() - started < SECONDS
    return result


def run(kind, seeds, folder):
    path = sample(kind, folder)
    content = path.read_bytes()
    counts = {"refused": 0, "read": 0}
    assert outcome(path) == "read"
    for seed in seeds:
        # A new file each time: a mapping of the old one may still be alive.
        path.unlink()
        path.write_bytes(mutate(content, seed))
        try:
            counts[outcome(path)] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed} of {kind}: {type(error).__name__}: {error}") from error
    return counts


def need(kind):
    if kind == "legacy" and not find_spec("torch"):
        pytest.skip("torch writes the older container")
    if kind.startswith("h5") and not find_spec("h5py"):
        pytest.skip("h5 files need h5py")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("h5")])
def test_damaged_files(kind, tmp_path):
    need(kind)
    counts = run(kind, range(1000), tmp_path)
    assert counts["refused"] > 100, "the mutations change nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.startswith("h5")])
def test_many_damaged_files(kind, tmp_path):
    need(kind)
    run(kind, range(1000, 6000), tmp_path)


def run_h5(kind, first, count):
    """Mutations in child processes, since the HDF5 library itself can crash or hang; returns what became of each."""
    results = {"refused": 0, "read": 0, "killed": 0}
    seed = first
    while seed < first + count:
        command = [sys.executable, __file__, kind, str(seed), str(first + count)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with tempfile.TemporaryFile() as output:
            code = subprocess.run(command, stdout=output, env=environment, timeout=600, check=False).returncode
            output.seek(0)
            lines = [json.loads(line) for line in output.read().splitlines() if line.endswith(b"}")]
        for line in lines:
            assert "error" not in line, line
            results[line["outcome"]] += 1
        seed = lines[-1]["seed"] + 1 if lines else seed
        if seed < first + count:
            assert code < 0, f"seed {seed} of {kind}: the child left with code {code}"
            results["killed"] += 1
            seed += 1
    return results


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("h5")])
def test_damaged_h5_files(kind):
    need(kind)
    results = run_h5(kind, 0, 700)
    assert results["refused"] > 70, "the mutations change nothing"
    assert results["killed"] <= 21, "the library dies of more than three in a hundred"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("h5")])
def test_many_damaged_h5_files(kind):
    need(kind)
    results = run_h5(kind, 1000, 2500)
    assert results["killed"] <= 75, "the library dies of more than three in a hundred"


def child(kind, first, last):
    """Try mutations one after the other and report each on a line of its own."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = sample(kind, Path(folder))
        content = path.read_bytes()
        for seed in range(first, last):
            signal.alarm(int(SECONDS))  # ends the process where the library hangs
            path.unlink()
            path.write_bytes(mutate(content, seed))
            try:
                line = {"seed": seed, "outcome": outcome(path)}
            except BaseException as error:
                line = {"seed": seed, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
