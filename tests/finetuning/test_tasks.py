"""From files to rows with aligned labels, and from outputs to answers, without a framework."""

from __future__ import annotations

import csv
import functools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_core.checks import IGNORED
from deberta_tasks.finetune.start import new_tokenizer
from deberta_tasks.tasks import DATA, Limits, split, task_named
from deberta_tasks.tasks import TRAINABLE as TASKS
from deberta_tasks.tasks.options import listed
from tests.finetuning.helpers import few

WIDE = Limits(128, 16)


@functools.cache
def examples(name: str) -> Any:
    return TASKS[name].read(DATA / TASKS[name].bundled)[:80]


@functools.cache
def tokenizer() -> Any:
    return new_tokenizer([text for name, task in TASKS.items() for e in examples(name) for text in task.texts(e)])


def rows(name: str, limits: Limits = WIDE) -> Any:
    task = TASKS[name]
    names = task.label_names(examples(name))
    return task, names, task.features(examples(name), tokenizer(), names, limits)


def perfect(task: Any, features: Any) -> list[dict[str, np.ndarray]]:
    """Outputs of a model that knows the labels."""
    found = []
    for feature in features:
        output = {}
        for key, value in feature.labels.items():
            name = {"labels": "logits", "start_positions": "start_logits", "end_positions": "end_logits"}[key]
            if task.name == "regression":
                output[name] = np.array([value])
            elif isinstance(value, list):
                output[name] = np.eye(12)[np.maximum(value, 0)]
            else:
                output[name] = np.eye(len(feature) if "start" in name or "end" in name else 9)[value]
        found.append(output)
    return found


@pytest.mark.parametrize("name", sorted(TASKS))
def test_whoever_knows_the_labels_is_always_right(name: str) -> None:
    """The way from files to labels and that from outputs to answers lead to the same place."""
    task, names, features = rows(name)
    answers = task.answers(perfect(task, features), features, examples(name), names)
    scores = task.scores(answers, examples(name), names)
    assert scores[task.best] == pytest.approx(1.0)
    assert {feature.example for feature in features} == set(range(80))


def test_first_tokens_of_words_have_the_tags() -> None:
    _, names, features = rows("token-classification")
    for feature, example in zip(features, examples("token-classification"), strict=True):
        labels = feature.labels["labels"]
        assert [names[label] for label in labels if label != IGNORED] == example["tags"]
        assert len(labels) == len(feature.inputs["input_ids"])
        assert labels[0] == labels[-1] == IGNORED
        assert sum(label != IGNORED for label in labels) == len(example["tags"])
        pieces = tokenizer().convert_ids_to_tokens(feature.inputs["input_ids"])
        assert all(pieces[place].startswith("▁") for place in feature.spans)


def test_words_that_were_cut_off_count_as_outside() -> None:
    task, names, _ = rows("token-classification")
    with pytest.warns(UserWarning, match=r"80 of 80 texts are longer than 5 tokens and were cut"):
        features = task.features(examples("token-classification"), tokenizer(), names, Limits(5))
    answers = task.answers(perfect(task, features), features, examples("token-classification"), names)
    for answer, example in zip(answers, examples("token-classification"), strict=True):
        assert len(answer) == len(example["tags"])
        assert answer[-1] == "O"


@pytest.mark.parametrize("limits", [WIDE, Limits(40, 12)])
def test_windows_hold_the_answer_or_point_at_the_first_token(limits: Limits) -> None:
    _, _, features = rows("question-answering", limits)
    seen = set()
    for feature in features:
        assert len(feature) <= limits.max_length
        first, last = feature.labels["start_positions"], feature.labels["end_positions"]
        example = examples("question-answering")[feature.example]
        if first:
            begin, end = feature.spans[first][0], feature.spans[last][1]
            assert example["context"][begin:end] == example["answer"]
            seen.add(feature.example)
        else:
            assert last == 0
    assert (len(features) > 80) == (limits != WIDE)
    assert seen == set(range(80)), "an answer is in no window"


