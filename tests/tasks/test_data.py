"""Labelled texts: the bundled ones, and CSV files of users."""

import random
from collections import Counter
from pathlib import Path

import pytest

from deberta_tasks.data import BUNDLED, TASK, hold_back, most_frequent, read_csv
from deberta_tasks.records import Record


def texts(examples: list[Record]) -> list[str]:
    return [example["text"] for example in examples]


def labels(examples: list[Record]) -> list[str]:
    return [example["label"] for example in examples]


def test_the_bundled_texts_are_balanced_different_and_clean() -> None:
    data = read_csv(BUNDLED)
    assert TASK.label_names(data) == ["cooking", "music", "sport", "weather"]
    assert 400 <= len(data) <= 600
    assert len(set(Counter(labels(data)).values())) == 1
    assert len({text.casefold() for text in texts(data)}) == len(data)
    for text in texts(data):
        assert text == text.strip()
        assert text.isascii()
        assert text.endswith((".", "?"))
        assert 4 <= len(text.split()) <= 20
    raw = BUNDLED.read_bytes()
    assert b"\r" not in raw


def test_the_bundled_texts_are_no_template_spam() -> None:
    """No start of three words opens more than a handful of sentences, and most words occur rarely."""
    data = read_csv(BUNDLED)
    starts = Counter(tuple(text.lower().split()[:3]) for text in texts(data))
    assert starts.most_common(1)[0][1] <= 5
    words = {word.strip(".,?'").lower() for text in texts(data) for word in text.split()}
    assert len(words) > 1300


def test_every_fifth_text_of_each_label_is_held_back() -> None:
    data = read_csv(BUNDLED)
    train, held = hold_back(data)
    assert len(held) * 5 == len(data)
    assert not set(texts(train)) & set(texts(held))
    assert sorted(texts(train) + texts(held)) == sorted(texts(data))
    assert most_frequent(held) == pytest.approx(0.25)
    assert set(Counter(labels(held)).values()) == {24}


def test_holding_back_keeps_each_text_with_its_label() -> None:
    places = list(range(40))
    random.Random(0).shuffle(places)
    data = [Record({"text": f"text {place}", "label": "abc"[place % 3]}) for place in places]
    for part in hold_back(data, every=4):
        assert all("abc"[int(example["text"].split()[1]) % 3] == example["label"] for example in part)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "texts.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_other_columns_quotes_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path, 'id,text,label\n1,"one, ""two""\nthree",b\n2,vier,a\n', "utf-8-sig")
    data = read_csv(path)
    assert (texts(data), labels(data)) == (['one, "two"\nthree', "vier"], ["b", "a"])
    assert all(set(example) == {"label", "text"} for example in data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "texts.csv has no records"),
        ("label,txt\na,b\n", "no column 'text'; it has label, txt; did you mean 'txt'"),
        ("label,text\n", "texts.csv has no records"),
        ("label,text\na,one\n,two\n", "line 3: the row has no label"),
        ("label,text\na,one\nb, \n", "line 3: text is '', expected a text; fill it in or drop the row"),
        ("label,text\na,one\nb\n", "line 3 has 1 cells, the heading has 2"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path, text))


def test_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_csv(write(tmp_path, "label,text\na,größer\n", "latin-1"))


def test_too_few_labels_or_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="all texts have the label 'a'; a classifier needs at least two"):
        hold_back([Record({"text": "x", "label": "a"})] * 9)
    with pytest.raises(ValueError, match="label 'b' has 4 texts, expected at least 5"):
        hold_back([Record({"text": "x", "label": label}) for label in "aaaaabbbb"])
