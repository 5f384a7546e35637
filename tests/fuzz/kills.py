"""``python -m tests.fuzz.kills``: what writes is killed at random moments, and with the disk full at 20 byte counts.

After each, the old state or the new one is there, whole; the same again succeeds and leaves no file but its own. A
training that is killed and started again ends with the weights and losses of one that nobody stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.update(
    OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1",
    HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1",
)  # fmt: skip

from tests.fuzz.runner import be_quiet, made_in_child

LIMIT = 300.0  # seconds that one child may take
BYTE_COUNTS = 20
SOONER = 12  # kills more, where all came too late
SENTENCES = ["The quick brown fox jumps over the lazy dog.", "Wie läuft das? Où est la gare?", "price: $5.00 - 4,50 €"]


@dataclass(frozen=True)
class Operation:
    """Something that writes.

    Args:
        name: of it.
        begin: fills an empty folder with the old state, and with what is needed to make the new one.
        act: makes the new state in the folder's ``target``.
        state: of the target: ``old``, ``new``, or anything else for what is mixed or does not load.
        ready: what a first use takes time for, before the clock is started.
        ends_alike: ``state`` is to be asked only after it was done again, as of a run that goes on.
        share: of the kills and byte counts, where it takes long.
        tidy: no other files than those of the new state may be left; the cache of ``huggingface_hub`` is its own.
        around: what has to run meanwhile.
    """

    name: str
    begin: Callable[[Path], object]
    act: Callable[[Path], object]
    state: Callable[[Path], str]
    ready: Callable[[], object] = lambda: None
    ends_alike: bool = False
    share: float = 1.0
    tidy: bool = True
    around: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext


# Children.


def fork(work: Callable[[Callable[[str], None]], object]) -> tuple[int, int]:
    """A child that does some work; it is handed a function that tells this process a line. Process and pipe."""
    out, into = os.pipe()
    child = os.fork()
    if child:
        os.close(into)
        return child, out
    os.close(out)
    be_quiet()

    def tell(line: str) -> None:
        os.write(into, json.dumps(line).encode() + b"\n")

    try:
        work(tell)
        tell("done")
    except BaseException as error:
        tell(f"{type(error).__name__}: {error} {''.join(traceback.format_tb(error.__traceback__)[-3:])}")
    os._exit(0)


def lines_of(out: int, limit: float = LIMIT) -> list[str]:
    """What a child tells until it ends."""
    received, end = b"", time.monotonic() + limit
    while select.select([out], [], [], max(0.0, end - time.monotonic()))[0] and (part := os.read(out, 1 << 16)):
        received += part
    os.close(out)
    return [json.loads(line) for line in received.splitlines()]


def ask(work: Callable[[Callable[[str], None]], object]) -> list[str]:
    """What a child tells, which is then gone."""
    child, out = fork(work)
    lines = lines_of(out)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return lines or ["the process told nothing"]


def state_of(operation: Operation, folder: Path) -> str:
    """In a child, for what it opens."""
    return ask(lambda tell: tell(operation.state(folder)))[0]


# Kills.


def killed_at(operation: Operation, folder: Path, after: float) -> bool:
    """Start it, and kill it some seconds after it has begun; whether it was still at it."""

    def work(tell: Callable[[str], None]) -> None:
        operation.ready()
        tell("go")
        operation.act(folder)

    child, out = fork(work)
    select.select([out], [], [], LIMIT)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    lines = lines_of(out)
    if len(lines) > 1 and lines[1] != "done":
        raise RuntimeError(lines[1])
    return "done" not in lines


def do_again(operation: Operation, folder: Path, tell: Callable[[str], None]) -> None:
    """In a child: what was killed, and the state that it ends with."""
    operation.ready()
    operation.act(folder)
    tell(operation.state(folder))


def listing(folder: Path) -> list[str]:
    """All names below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class States(NamedTuple):
    """Folders of an operation's old and new state, side by side in one that has room for more.

    Attributes:
        begin: the old state, and what is needed to make the new one.
        ended: the new one, which nobody stopped.
        seconds: from one to the other.
    """

    begin: Path
    ended: Path
    seconds: float


