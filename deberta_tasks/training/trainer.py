"""For loops of other libraries: a callback that makes what transformers' ``Trainer`` saves a whole checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class WholeCheckpoints:
    """Writes config and tokenizer beside the weights that ``Trainer`` saves, so that ``from_pretrained`` reads them.

    ``Trainer(model, ..., callbacks=[WholeCheckpoints(tokenizer)])``. With PEFT, whose folders hold an adapter and not a
    model, only the tokenizer is added. Neither transformers nor PEFT is imported: the events that ``Trainer`` tells of
    and this class has no use for are passed over.

    Args:
        tokenizer: the model's; ``None`` writes none.
    """

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer

    def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """``Trainer`` has written ``checkpoint-N``."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        while hasattr(model, "module"):  # what DDP and the like put around it
            model = model.module
        if hasattr(model, "saved_config"):
            model.saved_config().save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)
