"""``python -m conversion``: the subcommands of ``deberta`` that need no framework."""

import sys

from conversion.command_line import COMMANDS, run

if __name__ == "__main__":
    sys.exit(run(COMMANDS, "python -m conversion", "Convert, inspect and verify DeBERTa checkpoints."))
