"""How well documents answer a query: the reranker's use of a model of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deberta_core.config import near
from deberta_tasks.pipelines.base import Pipeline, Row
from deberta_tasks.pipelines.options import Options, check_choice, check_count, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.pipelines.text_classification import FUNCTIONS, scores_of
from deberta_tasks.records import Record


@dataclass(frozen=True, kw_only=True)
class TextRankingOptions(Options):
    """Options of text ranking.

    Attributes:
        top_k: number of documents, best first; default all.
        label: the model's label that says that a document fits, where it has several.
        function_to_apply: ``softmax``, ``sigmoid`` or ``none``; default ``sigmoid`` for a model of one label.
    """

    top_k: int | None = option(None, "number of documents, best first; default all")
    label: str | None = option(None, "the model's label that says that a document fits, where it has several")
    function_to_apply: str | None = option(None, f"{', '.join(FUNCTIONS)}; default by the model's problem_type")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k, optional=True)
        if self.function_to_apply is not None:
            check_choice("function_to_apply", self.function_to_apply, FUNCTIONS)


class TextRanking(Pipeline[TextRankingOptions]):
    """``{"score"}`` for a query and a ``document``; for ``documents`` a list of index, score and text, best first."""

    task = "text-ranking"
    head = "ForSequenceClassification"
    options_class = TextRankingOptions
    fields = ("query",)
    optional_fields = ("document", "documents")
    list_fields = ("documents",)

    def check(self, options: TextRankingOptions) -> None:
        """One of the model's labels must be the one that says that a document fits."""
        super().check(options)
        self._place(options)

    def _place(self, options: TextRankingOptions) -> int:
        labels = self.runner.config.id2label or {}
        known = ", ".join(labels.values())
        if options.label is None:
            if len(labels) == 1:
                return 0
            raise ValueError(
                f"the model has {len(labels)} labels ({known}): ranking needs a model of one, or the label that says "
                "that a document fits; name it with label (--label)"
            )
        for place, label in labels.items():
            if label == options.label:
                return place
        raise ValueError(
            f"label is {options.label!r}{near(options.label, labels.values())}; the model's labels are {known}"
        )

    def read(self, item: Any) -> Record:
        """A query with one document or several."""
        record = super().read(item)
        if (record.get("document") is None) == (record.get("documents") is None):
            raise ValueError("expected a dict with query and either document or documents")
        return record

    def encode(self, record: Record, options: TextRankingOptions) -> list[Row]:
        """One row for each document; truncation cuts the document."""
        documents = record["documents"] if record.get("documents") is not None else [record["document"]]
        return [self.tokens(options, record["query"], document, cut="only_second") for document in documents]

    def digest(self, row: Row, output: Arrays, options: TextRankingOptions) -> float:
        """The score."""
        return float(scores_of(output["logits"], self.runner.config, options.function_to_apply)[self._place(options)])

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: TextRankingOptions) -> Any:
        """A score, or documents with theirs."""
        scores = [score for _, score in rows]
        if record.get("documents") is None:
            return {"score": scores[0]}
        places = sorted(range(len(scores)), key=lambda place: -scores[place])[: options.top_k]
        return [{"index": p, "score": scores[p], "document": record["documents"][p]} for p in places]

    def describe(self, record: Record, result: Any) -> str:
        """Scores with documents."""
        rows = result if isinstance(result, list) else [{**result, "document": record["document"]}]
        return "\n".join(f"{row['score']:.4f}\t{row['document']}" for row in rows)
