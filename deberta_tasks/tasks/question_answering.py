"""The stretch of a context that answers a question, in contexts of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from deberta_tasks.records import Record, literal, whole_number
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Array, Arrays, Feature, Kept, Reader, best, softmax, visible_span
from deberta_tasks.tasks.options import Options, check_count, option
from deberta_tasks.tasks.trainable import Limits, Outputs, TrainableTask, text_of

USUAL_STRIDE = 128  # tokens
LONGEST = 30  # tokens of an answer, when models are judged


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(Options):
    """Options of question answering; ``max_length`` is by default 384 tokens or the tokenizer's limit, if less.

    Attributes:
        top_k: number of answers, the likeliest first; default the best one, not in a list.
        doc_stride: tokens that two windows of a long context share; default 128 or half a window, if less.
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


class QuestionAnswering(TrainableTask):
    """``{"score", "start", "end", "answer"}`` for a question and its context; with ``top_k`` above 1 a list of them.

    A score is the product of the shares that first and last token have among the window's tokens; equal answers at
    several places add theirs up.

    In files of labelled examples ``answer`` stands in the words of the context, and is empty where the context has
    none; ``answer_start`` is its first character, counted from 0; without it, the answer's first place in the context.
    In JSONL several accepted answers may stand in ``answers``, as ``{"text": [...], "answer_start": [...]}``.
    """

    name = "question-answering"
    head = "ForQuestionAnswering"
    options_class = QuestionAnsweringOptions
    fields = ("question", "context")
    usual_length = 384  # what models of question answering are trained with
    targets = ()
    bundled = "answers.jsonl"
    best = "f1"

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature for each window; ``spans`` are the characters of the context that its tokens come from."""
        question, context, limit = example["question"], example["context"], reader.limit
        given = reader.options.doc_stride
        stride = min(limit // 2, USUAL_STRIDE) if given is None else given
        asked = len(reader.encode(question, add_special_tokens=False)["input_ids"])
        room = limit - asked - reader.tokenizer.num_special_tokens_to_add(pair=True)
        if room <= 0 or (stride >= room and len(reader.encode(question, context)["input_ids"]) > limit):
            smaller = "stride" if reader.config is None else "doc_stride"  # as finetune and pipelines call it
            raise ValueError(
                f"the question has {asked} tokens, which leaves {max(room, 0)} of {limit} for the context, and windows "
                f"share {stride}; shorten the question, or use a larger max_length or a smaller {smaller}"
            )
        return reader.windows(question, context, "only_second", stride)

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Found:
        """The best answers of a window: twice as many as asked for, because words may make several of them equal."""
        options = reader.options
        context = [at for at, span in enumerate(feature.spans) if span]
        # Shares among the tokens that may be an answer, and [CLS], which stands for "no answer": the question has none.
        places = [0, *context]
        start, end = (softmax(output[name][places]) for name in ("start_logits", "end_logits"))
        count = options.top_k * 2 + 10 if options.align_to_words else options.top_k
        found = []
        for first, last, score in spans(start[1:], end[1:], options.max_answer_len, count):
            characters = self._characters(feature, context[first], context[last], options.align_to_words)
            if characters[0] < characters[1]:
                found.append((score, *characters))
        return Found(found, float(start[0] * end[0]))

    def _characters(self, feature: Feature, first: int, last: int, align: bool) -> tuple[int, int]:
        words, spans = feature.notes, feature.spans
        while align and spans[first - 1] and words[first - 1] == words[first]:
            first -= 1
        while align and spans[last + 1] and words[last + 1] == words[last]:
            last += 1
        return spans[first][0], spans[last][1]

    def decode(self, example: Record, kept: Kept, reader: Reader) -> Any:
        """The best answers of all windows."""
        answers: dict[str, dict[str, Any]] = {}
        for score, first, behind in (answer for _, found in kept for answer in found.answers):
            start, end = visible_span(example["context"], first, behind)
            text = example["context"][start:end]
            if not text:
                continue
            known = answers.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
            known["score"] += score
        ranked = list(answers.values())
        if reader.options.handle_impossible_answer or not ranked:
            none = min(found.none for _, found in kept)  # only if no window has an answer there is none
            ranked.append({"score": none, "start": 0, "end": 0, "answer": ""})
        ranked.sort(key=lambda answer: -answer["score"])
        return ranked[0] if reader.options.top_k == 1 else ranked[: reader.options.top_k]

    def describe(self, example: Record, answer: Any) -> str:
        """The answers."""
        found = answer if isinstance(answer, list) else [answer]
        return "\n".join(
            f"{one['answer'] or '(no answer)'}\t{one['score']:.3f}\t{one['start']}-{one['end']}" for one in found
        )

    # Learning.

    def check(self, example: Record) -> None:
        """Answers must stand where they are said to."""
        context = text_of(example, "context")
        text_of(example, "question")
        given = example.get("answers")
        given = literal(given) if isinstance(given, str) else given  # in CSV
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

    def windows(self, limits: Limits) -> dict[str, Any]:
        """Contexts are always read in windows."""
        return {"doc_stride": limits.stride}

    def learnt(self, features: list[Feature], example: Record, names: Sequence[str]) -> list[Feature]:
        """First and last token of the answer; where it is not in the window, both are [CLS]."""
        places = [_tokens(feature.spans, example["answers"]) for feature in features]
        return [
            replace(feature, labels={"start_positions": first, "end_positions": last})
            for feature, (first, last) in zip(features, places, strict=True)
        ]

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


def spans(start: Array, end: Array, longest: int, count: int) -> list[tuple[int, int, float]]:
    """The likeliest spans: first and last token, and the product of their shares.

    Args:
        start: share of each token as the first, ``[L]``.
        end: share of each token as the last, ``[L]``.
        longest: most tokens of a span.
        count: how many spans.
    """
    # A row for each first token and a column for each length, not [L, L]: of long windows nearly all would be too long.
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


def _place(example: Record, context: str, text: Any, start: Any) -> tuple[int, str]:
    if not isinstance(text, str):
        raise ValueError(f"{example.place}: answer is {text!r}, expected a text")
    if start in (None, ""):
        begin = context.find(text)
    else:
        number = whole_number(start)
        begin = -1 if number is None else number
    if begin < 0 or context[begin : begin + len(text)] != text:
        where = "" if start in (None, "") else f" at answer_start {start}"
        raise ValueError(f"{example.place}: answer {text!r} is not in its context{where}; answers are copied from it")
    return begin, text


def _tokens(spans: Sequence[tuple[int, int] | None], answers: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """First and last token of the first answer, 0 and 0 where the window does not hold it."""
    if not answers:
        return 0, 0
    # A part of an answer teaches nothing: a window that cuts it off is one without. Of several accepted answers the
    # first is learnt, since the loss takes one place; all of them count when models are judged.
    begin, end = answers[0][0], answers[0][0] + len(answers[0][1])
    inside = [(i, *span) for i, span in enumerate(spans) if span and span[0] < end and span[1] > max(begin, span[0])]
    if not inside or inside[0][1] > begin or inside[-1][2] < end:
        return 0, 0
    return inside[0][0], inside[-1][0]


def _best_span(starts: Array, ends: Array, tokens: Sequence[tuple[int, int] | None]) -> tuple[float, int, int] | None:
    """Score and characters of the likeliest stretch of a window; scores of windows can be compared."""
    context = [i for i, span in enumerate(tokens) if span]
    if not context:
        return None
    found = spans(softmax(starts[context]), softmax(ends[context]), LONGEST, 1)
    if not found:  # logits that are no numbers: the loop says so with the next loss
        return None
    ((first, last, _),) = found
    begin, end = tokens[context[first]], tokens[context[last]]
    # The sum of the logits, as with [CLS]: shares are relative to their window, and would favour short ones.
    score = float(starts[context[first]] + ends[context[last]])
    return (score, begin[0], end[1]) if begin and end else None


TASK = QuestionAnswering()
