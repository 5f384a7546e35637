"""The command line: exit codes, one sentence per error, three forms of every report, no framework in sight."""

import json
import os
import struct
import subprocess
import sys

import pytest

from deberta_tasks import cli
from tests.conversion.helpers import command, contents, edit_config, listing, small_config, write_checkpoint

NO_FRAMEWORK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "tf_keras", "keras", "transformers"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
"""


def without_frameworks(code, *arguments):
    line = [sys.executable, "-c", NO_FRAMEWORK + code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def source(tmp_path):
    return write_checkpoint(tmp_path / "source", small_config("v3"), "ForSequenceClassification")


class TestNoFramework:
    def test_importing_and_the_api(self, tmp_path, source):
        done = without_frameworks(
            "import conversion, deberta_tasks.cli\n"
            "source, made, back = sys.argv[1:]\n"
            "conversion.convert(source, made, to='tf')\n"
            "conversion.convert(made, back, to='pt')\n"
            "conversion.inspect(made)\n"
            "assert not {'torch', 'tensorflow', 'tf_keras', 'transformers'} & sys.modules.keys()",
            source, tmp_path / "made", tmp_path / "back",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert contents(tmp_path / "back") == contents(source)

    @pytest.mark.parametrize("module", ["conversion.__main__", "deberta_tasks.cli"])
    def test_the_commands(self, tmp_path, source, module):
        code = f"import runpy; sys.argv[0] = 'deberta'; runpy.run_module({module!r}, run_name='__main__')"
        convert = ["convert", source, tmp_path / "made", "--to", "tf"]
        for arguments in (convert, ["inspect", tmp_path / "made"], ["--help"]):
            done = without_frameworks(code, *arguments)
            assert done.returncode == 0, done.stderr
            assert done.stdout
        assert contents(tmp_path / "made")


def test_both_programs_are_the_same(tmp_path, source, capsys):
    assert cli.main(["convert", str(source), str(tmp_path / "one"), "--to", "tf", "--quiet"]) == 0
    assert command("convert", source, tmp_path / "two", "--to", "tf").returncode == 0
    assert listing(tmp_path / "one") == listing(tmp_path / "two")
    assert "lossless" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["--json", "--markdown", None])
@pytest.mark.parametrize("what", ["convert", "inspect"])
def test_forms_of_a_report(tmp_path, source, what, form):
    target = [tmp_path / "made", "--to", "tf"] if what == "convert" else []
    done = command(what, source, *target, *([form] if form else []))
    assert (done.returncode, done.stderr) == (0, "")
    if form == "--json":
        assert json.loads(done.stdout)["family"] == "deberta-v2"
    elif form == "--markdown":
        lines = [line for line in done.stdout.splitlines() if line and not line.startswith("## ")]
        assert all(line.startswith("|") and line.endswith("|") for line in lines)
        widths = {line.replace("\\|", "").count("|") for line in lines if "checkpoint" in line or "source" in line}
        assert widths == {3}
    else:
        assert "ForSequenceClassification" in done.stdout
        assert "|" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["inspect", "nowhere"], "no weights at nowhere: there is no such file or folder"),
        (["convert", "nowhere", "x", "--to", "pt"], "no weights at nowhere"),
        (["verify", "nowhere"], "no weights at nowhere"),
        (["convert", "{source}", "{source}", "--to", "tf", "--overwrite"], "source and target are the same folder"),
        (["convert", "{source}", "{source}/..", "--to", "tf"], "is not empty; choose another one"),
        (["convert", "{source}", "x", "--to", "tf", "--format", "bin"], "format is 'bin', expected 'h5' or"),
        (["convert", "{source}", "x", "--to", "tf", "--max-shard-size", "-5"], "size '-5' is not understood"),
        (["verify", "{source}", "--framework", "torch"], "verifying one checkpoint takes both frameworks"),
    ],
)
def test_an_error_is_one_sentence_and_code_2(tmp_path, source, arguments, text):
    done = command(*[argument.format(source=source) for argument in arguments], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [[], ["convert"], ["convert", "a", "b", "--to", "x"], ["nonsense"]])
def test_wrong_usage_is_code_2(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stdout + done.stderr


def test_a_bug_is_said_to_be_one(monkeypatch, capsys, source):
    import conversion.inspect_command

    def fail(*_, **__):
        raise IndexError("list index out of range")

    monkeypatch.setattr(conversion.inspect_command, "inspect", fail)
    assert cli.main(["inspect", str(source)]) == 2
    assert capsys.readouterr().err == "error: list index out of range (IndexError; DEBERTA_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("DEBERTA_TRACEBACK", "1")
    with pytest.raises(IndexError):
        cli.main(["inspect", str(source)])


def test_unknown_config_keys_do_not_disturb(source):
    edit_config(source, position_bukets=4)
    done = command("inspect", source)
    assert (done.returncode, done.stderr) == (0, "")


def test_progress_counts_every_byte(tmp_path, source):
    from conversion import convert

    seen = []
    report = convert(source, tmp_path / "made", to="tf", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (report.nbytes, report.nbytes)
    assert {total for _, total in seen} == {report.nbytes}


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_the_progress_bar_is_for_terminals(tmp_path, source):
    import fcntl
    import pty
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    line = [sys.executable, "-m", "conversion", "convert", str(source), str(tmp_path / "made"), "--to", "tf"]
    subprocess.run(line, stdout=subprocess.DEVNULL, stderr=follower, timeout=60, check=True)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    assert "converting" in shown
    assert "100%" in shown


def test_every_command_says_what_it_does():
    done = command("--help")
    assert done.returncode == 0
    for name in ("convert", "inspect", "verify"):
        assert name in done.stdout
        assert command(name, "--help").returncode == 0
