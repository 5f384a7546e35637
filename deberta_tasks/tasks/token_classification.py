"""Names in texts: labels of tokens, of words, or of the entities that they make up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from deberta_core.checks import IGNORED
from deberta_core.wording import near
from deberta_tasks.records import Record, whole_number, with_old_names, written_list
from deberta_tasks.tasks import metrics
from deberta_tasks.tasks.base import Array, Arrays, Feature, Kept, Reader, softmax, visible_span
from deberta_tasks.tasks.options import Options, check_choice, check_count, option
from deberta_tasks.tasks.trainable import Limits, Outputs, TrainableTask, in_order, label_named

STRATEGIES = ("none", "simple", "first", "average", "max")
PASSED = str(IGNORED)  # the tag of a word that is neither learnt nor judged, as other libraries' data sets write it
LARGEST = 9999  # number that is a tag: every one up to the largest is a row of the head
SPECIALS = 2  # [CLS] before and [SEP] after


@dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions(Options):
    """Options of token classification.

    Attributes:
        aggregation_strategy: ``none``: each token; ``simple``: neighbours of one label (or of ``B-``, ``I-`` of one)
            make an entity; ``first``, ``average``, ``max``: the same over words, which take the label of their first
            token, of the mean of their tokens' scores, or of their surest token. Words are those that were given, or
            what stands between spaces.
        ignore_labels: what is left out.
        stride: read texts beyond the limit in windows that share this many tokens; each token is judged where it has
            the most text around it.
        is_split_into_words: a list of texts is one example, its words; texts are words with spaces between them.
        word_separator: what stands between words: a space, or nothing where words bring their own spaces.
    """

    aggregation_strategy: str = option("none", f"{', '.join(STRATEGIES)}; default none")
    ignore_labels: Sequence[str] = option(("O",), "labels to leave out; default O")
    stride: int | None = option(None, "read texts beyond the limit in windows that share this many tokens")
    is_split_into_words: bool = option(False, "texts are words with spaces between them")
    word_separator: str = option(" ", "what stands between words; nothing where words bring their own spaces")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("aggregation_strategy", self.aggregation_strategy, STRATEGIES)
        check_count("stride", self.stride, least=0, optional=True)
        if isinstance(self.ignore_labels, str):
            raise ValueError(f"ignore_labels is {self.ignore_labels!r}, expected a list of labels")


class Tokens(NamedTuple):
    """A text's tokens without special ones.

    Attributes:
        ids: of the tokens.
        spans: characters of each.
        words: the word that each is in: of those given, or as the tokenizer sees them.
        text: the text; of given words, with their separator between two.
        given: whether words were given.
    """

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int | None]
    text: str = ""
    given: bool = False


class Unit(NamedTuple):
    """Tokens that are labelled as one; ``words`` are their first word and the one after their last."""

    label: str
    score: float
    start: int
    end: int
    words: tuple[int, int] = (0, 0)


class TokenClassification(TrainableTask):
    """A list of entities for a text: ``entity`` (or ``entity_group``), ``score``, ``word``, ``start``, ``end``.

    ``start`` and ``end`` are characters of the text as it was given, and no entity begins or ends with what cannot be
    seen. For ``tokens``, words that were split before, they are characters of the words with a space between two, and
    ``words`` are the numbers of the first word and of the one after the last.

    Labelled examples are ``tokens`` with a tag for each, such as ``B-PER``, ``I-PER`` and ``O``: lists, or texts with a
    space between two. Tags may be numbers; 0 is then ``O``, and -100 passes over a word. The first token of a word has
    its tag; the loss passes over the others.
    """

    name = "token-classification"
    head = "ForTokenClassification"
    options_class = TokenClassificationOptions
    fields = ()
    either = ("text", "tokens")
    lists = ("tokens",)
    old_names: ClassVar[dict[str, str]] = {"words": "tokens"}
    targets = ("tokens", "tags")
    training_names: ClassVar[dict[str, str]] = {"text": "tokens", "ner_tags": "tags"}
    bundled = "names.jsonl"
    best = "f1"

    def example(self, item: Any) -> Record:
        """A text, or a list of words."""
        if isinstance(item, (list, tuple)):
            item = {"tokens": item}
        if isinstance(item, Mapping):
            item = with_old_names(item, self.old_names)
            if isinstance(item.get("text"), (list, tuple)) and "tokens" not in item:
                item["tokens"] = item.pop("text")
            if isinstance(item.get("tokens"), str):
                item["tokens"] = words_in(item["tokens"])
        return super().example(item)

    def is_one(self, inputs: Any, options: TokenClassificationOptions) -> bool:
        """Texts in a list are words of one example where the options say so."""
        several = isinstance(inputs, (list, tuple)) and all(isinstance(word, str) for word in inputs)
        return isinstance(inputs, (str, Mapping)) or (several and options.is_split_into_words)

    def check_options(self, reader: Reader) -> None:
        """Ignored labels must be labels."""
        options, room = reader.options, reader.limit - SPECIALS
        kinds = [metrics.split_label(label)[1] for label in reader.names]
        for name in options.ignore_labels if tuple(options.ignore_labels) != ("O",) else ():
            if name not in (*reader.names, *kinds):
                hint, known = near(name, reader.names), ", ".join(reader.names)
                raise ValueError(f"ignore_labels has {name!r}{hint}; the model's labels are {known}")
        if options.stride is not None and options.stride >= room:
            raise ValueError(
                f"stride is {options.stride}, but {reader.limit} tokens leave {room} beside special ones, and a window "
                "must move on; use a smaller stride"
            )

    def tokens(self, example: Record, reader: Reader) -> Tokens:
        """All tokens of an example."""
        words = example.get("tokens")
        if words is None and reader.options.is_split_into_words:
            words = words_in(example["text"])
        between = reader.options.word_separator
        given = {} if words is None else {"is_split_into_words": True}
        if given and between != " ":
            given["word_separator"] = between
        text = example["text"] if words is None else between.join(words)
        encoded = reader.encode(
            text if words is None else list(words), add_special_tokens=False, return_offsets_mapping=True, **given
        )
        spans, numbers = encoded["offset_mapping"], encoded.word_ids()
        if words is not None:  # whose spans count from the word
            begins = np.cumsum([0, *(len(word) + len(between) for word in words)]).tolist()
            spans = [(begins[w] + start, begins[w] + end) for w, (start, end) in zip(numbers, spans, strict=True)]
        return Tokens(encoded["input_ids"], spans, numbers, text, given=words is not None)

    def encode(self, example: Record, reader: Reader) -> list[Feature]:
        """A feature, or windows; the notes are all tokens of the text and where the feature begins among them."""
        tokens, room = self.tokens(example, reader), reader.limit - SPECIALS
        begins, stride, over = [0], reader.options.stride, max(len(tokens.ids) - room, 0)
        if stride is not None:
            begins, over = list(range(0, max(len(tokens.ids) - stride, 1), room - stride)), 0
        elif over and not reader.options.truncation:
            raise reader.too_long(len(tokens.ids) + SPECIALS, room)
        rows = [reader.tokenizer.prepare_for_model(tokens.ids[at : at + room], verbose=False) for at in begins]
        return [Feature(reader.inputs(row), notes=(tokens, at), cut=over) for row, at in zip(rows, begins, strict=True)]

    def digest(self, feature: Feature, output: Arrays, reader: Reader) -> Array:
        """Scores ``[L, Y]`` of the tokens that are not special."""
        return softmax(output["logits"][1 : len(feature) - 1])

    def decode(self, example: Record, kept: Kept, reader: Reader) -> list[Any]:
        """Tokens or entities."""
        tokens: Tokens = kept[0][0].notes[0]
        strategy, names = reader.options.aggregation_strategy, reader.names
        scores = merge_windows([(feature.notes[1], found) for feature, found in kept])
        if strategy == "none":
            found = [self._token(tokens, at, scores[at], reader) for at in range(len(scores))]
        else:
            groups = [[at] for at in range(len(scores))] if strategy == "simple" else words_of(tokens, len(scores))
            units = [_unit(tokens, group, scores[group], strategy, names) for group in groups]
            found = [_entity(units, tokens) for units in entities(units)]
            found = [entity for entity in found if entity["word"]]
        return [one for one in found if one.get("entity", one.get("entity_group")) not in reader.options.ignore_labels]

    def _token(self, tokens: Tokens, at: int, scores: Array, reader: Reader) -> dict[str, Any]:
        unit = _unit(tokens, [at], scores[None], "none", reader.names)
        word = reader.tokenizer.convert_ids_to_tokens(tokens.ids[at])
        return {
            "entity": unit.label, "score": unit.score, "index": at + 1, "word": word, "start": unit.start,
            "end": unit.end, **_words(tokens, unit.words),
        }  # fmt: skip

    def shown(self, example: Record, options: TokenClassificationOptions) -> Record:
        """Words as the text whose characters are counted."""
        if example.get("tokens") is None:
            return example
        return Record({"text": options.word_separator.join(example["tokens"])}, example.place)

    def describe(self, example: Record, answer: Any) -> str:
        """The text, and a line for each entity."""
        text = example["text"] if example.get("tokens") is None else " ".join(example["tokens"])
        lines = [
            f"  {one.get('entity', one.get('entity_group'))}\t{one['score']:.3f}\t{one['start']}-{one['end']}\t"
            f"{text[one['start'] : one['end']]}"
            for one in answer
        ]
        return "\n".join([text, *lines])

    # Learning.

    def check(self, example: Record) -> None:
        """As many tags as words, of each at least one; numbers become texts."""
        for column in self.targets:
            value = example[column]
            try:
                words = words_in(value) if isinstance(value, str) else value
            except ValueError as error:
                raise ValueError(f"{example.place}: {error}") from None
            numbers = column == "tags"
            if numbers and isinstance(words, list):
                words = [_tag(tag, example.place) for tag in words]
            if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
                what = f"names, or whole numbers from 0 on ({PASSED} passes over a word)" if numbers else "words"
                raise ValueError(f"{example.place}: {column} is {value!r}, expected a list of {what}")
            example[column] = words
        words, tags = example["tokens"], example["tags"]
        if len(words) != len(tags) or not words:
            raise ValueError(
                f"{example.place} has {len(words)} tokens and {len(tags)} tags, expected one tag for each token"
            )

    def name_labels(self, example: Record, labels: Sequence[str]) -> None:
        """Its tags; of numbers that have no names, 0 is ``O``."""
        tags = example["tags"]
        if labels:
            example["tags"] = [tag if tag == PASSED else label_named(tag, labels, example.place) for tag in tags]
        elif all(tag.isdecimal() or tag == PASSED for tag in tags):
            example["tags"] = ["O" if tag == "0" else tag for tag in tags]

    def texts(self, example: Record) -> list[str]:
        """The words with spaces."""
        return [" ".join(example["tokens"])]

    def labels_of(self, example: Record) -> list[str]:
        """The tags, but those that pass over a word."""
        return [tag for tag in example["tags"] if tag != PASSED]

    def label_names(self, examples: Sequence[Record]) -> list[str]:
        """The tags, ``O`` first; of numbers all up to the largest, so that each is its own."""
        tags = {tag for example in examples for tag in self.labels_of(example)}
        if not tags:
            raise ValueError(
                f"{examples[0].place}: all tags are {PASSED}, which passes over a word; expected some others"
            )
        others = in_order(tags - {"O"})
        if others and all(tag.isdecimal() for tag in others):
            return ["O", *map(str, range(1, int(others[-1]) + 1))]
        return ["O"] * ("O" in tags) + others

    def windows(self, limits: Limits) -> dict[str, Any]:
        """Scores of windows are not combined: each token is judged in one."""
        return {"stride": limits.stride} if limits.combine else {}

    def learnt(self, features: list[Feature], example: Record, names: Sequence[str]) -> list[Feature]:
        """The first token of each word has its tag; ``spans`` are the words' first tokens."""
        numbers = {name: number for number, name in enumerate(names)}
        tags, found = example["tags"], []
        for feature in features:
            tokens, at = feature.notes
            firsts: list[int | None] = [None] * len(tags)
            labels = [IGNORED] * len(feature)
            for place, token in enumerate(range(at, at + len(feature) - SPECIALS), 1):
                word = tokens.words[token]
                # A word is judged by its first token: the others have no label of their own in any data set.
                if word != (tokens.words[token - 1] if token else None):
                    firsts[word], labels[place] = place, numbers.get(tags[word], IGNORED)
            found.append(replace(feature, labels={"labels": labels}, spans=firsts))
        return found

    def answers(
        self, outputs: Outputs, features: Sequence[Feature], examples: Sequence[Record], names: Sequence[str]
    ) -> list[Any]:
        """The likeliest tag of each word; ``O``, or else the first tag, where it was cut off."""
        windows: list[list[tuple[int, Array]]] = [[] for _ in examples]
        firsts: list[dict[int, int]] = [{} for _ in examples]
        for output, feature in zip(outputs, features, strict=True):
            begin = feature.notes[1]
            windows[feature.example].append((begin, output["logits"][1 : len(feature) - 1]))
            places = {word: begin + place - 1 for word, place in enumerate(feature.spans) if place is not None}
            firsts[feature.example] |= places
        found = []
        for example, parts, places in zip(examples, windows, firsts, strict=True):
            tags = merge_windows(parts).argmax(-1)
            numbers = [int(tags[places[word]]) if word in places else 0 for word in range(len(example["tags"]))]
            found.append([names[number] for number in numbers])
        return found

    def scores(self, answers: Sequence[Any], examples: Sequence[Record], names: Sequence[str]) -> dict[str, float]:
        """Of whole spans; and the share of words whose tag is right."""
        judged = [
            [(g, r) for g, r in zip(answer, example["tags"], strict=True) if r != PASSED]
            for answer, example in zip(answers, examples, strict=True)
        ]
        spans = metrics.span_f1(*([[pair[side] for pair in pairs] for pairs in judged] for side in (0, 1)))
        same = [g == r for pairs in judged for g, r in pairs]
        return {**spans, "accuracy": sum(same) / max(len(same), 1)}