def both_states(operation: Operation, top: Path) -> States:
    """Make them in an empty folder."""
    begin, ended, first = top / "begin", top / "ended", top / "first"
    begin.mkdir()
    made_in_child(lambda: operation.begin(begin))
    shutil.copytree(begin, first, symlinks=True)
    made_in_child(lambda: (operation.ready(), operation.act(first)))  # from here on all that it takes is imported
    shutil.copytree(begin, ended, symlinks=True)

    def timed(tell: Callable[[str], None]) -> None:
        operation.ready()
        started = time.monotonic()
        operation.act(ended)
        tell(str(time.monotonic() - started))

    return States(begin, ended, float(ask(timed)[0]))


def kill_again_and_again(operation: Operation, states: States, count: int, seed: int) -> list[str]:
    """What went wrong in so many kills."""
    draw, wrong, at_work = random.Random(f"{operation.name} {seed}"), [], 0
    begin, ended, seconds = states
    if not operation.ends_alike and state_of(operation, begin) != "old":
        return [f"the old state is {state_of(operation, begin)}"]
    if state_of(operation, ended) != "new":
        return [f"the new state is {state_of(operation, ended)}"]
    number = -1
    while (number := number + 1) < count or (not at_work and number < count + SOONER):
        folder = begin.parent / f"at-{number}"
        shutil.copytree(begin, folder, symlinks=True)
        # It may be done in less than the time that was taken on a machine that had other work, too: then again, sooner.
        longest = 1.05 * seconds * 0.7 ** max(0, number + 1 - count)
        at_work += killed_at(operation, folder, draw.uniform(0, longest))
        left = [name for name in listing(folder) if name not in listing(begin)]
        if not operation.ends_alike and (found := state_of(operation, folder)) not in ("old", "new"):
            wrong.append(f"kill {number}: {found}")
        lines = ask(lambda tell, folder=folder: do_again(operation, folder, tell))
        if lines[-1] != "done":
            wrong.append(f"kill {number}: again: {lines[-1]}")
        elif lines[0] != "new":
            wrong.append(f"kill {number}: again: {lines[0]}")
        elif operation.tidy and listing(folder) != listing(ended):
            wrong.append(f"kill {number}: files stay: {sorted(set(listing(folder)) ^ set(listing(ended)))[:9]}")
        if wrong and wrong[-1].startswith(f"kill {number}:"):
            wrong[-1] += f" (it had left {left[:6]})"
        shutil.rmtree(folder)
    if not at_work:
        wrong.append("it was always done before it was killed")
    return wrong


# Full disks.

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE, MS_REMOUNT = 0x20000, 0x10000000, 0x4000, 1 << 18, 32


