"""Rows of text, the stream of batches and the folder of a run."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deberta_tasks.masking import MLM, MaskingCollator
from deberta_tasks.training import MaskedStream, Run, blocks, linear_rate, read_lines
from deberta_tasks.training import run as training_run
from deberta_tasks.training.loop import History
from tests.models.helpers import pt_model, small_config
from tests.pretraining.helpers import sentences, tokenizer


def stream(seed=0, rows=30, batch_size=8):
    texts = sentences()[0][:rows]
    return MaskedStream(texts, MaskingCollator(tokenizer(), MLM, seed=seed), batch_size, seed=seed)


def test_blocks_hold_all_tokens_in_order():
    texts = sentences()[0][:50]
    rows = blocks(tokenizer(), texts, 32)
    inner = [token for row in rows for token in row["input_ids"][1:-1]]
    assert inner == [token for ids in tokenizer()(list(texts), add_special_tokens=False)["input_ids"] for token in ids]
    assert all(len(row["input_ids"]) == 32 for row in rows[:-1])
    assert 2 < len(rows[-1]["input_ids"]) <= 32
    for row in rows:
        assert row["input_ids"][0] == tokenizer().cls_token_id
        assert row["input_ids"][-1] == tokenizer().sep_token_id
        numbers = [n for n in row["word_ids"] if n is not None]
        assert numbers == sorted(numbers)
    starts = tokenizer()(list(texts), add_special_tokens=False)
    words = sum(len({n for n in starts.word_ids(i) if n is not None}) for i in range(len(texts)))
    assert len({n for row in rows for n in row["word_ids"] if n is not None}) == words, "words of two lines are two"


def test_every_row_once_a_pass_in_another_order():
    rows = list(range(10))
    data = stream()
    data.features = rows
    order = [data._place(i) for i in range(30)]
    passes = [order[:10], order[10:20], order[20:]]
    assert all(sorted(one) == rows for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_stream_resumes_across_passes():
    """30 rows in batches of 8: the fourth batch spans two passes."""
    data = stream()
    batches = [next(data) for _ in range(9)]
    for cut in (0, 3, 4, 8):
        first, second = stream(), stream(seed=5)
        for _ in range(cut):
            next(first)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for want in batches[cut:]:
            got = next(second)
            assert all((got[name] == want[name]).all() for name in want)
    assert all(len(batch["labels"]) == 8 for batch in batches)


def test_stream_refuses_other_text():
    state = stream().state_dict()
    with pytest.raises(ValueError, match="the saved run had 30 rows of text, now there are 20; give it the same"):
        stream(rows=20).load_state_dict(state)
    with pytest.raises(ValueError, match="got 0 rows"):
        stream(rows=0)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 3\); save it as UTF-8"):
        read_lines(path)
    path.write_text("\n \n")
    with pytest.raises(ValueError, match="has no text; expected a plain text file"):
        read_lines(path)
    path.write_text("\ufeff one \n\n two\n", encoding="utf-8")
    assert read_lines(path) == ["one", "two"]
    path.write_bytes("\ufeffé\n".encode() + b"two \xff")
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 10\)"):
        read_lines(path)


def test_a_line_of_a_gigabyte(tmp_path):
    """Is refused by what is read of it, not held in memory first."""
    path = tmp_path / "texts.txt"
    path.write_bytes(b"one\n")
    os.truncate(path, 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"a line of more than 16777216 bytes \(from byte 4\); expected a paragraph"):
        read_lines(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20 / 4  # KiB


def test_text_without_a_token():
    with pytest.raises(ValueError, match="makes no token of the 1 lines of text, of which the first is '\\\\x07'"):
        blocks(tokenizer(), ["\x07"], 16)


def test_vocabulary_of_another_model(tmp_path):
    pytest.importorskip("torch")
    from deberta_tasks.pretrain.recipe import pretrain
    from deberta_tasks.pretrain.request import Request
    from deberta_tasks.training.options import Options

    count = len(tokenizer())
    config = small_config("v3", vocab_size=count - 1, mlm_head="plain", max_position_embeddings=24)
    pt_model(config, "ForMaskedLM").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    (tmp_path / "texts.txt").write_text(sentences()[0][0], encoding="utf-8")
    request = Request("mlm", tmp_path / "texts.txt", tmp_path / "run", model=str(tmp_path))
    with pytest.raises(ValueError, match=f"has {count} tokens, the model's vocabulary {count - 1}; give the tokenizer"):
        pretrain(request, Options(steps=1))
    assert not (tmp_path / "run").exists()


def test_rate():
    rates = np.array([linear_rate(step, 10, 1.0, warmup=4) for step in range(1, 11)])
    assert rates[:4].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert (np.diff(rates[3:]) < 0).all()
    assert rates[-1] == pytest.approx(1 / 7)
    assert linear_rate(1, 10, 2.0, warmup=0) == pytest.approx(2 * 10 / 11)


class Data:
    """Something whose state is saved."""

    def __init__(self):
        self.state = 0

    def state_dict(self):
        return {"state": self.state}

    def load_state_dict(self, state):
        self.state = state["state"]


def test_run_is_cut_back_to_its_last_checkpoint(tmp_path):
    run, data = Run(tmp_path, {"steps": 9}), Data()
    assert run.resume(data, lambda folder: None) == 0
    for step in range(1, 6):
        data.state = step
        run.log(step, loss=1 / step)
        if step in (2, 4):
            run.save(step, data, lambda folder, n=step: (folder / "weights").write_text(str(n)))
    with open(tmp_path / "losses.jsonl", "a") as file:
        file.write('{"step": 6, "lo')  # cut short by a kill
    again, fresh, read = Run(tmp_path, {"steps": 9}), Data(), []
    assert again.resume(fresh, lambda folder: read.append((folder / "weights").read_text())) == 4
    assert (fresh.state, read) == (4, ["4"])
    assert [row["step"] for row in again.losses()] == [1, 2, 3, 4]
    assert [p.name for p in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000004"]


def test_a_checkpoint_that_fails_leaves_the_one_before(tmp_path):
    run, data = Run(tmp_path, {}), Data()
    run.save(1, data, lambda folder: (folder / "weights").write_text("1"))

    def full(folder):
        (folder / "weights").write_text("2")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        run.save(2, data, full)
    assert run.latest().name == "checkpoint-00000001"
    assert run.resume(data, lambda folder: None) == 1
    assert [p.name for p in tmp_path.glob("*checkpoint-*")] == ["checkpoint-00000001"]
    assert not list(tmp_path.glob(".checkpoint-*"))


@pytest.mark.parametrize("moment", ["written", "half dropped"])
def test_a_kill_at_a_checkpoint_leaves_no_other_for_good(tmp_path, moment, monkeypatch):
    """A run that was at its last step writes no further one that would take them away."""
    run, data = Run(tmp_path, {}), Data()

    def save(step):
        run.save(step, data, lambda folder: [(folder / name).write_text("1") for name in "ab"])

    save(3)
    (tmp_path / "checkpoint-500").mkdir()  # as another program names its own
    (tmp_path / "checkpoint-500" / "run.json").write_text("{}")

    rmtree = shutil.rmtree

    def killed_before(path, target):
        raise KeyboardInterrupt

    def killed_within(path, *rest, **options):
        if "checkpoint" in Path(path).name:
            os.unlink(Path(path) / "run.json")
            raise KeyboardInterrupt
        rmtree(path, *rest, **options)

    with monkeypatch.context() as patch:
        if moment == "written":
            patch.setattr(os, "rename", killed_before)
        else:
            patch.setattr(shutil, "rmtree", killed_within)
        with pytest.raises(KeyboardInterrupt):
            save(4)
    assert len([path for path in tmp_path.iterdir() if path.name.endswith("checkpoint-00000003")]) == 1
    assert Run(tmp_path, {}).resume(data, lambda folder: None) == 4
    assert {path.name for path in tmp_path.glob("*checkpoint-*")} == {"checkpoint-00000004", "checkpoint-500"}


def test_settings_of_a_run(tmp_path):
    Run(tmp_path, {"rate": 0.1, "text": tmp_path})
    Run(tmp_path, {"rate": 0.1, "text": tmp_path})
    with pytest.raises(ValueError, match=r"a run with rate 0\.1, now it is 0\.2; resume with the settings"):
        Run(tmp_path, {"rate": 0.2, "text": tmp_path})


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    run = Run(tmp_path, {})
    run.log(1, mlm_loss=2.0, rtd_loss=1.0)
    run.log(2, mlm_loss=1.5, rtd_loss=0.5)
    assert run.plot().read_bytes()[:4] == b"\x89PNG"


def test_plot_without_matplotlib(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    run = Run(tmp_path, {})
    run.log(1, loss=2.0)
    assert run.plot() is None
    assert "matplotlib is not installed" in capsys.readouterr().out


AS_ON_WINDOWS = """
import fcntl, sys, types
def locking(descriptor, mode, count):
    "By this system's locks of bytes, from where the descriptor stands; refused as Windows refuses."
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, count, 0, 1)
    except OSError:
        raise PermissionError(13, "Permission denied") from None
