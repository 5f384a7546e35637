"""The command line ``deberta``; a subcommand is a row of the table and a module that is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence

from conversion.command_line import COMMANDS as CONVERSION
from conversion.command_line import Command, run

COMMANDS = (
    Command("run", "run a task on texts: classify, rank, answer, fill in", "deberta_tasks.run_command"),
    Command("demo", "train a small model, convert it and compare the two frameworks", "deberta_tasks.demo"),
    Command("finetune", "train a model for a task on labelled texts", "deberta_tasks.finetune.command"),
    Command("pretrain", "train a model on plain text: masked or replaced tokens", "deberta_tasks.pretrain.command"),
    *CONVERSION,
    Command("trim", "cut a model's vocabulary down to what texts use", "deberta_tasks.smaller.trim_command"),
    Command("quantize", "give a model weights of 8-bit integers", "deberta_tasks.smaller.quantize_command"),
    Command("attention", "draw the attention of a text, by head and part", "deberta_tasks.attention.command"),
    Command("info", "say what is installed: versions, devices", "deberta_tasks.info_command"),
    Command("compare-tokenizers", "compare the tokens of two tokenizers on texts", "tokenization.compare"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``deberta`` and return its exit code.

    Args:
        arguments: default those of the process.
    """
    description = "DeBERTa in PyTorch and TensorFlow: convert, compare and run checkpoints."
    return run(COMMANDS, "deberta", description, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