def mount_disk(folder: Path, size: int, *, again: bool = False) -> bool:
    """Put a disk of so many bytes into a folder, for this process alone; whether that can be done here.

    Args:
        folder: existing.
        size: in bytes; whole pages.
        again: change the size of a disk that is there.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if not again:
        if library.unshare(CLONE_NEWNS) and library.unshare(CLONE_NEWNS | CLONE_NEWUSER):
            return False
        if library.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
            return False
    flags = MS_REMOUNT if again else 0
    return not library.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode())


def size_of(folder: Path) -> int:
    """Bytes that a disk needs for a folder."""
    return sum(-(-path.lstat().st_size // 4096) * 4096 + 4096 for path in [folder, *folder.rglob("*")])


def fill_the_disk(operation: Operation, states: States) -> list[str]:
    """What went wrong with the disk full at some byte counts."""
    wrong: list[str] = []
    need, refused = size_of(states.ended), 0
    for number in range(0, BYTE_COUNTS, round(1 / operation.share)):
        room = need * number // (5 if operation.ends_alike else 16)  # a run holds two checkpoints at a time
        lines = ask(lambda tell, room=room: on_full_disk(operation, states, room, tell))
        if lines[0] == "no disks":
            return ["no disk of a given size can be made here (unshare and mount are refused)"]
        refused += lines[0] == "refused"
        wrong += [f"full after {room} bytes: {line}" for line in lines if line not in ("refused", "done")]
    if not refused:
        wrong.append("the disk was never full")
    return wrong


def on_full_disk(operation: Operation, states: States, room: int, tell: Callable[[str], None]) -> None:
    """In a child: with so many bytes left on the disk, then with enough."""
    begin, ended, _ = states
    folder = begin.parent / "disk"
    folder.mkdir(exist_ok=True)
    held = size_of(begin)
    operation.ready()
    if not mount_disk(folder, held + 65536):
        tell("no disks")
        return
    shutil.copytree(begin, folder, symlinks=True, dirs_exist_ok=True)
    used = shutil.disk_usage(folder).used
    mount_disk(folder, used + room // 4096 * 4096, again=True)
    try:
        operation.act(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO) and "space" not in str(error) and "full" not in str(error):
            tell(f"another error: {type(error).__name__}: {error}")
        tell("refused")
        if not operation.ends_alike and operation.state(folder) != "old":
            tell(f"after the error: {operation.state(folder)}")
    except BaseException as error:
        where = "".join(traceback.format_tb(error.__traceback__)[-2:])
        tell(f"raw: {type(error).__name__}: {error} {where}")
    mount_disk(folder, used + 64 * size_of(ended) + (1 << 26), again=True)
    operation.act(folder)
    if (found := operation.state(folder)) != "new":
        tell(f"again: {found}")
    if operation.tidy and listing(folder) != listing(ended):
        tell(f"again: files stay: {sorted(set(listing(folder)) ^ set(listing(ended)))[:9]}")


# Operations.


def save_model(folder: Path, labels: int, framework: str, *, old: bool = False) -> None:
    """A classifier with so many labels, whose every weight is that number."""
    import numpy as np

    from tests.models.helpers import pt_model, random_weights, small_config, tf_model

    head = "ForSequenceClassification"
    config = small_config("v3", num_labels=labels, hidden_size=48, num_hidden_layers=2, vocab_size=2000)
    values = {key: np.full(value.shape, labels / 8) for key, value in random_weights(config, head).items()}
    model = (pt_model if framework == "pt" else tf_model)(config, head, values)
    model.save_pretrained(folder, **({"max_shard_size": "150KB"} if old else {}))


def state_of_model(target: Path) -> str:
    """By config and all weights."""
    import numpy as np

    from conversion.source import open_source

    with open_source(target) as source:
        values = {float(value) for name in source.tensors for value in np.unique(source.read_raw(name))}
        labels = source.config.num_labels
    if values != {labels / 8}:
        return f"config of {labels} labels with weights {sorted(values)}"
    return {2: "old", 5: "new"}.get(labels, f"{labels} labels")


def save_tokenizer(folder: Path, size: int) -> None:
    """A vocabulary of a given size."""
    from tokenization import train_from_iterator

    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "iouaey" for c in "nrst"]
    train_from_iterator(SENTENCES * 3 + [" ".join(words)] * 3, size, family="v2", fast=True).save_pretrained(folder)


def state_of_tokenizer(target: Path) -> str:
    """Each file is asked by itself and all together."""
    from tokenization import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(target)
    sizes = {len(tokenizer._engine.tokens)}
    pieces = json.loads((target / "tokenizer.json").read_text())["model"]["vocab"]
    sizes.add(len(pieces))
    return {(349,): "old", (359,): "new"}.get(tuple(sizes), f"files of vocabularies of {sizes} tokens")


def start_tensorflow() -> None:
    """Its first operation starts threads and takes a second."""
    import tensorflow as tf

    tf.constant(1.0) + 1.0


def convert_begin(folder: Path) -> None:
    """An old conversion, and another checkpoint."""
    from conversion import convert

    save_model(folder / "a", 2, "pt")
    convert(folder / "a", folder / "target", to="tf")
    save_model(folder / "b", 5, "pt")
    (folder / "b" / ".env").write_text("secret")


def convert_act(folder: Path) -> None:
    """From b."""
    from conversion import convert

    convert(folder / "b", folder / "target", to="tf", overwrite=True)


def export_begin(folder: Path) -> None:
    """A checkpoint with a tokenizer."""
    save_model(folder / "a", 5, "pt")
    save_tokenizer(folder / "a", 350)


def export(folder: Path) -> None:
    """For ``torch.export``, whose graph needs nothing that is not installed with PyTorch.

    An export that was whole already, as after a kill that came too late, is refused; anything else there must not be.
    """
    from conversion import export

    try:
        export(folder / "a", folder / "target", to="torch")
    except FileExistsError:
        if state_of_export(folder / "target") != "new":
            raise


def state_of_export(target: Path) -> str:
    """``old`` where there is nothing that counts."""
    from deberta_core.commits import is_leftover
    from deberta_tasks.pipelines import pipeline

    if not target.exists() or all(is_leftover(path.name) for path in target.iterdir()):
        return "old"
    (answer,) = pipeline("text-classification", target)(SENTENCES[:1])
    return "new" if abs(answer["score"] - 0.2) < 1e-6 else f"a graph that answers {answer}"


FINETUNE = ["--hidden-size", "8", "--layers", "1", "--heads", "1", "--max-length", "16", "--batch-size", "4"]
CSV = "text,label\n" + "".join(f'"a text, number {i}",{"good" if i % 2 else "bad"}\n' for i in range(40))


def command(*words: str) -> None:
    """Of ``deberta``; raises what its errors say. No plot, which takes longer than the run and is one file."""
    from deberta_tasks import cli

    said, sys.modules["matplotlib.backends.backend_agg"] = io.StringIO(), None  # type: ignore[assignment]
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = cli.main(words)
    if code:
        text = said.getvalue()[-600:]
        full = "Traceback" not in text and any(word in text for word in ("space", " free", "full"))
        raise OSError(errno.ENOSPC, text) if full else RuntimeError(text)


def finetune(folder: Path) -> None:
    """Four steps with a checkpoint after each."""
    command(
        "finetune", "--task", "text-classification", "--train", str(folder / "data.csv"), "--output",
        str(folder / "target"), *FINETUNE, "--steps", "4", "--save-every", "1", "--evaluate-every", "2",
    )  # fmt: skip


def pretrain(folder: Path) -> None:
    """Four steps with a checkpoint after each."""
    command(
        "pretrain", "--text", str(folder / "text.txt"), "--output", str(folder / "target"), "--objective", "mlm",
        "--steps", "4", "--save-every", "1", "--batch-size", "4", "--max-length", "16", "--vocab-size", "400",
        "--hidden-size", "64", "--layers", "1",
    )  # fmt: skip


def alike(seen: dict[str, str]) -> Callable[[Path], str]:
    """The state of a run that is done: ``new`` where it is that of the first one asked, which nobody stopped."""

    def state(folder: Path) -> str:
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".safetensors", ".jsonl")]
        digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        reference = folder.parent / "reference.json"
        if not reference.exists():
            reference.write_text(json.dumps(digests))
        want = json.loads(reference.read_text())
        return (
            "new"
            if digests == want
            else f"differs in {[n for n in {**want, **digests} if want.get(n) != digests.get(n)]}"
        )

    return state


HUB_NAME = "owner/tiny"


@contextlib.contextmanager
def hub_server() -> Any:
    """A hub in a process of its own, which the children of this one ask."""
    from huggingface_hub import constants, file_download

    from tests.hub.server import serving

    files = {"config.json": b'{"model_type": "deberta-v2"}', "model.safetensors": bytes(range(256)) * 20_000}
    files |= {"spm.model": bytes(range(255)) * 2000, "tokenizer_config.json": b"{}"}
    out, into = os.pipe()
    server = os.fork()
    if server == 0:
        with serving() as hub:
            hub.commit(HUB_NAME, files)
            os.write(into, hub.endpoint.encode())
            signal.pause()
    endpoint = os.read(out, 1000).decode()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "HF_TOKEN", "HF_HUB_OFFLINE"):
        os.environ.pop(name, None)
    os.environ["HF_ENDPOINT"] = constants.ENDPOINT = endpoint
    constants.HF_HUB_OFFLINE, constants.DOWNLOAD_CHUNK_SIZE = False, 100_000
    for module in (constants, file_download):
        module.HUGGINGFACE_CO_URL_TEMPLATE = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    try:
        yield
    finally:
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def download(folder: Path, *, offline: bool = False) -> Path:
    """Into a cache in the folder."""
    from deberta_core.file_names import checkpoint_files
    from deberta_core.hub.fetching import HubOptions, fetch

    options = HubOptions(cache_dir=str(folder / "target"), local_files_only=offline)
    return fetch(HUB_NAME, checkpoint_files, options=options)


def state_of_download(folder: Path) -> str:
    """``old`` where nothing can be used without the hub, ``new`` where all is whole."""
    try:
        found = download(folder, offline=True)
    except FileNotFoundError:
        return "old"
    sizes = {path.name: path.stat().st_size for path in found.iterdir()}
    whole = {"config.json": 28, "model.safetensors": 256 * 20_000, "spm.model": 255 * 2000, "tokenizer_config.json": 2}
    return "new" if sizes == whole else f"files of {sizes} bytes"


def in_target(state: Callable[[Path], str]) -> Callable[[Path], str]:
    """Asked of ``target``."""
    return lambda folder: state(folder / "target")


OPERATIONS = {  # those that need no framework first, while children are forked from a process that has none
    operation.name: operation
    for operation in (
        Operation("saving a tokenizer", lambda f: save_tokenizer(f / "target", 350),
                  lambda f: save_tokenizer(f / "target", 360), in_target(state_of_tokenizer)),
        Operation("download from a hub", lambda f: (f / "target").mkdir(), download, state_of_download, tidy=False,
                  around=hub_server),
        Operation("save_pretrained of PyTorch", lambda f: save_model(f / "target", 2, "pt", old=True),
                  lambda f: save_model(f / "target", 5, "pt"), in_target(state_of_model)),
        Operation("convert", convert_begin, convert_act, in_target(state_of_model)),
        Operation("export", export_begin, export, in_target(state_of_export), share=0.2),
        Operation("finetune", lambda f: (f / "data.csv").write_text(CSV), finetune, alike({}), ends_alike=True),
        Operation("pretrain", lambda f: (f / "text.txt").write_text("\n".join(SENTENCES * 20)), pretrain, alike({}),
                  ends_alike=True),
        Operation("save_pretrained of TensorFlow", lambda f: save_model(f / "target", 2, "tf", old=True),
                  lambda f: save_model(f / "target", 5, "tf"), in_target(state_of_model), ready=start_tensorflow),
    )
}  # fmt: skip


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument("--operations", nargs="*", default=list(OPERATIONS), choices=list(OPERATIONS))
    parser.add_argument("--kills", type=int, default=5, help="of each operation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bad = 0
    for name in given.operations:
        started, before = time.monotonic(), sum(os.times()[:4])
        operation = OPERATIONS[name]
        kills = math.ceil(given.kills * operation.share)
        with operation.around(), tempfile.TemporaryDirectory() as top:
            states = both_states(operation, Path(top))
            wrong = kill_again_and_again(operation, states, kills, given.seed)
            killed, processor = time.monotonic() - started, sum(os.times()[:4]) - before
            full = fill_the_disk(operation, states)
        took = f"{killed:.0f} + {time.monotonic() - started - killed:.0f} s, {states.seconds:.2f} s each; "
        took += f"of a processor {processor:.0f} + {sum(os.times()[:4]) - before - processor:.0f} s"
        counts = len(range(0, BYTE_COUNTS, round(1 / operation.share)))
        disk = f"disk full at {counts} byte counts, {len(full)} wrong"
        print(f"{name}: {kills} kills, {len(wrong)} wrong; {disk}; {took}", flush=True)
        for text in wrong + full:
            print(f"  {text}", flush=True)
        bad += len(wrong) + len(full)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
