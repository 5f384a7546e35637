"""Damaged files of every kind: refused in a sentence or read as what they say, never a crash, a hang or a surprise."""

import os
import queue
import shutil
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

from conversion import convert
from deberta_core.checkpoint import CheckpointError
from tests.conversion.fuzz_worker import BUG, READ, REFUSED, attempt
from tests.conversion.helpers import pytorch_values, save_config, small_config, write_checkpoint, write_pt

HEAD = "ForSequenceClassification"
QUICK, MANY, MORE = 80, 700, 2000
SECONDS = 10  # a file that takes longer hangs


def config():
    return small_config("v3", vocab_size=20, num_hidden_layers=1)


def make_side_file(folder):
    strange = {"my_head.scale": np.ones(3), "deberta.embeddings.position_ids": np.ones(4)}
    values = {**pytorch_values(config(), HEAD), **strange}
    convert(write_pt(folder / "first", values, config=config(), head=HEAD), folder / "made", to="tf")
    return folder / "made"


def make_old_bin(folder):
    torch = pytest.importorskip("torch")
    save_config(folder, config(), HEAD)
    state = {name: torch.tensor(value, dtype=torch.float32) for name, value in pytorch_values(config(), HEAD).items()}
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return folder


def make_keras(folder):
    pytest.importorskip("tensorflow")
    pytest.importorskip("tf_keras")
    from deberta_tf import families

    save_config(folder, config(), HEAD)
    families.TFDebertaV2ForSequenceClassification(config()).save_weights(str(folder / "m.weights.h5"))
    return folder


def make(kind, **options):
    return lambda folder: write_checkpoint(folder, config(), HEAD, kind, **options)


# What is damaged of each kind; those in HDF5 are opened in a process of their own.
KINDS = {
    "safetensors": (make(("pt", "safetensors")), "model.safetensors"),
    "safetensors of TensorFlow": (make(("tf", "safetensors")), "model.safetensors"),
    "bin": (make(("pt", "bin")), "pytorch_model.bin"),
    "old bin": (make_old_bin, "pytorch_model.bin"),
    "index": (make(("pt", "safetensors"), shards=9000), "model.safetensors.index.json"),
    "shard": (make(("pt", "bin"), shards=9000), "pytorch_model-00002-of-00003.bin"),
    "config": (make(("pt", "safetensors")), "config.json"),
    "side file": (make_side_file, "unused_weights.safetensors"),
    "h5": (make(("tf", "h5")), "tf_model.h5"),
    "h5 shard": (make(("tf", "h5"), shards=9000), "tf_model-00001-of-00003.h5"),
    "keras": (make_keras, "m.weights.h5"),
}


def mutate(data, rng):
    """One to four small damages, mostly where a file keeps its structure: at its ends."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        zone = min(len(data), 3000)
        start = (0, len(data) - zone, int(rng.integers(len(data) - zone + 1)))[rng.integers(3)]
        at = start + int(rng.integers(zone))
        kind = rng.integers(8)
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[at] = int(rng.integers(256))
        elif kind == 2:
            data[at : at + 8] = int(rng.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**63])).to_bytes(8, "little")
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        elif kind == 5:
            other, length = int(rng.integers(len(data))), int(rng.integers(1, 64))
            data[at : at + length] = data[other : other + length]
        elif kind == 6:
            for digit in range(at, min(at + 60, len(data))):
                if 48 <= data[digit] <= 57:  # a number written in decimal, as JSON does
                    data[digit] = 48 + int(rng.integers(10))
                    break
        else:
            del data[at:]
    return bytes(data)


class Worker:
    """A process that opens one damaged checkpoint after the other; a new one when it dies or hangs."""

    def __init__(self):
        self.process = None

    def start(self):
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.conversion.fuzz_worker", HEAD], cwd=root, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.lines = queue.Queue()
        threading.Thread(target=self.listen, args=(self.process.stdout, self.lines), daemon=True).start()

    @staticmethod
    def listen(stream, lines):
        with stream:
            for line in stream:
                lines.put(line)
        lines.put("")

    def attempt(self, folder):
        if self.process is None:
            self.start()
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        try:
            line = self.lines.get(timeout=SECONDS)
        except queue.Empty:
            line = ""
        if not line:  # the HDF5 library has crashed or hangs: that is what the command line's process is for
            self.stop()
            return None
        verdict, _, why = line.partition(" ")
        return verdict, why

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.stdin.close()
            self.process.wait()
            self.process = None


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def damage_many(tmp_path, kind, count, worker, monkeypatch):
    build, file_name = KINDS[kind]
    folder = build(tmp_path / "good")
    good = (folder / file_name).read_bytes()
    assert attempt(folder, HEAD) == (READ, "")
    isolated = file_name.endswith(".h5")
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    seen = {READ: 0, REFUSED: 0}
    for number in range(count):
        data = mutate(good, rng)
        (folder / file_name).write_bytes(data)
        result = worker.attempt(folder) if isolated else attempt(folder, HEAD)
        if result is None:
            monkeypatch.setenv("DEBERTA_H5_SECONDS", str(SECONDS / 2))
            assert_guarded(folder, tmp_path / "made")
            continue
        verdict, why = result
        if verdict == BUG:
            keep = Path(os.environ.get("FUZZ_KEEP", tmp_path)) / f"{kind}-{number}"
            shutil.copytree(folder, keep)
            pytest.fail(f"{kind}, damage {number}, kept in {keep}: {why}")
        seen[verdict] += 1
    return seen


def assert_guarded(folder, target):
    """What ends a process that opens it must be a message to one that has it opened; or the crash was one of chance."""
    try:
        convert(folder, target, to="pt", isolate_h5=True)
    except (CheckpointError, ValueError) as error:
        said = str(error)
        assert str(folder) in said
        assert not target.exists()
    else:
        shutil.rmtree(target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_damages_of_each_kind(tmp_path, kind, worker, monkeypatch):
    seen = damage_many(tmp_path, kind, QUICK, worker, monkeypatch)
    assert seen[REFUSED] > QUICK // 10


@pytest.mark.slow
@pytest.mark.parametrize("count", [MANY, pytest.param(MORE, marks=pytest.mark.everything)])
@pytest.mark.parametrize("kind", KINDS)
def test_many_damages_of_each_kind(tmp_path, kind, count, worker, monkeypatch):
    seen = damage_many(tmp_path, kind, count, worker, monkeypatch)
    assert seen[REFUSED] > count // 10


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_a_conversion_that_is_refused(tmp_path, kind):
    build, file_name = KINDS[kind]
    folder = build(tmp_path / "good")
    (folder / file_name).write_bytes((folder / file_name).read_bytes()[:200])
    with pytest.raises(ValueError, match=str(folder)):
        convert(folder, tmp_path / "made", to="pt", isolate_h5=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good"]
