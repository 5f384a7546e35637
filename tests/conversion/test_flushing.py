"""Files that go to the disk while they are written."""

import errno
import os

import pytest

from conversion.flushing import EVERY, Flusher

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system has no such call")


@pytest.fixture
def asked(monkeypatch):
    """The sizes of the files that the system was asked to write out."""
    sizes = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: sizes.append(os.fstat(file).st_size))
    return sizes


def test_every_so_many_bytes_all_files_are_written_out(tmp_path, asked):
    (tmp_path / "first").write_bytes(b"1")
    (tmp_path / "second").write_bytes(b"22")
    flusher = Flusher(tmp_path)
    flusher.count(EVERY - 1)
    assert asked == []
    flusher.count(1)
    assert sorted(asked) == [1, 2]
    flusher.count(EVERY - 1)
    assert len(asked) == 2
    flusher.count(EVERY)
    assert len(asked) == 4


def test_it_is_only_a_hint(tmp_path, asked, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, "not this kind of file")

    (tmp_path / "file").write_bytes(b"content")
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    Flusher(tmp_path).count(EVERY)
    monkeypatch.delattr(os, "posix_fadvise")
    Flusher(tmp_path).count(EVERY)
    assert (tmp_path / "file").read_bytes() == b"content"
