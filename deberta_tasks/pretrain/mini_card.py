"""The cards of ``deberta-zoo/mini``: what it learnt from, how its training went, how good it is, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deberta_core.hub.card import model_card
from deberta_core.packaged import DISCRIMINATOR, GENERATOR, NAME
from deberta_tasks.pretrain.texts import Source
from deberta_tasks.training.options import Options

LIMITS = """\
## Known limits

- It is made to try things with: to see a pipeline say something sensible, to start a small classifier from, to test.
  For results, take a published DeBERTa.
- It knows the English of dictionaries, of manuals for computers and of the Bible, and neither news nor talk; it says
  what such texts say, their views of the world from 1611 to today included. Names, numbers and facts are guesses.
- Words that its vocabulary cuts into pieces cannot be said by fill-mask, which fills one place with one piece.
- It learnt from texts of {length} tokens: longer ones are read, but farther neighbours are all taken to be equally far.
"""


def card(
    name: str, config: Any, options: Options, masked: float, sources: Sequence[Source],
    counts: Mapping[str, Mapping[str, int]], curve: Sequence[Mapping[str, float]], right: Mapping[str, float],
    plot: str | None,
) -> str:  # fmt: skip
    """The card of one half in Markdown.

    Args:
        name: that gives this half.
        config: of this half.
        options: of the training.
        masked: share of the tokens that were hidden.
        sources: of the texts.
        counts: what came of each, by package: the fields of ``texts.Count``.
        curve: the lines of the log that have scores, in order.
        right: share of hidden words among the first five, by who says them.
        plot: name of a picture of the curves beside the card.
    """
    texts = [
        f"| {source.title} | `{source.package}` | {source.licence} | {counts[source.package]['characters'] / 1e6:.2f} |"
        for source in sources
    ]
    last = int(curve[-1]["step"])
    tokens = last * options.batch_size * options.max_length / 1e6
    unfinished = "" if last == options.steps else f" The run was to have {options.steps} steps."
    scores = [score for score in curve[-1] if score not in ("step", "rate", "mlm_loss", "rtd_loss")]
    steps = [
        f"| {int(line['step'])} | " + " | ".join(f"{line[score]:.3f}" for score in scores) + " |" for line in curve
    ]  # fmt: skip
    changed = ", ".join(f"`{option}={value}`" for option, value in options.changed().items())
    note = "\n".join([
        "A small DeBERTa v3 with its generator, pretrained with replaced tokens (RTD) and gradient-disentangled "
        "sharing of embeddings; the generator has half the layers and the enhanced mask decoder. "
        f"`{GENERATOR}` and `{DISCRIMINATOR}` name one of the two each; `{NAME}` is the generator for `fill-mask` and "
        "classes ending in `ForMaskedLM`, the discriminator for everything else. Both come with the package and are "
        "not on a hub. On a Debian 12 that has the packages below, one command makes them:",
        "",
        "    python -m deberta_tasks.pretrain.mini --output run",
        "",
        "## Licence",
        "",
        "Weights, vocabulary and this card: Apache-2.0, as the project. They hold none of the texts below, which have "
        "their own licences.",
        "",
        "## Texts",
        "",
        "| text | package | licence | million characters |",
        "|---|---|---|---|",
        *texts,
        "",
        "Of a paragraph that occurs twice only the first is kept; one document in a hundred is held back to judge by.",
        "",
        "## Training",
        "",
        f"{last} steps, {tokens:.1f} million tokens, {masked:.0%} of them hidden, whole words.{unfinished} "
        f"Options that differ from the defaults: {changed}.",
        "",
        "| step | " + " | ".join(score.replace("_", " ") for score in scores) + " |",
        "|---" * (1 + len(scores)) + "|",
        *steps,
        "",
        *([f"![losses and scores]({plot})", ""] if plot else []),
        "## How good it is",
        "",
        "One word is hidden in each of some held-back texts; share of these words that are among the first five "
        "answers:",
        "",
        "| who | share |",
        "|---|---|",
        *(f"| {who} | {share:.1%} |" for who, share in right.items()),
        "",
        LIMITS.format(length=options.max_length),
    ])  # fmt: skip
    return model_card(config, name, note=note).replace("---\n", "---\nlicense: apache-2.0\nlanguage: en\n", 1)
