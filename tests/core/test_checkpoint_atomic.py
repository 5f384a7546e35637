"""A folder holds the old weights or the new ones, whatever happens in between."""

import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from deberta_core import files
from deberta_core.checkpoint import H5Layout, TensorInfo, open_weights, write_weights

LAYOUT = H5Layout("tf_deberta_model", ("deberta",))
FORMATS = [("safetensors", "pt"), ("bin", "pt"), ("h5", "tf")]
NAMES = [f"deberta/layer_._{number}/kernel:0" for number in range(6)]


def save(folder, value, *, format="safetensors", naming="pt", shards=False, failure=None, **more):
    """Six tensors filled with a value; making the fourth one fails where asked."""

    def make(number):
        if failure is not None and number == 3:
            raise failure
        return np.full((4, 4), value, np.float32)

    pairs = [(TensorInfo(name, (4, 4), "float32"), lambda n=n: make(n)) for n, name in enumerate(NAMES)]
    limit = 128 if shards else None
    return write_weights(folder, pairs, format=format, naming=naming, h5=LAYOUT, max_shard_size=limit, **more)


def state(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def value_in(folder, format):
    with open_weights(folder, prefer=(format,)) as file:
        values = {float(number) for name in file.tensors for number in np.unique(file.read(name))}
    assert len(values) == 1, "weights of two states are mixed"
    return values.pop()


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize(("format", "naming"), FORMATS)
def test_a_failure_midway_leaves_the_old_files(tmp_path, format, naming, shards, failure):
    save(tmp_path, 1.0, format=format, naming=naming, shards=shards)
    before = state(tmp_path)
    with pytest.raises(type(failure)):
        save(tmp_path, 2.0, format=format, naming=naming, shards=shards, failure=failure)
    assert state(tmp_path) == before
    assert value_in(tmp_path, format) == 1.0


@pytest.mark.parametrize("now", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(("format", "naming"), FORMATS)
def test_files_of_the_former_state_go(tmp_path, format, naming, before, now):
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    save(tmp_path, 1.0, format=format, naming=naming, shards=before)
    paths = save(tmp_path, 2.0, format=format, naming=naming, shards=now)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths} | {"notes.txt"}
    assert value_in(tmp_path, format) == 2.0


def test_files_of_other_formats_stay(tmp_path):
    for format, naming in FORMATS:
        save(tmp_path, 1.0, format=format, naming=naming, shards=True)
    save(tmp_path, 2.0)
    assert [value_in(tmp_path, format) for format, _ in FORMATS] == [2.0, 1.0, 1.0]


def interrupt(monkeypatch, fails_at, *, after):
    """Make the numbered rename fail, before or after it is done."""
    calls = []
    replace = os.replace

    def interrupted(source, target):
        calls.append(target)
        fails = len(calls) == fails_at + 1
        if fails and not after:
            raise KeyboardInterrupt
        replace(source, target)
        if fails:
            raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupted)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fails_at", range(8))
def test_an_interrupted_exchange_of_shards_is_undone(tmp_path, monkeypatch, fails_at, after):
    save(tmp_path, 1.0, shards=True)
    before = state(tmp_path)
    interrupt(monkeypatch, fails_at, after=after)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2.0, shards=True)
    assert state(tmp_path) == before


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupted_exchange_of_one_file_leaves_one_state(tmp_path, monkeypatch, after):
    save(tmp_path, 1.0)
    interrupt(monkeypatch, 0, after=after)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2.0)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert value_in(tmp_path, "safetensors") == (2.0 if after else 1.0)


@pytest.mark.parametrize("fails_at", range(4))
def test_interrupted_shards_beside_a_single_file_are_removed(tmp_path, monkeypatch, fails_at):
    save(tmp_path, 1.0)
    before = state(tmp_path)
    interrupt(monkeypatch, fails_at, after=True)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2.0, shards=True)
    assert state(tmp_path) == before