def test_no_answer_where_some_questions_have_none() -> None:
    task = TASKS["question-answering"]
    given = examples("question-answering")[:2]
    none = type(given[0])({**given[0], "answers": []}, given[0].place)
    features = task.features([none, given[1]], tokenizer(), [], WIDE)
    assert [f.labels["start_positions"] > 0 for f in features] == [False, True]
    outputs = perfect(task, features)
    assert task.answers(outputs, features, [none, given[1]], []) == ["", given[1]["answer"]]
    assert task.answers(outputs, features, given, [])[0] != "", "where every question has an answer, one is given"
    lost = [{name: np.full_like(logits, np.nan) for name, logits in output.items()} for output in outputs]
    assert task.answers(lost, features, given, []) == ["", ""], "of a model that diverged"


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    task = TASKS["multiple-choice"]
    (tmp_path / "a.jsonl").write_text('{"context": "c", "choices": ["x", "y"], "label": 1}\n')
    (tmp_path / "a.csv").write_text("context,choice0,choice1,label\nc,x,y,1\n")
    one, two = (task.read(tmp_path / name)[0] for name in ("a.jsonl", "a.csv"))
    assert {key: two[key] for key in one} == one
    task = TASKS["token-classification"]
    (tmp_path / "b.jsonl").write_text('{"tokens": ["In", "Rome"], "tags": ["O", "B-LOC"]}\n')
    (tmp_path / "b.csv").write_text("tokens,tags\nIn Rome,O B-LOC\n")
    assert task.read(tmp_path / "b.jsonl") == task.read(tmp_path / "b.csv")
    task = TASKS["question-answering"]
    (tmp_path / "c.jsonl").write_text(
        json.dumps({"question": "q", "context": "abc", "answers": {"text": ["bc"], "answer_start": [1]}})
    )
    (tmp_path / "c.csv").write_text("question,context,answer\nq,abc,bc\n")
    assert task.read(tmp_path / "c.jsonl")[0]["answers"] == task.read(tmp_path / "c.csv")[0]["answers"] == [(1, "bc")]


def test_held_back_examples_have_every_label() -> None:
    task = TASKS["text-classification"]
    kept, held = split(task, task.read(DATA / task.bundled), every=5)
    assert (len(kept), len(held)) == (384, 96)
    assert [e["label"] for e in held].count("sport") == 24
    assert not {e["text"] for e in kept} & {e["text"] for e in held}


BAD = [
    ("text-classification", "a,b\n1,2\n", "line 2 has no column 'text'; it has a, b"),
    ("text-classification", "text,label\nx,\n", "line 2: the row has no label; fill it in or drop the row"),
    ("text-classification", "text,label\n ,y\n", "line 2: text is ' ', expected a text"),
    ("text-classification", "text,label\n", "has no records"),
    ("regression", "text,label\nx,good\n", "line 2: label is 'good', expected a number"),
    ("regression", "text,label\nx,nan\n", "line 2: label is 'nan', expected a number"),
    ("nli", "premise,label\nx,y\n", "line 2 has no column 'hypothesis'"),
    ("token-classification", "tokens,tags\na b,O\n", "line 2 has 2 tokens and 1 tags, expected one tag for each"),
    ("token-classification", "tokens,tags\n,\n", "line 2 has 0 tokens and 0 tags"),
    ("multiple-choice", "context,choice0,choice1,label\nc,x,y,2\n", "label is '2', expected the number of a choice"),
    ("multiple-choice", "context,choice0,label\nc,x,0\n", "choices is ['x'], expected a list of at least two texts"),
    ("question-answering", "question,context\nq,c\n", "line 2 has no answer; expected a column 'answer'"),
    ("question-answering", "question,context,answer\nq,abc,x\n", "line 2: answer 'x' is not in its context; answers"),
    (
        "question-answering",
        "question,context,answer,answer_start\nq,abc,b,2\n",
        "answer 'b' is not in its context at answer_start 2",
    ),
]


