"""The README.md of a saved model: what can be said of it from its config alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from deberta_core.file_names import CARD, CONFIG
from deberta_core.files import Replacement
from deberta_core.wording import code_span, one_line

# The hub's words for what a head does, where they are not those of its class.
OTHER_WORDS = {"Model": "feature-extraction", "MaskedLM": "fill-mask", "SequenceClassification": "text-classification"}
MOST_LABELS = 30


def model_card(config: Any, name: str, note: str | None = None) -> str:
    """A card in Markdown, with the header that a hub reads.

    Args:
        config: as saved, with its class name in ``architectures``.
        name: folder or repository to load it from, for the examples.
        note: what is known about the training, in Markdown; default: that it is not known.
    """
    cls = str((config.extra.get("architectures") or ["DebertaV2Model"])[0])
    cls = cls if cls.isidentifier() else "DebertaV2Model"  # it comes from a file, and goes into code
    task = next((word for end, word in OTHER_WORDS.items() if cls.endswith(end)), None)
    same = re.search("For([A-Z][a-z]+)(Classification|Answering|Choice)$", cls)
    task = f"{same[1]}-{same[2]}".lower() if same and task is None else task
    head = ["---", f"tags: [{config.model_type}, deberta, pytorch, tensorflow]"]
    head += [f"pipeline_tag: {task}"] if task else []
    rows = {
        "class": f"`{cls}`",
        "layers": config.num_hidden_layers,
        "hidden size": config.hidden_size,
        "attention heads": config.num_attention_heads,
        "vocabulary": config.vocab_size,
    }
    if "Classification" in cls:
        names = [label for _, label in sorted((config.id2label or {}).items())]
        rest = f" and {len(names) - MOST_LABELS} more" if len(names) > MOST_LABELS else ""
        rows["labels"] = ", ".join(code_span(str(label)) for label in names[:MOST_LABELS]) + rest
    table = ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    code = [
        "```python",
        f"from deberta_pt import {cls}  # or: from deberta_tf import TF{cls}",
        "from tokenization import AutoTokenizer",
        "",
        f"model = {cls}.from_pretrained({name!r})",
        f"tokenizer = AutoTokenizer.from_pretrained({name!r})",
        "```",
    ]
    unknown = (
        "This card was written when the model was saved. What it was trained on, how well it does and where it fails "
        "is for those who trained it to add.\n"
    )
    title = one_line(Path(name).name)
    return "\n".join([*head, "---", "", f"# {title}", "", *table, "", *code, "", unknown if note is None else note])


def write_config_and_card(files: Replacement, config: Any, name: str | None = None) -> None:
    """Add ``config.json`` to a commit, and a card unless there is one: somebody may have written it.

    Args:
        files: the commit.
        config: as saved.
        name: where the card's examples load the model from; default the folder's name.
    """
    files.write(CONFIG, config.file_text())
    if not (files.folder / CARD).exists():
        files.write(CARD, model_card(config, name or files.folder.resolve().name))
