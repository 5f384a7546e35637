"""Files that go to the disk while they are written."""

import errno
import os

import pytest

from conversion.transfer import EVERY, Flusher

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system has no such call")


@pytest.fixture
def asked(monkeypatch):
    """The sizes of the files that the system was asked to write out."""
    sizes = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: sizes.append(os.fstat(file).st_size))
    return sizes


def wait_for(flusher):
    """Until its thread has done all it was given."""
    flusher._thread.submit(lambda: None).result()


def test_every_so_many_bytes_all_files_are_written_out(tmp_path, asked):
    (tmp_path / "first").write_bytes(b"1")
    (tmp_path / "second").write_bytes(b"22")
    for parts, sizes in (([EVERY - 1], []), ([EVERY - 1, 1, EVERY - 1], [1, 2]), ([EVERY, EVERY], [1, 1, 2, 2])):
        asked.clear()
        with Flusher(tmp_path) as flusher:
            for part in parts:
                flusher.count(part)
                wait_for(flusher)
        assert sorted(asked) == sizes


def test_it_is_only_a_hint(tmp_path, asked, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "not this kind of file")

    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with Flusher(tmp_path) as flusher:
        flusher.count(EVERY)
        wait_for(flusher)
        monkeypatch.delattr(os, "posix_fadvise")
        flusher.count(EVERY)
    assert (tmp_path / "file").read_bytes() == b"content"