from deberta_tasks.training import run as module
module.fcntl, module.msvcrt = None, types.SimpleNamespace(locking=locking, LK_NBLCK=2)
"""


@pytest.mark.parametrize("system", ["", "Windows"])
def test_two_processes_wrote_one_run(tmp_path, system, monkeypatch):
    """The second is refused while the first lives, and goes on once it is killed."""
    pytest.importorskip("fcntl")
    code = "import sys, time; from deberta_tasks.training.run import Run; run = Run(sys.argv[1], {});"
    code += "run.resume(None, None); print('in', flush=True); time.sleep(600)"
    if system:
        monkeypatch.setattr(training_run, "fcntl", None)
        monkeypatch.setattr(training_run, "msvcrt", None)
        exec(AS_ON_WINDOWS, {})
        code = AS_ON_WINDOWS + code
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(ValueError, match=rf"is in use by another run \(process {other.pid} on .*\); wait until it"):
            Run(tmp_path, {}).resume(Data(), None)
        assert Run(tmp_path, {}, writes=False).resume(Data(), None) == 0, "of several, one writes"
        other.kill()
    run = Run(tmp_path, {})
    assert run.resume(Data(), None) == 0
    assert Run(tmp_path, {}).resume(Data(), None) == 0, "a run that this process has broken off"
    assert (tmp_path / ".running").read_text().startswith(f"process {os.getpid()} on ")


DAMAGE = {"empty": b"", "cut": b'{"step": 4, "da', "a list": b"[]", "bytes": b"\xff\xfe", "no data": b'{"step": 4}',
          "another step": b'{"step": 7, "data": {"state": 7}}', "text": b'{"step": "4", "data": {}}'}  # fmt: skip


@pytest.mark.parametrize("kind", [*DAMAGE, "weights"])
def test_damaged_checkpoints_gave_raw_errors(tmp_path, kind):
    """The one before is taken where it is still there; else one sentence says what is wrong."""
    run, data = Run(tmp_path, {}), Data()
    for step in (2, 4):
        data.state = step
        run.log(step, loss=1.0)
        run.save(step, data, lambda folder: (folder / "weights").write_text("x"))
        if step == 2:
            shutil.copytree(tmp_path / "checkpoint-00000002", tmp_path / "kept")
    last = tmp_path / "checkpoint-00000004"
    (last / ("weights" if kind == "weights" else "run.json")).write_bytes(DAMAGE.get(kind, b""))

    def read(folder):
        if not (folder / "weights").read_text():
            raise RuntimeError("torn")

    with pytest.raises(ValueError, match=r"checkpoint-00000004.*; delete it to begin again, or start in a new folder"):
        Run(tmp_path, {}).resume(Data(), read)
    (tmp_path / "kept").rename(tmp_path / "checkpoint-00000002")
    again, fresh = Run(tmp_path, {}), Data()
    with pytest.warns(UserWarning, match=r"checkpoint-00000004.*; going on from checkpoint-00000002, the checkpoint"):
        assert again.resume(fresh, read) == 2
    assert fresh.state == 2
    again.save(4, fresh, lambda folder: (folder / "weights").write_text("y"))
    assert (again.latest() / "weights").read_text() == "y"
    assert [row["step"] for row in again.losses()] == [2]


def test_damaged_settings_and_logs_gave_raw_errors(tmp_path):
    run = Run(tmp_path, {"rate": 1})
    run.log(1, loss=1.0)
    for text in (b"", b"[1]", b"\xff", b'{"rate": '):
        (tmp_path / "settings.json").write_bytes(text)
        with pytest.raises(ValueError, match=r"settings\.json is damaged .* expected a JSON object; start in a new"):
            Run(tmp_path, {"rate": 1})
    with open(tmp_path / "losses.jsonl", "ab") as file:
        file.write(b'\xff\n[1]\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
    with pytest.warns(UserWarning, match="2 damaged lines are left out"):
        assert [row["step"] for row in run.losses()] == [1, 2]


def test_lines_that_cannot_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    run, huge = Run(tmp_path, {}), "1" + "0" * 400
    lines = ['{"step": 1, "\\ud800": 1.0}', f'{{"step": 1, "loss": {huge}}}', '{"step": "1", "loss": 1.0}']
    kept = ['{"step": 1, "lo$s$\\\\x_": 1.0, "loss": NaN}', '{"step": 2, "loss": 0.5}']
    (tmp_path / "losses.jsonl").write_text("\n".join([*lines, *kept, ""]))
    with pytest.warns(UserWarning, match="3 damaged lines are left out"):
        assert run.plot().read_bytes().startswith(b"\x89PNG")


def test_what_a_history_takes():
    history = History()
    history.add(8, 0.5, 2)
    for name, value in (("best", "x"), ("best", None), ("best_step", 1.5), ("since", True), ("stopped", 0)):
        with pytest.raises(TypeError, match=f"{name} is {value!r}, expected "):
            History().load_state_dict({**history.state_dict(), name: value})
    again = History()
    again.load_state_dict(json.loads(json.dumps({**history.state_dict(), "best": 1})))
    assert again.best == 1



def test_torn_states_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from deberta_tasks.training.pt_parallel import read_state, write_state

    model = torch.nn.Linear(2, 2)
    write_state(tmp_path, {"model": model.state_dict()})
    assert read_state(tmp_path, model)["model"].keys() == model.state_dict().keys()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    values = model.state_dict()["weight"].numpy().tobytes()
    changed = whole.replace(values, bytes([values[0] ^ 1]) + values[1:])
    assert changed != whole
    for torn in (b"", whole[: len(whole) // 2], b"\x80\x04N.", whole[:100] + b"\0" * 100 + whole[200:], changed):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match="is damaged or not there, so that nothing can be resumed from it"):
            read_state(tmp_path, model)


def test_torn_states_of_tensorflow(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from deberta_tasks.training.tf import load_state, save_state

    model = tf.Module()
    model.weight = tf.Variable(tf.zeros([300]))
    save_state(tmp_path, model, [])
    load_state(tmp_path, model, [])
    for path in sorted(tmp_path.iterdir()):
        whole, half = path.read_bytes(), path.stat().st_size // 2
        for torn in (b"", whole[:half], whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :], None):
            path.unlink() if torn is None else path.write_bytes(torn)
            with pytest.raises(ValueError, match=r"is damaged, so that nothing can be resumed from it \(."):
                load_state(tmp_path, model, [])
        path.write_bytes(whole)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="asks the system which file a descriptor is of")
def test_states_were_not_on_the_disk_when_the_one_before_was_deleted(tmp_path, monkeypatch):
    run, data, order = Run(tmp_path, {}), Data(), []
    flush, rename = os.fsync, os.rename

    def fsync(descriptor):
        order.append(f"flush {os.readlink(f'/proc/self/fd/{descriptor}')}")
        flush(descriptor)

    def named(path, target):
        order.append(f"rename {path}")
        rename(path, target)

    run.save(1, data, lambda folder: (folder / "state.pt").write_text("1"))
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", named)
    run.log(2, loss=1.0)
    run.save(2, data, lambda folder: (folder / "state.pt").write_text("2"))
    deleted = order.index(f"rename {tmp_path / 'checkpoint-00000001'}")
    for name in ("state.pt", "run.json", "losses.jsonl", tmp_path.name):
        assert any(line.startswith("flush") and line.endswith(f"/{name}") for line in order[:deleted]), name


def test_replaced_tokens_in_half_precision():
    """Products of bfloat16 give about the losses of float32, and weights stay float32; no other precision is known."""
    torch = pytest.importorskip("torch")
    from deberta_tasks.pretrain.pt import TorchPairLearner
    from deberta_tasks.training.options import Options
    from tests.pretraining.pairs import batch_of, configs, pair

    losses = {}
    for precision in ("float32", "bfloat16"):
        learner = TorchPairLearner(pair("pt"), Options(precision=precision))
        losses[precision] = [learner.step(batch_of(configs()[1]), 1e-3, step) for step in (1, 2, 3)]
        assert {weight.dtype for weight in learner.model.parameters()} == {torch.float32}
    for exact, rough in zip(*losses.values(), strict=True):
        for name, loss in exact.items():
            assert loss != rough[name]
            assert rough[name] == pytest.approx(loss, rel=0.02)
    with pytest.raises(ValueError, match="precision is float16, expected float32 or bfloat16"):
        TorchPairLearner(pair("pt"), Options(precision="float16"))