@pytest.mark.parametrize("ours", [True, False])
def test_no_reader_meets_shards_of_two_states(tmp_path, monkeypatch, ours):
    """A reader of ours has the new state from the first rename on; one that knows no notes may find no index."""
    save(tmp_path, 1.0, shards=True)
    replace = os.replace
    seen = []

    def watched(source, target):
        replace(source, target)
        if not ours:
            note.rename(tmp_path / "aside")
        try:
            seen.append(value_in(tmp_path, "safetensors"))
        except FileNotFoundError:
            seen.append(None)
        if not ours:
            (tmp_path / "aside").rename(note)

    note = tmp_path / ".deberta-commit"
    monkeypatch.setattr(files.os, "replace", watched)
    save(tmp_path, 2.0, shards=True)
    assert set(seen) == ({2.0} if ours else {None, 1.0, 2.0})


def test_data_that_is_not_as_announced_is_refused(tmp_path):
    save(tmp_path, 1.0)
    before = state(tmp_path)
    pair = (TensorInfo("x", (2, 3), "float32"), np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"'x' was announced as float32 \(2, 3\) .* but came as float32 \(3, 2\)"):
        write_weights(tmp_path, [pair])
    with pytest.raises(ValueError, match=r"announced as float32 \(2, 3\) .* but came as float64"):
        write_weights(tmp_path, [(pair[0], np.zeros((2, 3)))])
    assert state(tmp_path) == before


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path, monkeypatch):
    save(tmp_path, 1.0)
    before = state(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"no space for 0\.00 GB of weights .* nothing was changed") as caught:
        save(tmp_path, 2.0, failure=AssertionError("data was asked for"))
    assert caught.value.errno == errno.ENOSPC
    assert state(tmp_path) == before


@pytest.mark.parametrize(("format", "naming"), FORMATS)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full to stand for a full disk")
def test_a_disk_that_fills_up_while_writing(tmp_path, monkeypatch, format, naming):
    save(tmp_path, 1.0, format=format, naming=naming)
    before = state(tmp_path)
    real = open

    def full(path, mode="r", *more, **options):
        return real(
            "/dev/full" if "/new/" in str(path) and ("w" in mode or "+" in mode) else path, mode, *more, **options
        )

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match="nothing was changed") as caught:
        save(tmp_path, 2.0, format=format, naming=naming)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert state(tmp_path) == before


def test_a_folder_may_be_its_own_source(tmp_path):
    save(tmp_path, 1.0)
    with open_weights(tmp_path) as file:
        pairs = [(info, lambda name=name: file.read_raw(name) + 1) for name, info in file.tensors.items()]
        write_weights(tmp_path, pairs)
    assert value_in(tmp_path, "safetensors") == 2.0


def test_new_files_are_as_readable_as_any(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    (path,) = save(tmp_path, 1.0)
    assert path.stat().st_mode == ordinary.stat().st_mode


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            save(tmp_path, 1.0)
    finally:
        tmp_path.chmod(0o700)


def test_a_link_to_a_cache_is_replaced_and_not_followed(tmp_path):
    save(tmp_path / "cache", 1.0)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").symlink_to(tmp_path / "cache" / "model.safetensors")
    save(tmp_path / "model", 2.0)
    assert (value_in(tmp_path / "cache", "safetensors"), value_in(tmp_path / "model", "safetensors")) == (1.0, 2.0)


def test_only_one_tensor_is_held_at_a_time(tmp_path):
    import gc
    import weakref

    alive = []

    def make():
        gc.collect()
        assert sum(reference() is not None for reference in alive) == 0
        array = np.zeros((64, 64), np.float32)
        alive.append(weakref.ref(array))
        return array

    gc.freeze()  # what was made before is not gone through each time
    try:
        for format, naming in FORMATS:
            pairs = [(TensorInfo(name, (64, 64), "float32"), make) for name in NAMES]
            write_weights(tmp_path, pairs, format=format, naming=naming, h5=LAYOUT)
    finally:
        gc.unfreeze()
    assert len(alive) == 18
