"""How well documents answer a query: the reranker's use of a model of pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deberta_core.wording import near
from deberta_tasks.records import Record
from deberta_tasks.tasks.base import Arrays, Feature, Kept, Reader, Task, combined, with_cut
from deberta_tasks.tasks.options import ScoreOptions, check_count, option
from deberta_tasks.tasks.text_classification import scores_of


@dataclass(frozen=True, kw_only=True)
class TextRankingOptions(ScoreOptions):
    """Options of text ranking.

    Attributes:
        top_k: number of documents, best first; default all.
        label: the model's label that says that a document fits, where it has several.
    """

    top_k: int | None = option(None, "number of documents, best first; default all")
    label: str | None = option(None, "the model's label that says that a document fits, where it has several")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k, optional=True)


class TextRanking(Task):
    """``{"score"}`` for a query and a ``document``; for ``documents`` a list of index, score and text, best first."""

    name = "text-ranking"
    head = "ForSequenceClassification"
    options_class = TextRankingOptions
    fields = ("query",)
    either = ("document", "documents")
    lists = ("documents",)

    def check_options(self, reader: Reader) -> None:
        """One of the model's labels must be the one that says that a document fits."""
        self._place(reader)

    def _place(self, reader: Reader) -> int:
        label, known = reader.options.label, ", ".join(reader.names)
        if label is None and len(reader.names) == 1:
            return 0
        if label is None:
            raise ValueError(
                f"the model has {len(reader.names)} labels ({known}): ranking needs a model of one, or the label that "
                "says that a document fits; name it with label (--label)"
            )
        if label not in reader.names:
            raise ValueError(f"label is {label!r}{near(label, reader.names)}; the model's labels are {known}")
        return reader.names.index(label)

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature for each document, or one for each of its windows; the notes are the number of the document."""
        documents = example["documents"] if example.get("documents") is not None else [example["document"]]
        return [
            replace(feature, notes=number)
            for number, document in enumerate(documents)
            for feature in reader.features(example["query"], document, cut="only_second")
        ]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> float:
        """The score."""
        scores = scores_of(output["logits"], reader.config, reader.options.function_to_apply)
        return float(scores[self._place(reader)])

    def decode(self, example: Record, kept: Kept, reader: Reader) -> Any:
        """A score, or documents with theirs."""
        found: dict[int, list[float]] = {}
        cut: dict[int, int] = {}
        for feature, score in kept:
            found.setdefault(feature.notes, []).append(score)
            cut[feature.notes] = feature.cut
        scores = [float(combined(found[number], reader.options.combine)) for number in sorted(found)]
        if example.get("documents") is None:
            return {"score": scores[0]}
        places = sorted(range(len(scores)), key=lambda place: -scores[place])[: reader.options.top_k]
        return [with_cut({"index": p, "score": scores[p], "document": example["documents"][p]}, cut[p]) for p in places]

    def describe(self, example: Record, answer: Any) -> str:
        """Scores with documents."""
        found = answer if isinstance(answer, list) else [{**answer, "document": example["document"]}]
        return "\n".join(f"{one['score']:.4f}\t{one['document']}" for one in found)


TASK = TextRanking()
