"""The stretch of a text that answers a question, in texts of any length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deberta_tasks.pipelines.base import Pipeline, Row, visible_span
from deberta_tasks.pipelines.options import Options, check_count, option
from deberta_tasks.pipelines.runner import Arrays
from deberta_tasks.records import Record
from deberta_tasks.tasks.numbers import Array, best, softmax

USUAL_LENGTH, USUAL_STRIDE = 384, 128  # tokens; what models of question answering are trained with
SPECIALS = 3


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(Options):
    """Options of question answering; ``max_length`` is by default 384 tokens or the tokenizer's limit, if less.

    Attributes:
        top_k: number of answers, the likeliest first; default the best one, not in a list.
        doc_stride: tokens that two windows of a long context share; default 128 or half a row, if less.
        max_answer_len: most tokens of an answer.
        handle_impossible_answer: "no answer" takes part, as an empty answer with the score that the model gives it.
        align_to_words: answers begin and end where the tokenizer's words do.
    """

    top_k: int = option(1, "number of answers, the likeliest first; default 1")
    doc_stride: int | None = option(None, "tokens that two windows of a long context share; default 128")
    max_answer_len: int = option(15, "most tokens of an answer; default 15")
    handle_impossible_answer: bool = option(False, 'let "no answer" take part, as an empty answer')
    align_to_words: bool = option(True, "answers begin and end where words do; this is the default")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("top_k", self.top_k)
        check_count("doc_stride", self.doc_stride, least=0, optional=True)
        check_count("max_answer_len", self.max_answer_len)


class Found(NamedTuple):
    """What a window says: answers as score and characters of the context, and the score of there being none."""

    answers: list[tuple[float, int, int]]
    none: float


class QuestionAnswering(Pipeline[QuestionAnsweringOptions]):
    """``{"score", "start", "end", "answer"}`` for a question and its context; with ``top_k`` above 1 a list of them.

    A score is the product of the shares that first and last token have among the window's tokens; equal answers at
    several places add theirs up.
    """

    task = "question-answering"
    head = "ForQuestionAnswering"
    options_class = QuestionAnsweringOptions
    fields = ("question", "context")

    def limit(self, options: QuestionAnsweringOptions) -> int:
        """Most tokens of a window."""
        limit = super().limit(options)
        return limit if options.max_length is not None else min(limit, USUAL_LENGTH)

    def encode(self, record: Record, options: QuestionAnsweringOptions) -> list[Row]:
        """A row for each window; the notes are where its tokens come from."""
        limit = self.limit(options)
        stride = min(limit // 2, USUAL_STRIDE) if options.doc_stride is None else options.doc_stride
        asked = len(self.tokenizer(record["question"], add_special_tokens=False)["input_ids"])
        room = limit - SPECIALS - asked
        encoded = self.tokenizer(record["question"], record["context"])
        if room <= 0 or (stride >= room and len(encoded["input_ids"]) > limit):
            raise ValueError(
                f"the question has {asked} tokens, which leaves {max(room, 0)} of {limit} for the context, and windows "
                f"share {stride}; shorten the question, or use a larger max_length or a smaller doc_stride"
            )
        encoded = self.tokenizer(
            record["question"], record["context"], truncation="only_second", max_length=limit, stride=stride,
            return_overflowing_tokens=True,
        )  # fmt: skip
        inputs: dict[str, Any] = self.model_inputs(encoded)
        return [
            Row({name: list(rows[i]) for name, rows in inputs.items()}, encoded.alignment(i))
            for i in range(len(encoded["input_ids"]))
        ]

    def digest(self, row: Row, output: Arrays, options: QuestionAnsweringOptions) -> Found:
        """The best answers of a window: twice as many as asked for, because words may make several of them equal."""
        context = [at for at, text in enumerate(row.notes.sequences) if text == 1]
        places = [0, *context]  # [CLS] stands for "no answer"
        start, end = (softmax(output[name][places]) for name in ("start_logits", "end_logits"))
        count = options.top_k * 2 + 10 if options.align_to_words else options.top_k
        found = []
        for first, last, score in spans(start[1:], end[1:], options.max_answer_len, count):
            characters = self._characters(row, context[first], context[last], options.align_to_words)
            if characters[0] < characters[1]:
                found.append((score, *characters))
        return Found(found, float(start[0] * end[0]))

    def _characters(self, row: Row, first: int, last: int, align: bool) -> tuple[int, int]:
        alignment = row.notes
        if align:
            own = [text == 1 for text in alignment.sequences]
            while own[first - 1] and alignment.words[first - 1] == alignment.words[first]:
                first -= 1
            while own[last + 1] and alignment.words[last + 1] == alignment.words[last]:
                last += 1
        return alignment.spans[first][0], alignment.spans[last][1]

    def decode(self, record: Record, rows: list[tuple[Row, Any]], options: QuestionAnsweringOptions) -> Any:
        """The best answers of all windows."""
        answers: dict[str, dict[str, Any]] = {}
        for score, first, behind in (answer for _, found in rows for answer in found.answers):
            start, end = visible_span(record["context"], first, behind)
            text = record["context"][start:end]
            if not text:
                continue
            known = answers.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
            known["score"] += score
        ranked = list(answers.values())
        if options.handle_impossible_answer or not ranked:
            none = min(found.none for _, found in rows)  # only if no window has an answer there is none
            ranked.append({"score": none, "start": 0, "end": 0, "answer": ""})
        ranked.sort(key=lambda answer: -answer["score"])
        return ranked[0] if options.top_k == 1 else ranked[: options.top_k]

    def describe(self, record: Record, result: Any) -> str:
        """The answers."""
        rows = result if isinstance(result, list) else [result]
        return "\n".join(
            f"{row['answer'] or '(no answer)'}\t{row['score']:.3f}\t{row['start']}-{row['end']}" for row in rows
        )


def spans(start: Array, end: Array, longest: int, count: int) -> list[tuple[int, int, float]]:
    """The likeliest spans: first and last token, and the product of their shares.

    Args:
        start: share of each token as the first, ``[L]``.
        end: share of each token as the last, ``[L]``.
        longest: most tokens of a span.
        count: how many spans.
    """
    longest = min(longest, len(start))
    scores = np.full((len(start), longest), -1.0)  # first token, tokens after it
    for more in range(longest):
        scores[: len(start) - more, more] = start[: len(start) - more] * end[more:]
    found = []
    for place in best(scores.ravel(), count):
        first, more = divmod(place, longest)
        if scores[first, more] >= 0:
            found.append((first, first + more, float(scores[first, more])))
    return found