def words_in(text: str) -> list[Any]:
    """The words of a text with spaces between them, or of a list that is written out.

    Raises:
        ValueError: for what looks like a list and cannot be read.
    """
    found = written_list(text)
    return text.split() if found is None else found


def _tag(tag: Any, place: str) -> Any:
    """A tag as a text; what is neither a name nor a whole number is no text, also where a cell holds it.

    Raises:
        ValueError: for a number that no tag has.
    """
    number = whole_number(tag)
    if number is None:
        return float(tag) if isinstance(tag, str) and re.fullmatch(r"[-+]?[0-9]*\.[0-9]+", tag.strip()) else tag
    if number > LARGEST or (number < 0 and number != IGNORED):
        raise ValueError(
            f"{place}: tags has {number}, expected names, or whole numbers from 0 to {LARGEST} "
            f"({PASSED} passes over a word)"
        )
    return str(number)


def merge_windows(windows: list[tuple[int, Array]]) -> Array:
    """The scores of each token, from the window in which it has the most text on its poorer side.

    Args:
        windows: number of the first token, and scores ``[L, Y]``, from left to right.
    """
    last = windows[-1]
    scores = np.empty((last[0] + len(last[1]), last[1].shape[1]))
    margin = np.full(len(scores), -1)
    for begin, found in windows:
        place = np.arange(len(found))
        left = place if begin else np.full(len(found), len(scores))  # nothing is missing before the first window
        right = place[::-1] if begin + len(found) < len(scores) else np.full(len(found), len(scores))
        own = np.minimum(left, right)
        better = own > margin[begin : begin + len(found)]
        scores[begin : begin + len(found)][better] = found[better]
        margin[begin : begin + len(found)][better] = own[better]
    return scores