@pytest.mark.parametrize(("name", "text", "says"), BAD)
def test_files_that_cannot_be_learnt_from(name: str, text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.csv") as caught:
        TASKS[name].read(path)
    assert says in str(caught.value)


def test_a_label_that_training_does_not_have() -> None:
    task, names, _ = rows("nli")
    other = type(examples("nli")[0])({**examples("nli")[0], "label": "perhaps"}, "dev.csv, line 7")
    with pytest.raises(ValueError, match=r"dev\.csv, line 7: label 'perhaps' does not occur in the training data"):
        task.check_labels([other], names)


def test_a_question_that_leaves_no_room() -> None:
    task = TASKS["question-answering"]
    with pytest.raises(ValueError, match=r"answers\.jsonl, line 1: the question has \d+ tokens, which leaves"):
        task.features(examples("question-answering"), tokenizer(), [], Limits(16, 8))


def test_rows_with_another_number_of_choices() -> None:
    task = TASKS["multiple-choice"]
    given = examples("multiple-choice")[:2]
    more = type(given[1])({**given[1], "choices": [*given[1]["choices"], "x"]}, "dev.jsonl, line 2")
    with pytest.raises(ValueError, match=r"dev\.jsonl, line 2 has 4 choices, the first row has 3"):
        task.features([given[0], more], tokenizer(), [], WIDE)


def test_too_few_examples_to_hold_some_back() -> None:
    with pytest.raises(ValueError, match="1 examples are too few to hold one in 5 back"):
        split(TASKS["nli"], examples("nli")[:1], every=5)


def test_texts_that_fit_are_not_warned_about(tmp_path: Path) -> None:
    task = TASKS["text-classification"]
    given = task.read(few(task.name, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.features(given, tokenizer(), task.label_names(given), Limits(512))


def test_unknown_task() -> None:
    with pytest.raises(ValueError, match="unknown task 'nil'; did you mean 'nli'"):
        task_named("nil")


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tags_that_are_numbers(tmp_path: Path) -> None:
    """As ``ner_tags`` of published sets are: 0 is outside, the others keep their number."""
    task = TASKS["token-classification"]
    rows = [
        {"tokens": ["In", "Rome", "or", "New York"], "ner_tags": [0, 10, 0, 2]},
        {"id": "7", "words": "In Rome or Paris", "ner_tags": "0 10 0 2"},
        {"text": "In Rome or Paris", "tags": "0 9 0 2"},
    ]
    found = task.read(written(tmp_path, *rows))
    assert [example["tags"] for example in found] == [["O", "10", "O", "2"]] * 2 + [["O", "9", "O", "2"]]
    assert found[1]["tokens"] == found[2]["tokens"] == ["In", "Rome", "or", "Paris"]
    names = task.label_names(found)
    assert names == ["O", *map(str, range(1, 11))]
    features = task.features(found, tokenizer(), names, WIDE)
    assert task.answers(perfect(task, features), features, found, names) == [example["tags"] for example in found]
    (tmp_path / "a.csv").write_text("tokens,ner_tags\nIn Rome,0 1\n")
    assert task.read(tmp_path / "a.csv")[0]["tags"] == ["O", "1"]
    (tmp_path / "a.csv").write_text("tokens,ner_tag\nIn Rome,0 1\n")
    with pytest.raises(ValueError, match=r"has no column 'tags'; it has tokens, ner_tag; did you mean"):
        task.read(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"line 1: tags is \[0, None\], expected a list"):
        task.read(written(tmp_path, {"tokens": ["In", "Rome"], "ner_tags": [0, None]}))


def test_labels_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    task = TASKS["text-classification"]
    found = task.read(written(tmp_path, *({"text": "x", "label": number} for number in (10, 2, 1, 11, 0))))
    assert task.label_names(found) == ["0", "1", "2", "10", "11"]


def test_nothing_is_said_of_cuts_where_nothing_was_cut(tmp_path: Path) -> None:
    """A last word of which no token is left is not one that was cut off."""
    task = TASKS["token-classification"]
    found = task.read(written(tmp_path, {"tokens": ["In", "Rome", "\u200b\u200b"], "tags": ["O", "B-LOC", "O"]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (feature,) = task.features(found, tokenizer(), ["O", "B-LOC"], Limits(64))
        assert feature.spans[-1] is None
        fits = len(feature)
        task.features(found, tokenizer(), ["O", "B-LOC"], Limits(max(fits, 3)))
    with pytest.warns(UserWarning, match="1 of 1 texts are longer than"):
        task.features(found, tokenizer(), ["O", "B-LOC"], Limits(fits - 1))


@pytest.mark.parametrize("combine", ["max", "mean", "first"])
@pytest.mark.parametrize("name", ["text-classification", "nli", "regression"])
def test_long_texts_are_judged_in_windows(name: str, combine: str) -> None:
    task, names, whole = rows(name)
    first = task.columns[0]
    given = [type(e)({**e, first: " ".join([e[first]] * 6)}, e.place) for e in examples(name)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is cut
        features = task.features(given, tokenizer(), names, Limits(40, 8, combine))
    assert all(len(feature) <= 40 for feature in features)
    assert {feature.example for feature in features} == set(range(80))
    assert (len(features) > 80) == (combine != "first")
    size = 1 if name == "regression" else len(names)
    logits = np.random.default_rng(0).normal(size=(len(features), size))
    outputs = [{"logits": row} for row in logits]
    answers = task.answers(outputs, features, given, names)
    functions = {"max": np.max, "mean": np.mean, "first": lambda found, axis: found[0]}
    for number, answer in enumerate(answers):
        found = np.array([row for row, feature in zip(logits, features, strict=True) if feature.example == number])
        if name == "regression":
            assert answer == pytest.approx(functions[combine](found, axis=0)[0])
        else:
            shares = np.exp(found) / np.exp(found).sum(1, keepdims=True)
            assert answer == names[int(functions[combine](shares, axis=0).argmax())]
    scores = task.scores(task.answers(perfect(task, features), features, given, names), given, names)
    assert scores[task.best] == pytest.approx(1.0)
    assert len(whole) == 80


def test_words_of_long_texts_are_judged_in_windows() -> None:
    task, names, _ = rows("token-classification")
    given = [
        type(e)({"tokens": e["tokens"] * 4, "tags": e["tags"] * 4}, e.place) for e in examples("token-classification")
    ]
    features = task.features(given, tokenizer(), names, Limits(20, 6, "mean"))
    assert len(features) > 2 * len(given)
    assert task.answers(perfect(task, features), features, given, names) == [example["tags"] for example in given]


def test_padding_is_on_the_right_whatever_the_tokenizer_says() -> None:
    from deberta_core.batching import pad_batch

    for name, task in TASKS.items():
        names = task.label_names(examples(name))
        want = task.features(examples(name)[:8], tokenizer(), names, WIDE)
        other = new_tokenizer([text for n, t in TASKS.items() for e in examples(n) for text in t.texts(e)])
        other.padding_side = "left"
        features = task.features(examples(name)[:8], other, names, WIDE)
        assert [f.inputs for f in features] == [f.inputs for f in want]
        mask = pad_batch([f.inputs for f in features], fill={})["attention_mask"]
        assert (np.diff(mask, axis=-1) <= 0).all()


def test_numbers_are_called_by_the_names_that_are_given(tmp_path: Path) -> None:
    labels = ("O", "B-LOC", "I-LOC", "B-PER")
    task = TASKS["token-classification"]
    path = written(tmp_path, {"tokens": "In New York", "ner_tags": [0, 1, 2]}, {"tokens": ["x"], "tags": ["B-PER"]})
    assert [example["tags"] for example in task.read(path, labels)] == [["O", "B-LOC", "I-LOC"], ["B-PER"]]
    with pytest.raises(ValueError, match=r"line 1: label is 2, but labels has 2 names, for 0 to 1"):
        task.read(path, labels[:2])
    path = written(tmp_path, {"text": "x", "label": 1}, {"text": "y", "label": 0})
    assert [e["label"] for e in TASKS["text-classification"].read(path, ("bad", "good"))] == ["good", "bad"]
    with pytest.raises(ValueError, match="labels of regression have no names; leave out labels"):
        TASKS["regression"].read(path, labels)
    with pytest.raises(ValueError, match="multiple-choice does not read texts in windows; leave out combine"):
        TASKS["multiple-choice"].features(examples("multiple-choice"), tokenizer(), [], Limits(64, 8, "max"))


WRITTEN_OUT = [
    ('["In", "Rome"]', '["O", "B-LOC"]'), ("['In', 'Rome']", "['O', 'B-LOC']"), ("('In', 'Rome')", "('O', 'B-LOC')"),
    ('[ "In", "Rome" ]', "O B-LOC"), ("In Rome", '["O",\n"B-LOC"]'),
]  # fmt: skip


@pytest.mark.parametrize(("tokens", "tags"), WRITTEN_OUT)
def test_lists_in_cells_were_split_at_spaces(tokens: str, tags: str, tmp_path: Path) -> None:
    task = TASKS["token-classification"]
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["tokens", "ner_tags"], [tokens, tags]])
    (found,) = task.read(path)
    assert (found["tokens"], found["tags"]) == (["In", "Rome"], ["O", "B-LOC"])
    assert task.example({"tokens": tokens})["tokens"] == ["In", "Rome"]


UNREADABLE = ["['In' 'Rome']", "['In'\n 'Rome']", "[In, Rome]", "[np.str_('In'), np.str_('Rome')]", "[0 1]", "[ 0 10]",
              "['O', 'O'", '["O", "O']  # fmt: skip


@pytest.mark.parametrize("cell", UNREADABLE)
def test_lists_that_cannot_be_read_were_split_at_spaces(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["tokens", "tags"], ["In Rome", cell]])
    with pytest.raises(ValueError, match=r"a\.csv, line 2: .* looks like a list and is none that can be read"):
        TASKS["token-classification"].read(path)


def test_words_in_brackets_stay_words(tmp_path: Path) -> None:
    task = TASKS["token-classification"]
    (tmp_path / "a.csv").write_text("tokens,tags\n[ 1 ],O O O\n[MASK],O\n( Rome ),O B-LOC O\n[ x ] [ y ],O O O O O O\n")
    assert [len(example["tokens"]) for example in task.read(tmp_path / "a.csv")] == [3, 1, 3, 6]


def test_lists_in_cells_of_the_other_tasks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,choices,label\np,\"['x', 'y, z']\",1.0\n")
    (found,) = TASKS["multiple-choice"].read(tmp_path / "a.csv")
    assert (found["choices"], found["label"]) == (["x", "y, z"], 1)
    answers = "\"{'text': ['bc'], 'answer_start': [1]}\""
    (tmp_path / "a.csv").write_text(f"question,context,answers\nq,abc,{answers}\n")
    assert TASKS["question-answering"].read(tmp_path / "a.csv")[0]["answers"] == [(1, "bc")]
    assert listed('["a, b", "c"]') == listed("['a, b', 'c']") == ["a, b", "c"]
    assert listed("[a], [b]") == ["[a]", "[b]"]


def test_words_with_the_tag_that_passes_over_them_became_a_label(tmp_path: Path) -> None:
    task = TASKS["token-classification"]
    rows = [{"tokens": ["In", "New", "York"], "tags": [0, 1, -100]}, {"tokens": ["In", "x"], "tags": [-100, 2]}]
    for labels, names in (((), ["O", "1", "2"]), (("O", "LOC", "PER"), ["O", "LOC", "PER"])):
        found = task.read(written(tmp_path, *rows), labels)
        assert (list(labels) or task.label_names(found)) == names
        task.check_labels(found, names)
        features = task.features(found, tokenizer(), names, WIDE)
        assert [[n for n in f.labels["labels"] if n != IGNORED] for f in features] == [[0, 1], [2]]
        answers = [[*names[:2], names[2]], [names[1], names[2]]]  # what passed words are called does not count
        assert task.scores(answers, found, names) == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "accuracy": 1.0}
    found = task.read(written(tmp_path, {"tokens": "a b c", "tags": "O -100 B-PER"}))
    assert task.label_names(found) == ["O", "B-PER"]
    with pytest.raises(ValueError, match="line 1: all tags are -100, which passes over a word"):
        task.label_names(task.read(written(tmp_path, {"tokens": "a", "tags": [-100]})))


@pytest.mark.parametrize("tag", [-1, "-1", -101, -1.0, 2**32 - 1])
def test_numbers_that_are_no_tags_became_labels(tag: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 1: tags has -?\d+, expected names, or whole numbers from 0 to 9999"):
        TASKS["token-classification"].read(written(tmp_path, {"tokens": ["a", "b"], "tags": [0, tag]}))


def test_labels_that_are_called_by_numbers_lost_the_first(tmp_path: Path) -> None:
    task, labels = TASKS["token-classification"], ("0", "1", "2")
    found = task.read(written(tmp_path, {"tokens": ["a", "b"], "tags": [0, 2]}, {"tokens": "c", "tags": "1"}), labels)
    assert [example["tags"] for example in found] == [["0", "2"], ["1"]]
    task.check_labels(found, labels)


def test_tags_that_are_floats(tmp_path: Path) -> None:
    task = TASKS["token-classification"]
    for tags in ([0.0, 2.0], "[0.0, 2.0]", "0.0 2.0"):
        (found,) = task.read(written(tmp_path, {"tokens": ["a", "b"], "tags": tags}))
        assert found["tags"] == ["O", "2"]
    for tags in ([0.0, 2.5], [0.0, float("inf")], [True, 0], "0 2.5", "[0, 2.5]", ["B-LOC", "-.5"]):
        with pytest.raises(ValueError, match="expected a list of names, or whole numbers from 0 on"):
            task.read(written(tmp_path, {"tokens": ["a", "b"], "tags": tags}))
    path = written(tmp_path, {"text": "x", "label": 1.0}, {"text": "y", "label": 0.0})
    assert [e["label"] for e in TASKS["text-classification"].read(path, ("bad", "good"))] == ["good", "bad"]
    with pytest.raises(ValueError, match="label is -1, but labels has 2 names"):
        TASKS["text-classification"].read(written(tmp_path, {"text": "x", "label": -1}), ("bad", "good"))


def test_labels_that_are_neither_named_nor_numbers(tmp_path: Path) -> None:
    """They were said to be missing in the training data; a list became the name of a label."""
    task, path = TASKS["text-classification"], written(tmp_path, {"text": "x", "label": True})
    with pytest.raises(ValueError, match=r"line 1: label is 'True', expected one of labels \(no, yes\) or its number"):
        task.read(path, ("no", "yes"))
    with pytest.raises(ValueError, match=r"line 1: label is 'goood', .*; did you mean 'good'"):
        task.read(written(tmp_path, {"text": "x", "label": "goood"}), ("bad", "good"))
    with pytest.raises(ValueError, match=r"line 1: label is \[0, 2\], expected a single one"):
        task.read(written(tmp_path, {"text": "x", "label": [0, 2]}))
