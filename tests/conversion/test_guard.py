"""HDF5 read in a process of its own: the same tensors, and a death or a hang there is a message here."""

import os
import signal
import sys
import time
import zlib

import h5py
import pytest

import conversion.guarded
from conversion import convert
from conversion.guarded import GuardedFile
from deberta_core.checkpoint import CheckpointError, open_weights
from deberta_core.checkpoint.mapped import MappedFile
from tests.conversion.helpers import contents, small_config, write_checkpoint


@pytest.fixture
def folder(tmp_path):
    return write_checkpoint(tmp_path / "source", small_config("v2"), "ForSequenceClassification", ("tf", "h5"))


def guarded_contents(path):
    with GuardedFile(MappedFile(path)) as file:
        return {name: (info.shape, info.dtype, file.read_raw(name).tobytes()) for name, info in file.tensors.items()}


def test_it_gives_what_reading_directly_gives(folder):
    path = folder / "tf_model.h5"
    with GuardedFile(MappedFile(path)) as file, open_weights(path) as direct:
        assert dict(file.tensors) == dict(direct.tensors)
        assert list(file.tensors) == list(direct.tensors)
        assert (file.format, file.naming, file.paths) == (direct.format, direct.naming, direct.paths)
        assert dict(file.metadata) == dict(direct.metadata)
    assert guarded_contents(path) == contents(path)


def test_shards(tmp_path):
    folder = write_checkpoint(tmp_path / "s", small_config("v2"), "Model", ("tf", "h5"), shards="5kB")
    expected = contents(folder)
    assert guarded_contents(folder / "tf_model.h5.index.json") == expected
    (folder / "tf_model.h5.index.json").rename(folder / "tf_model.h5.index.fp16.json")
    assert guarded_contents(folder / "tf_model.h5.index.fp16.json") == expected


def test_packed_and_big_endian_tensors_come_through_the_pipe(folder):
    path = folder / "tf_model.h5"
    expected = contents(path)
    names = []
    with h5py.File(path, "r+") as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == len(expected)
        for number, name in enumerate(sorted(names)):
            value = file[name][()]
            del file[name]
            if number % 2:
                file.create_dataset(name, data=value.astype(">f4"))
            else:
                file.create_dataset(name, data=value, chunks=value.shape, compression="gzip")
    assert guarded_contents(path) == expected


def test_arrays_stay_valid_after_closing(folder):
    path = folder / "tf_model.h5"
    with GuardedFile(MappedFile(path)) as file:
        arrays = {name: file.read_raw(name) for name in file.tensors}
    assert {name: array.tobytes() for name, array in arrays.items()} == {n: t[2] for n, t in contents(path).items()}
    assert not any(array.flags.writeable for array in arrays.values())


@pytest.fixture
def replaced_child(monkeypatch):
    """Let another program stand in for the process that reads."""
    start = conversion.guarded.subprocess.Popen

    def replace(code):
        def popen(_, **options):
            return start([sys.executable, "-c", code], **options)

        monkeypatch.setattr(conversion.guarded.subprocess, "Popen", popen)

    return replace


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_death_is_a_message(folder, tmp_path, replaced_child, number):
    replaced_child(f"import os; os.kill(os.getpid(), {int(number)})")
    text = f"ended the process that reads HDF5 .signal {number.name}.*damaged"
    with pytest.raises(CheckpointError, match=text):
        convert(folder, tmp_path / "made", to="pt", isolate_h5=True)
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where Linux says what a process does")
def test_the_process_has_no_threads_that_use_up_its_address_space(folder, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with GuardedFile(MappedFile(folder / "tf_model.h5")) as file, open(f"/proc/{file._process.pid}/status") as status:
        assert "Threads:\t1\n" in status.read()


def test_a_death_between_two_tensors_is_a_message_too(folder):
    """The wish that the process did not read is still in the pipe's buffer when it is closed."""
    path = folder / "tf_model.h5"
    with h5py.File(path, "r+") as file:
        name = "classifier/tf_deberta_v2_for_sequence_classification/classifier/bias:0"
        value = file[name][()]
        del file[name]
        file.create_dataset(name, data=value, chunks=value.shape)
    file = GuardedFile(MappedFile(path))
    file._process.kill()
    file._process.wait()
    with pytest.raises(CheckpointError, match="ended the process that reads HDF5"), file:
        file.read_raw("classifier/bias:0")


def test_a_module_of_the_same_name_where_the_user_is(folder, tmp_path, monkeypatch):
    (tmp_path / "conversion.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert guarded_contents(folder / "tf_model.h5") == contents(folder)


def test_a_hang_ends_with_the_time_that_is_allowed(folder, replaced_child):
    replaced_child("import time; time.sleep(100)")
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=r"busy for more than 0\.5 s; given up"):
        GuardedFile(MappedFile(folder / "tf_model.h5"), seconds=0.5)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("text", "error"), [("0.5", CheckpointError), ("soon", ValueError), ("-1", ValueError)])
def test_the_environment_sets_the_limits(folder, replaced_child, monkeypatch, text, error):
    replaced_child("import time; time.sleep(100)")
    monkeypatch.setenv("DEBERTA_H5_SECONDS", text)
    expected = r"more than 0\.5 s; given up.*DEBERTA_H5_SECONDS" if text == "0.5" else "expected a number above zero"
    with pytest.raises(error, match=expected):
        convert(folder, folder.parent / "made", to="pt", isolate_h5=True)


def test_nonsense_from_the_process_is_its_end(folder, replaced_child):
    replaced_child("import sys; sys.stdout.write('\\0\\0\\0\\5hello')")
    with pytest.raises(CheckpointError, match=r"ended the process that reads HDF5 .exit code 0"):
        GuardedFile(MappedFile(folder / "tf_model.h5"), seconds=10)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of address space are those of Linux")
def test_memory_is_limited(folder):
    """A well-packed tensor that takes more memory than is allowed."""
    path = folder / "tf_model.h5"
    with h5py.File(path, "r+") as file:
        name = "deberta/tf_deberta_v2_for_sequence_classification/deberta/embeddings/word_embeddings/weight:0"
        del file[name]
        rows, width = 1 << 10, 1 << 14
        data = file.create_dataset(name, (64 * rows, width), "f4", chunks=(rows, width), compression="gzip")
        chunk = zlib.compress(bytes(rows * width * 4))
        for number in range(64):
            data.id.write_direct_chunk((number * rows, 0), chunk)
    with GuardedFile(MappedFile(path), memory=2 << 30) as file:
        name = "deberta/embeddings/word_embeddings/weight:0"
        with pytest.raises(CheckpointError, match=r"more than 2\.1 GB of memory|signal"):
            file.read_raw(name)


def test_errors_of_the_reader_arrive_as_they_are(folder):
    path = folder / "tf_model.h5"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CheckpointError) as direct:
        open_weights(path)
    with pytest.raises(CheckpointError) as guarded:
        GuardedFile(MappedFile(path))
    assert str(guarded.value) == str(direct.value)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>"])
def test_what_is_evidently_no_weights_needs_no_process(tmp_path, content):
    (tmp_path / "tf_model.h5").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is empty|is an HTML page"):
        GuardedFile(MappedFile(tmp_path / "tf_model.h5"))
