"""Texts of files that are shown to people."""

from __future__ import annotations

import pytest

from deberta_core.config import DebertaV2Config
from deberta_core.hub.card import model_card
from deberta_core.wording import code_span, harmless, one_line

ESCAPES = ["\x1b[2J", "\x1b]0;title\x07", "a\rb", "\x9b31m", "\u202egnp.exe", "\x00", "\x7f", "\ud800"]


@pytest.mark.parametrize("text", ESCAPES)
def test_nothing_acts_on_a_terminal(text: str) -> None:
    for shown in (harmless(text), one_line(text), code_span(text)):
        assert shown.isprintable()
        assert shown.encode("utf-8")
    assert harmless("a\tb\nc\u3000\u00e9\u6771") == "a\tb\nc\u3000\u00e9\u6771"
    assert one_line("a\tb\nc") == "a\\tb\\nc"


def test_labels_were_written_into_the_card_as_they_are() -> None:
    labels = ["`x`", "a|b", "</td><script>", "one\n# two", "\x1b[31m", "``", " ", "plain"]
    config = DebertaV2Config(id2label=dict(enumerate(labels)))
    config.extra["architectures"] = ["DebertaV2ForSequenceClassification"]
    card = model_card(config, "a/b")
    (row,) = [line for line in card.splitlines() if line.startswith("| labels")]
    spans = row.removeprefix("| labels | ").removesuffix(" |")
    assert spans == (
        "`` `x` ``, `a\\|b`, `</td><script>`, `one\\n# two`, `\\u001b[31m`, ``` `` ```, `   `, `plain`"
    )
    config.extra["architectures"] = ["X\n```\n<script>"]
    assert "script" not in model_card(config, "a/b").replace("`</td><script>`", "")
