"""The command line ``deberta``; a subcommand is a row of the table and a module that is imported when it is called."""

from __future__ import annotations

from collections.abc import Sequence

from conversion.command_line import COMMANDS as CONVERSION
from conversion.command_line import LOOK, SHRINK, TRAIN, USE, Command, run

COMMANDS = (
    Command(
        "run", "run a task on texts: classify, rank, answer, fill in", "deberta_tasks.run_command", USE,
        'echo "A fine day at last." | deberta run --task text-classification --model my-model\n'
        "deberta run --task text-classification --model my-model --input texts.txt --output answers.jsonl",
    ),
    Command(
        "finetune", "train a model for a task on labelled texts", "deberta_tasks.finetune.command", TRAIN,
        "deberta finetune --task text-classification --model my-model --output my-run\n"
        "deberta finetune --task nli --model my-model --train train.csv --validation dev.csv --output my-nli-run",
    ),
    Command(
        "pretrain", "train a model on plain text: masked or replaced tokens", "deberta_tasks.pretrain.command", TRAIN,
        "deberta pretrain --text texts.txt --output my-pretraining-run\n"
        "deberta pretrain --objective mlm --model my-model --text texts.txt --output my-mlm-run",
    ),
    Command(
        "distill", "train a smaller model on what a larger one says", "deberta_tasks.distill.command", TRAIN,
        "deberta distill --teacher my-model --layers 1 --task text-classification --output my-distilled-run\n"
        "deberta distill --teacher my-model --student my-pruned-model --mlm --text texts.txt --output my-mlm-student",
    ),
    Command(
        "demo", "train a small model, convert it and compare the two frameworks", "deberta_tasks.demo", TRAIN,
        "deberta demo\ndeberta demo --data texts.csv",
    ),
    *CONVERSION,
    Command(
        "trim", "cut a model's vocabulary down to what texts use", "deberta_tasks.smaller.trim_command", SHRINK,
        "deberta trim my-model my-smaller-model --texts texts.txt",
    ),
    Command(
        "prune", "cut out the layers, heads and columns that matter least", "deberta_tasks.smaller.prune_command",
        SHRINK, "deberta prune my-model my-pruned-model --texts texts.txt --layers 2\n"
        "deberta prune my-model my-narrow-model --texts texts.txt --heads 0.3 --intermediate 0.5",
    ),
    Command(
        "quantize", "give a model weights of 8-bit integers", "deberta_tasks.smaller.quantize_command", SHRINK,
        "deberta quantize my-model my-int8-model --texts texts.txt",
    ),
    Command(
        "shrink", "trim, prune, distil and quantise a model down to a share of its bytes",
        "deberta_tasks.smaller.shrink_command", SHRINK,
        "deberta shrink my-model my-small-model --texts texts.txt --train train.csv --budget 0.25",
    ),
    Command(
        "attention", "draw the attention of a text, by head and part", "deberta_tasks.attention.command", LOOK,
        'deberta attention --model my-model --text "A fine day at last." --out attention.html',
    ),
    Command(
        "compare-tokenizers", "compare the tokens of two tokenizers on texts", "tokenization.compare", LOOK,
        "deberta compare-tokenizers my-model deberta-zoo/mini texts.txt",
    ),
    Command(
        "info", "say what is installed: versions, devices", "deberta_tasks.info_command", LOOK,
        "deberta info\ndeberta info --json",
    ),
    Command(
        "completion", "print a completion script for a shell", "deberta_tasks.completion_command", LOOK,
        "deberta completion bash > ~/.local/share/bash-completion/completions/deberta",
    ),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``deberta`` and return its exit code.

    Args:
        arguments: default those of the process.
    """
    description = "DeBERTa in PyTorch and TensorFlow: convert, compare and run checkpoints."
    return run(COMMANDS, "deberta", description, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
