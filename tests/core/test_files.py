"""One commit of several files: old or new for every reader of ours, whatever is killed, raced or planted."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deberta_core import commits, files
from deberta_core.commits import Note, lock
from deberta_core.files import Reading, Replacement, read_together, settle, workplace, write_text

NAMES = ("config.json", "sub/notes.txt", "weights-1", "weights-2", "weights.index")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """A killed process loses nothing that it wrote; only a power failure does, which no test brings about."""
    monkeypatch.setattr(files.os, "fsync", lambda _: None)


def put(folder, value, names=NAMES, stale=()):
    with Replacement(folder) as commit:
        for name in names:
            commit.write(name, str(value))
        commit.drop(stale)
        return commit.commit()


def values(folder, names=NAMES):
    """What a reader of ours finds in the files."""
    return read_together(folder, lambda reading: {name: reading.read(name) for name in names})


def listing(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def whole(folder, names=NAMES):
    found = set(values(folder, names).values())
    assert len(found) == 1, f"two states are mixed: {found}"
    return found.pop()


def test_files_appear_together_and_stale_ones_go(tmp_path):
    put(tmp_path / "a" / "b", 1, ("old", *NAMES))
    paths = put(tmp_path / "a" / "b", 2, stale=["old", "never there"])
    assert [path.relative_to(tmp_path / "a" / "b").as_posix() for path in paths] == list(NAMES)
    assert listing(tmp_path / "a" / "b") == dict.fromkeys(NAMES, "2")


def test_nothing_is_made_of_a_commit_that_fails(tmp_path):
    def fail():
        with Replacement(tmp_path / "a" / "b") as commit:
            commit.write("c/d", "x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def end_at(step, folder):
    """In a process of its own: a commit that ends with the process at one of its steps."""
    calls = []

    def ending(real):
        def call(*arguments, **options):
            calls.append(arguments)
            if len(calls) > step:
                os._exit(9)
            return real(*arguments, **options)

        return call

    for name in ("replace", "fsync", "unlink"):
        setattr(files.os, name, ending(getattr(os, name)))
    put(folder, 2, stale=["gone"])
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that share what was imported")
def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(tmp_path):
    """Whatever is left, readers find one state, and the next commit leaves no file but its own."""
    context = multiprocessing.get_context("fork")
    seen = []
    for step in range(60):
        folder = tmp_path / str(step)
        put(folder, 1)
        put(folder, 1, ("gone",))
        child = context.Process(target=end_at, args=(step, folder))
        child.start()
        child.join(300)
        asked = shutil.copytree(folder, tmp_path / f"{step} asked")  # by who wants to know whether anything is there
        rest = {"config.json", "sub", "weights-1", "weights-2", "weights.index"}
        assert set(settle(asked)) - {"gone"} == rest == set(os.listdir(asked)) - {"gone"}
        seen.append(whole(folder))
        assert whole(asked) == seen[-1]
        there = read_together(folder, lambda reading: reading.read("gone"))
        assert there == (b"1" if seen[-1] == b"1" else None)
        put(folder, 3)
        assert whole(folder) == b"3"
        rest = {"gone": "1"} if seen[-1] == b"1" else {}
        assert listing(folder) == {**dict.fromkeys(NAMES, "3"), **rest}
        if child.exitcode == 0:
            break
    assert child.exitcode == 0, "not all steps were tried"
    assert seen == sorted(seen), "a later step brought the old state back"
    assert set(seen) == {b"1", b"2"}


WRITER = """
import sys
from pathlib import Path
from tests.core.test_files import files, put
files.os.fsync = lambda _: None
value = int(sys.argv[2])
print("ready", flush=True)
while True:
    value += 1
    put(Path(sys.argv[1]), value)
