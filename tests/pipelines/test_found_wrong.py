"""What people found wrong, in both frameworks: long texts, words split before, labels, hints, vectors, padding."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from deberta_tasks.cli import main
from deberta_tasks.pipelines import Pipeline, pipeline
from deberta_tasks.tasks.token_classification import STRATEGIES
from tests.pipelines.cases import CASES, SENTENCES, TEXTS, assert_same, make_checkpoint

Make = Callable[..., Path]
LONG = " ".join(SENTENCES * 3)
frameworks = pytest.mark.parametrize("framework", ["pt", "tf"])


def pipe_of(task: str, checkpoint: Make, framework: str = "pt", **options: Any) -> Pipeline:
    if framework == "tf":
        pytest.importorskip("tensorflow")
    return pipeline(task, checkpoint(task), framework, **{**CASES[task].options, **options})


def windows_of(pipe: Pipeline, text: str, limit: int, stride: int) -> list[str]:
    """The windows of a text, as texts with the same tokens."""
    ids = pipe.tokenizer(text, add_special_tokens=False)["input_ids"]
    room = limit - 2
    return [pipe.tokenizer.decode(ids[at : at + room]) for at in range(0, max(len(ids) - stride, 1), room - stride)]


# Long texts.


@frameworks
def test_a_long_text_is_classified_in_windows(framework: str, checkpoint: Make) -> None:
    pipe = pipe_of("text-classification", checkpoint, framework, top_k=None, max_length=24)
    windows = windows_of(pipe, LONG, 24, 6)
    assert len(windows) > 5
    scores = [{row["label"]: row["score"] for row in answer} for answer in pipe(windows, truncation=True)]
    for combine, function in (("max", max), ("mean", lambda found: sum(found) / len(found)), ("first", lambda f: f[0])):
        (answer,) = pipe([LONG], stride=6, combine=combine)
        for row in answer:
            assert row["score"] == pytest.approx(function([found[row["label"]] for found in scores]), abs=1e-5)
        assert [row["score"] for row in answer] == sorted((row["score"] for row in answer), reverse=True)
    assert_same(pipe(TEXTS[1], stride=6), pipe(TEXTS[1]))


@pytest.mark.parametrize("longer", ["text", "text_pair"])
def test_windows_run_over_the_longer_text_of_a_pair(longer: str, checkpoint: Make) -> None:
    pipe = pipe_of("text-classification", checkpoint, max_length=24, stride=4, top_k=1)
    shorter = {"text": "text_pair", "text_pair": "text"}[longer]
    features = pipe.kind.encode(pipe.read({longer: LONG, shorter: "my dog"}), pipe._reader(pipe.options))
    assert len(features) > 5
    texts = [pipe.tokenizer.decode(feature.inputs["input_ids"]) for feature in features]
    assert all("my dog[SEP]" in text and len(feature) <= 24 for text, feature in zip(texts, features, strict=True))
    assert "".join(texts).count("Wolfgang") >= 3
    assert pipe({longer: LONG, shorter: "my dog"})[0]["score"] > 0


@frameworks
def test_long_texts_in_the_other_tasks_of_whole_texts(framework: str, checkpoint: Make) -> None:
    rank = pipe_of("text-ranking", checkpoint, framework, max_length=24, stride=6)
    scores = {how: rank({"query": "dog", "document": LONG}, combine=how)["score"] for how in ("max", "mean", "first")}
    assert scores["max"] > scores["mean"] != scores["first"]
    assert_same(scores["first"], rank({"query": "dog", "document": LONG}, stride=None, truncation=True)["score"])
    several = rank({"query": "dog", "documents": ["my dog", LONG, "cat"]}, combine="max")
    assert_same({row["document"]: row["score"] for row in several}[LONG], scores["max"])
    zero = pipe_of("zero-shot-classification", checkpoint, framework, max_length=24, stride=6)
    for more in ({}, {"multi_label": True}):
        answer = zero(LONG, **more)
        first = zero(LONG, combine="first", **more)
        assert_same(first["scores"], zero(LONG, stride=None, truncation=True, **more)["scores"])
        assert answer["scores"] != pytest.approx(first["scores"])
        assert more or sum(answer["scores"]) == pytest.approx(1)
    for task, example in (("nli", {"premise": LONG, "hypothesis": "my dog"}), ("regression", {"text": LONG})):
        pipe = pipe_of(task, checkpoint, framework, max_length=24, stride=6, top_k=1)
        assert pipe(example, combine="max")[0]["score"] >= pipe(example)[0]["score"]


CUT: list[tuple[str, Any]] = [
    ("feature-extraction", LONG), ("fill-mask", "my [MASK] " + LONG),
    ("multiple-choice", {"prompt": LONG, "choices": TEXTS}),
    ("nli", {"premise": LONG, "hypothesis": "my dog"}), ("regression", LONG), ("text-classification", LONG),
    ("text-ranking", {"query": "dog", "document": LONG}),
    ("text-ranking", {"query": "dog", "documents": [LONG, "cat"]}),
    ("token-classification", LONG), ("zero-shot-classification", LONG),
]  # fmt: skip


def said(answer: Any) -> list[int]:
    """All that an answer says of how many tokens were cut."""
    if isinstance(answer, dict):
        return [answer["cut_tokens"]] if "cut_tokens" in answer else []
    inner = [count for one in answer for count in said(one)] if isinstance(answer, list) else []
    return [*inner, *([answer.cut_tokens] if hasattr(answer, "cut_tokens") else [])]


@pytest.mark.parametrize(("task", "example"), CUT)
def test_answers_say_how_many_tokens_were_cut(task: str, example: Any, checkpoint: Make, tmp_path: Path) -> None:
    pipe = pipe_of(task, checkpoint, truncation=True, max_length=24)
    if task == "token-classification":  # nothing is found, and the answer says so all the same
        assert pipe(LONG, ignore_labels=["O", "PER", "LOC"]) == []
        assert said(pipe(LONG, ignore_labels=["O", "PER", "LOC"]))
    (answer,) = pipe([example])
    count = said(answer)[0]
    assert set(said(answer)) == {count}
    texts = [text for text in pipe.read(example).values() if isinstance(text, str)]
    whole = max(len(pipe.tokenizer(text)["input_ids"]) for text in texts)
    beside = {
        "fill-mask": 0,
        "text-classification": 0,
        "regression": 0,
        "feature-extraction": 0,
        "token-classification": 0,
    }
    assert count - (whole - 24) == beside.get(task, count - (whole - 24)) >= 0
    if isinstance(example, dict) and "documents" in example:
        assert ["cut_tokens" in row for row in answer] == [row["document"] == LONG for row in answer]
    short = CASES[task].inputs[:1]
    assert said(pipe(short)) == []
    assert_same(pipe(short), pipe_of(task, checkpoint)(short))
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(dict(pipe.read(example))) + "\n")
    options = ["--truncation", "--max-length", "24", "--input", str(path), "--output", str(tmp_path / "b.jsonl")]
    more = ["--candidate-labels", "dog, cat"] if task == "zero-shot-classification" else []
    assert main(["run", "--task", task, "--model", str(checkpoint(task)), *options, *more]) == 0
    line = json.loads((tmp_path / "b.jsonl").read_text())
    assert line["cut_tokens"] == count


def test_run_reads_long_texts_in_windows(checkpoint: Make, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LONG + "\nmy dog\n")
    arguments = ["--max-length", "24", "--stride", "6", "--combine", "max", "--top-k", "all"]
    model, out = checkpoint("text-classification"), tmp_path / "b.jsonl"
    files = ["--input", str(tmp_path / "a.txt"), "--output", str(out)]
    assert main(["run", "--task", "text-classification", "--model", str(model), *arguments, *files]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    pipe = pipe_of("text-classification", checkpoint, max_length=24, stride=6, combine="max")
    assert_same([line["result"] for line in lines], pipe([LONG, "my dog"]))
    assert all("cut_tokens" not in line for line in lines)


@pytest.mark.parametrize("task", ["question-answering", "text-classification", "token-classification"])
def test_nothing_is_said_of_long_texts_where_nothing_is_cut(
    task: str, checkpoint: Make, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """With tokenizers of another library, too, which say so whenever they see one."""
    transformers = pytest.importorskip("transformers")
    folder = checkpoint(task)
    tokenizer = transformers.DebertaV2TokenizerFast.from_pretrained(folder)
    tokenizer.model_max_length = 64
    example = {"question": "Where do I live?", "context": LONG} if task == "question-answering" else {"text": LONG}
    options = {} if task == "question-answering" else {"stride": 8}
    want = pipe_of(task, checkpoint, max_length=64, **options)(example)
    recwarn.clear()
    transformers.logging.enable_propagation()
    try:
        got = pipeline(task, folder, "pt", tokenizer=tokenizer, **{**CASES[task].options, **options})(
            example, max_length=64
        )
    finally:
        transformers.logging.disable_propagation()
    assert not [text for text in (*caplog.messages, *(str(w.message) for w in recwarn)) if "longer than" in text]
    if task == "text-classification":
        assert_same(got, want)


# Words that were split before.


@frameworks
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_words_that_are_already_split(framework: str, strategy: str, checkpoint: Make) -> None:
    pipe = pipe_of("token-classification", checkpoint, framework, aggregation_strategy=strategy, ignore_labels=[])
    words = ["My", "name", "is", "Wolfgang", "and", "I", "live", "in", "Paris", "."]
    answer = pipe(tokens=words)
    text = " ".join(words)
    plain = pipe(text)
    assert_same([{k: v for k, v in one.items() if k != "words"} for one in answer], plain)
    for one in answer:
        first, last = one["words"]
        assert text[one["start"] : one["end"]] in " ".join(words[first:last])
    others = [
        pipe(words, is_split_into_words=True), pipe({"words": words}), pipe({"text": words}), pipe([words])[0],
        pipe(text, is_split_into_words=True), *pipe([words, words]),
    ]  # fmt: skip
    for other in others:
        assert_same(other, answer)


def test_given_words_are_the_units(checkpoint: Make) -> None:
    pipe = pipe_of("token-classification", checkpoint, aggregation_strategy="first", ignore_labels=[])
    words = ["New York", "is,here", "\u6771\u4eac", "a"]
    answer = pipe(tokens=words, stride=4, max_length=12)
    covered = [number for one in answer for number in range(*one["words"])]
    assert covered == list(range(4))
    assert {one["start"] for one in answer} <= {0, 9, 17, 20}
    glued = pipe(tokens=["New", " York", "'s"], word_separator="")
    assert [number for one in glued for number in range(*one["words"])] == [0, 1, 2]
    for one in glued:
        assert "New York's"[one["start"] : one["end"]] == one["word"] == one["word"].strip()


def test_words_with_their_own_spaces_were_described_with_others(checkpoint: Make) -> None:
    pipe = pipe_of("token-classification", checkpoint, word_separator="", ignore_labels=[])
    words = ["New", " York", "'s"]
    text, *lines = pipe.describe(pipe.read(words), pipe(words, is_split_into_words=True)).splitlines()
    assert text == "New York's"
    assert lines
    for line in lines:
        start, end = map(int, line.split("\t")[2].split("-"))
        assert line.split("\t")[3] == text[start:end]


@pytest.mark.parametrize("task", ["token-classification", "text-classification", "fill-mask"])
def test_texts_in_a_tuple_are_several(task: str, checkpoint: Make) -> None:
    texts = tuple(text for text in CASES[task].inputs if isinstance(text, str))
    pipe = pipe_of(task, checkpoint)
    if task == "text-classification":  # a pair
        assert_same(pipe(texts[:2]), pipe({"text": texts[0], "text_pair": texts[1]}))
    else:
        assert_same(pipe(texts), pipe(list(texts)))


@pytest.mark.parametrize("tokens", [[], ["a", ""], ["a", 3], "", 7])
def test_words_that_are_none(tokens: Any, checkpoint: Make) -> None:
    with pytest.raises((ValueError, TypeError), match="tokens"):
        pipe_of("token-classification", checkpoint)(tokens=tokens)


def test_run_takes_words_from_files(checkpoint: Make, tmp_path: Path) -> None:
    words = ["My", "name", "is", "Wolfgang"]
    (tmp_path / "a.jsonl").write_text(json.dumps({"tokens": words}) + "\n" + json.dumps({"words": words}) + "\n")
    (tmp_path / "a.csv").write_text("tokens\nMy name is Wolfgang\n")
    found = []
    for name in ("a.jsonl", "a.csv"):
        files = ["--input", str(tmp_path / name), "--output", str(tmp_path / "out")]
        model = str(checkpoint("token-classification"))
        assert main(["run", "--task", "ner", "--model", model, *files]) == 0
        found += [json.loads(line)["result"] for line in (tmp_path / "out").read_text().splitlines()]
    assert len(found) == 3
    for answer in found:
        assert_same(answer, pipe_of("token-classification", checkpoint, aggregation_strategy="none")(tokens=words))


def test_half_a_character_in_a_column_that_nobody_reads_ended_the_run(checkpoint: Make, tmp_path: Path) -> None:
    half = '{"text": "my dog", "note": "x \\ud83d y", "emoji": "\\ud83d\\ude00"}'
    (tmp_path / "a.jsonl").write_text(half + "\n")
    files = ["--input", str(tmp_path / "a.jsonl"), "--output", str(tmp_path / "b.jsonl")]
    model = str(checkpoint("text-classification"))
    assert main(["run", "--task", "text-classification", "--model", model, *files]) == 0
    line = json.loads((tmp_path / "b.jsonl").read_text(encoding="utf-8"))
    assert {name: line[name] for name in ("text", "note", "emoji")} == json.loads(half)


# Labels and hints.


@pytest.mark.parametrize("template", ["This is {label}.", "This is {.", "This is {0.x}.", "This is {1}."])
def test_templates_with_other_braces_ended_in_a_bare_key(template: str, checkpoint: Make) -> None:
    with pytest.raises(ValueError, match=r"hypothesis_template is .*, expected \{\} where the label goes"):
        pipe_of("zero-shot-classification", checkpoint)("my dog", hypothesis_template=template)


@pytest.mark.parametrize("labels", ["['dog', 'cat']", '["dog", "cat"]'])
def test_labels_in_a_written_list_kept_its_brackets(labels: str, checkpoint: Make) -> None:
    assert set(pipe_of("zero-shot-classification", checkpoint)("my dog", labels)["labels"]) == {"dog", "cat"}


@frameworks
def test_labels_that_are_whole_numbers(framework: str, tmp_path: Path) -> None:
    if framework == "tf":
        pytest.importorskip("tensorflow")
    folder = make_checkpoint(tmp_path, "v3", "ForSequenceClassification", num_labels=12)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["id2label"] = {str(number): number for number in range(12)}
    config["label2id"] = {str(number): number for number in range(12)}
    path.write_text(json.dumps(config))
    pipe = pipeline("text-classification", folder, framework, top_k=None)
    answer = pipe(TEXTS[0])
    assert sorted(row["label"] for row in answer) == sorted(map(str, range(12)))
    logits = pipe.runner({"input_ids": np.array([pipe.tokenizer(TEXTS[0])["input_ids"]])})["logits"][0]
    assert [row["label"] for row in answer] == [str(number) for number in np.argsort(-logits)]
    with pytest.raises(ValueError, match=r"none of the model's labels \(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\)"):
        pipeline("zero-shot-classification", folder, framework)
    ranked = pipeline("text-ranking", folder, framework, label="10")
    assert ranked(("my dog", "cat"))["score"] > 0


def test_labels_keep_their_order_when_they_are_read_again(tmp_path: Path) -> None:
    import deberta_pt

    names = [f"label {number}" for number in range(12)]
    folder = make_checkpoint(
        tmp_path, "v3", "ForSequenceClassification", id2label=dict(enumerate(names)), label2id=None
    )
    for _ in range(2):
        config = deberta_pt.AutoConfig.from_pretrained(folder)
        assert list(config.id2label.items()) == list(enumerate(names))
        assert [config.label2id[name] for name in names] == list(range(12))
        config.save_pretrained(folder)
    with pytest.raises(ValueError, match=", ".join(names)):
        pipeline("zero-shot-classification", folder, "pt")


def test_labels_with_commas_between_are_several(
    checkpoint: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(task: str, *arguments: str) -> Any:
        class Input:
            buffer = io.BytesIO(b"The capital of [MASK] is Paris.\n")
            isatty = staticmethod(lambda: False)

        monkeypatch.setattr(sys, "stdin", Input())
        assert main(["run", "--task", task, "--model", str(checkpoint(task)), *arguments]) == 0
        return json.loads(capsys.readouterr().out)["result"]

    zero = "zero-shot-classification"
    two = run(zero, "--candidate-labels", "dog, cat")
    assert set(two["labels"]) == {"dog", "cat"}
    assert_same(run(zero, "--candidate-labels", "dog", "cat"), two)
    assert set(run(zero, "--candidate-labels", "dog, cat", "Paris")["labels"]) == {"dog, cat", "Paris"}
    assert_same(run("fill-mask", "--targets", "dog, cat"), run("fill-mask", "--targets", "dog", "cat"))
    ner = "token-classification"
    assert_same(run(ner, "--ignore-labels", "O, PER"), run(ner, "--ignore-labels", "O", "PER"))


def test_advice_can_be_followed(checkpoint: Make) -> None:
    for task, example in [
        ("token-classification", {"text": LONG}), ("text-classification", {"text": LONG}),
        ("text-classification", {"text": LONG, "text_pair": "my dog is cute"}), ("regression", {"text": LONG}),
        ("text-ranking", {"query": "my dog", "document": LONG}), ("zero-shot-classification", {"text": LONG}),
        ("nli", {"premise": "my", "hypothesis": LONG}),
    ]:  # fmt: skip
        for limit in (12, 20, 40, 80):
            pipe = pipe_of(task, checkpoint, max_length=limit)
            with pytest.raises(ValueError, match="cut it with truncation=True") as caught:
                pipe(example)
            assert pipe(example, truncation=True)
            advised = str(caught.value).partition("stride=")[2].partition(" ")[0]
            if advised:
                pipe(example, stride=int(advised))
    for task in ("feature-extraction", "fill-mask", "multiple-choice"):
        pipe = pipe_of(task, checkpoint, max_length=12)
        with pytest.raises(ValueError, match="or split it") as caught:
            pipe({"prompt": LONG, "choices": ["a"]} if task == "multiple-choice" else LONG)
        assert "stride" not in str(caught.value)


@pytest.mark.parametrize(("task", "example", "right", "wrong"), [
    ("text-classification", {"text_pair": "a"}, "", "text_pair"),
    ("text-classification", {"txt": "a"}, "did you mean 'txt' to be 'text'?", "text_pair"),
    ("question-answering", {"question": "a", "contxt": "b"}, "did you mean 'contxt' to be 'context'?", "question'?"),
    ("nli", {"premise": "a", "hypotesis": "b"}, "did you mean 'hypotesis' to be 'hypothesis'?", "premise'?"),
    ("text-ranking", {"query": "a", "documnt": "b"}, "did you mean 'documnt' to be 'document'?", "query'?"),
    ("token-classification", {"token": ["a"]}, "did you mean 'token' to be 'tokens'?", "'text'?"),
])  # fmt: skip
def test_hints_name_the_right_field(task: str, example: Any, right: str, wrong: str, checkpoint: Make) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        pipe_of(task, checkpoint)(example)
    hint = str(caught.value)
    assert right in hint
    assert "did you mean" in hint or not right
    assert not right or f"did you mean '{wrong}" not in hint
    if not right:
        assert "did you mean" not in hint


@pytest.mark.parametrize(("task", "given", "hint"), [
    ("question-answering", {"question": "a", "contxt": "b"}, "did you mean 'context'?"),
    ("text-classification", {"text": "a", "text_pairs": "b"}, "did you mean 'text_pair'?"),
    ("text-ranking", {"query": "a", "documens": ["b"]}, "did you mean 'documents'?"),
    ("token-classification", {"token": ["a"]}, "did you mean 'tokens'?"),
    ("text-classification", {"text": "a", "max_lenght": 3}, "did you mean 'max_length'?"),
])  # fmt: skip
def test_hints_for_keywords(task: str, given: dict[str, Any], hint: str, checkpoint: Make) -> None:
    with pytest.raises(TypeError, match="unknown option") as caught:
        pipe_of(task, checkpoint)(**given)
    assert hint in str(caught.value)


# Vectors and padding.


@frameworks
@pytest.mark.parametrize("normalize", [False, True])
def test_pooled_vectors_have_one_shape(framework: str, normalize: bool, checkpoint: Make) -> None:
    pipe = pipe_of("feature-extraction", checkpoint, framework, normalize=normalize)
    states = [np.asarray(pipe(text, pooled="none", normalize=False)) for text in TEXTS]
    for pooled, wanted in (("cls", [s[0] for s in states]), ("mean", [s.mean(0) for s in states])):
        if normalize:
            wanted = [vector / np.linalg.norm(vector) for vector in wanted]
        alone, together = [pipe(text, pooled=pooled) for text in TEXTS], pipe(TEXTS, pooled=pooled)
        assert isinstance(together, list)
        for vector, other, want in zip(alone, together, wanted, strict=True):
            assert vector.shape == other.shape == (states[0].shape[1],)
            assert vector.dtype == other.dtype == np.float32
            assert_same(vector, want)
            assert_same(other, want)
        assert_same(pipe(TEXTS[0], pooling=pooled), alone[0])
        assert pipe([TEXTS[0]], pooled=pooled)[0].shape == alone[0].shape
    assert [vectors.shape for vectors in pipe(TEXTS, pooled="none")] == [s.shape for s in states]
    with pytest.raises(ValueError, match="pooled is 'max', expected one of mean, cls, none"):
        pipe(TEXTS[0], pooled="max")


def test_the_other_name_of_pooled_counts_in_a_call(checkpoint: Make) -> None:
    """A pipeline's own ``pooled`` was taken instead."""
    pipe = pipe_of("feature-extraction", checkpoint, pooled="cls")
    assert_same(pipe(TEXTS[0], pooling="mean"), pipe(TEXTS[0], pooled="mean"))
    assert np.abs(pipe(TEXTS[0], pooling="mean") - pipe(TEXTS[0])).max() > 0.01


@frameworks
@pytest.mark.parametrize("task", CASES)
def test_batches_are_padded_on_the_right_whatever_the_tokenizer_says(
    framework: str, task: str, checkpoint: Make
) -> None:
    pipe = pipe_of(task, checkpoint, framework)
    want = pipe(CASES[task].inputs)
    pipe.tokenizer.padding_side = "left"
    seen = []
    runner = pipe.runner

    class Watched:
        config = runner.config

        def __call__(self, inputs: Any, **options: Any) -> Any:
            seen.append(inputs["attention_mask"].reshape(-1, inputs["attention_mask"].shape[-1]))
            return runner(inputs, **options)

    pipe.runner = Watched()
    assert_same(pipe(CASES[task].inputs), want)
    assert any((mask == 0).any() for mask in seen)
    assert all((np.diff(mask, axis=1) <= 0).all() and mask[:, 0].all() for mask in seen)
