"""``deberta completion``: a script for bash, zsh or fish that completes commands, options and their choices."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable

from conversion.command_line import FINE, Command, declare

SHELLS = ("bash", "zsh", "fish")
# zsh reads the functions of bash. Where an option takes a file, or nothing is known, files are completed.
BASH = """_{name}() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  if (( COMP_CWORD == 1 )); then
    words={commands}
  else
    case "${{COMP_WORDS[1]}} $before" in
{choices}
    *) [[ $word == -* ]] && case ${{COMP_WORDS[1]}} in
{options}
    esac ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _{name} {program}
"""
ZSH = """#compdef {program}
autoload -U +X bashcompinit && bashcompinit
{bash}# The first time zsh reads this file in place of the function, which has to be called, too.
[[ ${{funcstack[1]}} == _{name} ]] && _bash_complete -o default -F _{name}
:
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="whose script to print")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    parsers = {command: parser_of(command) for command in args.commands}
    if args.shell == "fish":
        print(fish(args.program, parsers))
    else:
        script, name = bash(args.program, parsers), args.program.replace("-", "_")
        print(script if args.shell == "bash" else ZSH.format(program=args.program, name=name, bash=script), end="")
    return FINE


def parser_of(command: Command) -> argparse.ArgumentParser:
    """What a command takes."""
    parser = argparse.ArgumentParser(prog=command.name)
    declare(command, parser)
    return parser


def bash(program: str, parsers: dict[Command, argparse.ArgumentParser]) -> str:
    """The script for bash."""
    choices, options = [], []
    for command, parser in parsers.items():
        flags: list[str] = []
        for action in parser._actions:
            flags += action.option_strings
            for flag in action.option_strings if action.choices else ():
                choices.append(f"    {shlex.quote(f'{command.name} {flag}')}) words={_words(action.choices or ())} ;;")
        options.append(f"    {command.name}) words={_words(flags)} ;;")
        for action in parser._actions:  # a choice that stands alone, as of this command itself
            if action.choices and not action.option_strings:
                place = shlex.quote(f"{command.name} {command.name}")
                choices.append(f"    {place}) words={_words(action.choices)} ;;")
    return BASH.format(
        name=program.replace("-", "_"), program=program, commands=_words([command.name for command in parsers]),
        choices="\n".join(choices), options="\n".join(options),
    )  # fmt: skip


def fish(program: str, parsers: dict[Command, argparse.ArgumentParser]) -> str:
    """The script for fish."""
    lines = []
    for command, parser in parsers.items():
        name, help = shlex.quote(command.name), shlex.quote(command.help)
        lines.append(f"complete -c {program} -n __fish_use_subcommand -f -a {name} -d {help}")
        seen = f"complete -c {program} -n {shlex.quote(f'__fish_seen_subcommand_from {command.name}')}"
        for action in parser._actions:
            choices = f" -x -a {_words(action.choices)}" if action.choices else " -r" if action.nargs != 0 else ""
            for flag in action.option_strings:
                kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                lines.append(f"{seen} {kind}{choices}")
            if action.choices and not action.option_strings:
                lines.append(f"{seen} -f -a {_words(action.choices)}")
    return "\n".join(lines)


def _words(words: Iterable[object]) -> str:
    return shlex.quote(" ".join(map(str, words)))