"""


def start_writer(folder, value=0):
    line = [sys.executable, "-c", WRITER, str(folder), str(value)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_writers(tmp_path):
    put(tmp_path, 0)
    for number in range(5):
        process = start_writer(tmp_path, number * 1_000_000)
        time.sleep(0.02 + 0.013 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole(tmp_path)
    put(tmp_path, "last")
    assert listing(tmp_path) == dict.fromkeys(NAMES, "last")


def test_readers_beside_a_writer(tmp_path):
    put(tmp_path, 0)
    process = start_writer(tmp_path)
    found, started = [], time.monotonic()
    try:
        while len(set(found)) < 12 and time.monotonic() - started < 60:
            found.append(int(whole(tmp_path)))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert found == sorted(found)
    assert len(set(found)) == 12, "little was written meanwhile"


def test_writers_in_threads_take_turns(tmp_path):
    errors = []

    def work(number):
        try:
            for turn in range(6):
                put(tmp_path, f"{number}.{turn}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if (tmp_path / "config.json").exists():
            whole(tmp_path)
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(listing(tmp_path)) == set(NAMES)


def test_a_workplace_is_gone_in_the_end_or_when_the_next_one_begins(tmp_path):
    folder = tmp_path / "a" / "b"
    with workplace(folder) as first, workplace(folder) as second:
        (first / "steps").mkdir()
        write_text(first / "settings.json", "{}")  # which waited for ever for the lock that says that this one lives
        assert {first.parent.parent, second.parent.parent} == {folder}
        assert settle(folder) == [], "what is being made is not there yet"
        assert (first / "steps").is_dir()
    assert os.listdir(folder) == []
    (first / "steps").mkdir(parents=True)  # as a process leaves it that was killed
    with workplace(folder) as third:
        assert os.listdir(folder) == [third.parent.name]
    assert settle(tmp_path / "none") == []


def test_without_locks_what_is_still_written_to_is_left_alone(tmp_path, monkeypatch):
    """A training in a workplace, say: the time of its folder is that of the first file, days ago."""
    monkeypatch.setattr(commits, "fcntl", None)
    long_ago = time.time() - 3 * 86400
    with workplace(tmp_path) as stage:
        (stage / "run").mkdir()
        (stage / "run" / "losses.jsonl").write_text("1")
        for path in (stage / "run", stage, stage.parent):
            os.utime(path, (long_ago, long_ago))
        put(tmp_path, 1, ("a",))
        assert (stage / "run" / "losses.jsonl").is_file()
        for path in (stage / "run" / "losses.jsonl", stage / "run", stage, stage.parent):
            os.utime(path, (long_ago, long_ago))
        put(tmp_path, 2, ("a",))
        assert os.listdir(tmp_path) == ["a"]


def test_a_writer_that_lives_is_left_alone(tmp_path):
    with Replacement(tmp_path) as first:
        first.write("a", "1")
        put(tmp_path, 2, ("b",))
        first.commit()
    assert listing(tmp_path) == {"a": "1", "b": "2"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that has this one's files open")
def test_a_lock_ends_with_an_error_though_a_fork_has_it_too(tmp_path):
    children = []

    def fail():
        with lock(tmp_path):
            children.append(os.fork())
            if not children[0]:
                time.sleep(60)
                os._exit(0)
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    try:
        with lock(tmp_path, wait=False) as free:
            assert free
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_a_note_that_cannot_be_read_is_kept(tmp_path, monkeypatch, number):
    """As another user wrote it, say: it alone tells that what was half put in place is not to be swept away."""
    put(tmp_path, 1, ("a", "b"))
    note = Note(tmp_path, ".deberta-0123456789abcdef", ("a", "b"), ())
    (tmp_path / note.stage / "new").mkdir(parents=True)
    os.replace(tmp_path / "a", tmp_path / note.stage / "new" / "a")
    note.write()
    before = listing(tmp_path)

    def refuse(path, *_, **__):
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as patch:
        patch.setattr(commits, "open", refuse, raising=False)
        with pytest.raises(OSError, match=os.strerror(number)):
            put(tmp_path, 2, ("b",))
        if number == errno.EACCES:
            assert settle(tmp_path) == ["b"]
        assert listing(tmp_path) == before
    put(tmp_path, 2, ("b",))
    assert listing(tmp_path) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_what_a_kill_left_where_nobody_may_write_is_read_as_it_is(tmp_path, monkeypatch, number):
    put(tmp_path, 1, ("a",))
    (tmp_path / ".deberta-commit").write_text("[]")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "recover", refuse)
    assert read_together(tmp_path, lambda _: (tmp_path / "a").read_text(), ("a",)) == "1"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_modes_stay_and_the_umask_is_never_touched(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was touched"))
        put(tmp_path, 1, ("secret", "open", "read-only"))
        assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret", "open")} == {0o640}
        (tmp_path / "secret").chmod(0o600)
        (tmp_path / "read-only").chmod(0o444)
        put(tmp_path, 2, ("secret", "open", "read-only"))
        write_text(tmp_path / "secret", "3")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {"secret": 0o600, "open": 0o640, "read-only": 0o444}
    finally:
        monkeypatch.undo()
        os.umask(before)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives files away")
def test_owners_stay(tmp_path):
    put(tmp_path, 1, ("a", "b"))
    os.chown(tmp_path / "a", 12345, 54321)
    put(tmp_path, 2, ("a", "b"))
    assert [(path.stat().st_uid, path.stat().st_gid) for path in sorted(tmp_path.iterdir())] == [(12345, 54321), (0, 0)]


@pytest.mark.parametrize("kind", ["up", "absolute", "link", "stage", "nonsense", "long"])
def test_a_planted_note_moves_nothing(tmp_path, kind):
    """A folder may come from anybody, notes, links and all."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (outside / "keys").write_text("mine")
    put(folder, 1)
    stage = ".deberta-0123456789abcdef"
    (folder / stage / "new").mkdir(parents=True)
    (folder / stage / "new" / "keys").write_text("theirs")
    (folder / "link").symlink_to(outside)
    name = {"up": "../outside/keys", "absolute": str(outside / "keys"), "link": "link/keys"}.get(kind, "config.json")
    note = [stage if kind != "stage" else "../outside", [name], [name], False]
    text = {"nonsense": "{", "long": json.dumps(note)[:-1] + ", " * 10}.get(kind, json.dumps(note))
    (folder / ".deberta-commit").write_text(text)
    assert whole(folder) == b"1"
    put(folder, 2)
    assert (outside / "keys").read_text() == "mine"
    assert set(listing(folder)) == set(NAMES)


def test_a_file_that_is_away_for_good_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_together(tmp_path, lambda reading: (tmp_path / "nothing").read_bytes())
    assert Reading(tmp_path).read("nothing") is None
    assert Reading(tmp_path).find("no\0name") is None


@pytest.mark.parametrize("makes", [Replacement, workplace], ids=["files", "workplace"])
def test_a_disk_that_fills_up_at_the_start_keeps_nothing(tmp_path, monkeypatch, makes):
    """Where there is room for the hidden folder, and not for the one in it."""
    real = Path.mkdir

    def mkdir(path, *args, **options):
        if path.name in ("new", "work"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OSError, match="No space left"), makes(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_said_though_the_folders_that_were_made_are_gone(tmp_path):
    with pytest.raises(OSError, match=r"no space for .* GB are free\); nothing was changed"), Replacement(
        tmp_path / "a/b/c"
    ) as commit:
        commit.check_space(1 << 60)
    assert list(tmp_path.iterdir()) == []
