"""What every command of ``deberta`` has: a place in the list, help with an example, completion in a shell."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from conversion import command_line
from conversion.command_line import GROUPS, _parser
from deberta_tasks.cli import COMMANDS, main
from tokenization import DebertaV2Tokenizer, train_from_iterator

NAMES = [command.name for command in COMMANDS]


QUOTES = "''"  # an empty word in a shell


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help_has_an_example_that_can_be_typed(
    command: command_line.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    help = capsys.readouterr().out
    assert "\nexample:\n" in help
    assert "exit codes: 0 done" in help
    assert "\033" not in help
    for line in command.example.splitlines():
        assert f"\n  {line}\n" in help
        words = shlex.split(line)
        words = words[words.index("deberta") + 1 :]
        words = words[: words.index(">")] if ">" in words else words
        assert _parser(COMMANDS, "deberta", "", words).parse_args(words).command == command.name


def test_the_list_is_by_what_people_want(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for group, title in GROUPS.items():
        rows = lines[lines.index(f"{title}:") + 1 :]
        listed = [row.split()[0] for row in rows[: [*rows, ""].index("")]]
        assert listed == [command.name for command in COMMANDS if command.group == group]
        assert listed
    assert sorted(NAMES) == sorted({*NAMES})


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code in (0, None)
    assert capsys.readouterr().out == f"deberta-zoo {version('deberta-zoo')}\n"


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(stream: io.StringIO) -> str:
        monkeypatch.setattr("sys.stderr", stream)
        assert main(["inspect", "nowhere/at-all"]) == 2
        return stream.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert shown(Terminal()).startswith("\033[31merror\033[0m: ")
    assert shown(io.StringIO()).startswith("error: ")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal()).startswith("error: ")
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal()).startswith("error: ")


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_completes_commands_options_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "complete").write_text(script("bash", capsys))
    asked = {
        "deberta co": {"convert", "compare-tokenizers", "completion"},
        "deberta convert --ov": {"--overwrite"},
        "deberta convert a b --to ": {"pt", "tf"},
        "deberta completion z": {"zsh"},
        "deberta pretrain --obj": {"--objective"},
        "deberta convert fi": set(),  # a file, which bash itself completes
    }
    program = "source complete\n" + "".join(
        f"COMP_WORDS=({line}{QUOTES if line.endswith(' ') else ''})\n"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=(); _deberta; echo ${COMPREPLY[@]}\n"
        for line in asked
    )
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not done.stderr
    assert [set(line.split()) for line in done.stdout.split("\n")[:-1]] == list(asked.values())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert all(name in text for name in NAMES)
    assert "overwrite" in text
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_tokenizers_are_compared_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["A fine day at last.", "Rain again."]
    for name, size in (("one", 300), ("other", 280)):
        train_from_iterator(texts, size).save_pretrained(tmp_path / name)
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    folders = [str(tmp_path / name) for name in ("one", "other")]
    assert main(["compare-tokenizers", folders[0], folders[0], str(tmp_path / "texts.txt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"texts": 2, "different": 0, "rate": 0.0, "differences": []}
    ids = [DebertaV2Tokenizer.from_pretrained(folder)(texts[0])["input_ids"] for folder in folders]
    code = main(["compare-tokenizers", *folders, str(tmp_path / "texts.txt"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (code == 1) == (ids[0] != ids[1] or found["different"] > 0)
    assert found["texts"] == 2
