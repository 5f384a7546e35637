"""The target folder: complete or as it was, and what is carried into it."""

import errno
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

import conversion.converting
from conversion import convert
from deberta_core.checkpoint import CheckpointError
from tests.conversion.helpers import command, contents, listing, small_config, write_checkpoint


@pytest.fixture
def source(tmp_path):
    return write_checkpoint(tmp_path / "source", small_config("v3"), "ForSequenceClassification")


def beside(tmp_path):
    """What is in the folder of the targets but the source."""
    return sorted(path.name for path in tmp_path.iterdir() if path.name != "source")


class TestRefusals:
    @pytest.mark.parametrize("spelling", ["source", "source/.", "source/../source", "link"])
    def test_source_and_target_are_the_same(self, tmp_path, source, spelling):
        (tmp_path / "link").symlink_to(source)
        before = listing(source)
        with pytest.raises(ValueError, match="source and target are the same folder"):
            convert(source, tmp_path / spelling, to="tf", overwrite=True)
        assert listing(source) == before

    def test_a_weights_file_in_the_target(self, tmp_path, source):
        with pytest.raises(ValueError, match="source and target are the same folder"):
            convert(source / "model.safetensors", source, to="tf", overwrite=True)

    def test_the_source_inside_the_target(self, tmp_path, source):
        with pytest.raises(ValueError, match="lies inside the target"):
            convert(source, tmp_path, to="tf", overwrite=True)

    def test_a_target_that_is_not_empty(self, tmp_path, source):
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "notes.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="is not empty; choose another one, or pass overwrite=True"):
            convert(source, tmp_path / "made", to="tf")
        assert listing(tmp_path / "made") == {"notes.txt": b"mine"}

    @pytest.mark.parametrize("name", ["made.h5", "model.safetensors", "pytorch_model.bin"])
    def test_a_target_that_looks_like_a_file(self, tmp_path, source, name):
        with pytest.raises(NotADirectoryError, match="expected the name of a folder"):
            convert(source, tmp_path / name, to="tf")

    def test_a_target_that_is_a_file(self, tmp_path, source):
        (tmp_path / "made").write_text("mine")
        with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
            convert(source, tmp_path / "made", to="tf", overwrite=True)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"to": "jax"}, "to is 'jax', expected 'pt' or 'tf'"),
            ({"to": "pt", "format": "h5"}, "format is 'h5', expected 'safetensors' or 'bin' for to='pt'"),
            ({"to": "tf", "dtype": "int8"}, "dtype is 'int8', expected one of float64"),
            ({"to": "tf", "max_shard_size": "big"}, "size 'big' is not understood"),
        ],
    )
    def test_arguments(self, tmp_path, source, arguments, text):
        with pytest.raises(ValueError, match=text):
            convert(source, tmp_path / "made", **arguments)
        assert beside(tmp_path) == []

    def test_no_source(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
            convert(tmp_path / "nothing", tmp_path / "made", to="tf")
        assert beside(tmp_path) == []


class TestAllOrNothing:
    @pytest.fixture
    def old(self, tmp_path):
        """A target with an older conversion and a file of the user's."""
        write_checkpoint(tmp_path / "made", small_config("v1"), "Model")
        (tmp_path / "made" / "notes.txt").write_text("mine")
        return listing(tmp_path / "made")

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
    @pytest.mark.parametrize("step", ["write_weights", "carry", "_config_text"])
    def test_a_failure_at_any_step_leaves_the_old_state(self, tmp_path, source, old, monkeypatch, step, error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr(conversion.converting, step, fail)
        with pytest.raises(type(error)):
            convert(source, tmp_path / "made", to="tf", overwrite=True)
        assert listing(tmp_path / "made") == old
        assert beside(tmp_path) == ["made"]

    def test_a_failing_exchange_is_undone(self, tmp_path, source, old, monkeypatch):
        replace = os.replace
        failed = []

        def fail_once(first, second):
            if str(second).endswith("tf_model.h5") and not failed:
                failed.append(first)
                raise OSError(errno.EIO, "the disk is gone")
            replace(first, second)

        monkeypatch.setattr(os, "replace", fail_once)
        with pytest.raises(OSError, match="the disk is gone"):
            convert(source, tmp_path / "made", to="tf", overwrite=True)
        assert listing(tmp_path / "made") == old
        assert beside(tmp_path) == ["made"]

    def test_new_parents_go_away_again(self, tmp_path, source, monkeypatch):
        monkeypatch.setattr(conversion.converting, "carry", lambda *_: (_ for _ in ()).throw(OSError("no")))
        with pytest.raises(OSError, match="no"):
            convert(source, tmp_path / "a" / "b" / "made", to="tf")
        assert beside(tmp_path) == []

    def test_too_little_space_is_said_before_anything_is_written(self, tmp_path, source, monkeypatch):
        usage = type("Usage", (), {"free": 1000})
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OSError, match=r"no space for 0\.00 GB .*nothing was changed"):
            convert(source, tmp_path / "made", to="tf")
        assert beside(tmp_path) == []

    def test_a_file_that_cannot_grow(self, tmp_path):
        """The disk is full in the middle of the weights: the system refuses, one sentence says so, nothing is left."""
        config = small_config("v3", vocab_size=20000)
        write_checkpoint(tmp_path / "source", config, "Model")
        code = (
            "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000));"
            "from conversion.command_line import COMMANDS, run; sys.exit(run(COMMANDS, 'x', 'y'))"
        )
        line = [sys.executable, "-c", code, "convert", tmp_path / "source", tmp_path / "made", "--to", "tf"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "File too large" in done.stderr
        assert done.stderr.count("\n") == 1
        assert beside(tmp_path) == []

    def test_a_place_that_cannot_be_written(self, tmp_path, source):
        target = "/proc/deberta-made"  # where nobody can make a folder, the superuser included
        if not os.path.isdir("/proc/self"):
            pytest.skip("needs /proc")
        with pytest.raises(OSError, match="the target cannot be written"):
            convert(source, target, to="tf")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_an_interruption_leaves_the_old_state(self, tmp_path, old, number):
        config = small_config("v3", vocab_size=400_000, hidden_size=96)
        write_checkpoint(tmp_path / "source", config, "Model")
        line = [sys.executable, "-m", "conversion", "convert", tmp_path / "source", tmp_path / "made"]
        process = subprocess.Popen([*line, "--to", "tf", "--overwrite"], stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not list(tmp_path.glob("made/.deberta-*/new/tf_model.h5")):
            time.sleep(0.001)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if process.returncode == 0:
            pytest.skip("the conversion was faster than the signal")
        assert process.returncode == 130
        assert error == "interrupted\n"
        assert listing(tmp_path / "made") == old
        assert beside(tmp_path) == ["made"]


class TestOverwrite:
    def test_weights_are_replaced_and_other_files_kept(self, tmp_path, source):
        made = write_checkpoint(tmp_path / "made", small_config("v1"), "Model")
        stale = ("pytorch_model.bin", "model.safetensors.index.json", "tf_model-00001-of-00002.h5", "rust_model.ot")
        for name in stale:
            (made / name).write_bytes(b"old")
        (made / "sub").mkdir()
        (made / "sub" / "notes.txt").write_text("mine")
        (made / "link").symlink_to("sub/notes.txt")
        convert(source, made, to="tf", overwrite=True)
        assert set(listing(made)) == {"config.json", "tf_model.h5", "sub/notes.txt", "link"}
        assert (made / "link").is_symlink()
        convert(made, tmp_path / "back", to="pt")
        assert contents(tmp_path / "back") == contents(source)

    def test_a_link_to_a_folder_stays_a_link(self, tmp_path, source):
        (tmp_path / "real").mkdir()
        (tmp_path / "made").symlink_to("real")
        convert(source, tmp_path / "made", to="tf")
        assert (tmp_path / "made").is_symlink()
        assert set(listing(tmp_path / "real")) == {"config.json", "tf_model.h5"}

    def test_an_empty_target_keeps_its_permissions(self, tmp_path, source):
        (tmp_path / "made").mkdir(mode=0o750)
        convert(source, tmp_path / "made", to="tf")
        assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o750


    def test_the_target_folder_stays_itself(self, tmp_path, source, monkeypatch):
        """A mount point cannot be renamed, and a shell that stands in the target is to go on standing there."""
        made = write_checkpoint(tmp_path / "made", small_config("v1"), "Model")
        made.chmod(0o2750)
        (made / "config.json").chmod(0o600)
        number, mode = made.stat().st_ino, stat.S_IMODE(made.stat().st_mode)
        monkeypatch.setattr(os, "rename", lambda *_: pytest.fail("a folder was renamed"))
        monkeypatch.chdir(made)
        convert(source, ".", to="tf", overwrite=True)
        assert (made.stat().st_ino, stat.S_IMODE(made.stat().st_mode)) == (number, mode)
        assert stat.S_IMODE((made / "config.json").stat().st_mode) == 0o600
        assert set(os.listdir(".")) == {"config.json", "tf_model.h5"}

    def test_what_a_kill_left_is_no_content_and_goes(self, tmp_path, source):
        line = [sys.executable, "-m", "conversion", "convert", source, tmp_path / "made", "--to", "tf"]
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and not list(tmp_path.glob("made/.deberta-*/new/tf_model.h5")):
            time.sleep(0.0005)
        process.kill()
        process.wait()
        stage = tmp_path / "made" / ".deberta-0123456789abcdef" / "new"
        stage.mkdir(parents=True)  # if the kill came too late, as if it had not
        (stage / "tf_model.h5").write_bytes(b"half")
        done = any(not name.startswith(".") for name in os.listdir(tmp_path / "made"))
        convert(source, tmp_path / "made", to="tf", overwrite=done)
        assert set(os.listdir(tmp_path / "made")) == {"config.json", "tf_model.h5"}


class TestCarried:
    def test_hidden_files_are_never_carried(self, tmp_path, source):
        for name in (".env", ".netrc", "sub/.secret", ".git/config"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text("token")
        report = convert(source, tmp_path / "made", to="tf")
        assert set(listing(tmp_path / "made")) == {"config.json", "tf_model.h5"}
        assert report.left_behind == dict.fromkeys((".env", ".netrc", "sub/.secret"), "a hidden file")

    def test_everything_but_other_weights(self, tmp_path, source):
        for name in ("spm.model", "tokenizer_config.json", "README.md", "trainer_state.json", "1_Pooling/config.json"):
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_bytes(name.encode())
        (source / "pytorch_model.generator.bin").write_bytes(b"another model")
        for name in ("tf_model.h5", "flax_model.msgpack", "pytorch_model.bin.index.json", "a.weights.h5"):
            (source / name).write_bytes(b"other weights")
        (source / ".git").mkdir()
        (source / ".git" / "HEAD").write_text("x")
        (tmp_path / "blob").write_text("linked")
        (source / "vocab.json").symlink_to(tmp_path / "blob")
        (source / "broken").symlink_to(tmp_path / "nowhere")
        (source / "folder").symlink_to(tmp_path)
        os.mkfifo(source / "pipe")
        report = convert(source, tmp_path / "made", to="pt", format="bin")
        made = listing(tmp_path / "made")
        for name in ("spm.model", "tokenizer_config.json", "README.md", "trainer_state.json", "1_Pooling/config.json"):
            assert made[name] == name.encode()
        assert made["vocab.json"] == b"linked"
        assert not (tmp_path / "made" / "vocab.json").is_symlink()
        assert made["pytorch_model.generator.bin"] == b"another model"
        assert made["config.json"] == (source / "config.json").read_bytes()
        expected = {*report.copied, "pytorch_model.bin"}
        assert set(made) == expected
        other = "weights of a format of their own"
        assert report.left_behind == {
            "tf_model.h5": other, "flax_model.msgpack": other, "pytorch_model.bin.index.json": other,
            "a.weights.h5": other, "broken": "cannot be read (No such file or directory)",
            "folder": "a link to a folder", "pipe": "not a regular file",
        }  # fmt: skip

    def test_a_file_by_itself_takes_only_what_belongs_to_it(self, tmp_path, source):
        (source / "spm.model").write_bytes(b"tokens")
        (source / "holiday.jpg").write_bytes(b"private")
        convert(source / "model.safetensors", tmp_path / "made", to="tf")
        assert set(listing(tmp_path / "made")) == {"config.json", "spm.model", "tf_model.h5"}

    def test_a_target_inside_the_source_is_not_carried_into_itself(self, tmp_path, source):
        convert(source, source / "tf", to="tf")
        assert set(listing(source / "tf")) == {"config.json", "tf_model.h5"}
        convert(source, source / "tf2", to="tf")
        assert set(listing(source / "tf2")) == {"config.json", "tf_model.h5", "tf/config.json", "tf/tf_model.h5"}

    def test_nor_where_the_source_is_given_from_the_folder_that_one_is_in(self, tmp_path, source, monkeypatch):
        monkeypatch.chdir(source.parent)
        for _ in range(2):
            convert(source.name, f"{source.name}/tf", to="tf", overwrite=True)
        assert set(listing(source / "tf")) == {"config.json", "tf_model.h5"}

    def test_a_snapshot_of_links_is_read_like_a_folder_of_files(self, tmp_path, source):
        blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
        blobs.mkdir()
        snapshot.mkdir()
        for number, path in enumerate(sorted(source.iterdir())):
            path.rename(blobs / str(number))
            (snapshot / path.name).symlink_to(f"../blobs/{number}")
        convert(snapshot, tmp_path / "made", to="pt")
        assert contents(tmp_path / "made") == contents(snapshot)
        assert not any(path.is_symlink() for path in (tmp_path / "made").iterdir())


class TestSourcesThatDoNotFit:
    def test_weights_of_another_family(self, tmp_path, source):
        other = write_checkpoint(tmp_path / "other", small_config("v1"), "Model")
        (source / "config.json").write_bytes((other / "config.json").read_bytes())
        with pytest.raises(ValueError, match=r"says model_type 'deberta', but the weights .* 'deberta-v2'"):
            convert(source, tmp_path / "made", to="tf")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"intermediate_size": 21}, r"does not fit its config: .*is \[20, 24\], its config asks for \[21, 24\]"),
            ({"num_hidden_layers": 3}, "lacks 16 weights of the encoder that its config asks for"),
            ({"vocab_size": 99}, "does not fit its config"),
            ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, r"classifier.weight is \[3, 24\]"),
            ({"hidden_size": -1}, "hidden_size"),
            ({"model_type": "bert"}, "model_type 'bert'"),
        ],
    )
    @pytest.mark.parametrize("kind", [("pt", "safetensors"), ("tf", "h5")])
    def test_a_config_of_another_model(self, tmp_path, kind, change, text):
        source = write_checkpoint(tmp_path / "source", small_config("v3"), "ForSequenceClassification", kind)
        values = json.loads((source / "config.json").read_text())
        (source / "config.json").write_text(json.dumps({**values, **change}))
        with pytest.raises(ValueError, match=text):
            convert(source, tmp_path / "made", to="tf")
        assert beside(tmp_path) == []

    def test_a_file_that_is_no_deberta(self, tmp_path):
        import numpy as np
        from safetensors.numpy import save_file

        save_file({"bert.encoder.layer.0.attention.self.query.weight": np.zeros((2, 2))}, tmp_path / "x.safetensors")
        with pytest.raises(CheckpointError, match=r"holds no DeBERTa encoder .*its tensors: 'bert.encoder"):
            convert(tmp_path / "x.safetensors", tmp_path / "made", to="tf")

    def test_only_differences_to_a_generator(self, tmp_path):
        from tests.conversion.helpers import pytorch_values, write_pt

        config = small_config("v3")
        values = pytorch_values(config, "ForSequenceClassification")
        values["deberta.embeddings.word_embeddings._weight"] = values.pop("deberta.embeddings.word_embeddings.weight")
        source = write_pt(tmp_path / "source", values, config=config, head="ForSequenceClassification")
        with pytest.raises(ValueError, match=r"differences to a generator's tables .*merge it"):
            convert(source, tmp_path / "made", to="tf")

    def test_damaged_json(self, tmp_path, source):
        (source / "config.json").write_text("{")
        done = command("convert", source, tmp_path / "made", "--to", "tf")
        assert done.returncode == 2
        assert "is not valid json" in done.stderr
        assert done.stdout == ""
