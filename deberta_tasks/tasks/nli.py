"""Whether a premise entails a hypothesis."""

from __future__ import annotations

from deberta_tasks.tasks.text_classification import TextClassification


class Inference(TextClassification):
    """``{"label", "score"}`` for a premise and a hypothesis; with ``top_k`` a list of them."""

    name = "nli"
    fields = ("premise", "hypothesis")
    optional = ()
    bundled = "pairs.csv"


TASK = Inference()
