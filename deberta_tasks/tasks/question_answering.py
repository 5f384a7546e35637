"""Question answering: the stretch of a context that answers a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deberta_tasks.pipelines.question_answering import spans
from deberta_tasks.records import Record
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Feature, Limits, Outputs, Task, rows_of, text_of
from deberta_tasks.tasks.numbers import softmax

LONGEST = 30  # tokens of an answer


class QuestionAnswering(Task):
    """The answer to a question, in the words of its context; an empty answer where the context has none.

    ``answer_start`` is its first character, counted from 0; without it, the answer's first place in the context. In
    JSONL several accepted answers may stand in ``answers``, as ``{"text": [...], "answer_start": [...]}``.
    """

    name = "question-answering"
    head = "ForQuestionAnswering"
    columns = ("question", "context")
    bundled = "answers.jsonl"
    best = "f1"

    def check(self, example: Record) -> None:
        """Answers must stand where they are said to."""
        context = text_of(example, "context")
        text_of(example, "question")
        given = example.get("answers")
        if isinstance(given, dict) and isinstance(given.get("text"), list):
            texts = given["text"]
            starts = given.get("answer_start") or [None] * len(texts)
        elif isinstance(example.get("answer"), str):
            texts, starts = [example["answer"]], [example.get("answer_start")]
        else:
            raise ValueError(f"{example.place} has no answer; expected a column 'answer', empty where there is none")
        found = zip(texts, starts, strict=False)
        example["answers"] = [_place(example, context, text, start) for text, start in found if text]

    def texts(self, example: Record) -> list[str]:
        """Question and context."""
        return [example["question"], example["context"]]

    def config(self, names: Sequence[str]) -> dict[str, Any]:
        """Nothing: the head has its own two."""
        return {}

    def features(
        self, examples: Sequence[Record], tokenizer: Any, names: Sequence[str], limits: Limits
    ) -> list[Feature]:
        """A row for each window of each context; where the answer is not in the window, it is at [CLS].

        Raises:
            ValueError: if a question leaves no room for its context.
        """
        questions = [example["question"] for example in examples]
        framed = len(tokenizer("", "")["input_ids"])
        for example, ids in zip(examples, tokenizer(questions, add_special_tokens=False)["input_ids"], strict=True):
            if limits.max_length - framed - len(ids) <= limits.stride:
                raise ValueError(
                    f"{example.place}: the question has {len(ids)} tokens, which leaves "
                    f"{max(limits.max_length - framed - len(ids), 0)} of {limits.max_length} for the context, expected "
                    f"more than the stride, {limits.stride}; raise max_length or lower stride"
                )
        batch = tokenizer(
            questions, [example["context"] for example in examples], truncation="only_second",
            max_length=limits.max_length, stride=limits.stride, return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )  # fmt: skip
        found = []
        for i, (row, number) in enumerate(zip(rows_of(batch), batch["overflow_to_sample_mapping"], strict=True)):
            places = zip(batch["offset_mapping"][i], batch.sequence_ids(i), strict=True)
            spans = [tuple(span) if sequence == 1 else None for span, sequence in places]
            first, last = _tokens(spans, examples[number]["answers"])
            found.append(Feature(row, {"start_positions": first, "end_positions": last}, int(number), spans))
        return found

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The likeliest stretch over all windows; empty where [CLS] is likelier and some context has no answer."""
        may_be_none = any(not example["answers"] for example in examples)
        best = [(-np.inf, "")] * len(examples)
        none = [np.inf] * len(examples)
        for output, feature in zip(outputs, features, strict=True):
            starts, ends = output["start_logits"], output["end_logits"]
            none[feature.example] = min(none[feature.example], float(starts[0] + ends[0]))
            context = examples[feature.example]["context"]
            found = _best_span(starts, ends, feature.spans)
            if found is not None and found[0] > best[feature.example][0]:
                best[feature.example] = (found[0], context[found[1] : found[2]])
        pairs = zip(best, none, strict=True)
        return ["" if may_be_none and nothing > score else answer for (score, answer), nothing in pairs]

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Exact match and F1 of the words."""
        return metrics.answer_scores(answers, [[text for _, text in example["answers"]] for example in examples])


def _place(example: Record, context: str, text: Any, start: Any) -> tuple[int, str]:
    if not isinstance(text, str):
        raise ValueError(f"{example.place}: answer is {text!r}, expected a text")
    if start in (None, ""):
        begin = context.find(text)
    else:
        begin = int(start) if str(start).isascii() and str(start).isdigit() else -1
    if begin < 0 or context[begin : begin + len(text)] != text:
        where = "" if start in (None, "") else f" at answer_start {start}"
        raise ValueError(f"{example.place}: answer {text!r} is not in its context{where}; answers are copied from it")
    return begin, text


def _tokens(spans: Sequence[tuple[int, int] | None], answers: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """First and last token of the first answer, 0 and 0 where the window does not hold it."""
    if not answers:
        return 0, 0
    begin, end = answers[0][0], answers[0][0] + len(answers[0][1])
    inside = [(i, *span) for i, span in enumerate(spans) if span and span[0] < end and span[1] > max(begin, span[0])]
    if not inside or inside[0][1] > begin or inside[-1][2] < end:
        return 0, 0
    return inside[0][0], inside[-1][0]


def _best_span(
    starts: NDArray[np.float32], ends: NDArray[np.float32], tokens: Sequence[tuple[int, int] | None]
) -> tuple[float, int, int] | None:
    """Score and characters of the likeliest stretch of a window; scores of windows can be compared."""
    context = [i for i, span in enumerate(tokens) if span]
    if not context:
        return None
    (first, last, _), *_ = spans(softmax(starts[context]), softmax(ends[context]), LONGEST, 1)
    begin, end = tokens[context[first]], tokens[context[last]]
    score = float(starts[context[first]] + ends[context[last]])
    return (score, begin[0], end[1]) if begin and end else None