def words_of(tokens: Tokens, count: int) -> list[list[int]]:
    """The first ``count`` tokens by word; words end at white space, whatever the tokenizer splits off beside."""
    groups: list[list[int]] = []
    for at in range(count):
        start, end = tokens.spans[at]
        touches = start < end and start <= tokens.spans[at - 1][1]
        if groups and ((touches and not tokens.given) or tokens.words[at] == tokens.words[at - 1]):
            groups[-1].append(at)
        else:
            groups.append([at])
    return groups


def _unit(tokens: Tokens, group: list[int], scores: Array, strategy: str, names: Sequence[str]) -> Unit:
    """A word with its label and characters; ``scores`` are those of its tokens, ``[L, Y]``."""
    if strategy == "average":
        judged = scores.mean(0)
    else:
        judged = scores[int(scores.max(1).argmax()) if strategy == "max" else 0]
    spans = [tokens.spans[at] for at in group if tokens.spans[at][0] < tokens.spans[at][1]]
    start, end = (spans[0][0], spans[-1][1]) if spans else tokens.spans[group[0]]
    words = (tokens.words[group[0]] or 0, (tokens.words[group[-1]] or 0) + 1)
    return Unit(names[int(judged.argmax())], float(judged.max()), start, end, words)


def entities(units: Sequence[Unit]) -> list[Sequence[Unit]]:
    """Neighbours of one kind; ``B-`` begins a new one."""
    return [units[start:end] for _, start, end in metrics.runs([unit.label for unit in units])]


def _entity(units: Sequence[Unit], tokens: Tokens) -> dict[str, Any]:
    real = [unit for unit in units if unit.start < unit.end] or units
    start, end = visible_span(tokens.text, real[0].start, real[-1].end)
    return {
        "entity_group": metrics.split_label(units[0].label)[1], "score": float(np.mean([unit.score for unit in units])),
        "word": tokens.text[start:end], "start": start, "end": end,
        **_words(tokens, (real[0].words[0], real[-1].words[1])),
    }  # fmt: skip


def _words(tokens: Tokens, numbers: tuple[int, int]) -> dict[str, Any]:
    return {"words": list(numbers)} if tokens.given else {}


TASK = TokenClassification()
